"""``clips drop``: free the disk of clips whose features are all cached."""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich import filesize

from earshot.tables import DOWNLOADS, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.commands.feature_selection import find_cached_keys, list_features
from pipeline.commands.options import (
    dataset_option,
    dry_run_option,
    pass_project,
    selected_datasets,
)
from pipeline.downloads.account.ledger import Ledger
from pipeline.downloads.account.ledger_copy import make_absence_marks
from pipeline.features.configure import configure_feature
from pipeline.shards.requests import Absence, Clip, find_clips, make_requests
from pipeline.shards.store import Store

_REMEDY = "`earshot retry --absent` or `import` brings them back"


@click.command()
@dataset_option
@dry_run_option(help="only say what would be removed")
@pass_project
def run(project: Project, datasets: tuple[str, ...], is_dry_run: bool) -> int:
    """Remove clips, and say what can then not be computed on this machine."""
    num_removed = 0
    for dataset in selected_datasets(project, datasets):
        if not project.downloads_table_path(dataset).exists():
            print(f"{dataset}: no clips yet")
            continue
        num_removed += _drop(project, dataset, is_dry_run=is_dry_run)

    # Once, below the lines of all datasets.
    if num_removed:
        print(
            "without their files, this machine cannot compute what is not cached: other parameters "
            "of a feature, a new feature, more samples of a clip, a damaged shard; and the page "
            f"has no sound; {_REMEDY}, as far as their sites still have them"
        )
    return 0


@dataclass
class _Choice:
    """The clips of a dataset that are on this machine."""

    dropped: list[Path] = field(default_factory=list)  # files, all features of which are cached
    statuses: dict[str, str] = field(default_factory=dict)  # of these clips, by id
    num_kept: int = 0
    why_kept: str = ""  # of one of them


def _drop(project: Project, dataset: str, *, is_dry_run: bool) -> int:
    """Remove the files of one dataset; return their number."""
    features = list_features(project, dataset)
    store_dirs = sorted({project.store_dir(dataset, feature) for feature in features})
    with ExitStack() as stack:
        # Neither a download nor a feature may need the clips meanwhile.
        ledger = stack.enter_context(Ledger(project.ledger_path(dataset)))
        for folder in store_dirs:
            stack.enter_context(Store(folder).open())
        choice = _choose(project, dataset, features)

        num_bytes, num_shared = _count_bytes(choice.dropped)
        if not is_dry_run:
            # The ledger first: a clip without a file and without this entry is fetched again.
            ledger.append(make_absence_marks(choice.statuses))
            for path in choice.dropped:
                path.unlink()

    verb = "would be removed" if is_dry_run else "removed"
    print(f"{dataset}: {len(choice.dropped)} clips {verb} ({filesize.decimal(num_bytes)} freed)")

    if num_shared:
        print(f"{dataset}: {num_shared} of them are links to files of your own, which stay")
    if choice.num_kept:
        print(f"{dataset}: {choice.num_kept} clips stay: {choice.why_kept}")
    return len(choice.dropped)


def _choose(project: Project, dataset: str, features: Iterable[str]) -> _Choice:
    downloads = read_table(project.downloads_table_path(dataset), DOWNLOADS)
    clips, absences = find_clips(downloads, project.clips_dir(dataset))
    needed = _find_needed(project, dataset, features, clips, absences)

    choice = _Choice()
    for clip_id, clip in clips.items():
        path = Path(clip.file)
        # A link whose target is gone is a file to remove, too, but does not "exist".
        if not os.path.lexists(path):
            continue
        if clip_id in needed:
            choice.num_kept += 1
            choice.why_kept = choice.why_kept or f"{clip_id}: {needed[clip_id]}"
        else:
            choice.dropped.append(path)
            choice.statuses[clip_id] = "ok"
    return choice


def _find_needed(
    project: Project,
    dataset: str,
    features: Iterable[str],
    clips: Mapping[str, Clip],
    absences: Mapping[str, Absence],
) -> dict[str, str]:
    """Return the clips whose files a feature still needs, with the reason."""
    samples = read_table(project.samples_table_path(dataset), SAMPLES)
    needed: dict[str, str] = {}
    for name in features:
        cached = find_cached_keys(project.feature_dir(dataset, name))
        for request in make_requests(configure_feature(project, name), samples, clips, absences):
            # A request without a key has no clip, so it needs no file.
            if request.key is not None and request.key not in cached:
                why = f"{name} of {request.sample_id} is not cached; `dvc repro` does that"
                needed.setdefault(request.clip_id, why)
    return needed


def _count_bytes(paths: Iterable[Path]) -> tuple[int, int]:
    """Return the bytes that removing files frees, and how many files have another name."""
    num_bytes = num_shared = 0
    for path in paths:
        facts = path.lstat()
        # The other hard link, or the target of the link, keeps the bytes on the disk.
        is_shared = path.is_symlink() or facts.st_nlink > 1
        num_shared += is_shared
        num_bytes += 0 if is_shared else facts.st_size
    return num_bytes, num_shared
