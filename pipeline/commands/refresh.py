"""``refresh``: let ``dvc repro`` notice that the user's own files changed.

DVC looks at parameters, not at the files of a folder that a parameter names.
"""

import argparse

from earshot.errors import DataError
from pipeline.base.project import Project
from pipeline.datasets.dataset import load

HELP = "let the next `dvc repro` list a folder of your own again when its files changed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--dataset",
        action="append",
        help="look only at this dataset (default: those of params.yaml)",
    )


def run(arguments: argparse.Namespace, project: Project) -> int:
    """Remove two tables of each dataset whose files changed; print nothing for the others.

    Without the table of clips DVC lists the files again. Without the table of downloads it
    compares each file with the clip that was made of it: a video that was replaced under its own
    name does not change the list.
    """
    for name in arguments.dataset or project.datasets:
        table_path = project.clips_table_path(name)
        if not table_path.exists():
            continue

        # Only datasets of the user's own files have this function: published lists do not change.
        dataset = load(name)
        if dataset.has_changed is None:
            continue

        parameters = project.parameters(dataset.parameters, f"sources.{name}")
        try:
            has_changed = dataset.has_changed(parameters, cache_dir=project.dataset_cache_dir(name))
        except DataError as error:  # a disk that is not mounted now: keep what is known
            print(f"{error}; dataset {name} stays as it was listed")
            continue

        # The downloads go first. If this process is killed in between, the next `refresh` still
        # finds the list, sees the change again and removes both.
        if has_changed:
            project.downloads_table_path(name).unlink(missing_ok=True)
            table_path.unlink()
            print(f"{name}: its files changed since they were listed; `dvc repro` lists them again")
    return 0
