"""``refresh``: let ``dvc repro`` notice that the user's own files changed.

DVC looks at parameters, not at the files that a parameter names: a folder of videos, published
lists, annotations, a release, weights.
"""

import shutil
from pathlib import Path

import click

from earshot.errors import DataError
from pipeline.base.project import Project
from pipeline.base.user_files import find_stage_files, have_user_files_changed
from pipeline.commands.options import (
    chosen_dataset_option,
    pass_project,
    selected_datasets,
)
from pipeline.datasets.dataset import find_user_paths, load


@click.command()
@chosen_dataset_option
@pass_project
def run(project: Project, datasets: tuple[str, ...]) -> int:
    """Remove an output of each stage whose files changed; print nothing for the others."""
    # A mistyped name would refresh nothing, and that would look like no change.
    for name in selected_datasets(project, datasets) if datasets else project.datasets:
        if not project.clips_table_path(name).exists():
            continue
        try:
            if _has_dataset_changed(project, name):
                _forget_dataset(project, name)
        except DataError as error:  # a disk that is not mounted now: keep what is known
            print(f"{error}; dataset {name} stays as it was listed")

    # Whoever names datasets means their files alone.
    for stage, paths in find_stage_files(project).items() if not datasets else ():
        output = _find_output(project, stage)
        try:
            is_changed = output.exists() and have_user_files_changed(project, stage, paths)
        except DataError as error:
            print(f"{error}; {stage} stays as it was made")
            continue
        if is_changed:
            _remove(output)
            print(f"{stage}: a file of yours changed; `dvc repro` reads it again")
    return 0


def _has_dataset_changed(project: Project, name: str) -> bool:
    about = load(name)
    parameters = project.parameters(about.parameters, f"sources.{name}")
    has_changed = about.has_changed
    if has_changed is not None and has_changed(parameters, cache_dir=project.sources_dir(name)):
        return True
    paths = find_user_paths(about, parameters)
    return have_user_files_changed(project, f"sources@{name}", paths)


def _forget_dataset(project: Project, name: str) -> None:
    """Remove the table of clips, so that DVC lists the files again.

    Without the table of downloads it also compares each linked file with the clip that was made of
    it: a video that was replaced under its own name does not change the list.
    """
    # The downloads go first. If this process is killed in between, the next `refresh` still finds
    # the list, sees the change again and removes both.
    if load(name).is_linked:
        project.downloads_table_path(name).unlink(missing_ok=True)
    project.clips_table_path(name).unlink()
    print(f"{name}: its files changed since they were listed; `dvc repro` lists them again")


def _find_output(project: Project, stage: str) -> Path:
    """Return an output without which DVC runs a stage again."""
    kind, _, name = stage.partition("@")
    if kind == "evaluate":
        return project.reports_dir / "summary.json"
    if kind == "detections":
        return project.manifests_dir(name) / "detections.json"
    return project.run_dir(name)


def _remove(output: Path) -> None:
    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink()
