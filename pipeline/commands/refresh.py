"""``refresh``: notice that the folder of the ``local`` dataset changed, so that ``dvc repro`` looks at it again."""

from pathlib import Path

from pipeline.base.project import Project

HELP = "have the local dataset listed again by the next `dvc repro` when its folder changed"


def add_arguments(parser) -> None:
    parser.add_argument(
        "--dataset",
        action="append",
        help="look only at this dataset (default: those of params.yaml)",
    )


def run(arguments, project: Project) -> int:
    """Remove two tables of ``local`` when the folder is not as recorded; silent and cheap in any other case.

    That of the clips has DVC list the folder, that of the downloads has it compare each file with what was made of
    it: a video that was replaced under its name is in the list as before.
    """
    selected = arguments.dataset or project.datasets
    table_path = project.clips_table_path("local")
    if "local" not in selected or not table_path.exists():
        return 0
    from pipeline.datasets import local  # PyAV: only where there is something to look at

    parameters = project.parameters(local.Parameters, "sources.local")
    if (
        not Path(parameters.folder).expanduser().is_dir()
    ):  # a disk that is not mounted now: keep what is known
        print(f"{parameters.folder}: is not there; the local dataset stays as it was listed")
    elif local.is_changed(parameters, cache_dir=project.dataset_cache_dir("local")):
        project.downloads_table_path("local").unlink(missing_ok=True)
        table_path.unlink()
        print(f"{parameters.folder}: changed since it was listed; `dvc repro` will list it again")
    return 0
