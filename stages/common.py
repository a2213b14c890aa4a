"""Run the ``main`` of a stage: parameters in, one-line errors and exit codes out."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from earshot.errors import DataError, EarshotError, ParameterError, RunError
from earshot.files import publish_text, sha256_of
from pipeline.base.local_settings import LOCAL_NAME
from pipeline.base.os_errors import escape_unprintable, report_error
from pipeline.base.project import Project
from pipeline.base.proxy import use_proxy

_CODE_ROOT = str(Path(__file__).resolve().parents[1])


# The tables that a stage reads, found from the project and the words of the command line.
FindInputs = Callable[..., Iterable[Path]]


def run_stage(main: Callable[..., None], *arguments: str, inputs: FindInputs | None = None) -> None:
    """Call ``main(project, ...)`` with the words of the command line, and exit if it fails.

    Args:
        main: The stage.
        arguments: What the words are, for the usage message, for example ``dataset``.
        inputs: Called like ``main``. If one of these files changes meanwhile, the stage fails: DVC
            would take its outputs for those of the changed file.
    """
    words = sys.argv[1:]
    if len(words) != len(arguments):
        usage = " ".join([sys.argv[0], *(name.upper() for name in arguments)])
        print(f"usage: {usage}", file=sys.stderr)
        sys.exit(2)

    escape_unprintable()
    try:
        # Loading params.yaml can fail, too: that is also one line and an exit code.
        project = Project.load()
        _check_params_once(project)
        _require_plain_folders(project)
        # A stage can run for hours. Another command may write its inputs meanwhile.
        before = _hash_files(inputs, project, words)
        with use_proxy(project.proxy):
            main(project, *words)
        _require_unchanged(before, _hash_files(inputs, project, words), project)
    except (EarshotError, OSError) as error:
        sys.exit(report_error(error))
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        # 128 + SIGINT, as a shell reports a command that Ctrl-C ended.
        sys.exit(130)


def find_tables(project: Project, dataset: str) -> list[Path]:
    """Return all tables and accounts of a dataset, which training and evaluation read."""
    folder = project.manifests_dir(dataset)
    return [*folder.glob("*.parquet"), *folder.glob("*.json")]


def find_all_tables(project: Project) -> list[Path]:
    """Return the tables and accounts of all datasets that params.yaml selects."""
    return [path for dataset in project.datasets for path in find_tables(project, dataset)]


def hash_output(path: Path, stage: str) -> str:
    """Return the SHA-256 of a file that another stage writes.

    Args:
        path: The file.
        stage: The stage that writes it, as DVC calls it.

    Raises:
        DataError: There is no such file, because the stage has not run.
    """
    try:
        return sha256_of(path)
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run `dvc repro {stage}`, which writes it") from None


def _hash_files(
    inputs: FindInputs | None, project: Project, words: Sequence[str]
) -> dict[Path, str]:
    if inputs is None:
        return {}
    return {path: sha256_of(path) for path in sorted(inputs(project, *words)) if path.is_file()}


def _require_unchanged(
    before: Mapping[Path, str], after: Mapping[Path, str], project: Project
) -> None:
    """Raise ``RunError`` if a command such as `import` wrote a table while the stage ran."""
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    if changed:
        names = ", ".join(str(path.relative_to(project.root)) for path in changed)
        raise RunError(
            f"{names}: changed while the stage ran, so what it made is not of the tables of now; "
            "what is finished is kept: run again"
        )


def _require_plain_folders(project: Project) -> None:
    """Raise ``ParameterError`` if a folder above DVC's outputs is a link.

    DVC would say so only after the work: "is outside of git repository".
    """
    folders = [project.root / "cache", project.root / "manifests", project.reports_dir]
    for dataset in project.params.get("datasets") or ():
        folders += [project.dataset_cache_dir(dataset), project.manifests_dir(dataset)]

    for folder in folders:
        if folder.is_symlink():
            name = folder.relative_to(project.root)
            raise ParameterError(
                f"{name} is a link to {os.readlink(folder)}, expected a folder of the checkout, "
                "because DVC keeps no outputs behind a link; move it back, and name a folder of "
                f"the other disk as `storage` in {LOCAL_NAME} (docs/experiments.md)"
            )


def _check_params_once(project: Project) -> None:
    """Check all of params.yaml if it has changed since the last check; exit if it is wrong.

    The check imports training and evaluation, on which most stages do not depend. So it runs as a
    program of its own, which takes seconds.
    """
    # A hash, not a time of change: a checkout or `dvc exp` gives old content a new time.
    digest = sha256_of(project.root / "params.yaml")
    path = project.root / "cache" / ".checked-params"
    if path.exists() and path.read_text() == digest:
        return

    # The code need not lie where the project does.
    search_path = os.pathsep.join([_CODE_ROOT, os.environ.get("PYTHONPATH", "")])

    # In a process of its own, because the check imports PyTorch and most stages do not need it.
    status = subprocess.run(
        [sys.executable, "-m", "stages.check"],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": search_path.rstrip(os.pathsep)},
    ).returncode
    if status != 0:
        # The check has printed what is wrong.
        sys.exit(status)
    publish_text(path, digest)
