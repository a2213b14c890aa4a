"""``retry``: attempt again the clips that a reason, dataset, split or id selects."""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import click

from earshot.errors import DataError, ParameterError
from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.base.project import Project
from pipeline.commands.options import (
    IdCommand,
    dataset_option,
    dry_run_option,
    pass_project,
    quiet_option,
    reason_option,
    require_known_splits,
    selected_datasets,
    split_option,
)
from pipeline.datasets.dataset import find_excluded_flags, load
from pipeline.downloads.account.counts import list_missing_clips, read_downloads
from pipeline.downloads.account.doubts import find_doubtful_clips
from pipeline.downloads.account.ledger import Ledger
from pipeline.downloads.account.ledger_copy import adopt_copy
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.account.reasons import REASONS
from pipeline.downloads.account.table import derive_from_ledger, read_downloads_if_there
from pipeline.downloads.engine import download_clips
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.table_rules import find_table_rules

_NUM_PRINTED = 10


@click.command(cls=IdCommand)
@click.argument("more_ids", nargs=-1, metavar="[ID...]")
@dataset_option
@reason_option(help="clips missing for this reason (can be repeated)")
@split_option(help="only clips of this split (can be repeated)")
@click.option("--id", "ids", multiple=True, metavar="ID", help="this clip, also one that is ok")
@click.option(
    "--absent",
    "is_absent",
    is_flag=True,
    help="clips that are ok but have no file here, as after `dvc pull`",
)
@click.option(
    "--damaged",
    "is_damaged",
    is_flag=True,
    help="clips in which features found damage: decode every picture, and count them as missing "
    "if that is refused",
)
@click.option(
    "--later",
    "is_later",
    is_flag=True,
    help="only mark them; the next `dvc repro` attempts them",
)
@dry_run_option(help="only say what would be attempted")
@quiet_option(help="no progress")
@pass_project
def run(
    project: Project,
    more_ids: tuple[str, ...],
    datasets: tuple[str, ...],
    reasons: tuple[str, ...],
    splits: tuple[str, ...],
    ids: tuple[str, ...],
    is_absent: bool,
    is_damaged: bool,
    is_later: bool,
    is_dry_run: bool,
    is_quiet: bool,
) -> int:
    """Attempt clips again; without a reason or an id, all that are worth a retry.

    The ledger is marked before anything else, and ``downloads.parquet`` shows the clips as
    pending. DVC then sees a changed output and runs the download stage, even if this process dies.
    """
    # Check all options before the first clip is marked.
    for reason in reasons:
        if reason not in REASONS:
            known = ", ".join(sorted(REASONS))
            raise ParameterError(f"--reason is {reason!r}, expected one of {known}")

    if is_absent and (reasons or splits or ids):
        raise ParameterError("--absent selects all such clips, expected no --reason, --split, --id")

    if is_damaged and (is_absent or reasons or splits or ids):
        raise ParameterError("--damaged selects all such clips, expected no other selection")

    wanted = _Wanted(datasets, (*ids, *more_ids), reasons, splits, is_absent, is_damaged)
    for dataset, clip_ids in _select(project, wanted).items():
        if is_damaged and clip_ids and not is_dry_run:
            # Not marked: a clip that turns out whole keeps its file.
            _attempt(project, dataset, clip_ids, is_quiet=is_quiet, are_doubtful=True)
            continue

        _require_network(project, dataset, clip_ids)
        if not clip_ids:
            print(f"{dataset}: nothing to retry")
        elif is_dry_run:
            names = ", ".join(clip_ids[:_NUM_PRINTED])
            print(f"{dataset}: would attempt {len(clip_ids)} clips again: {names}")
        else:
            # Mark first, also if the attempt follows at once: this process can die during it.
            _mark(project, dataset, clip_ids)
            if is_later:
                print(f"{dataset}: {len(clip_ids)} clips will be attempted again by `dvc repro`")
            else:
                _attempt(project, dataset, clip_ids, is_quiet=is_quiet)
    return 0


def _require_network(project: Project, dataset: str, clip_ids: Collection[str]) -> None:
    """Refuse to mark clips that could not be attempted: those that are ok would become pending."""
    if project.parameters(DownloadParameters, "download").network or not clip_ids:
        return
    clips = read_table(project.clips_table_path(dataset), CLIPS, columns=["clip_id", "url"])
    urls = dict(zip(clips["clip_id"].to_pylist(), clips["url"].to_pylist(), strict=True))
    # Files of the user's own need no network.
    if any(not urls.get(clip_id, "file:").startswith("file:") for clip_id in clip_ids):
        raise ParameterError(
            f"{dataset}: download.network is false, so no site is asked for clips; set it to true, "
            "or take clips that you have with `import`"
        )


@dataclass(frozen=True)
class _Wanted:
    """Which clips the command line selects."""

    datasets: Sequence[str]
    ids: Sequence[str]
    reasons: Sequence[str]
    splits: Sequence[str]
    is_absent: bool
    is_damaged: bool


def _select(project: Project, wanted: _Wanted) -> dict[str, list[str]]:
    """Return the ids of the selected clips by dataset."""
    datasets = selected_datasets(project, wanted.datasets)
    require_known_splits(wanted.splits, project, datasets, option="--split")

    # A dataset that was given by name must have been attempted before; others are skipped.
    selected = {}
    for dataset in datasets:
        path = project.downloads_table_path(dataset)
        if path.exists():
            select = _select_absent if wanted.is_absent else _select_clips
            select = _select_damaged if wanted.is_damaged else select
            selected[dataset] = select(project, dataset, wanted)
        elif wanted.datasets:
            raise DataError(f"{path}: not found; run `dvc repro download@{dataset}` first")
    if not selected:
        raise DataError("no dataset has an account yet; run `dvc repro` first")

    # The message names one id: usually it is mistyped, or its clip is missing for another reason.
    unknown = set(wanted.ids) - {clip_id for clip_ids in selected.values() for clip_id in clip_ids}
    if unknown:
        reasons = f" with reason {' or '.join(wanted.reasons)}" if wanted.reasons else ""
        raise ParameterError(
            f"--id is {min(unknown)!r}, which is no clip of {', '.join(selected)}{reasons}"
        )
    return selected


def _select_clips(project: Project, dataset: str, wanted: _Wanted) -> list[str]:
    ids, reasons, splits = wanted.ids, wanted.reasons, wanted.splits
    # An id alone also selects a clip that is ok.
    if ids and not reasons and not splits:
        clips = read_table(project.clips_table_path(dataset), CLIPS, columns=["clip_id"])
        known = set(clips["clip_id"].to_pylist())
        return [clip_id for clip_id in dict.fromkeys(ids) if clip_id in known]

    # Among the missing ones: without id and reason, all that are worth a retry.
    table = list_missing_clips(project, dataset, reasons=reasons, splits=splits)
    rows = table.select(["clip_id", "outlook"]).to_pylist()
    if ids:
        rows = [row for row in rows if row["clip_id"] in set(ids)]
    elif not reasons:
        rows = [row for row in rows if row["outlook"] != "permanent"]
    return [row["clip_id"] for row in rows]


def _select_absent(project: Project, dataset: str, _: _Wanted) -> list[str]:
    # Ok, but not here: the tables came from another machine, or `clips drop` was used.
    rows = read_downloads(project, dataset, ["clip_id", "status", "path"]).to_pylist()
    folder = project.clips_dir(dataset)
    return [
        row["clip_id"]
        for row in rows
        if row["status"] == "ok" and not (folder / row["path"]).exists()
    ]


def _select_damaged(project: Project, dataset: str, _: _Wanted) -> list[str]:
    # What features found damaged, although the check after the download let it pass.
    doubtful = find_doubtful_clips(
        project.samples_table_path(dataset), project.find_indexes(dataset)
    )
    rows = read_downloads(project, dataset, ["clip_id", "status"]).to_pylist()
    return [row["clip_id"] for row in rows if row["status"] == "ok" and row["clip_id"] in doubtful]


def _mark(project: Project, dataset: str, clip_ids: Sequence[str]) -> None:
    """Mark clips in the ledger, and show them as pending in the table."""
    # The ledger outlives every rerun: from here on the mark cannot be lost.
    clips = read_table(project.clips_table_path(dataset), CLIPS)
    table_path = project.downloads_table_path(dataset)
    with Ledger(project.ledger_path(dataset)) as ledger:
        before = read_downloads_if_there(table_path)
        # Where the results were pulled, only the copy knows the earlier attempts.
        adopt_copy(ledger, project.ledger_copy_path(dataset), before)

        # The table is derived under the ledger's lock, so no other process writes it meanwhile.
        marks = [
            {"type": "retry", "clip_id": clip_id, "time": round(time.time(), 3)}
            for clip_id in clip_ids
        ]
        ledger.append(marks)

        downloads = derive_from_ledger(
            clips,
            ledger,
            clips_dir=project.clips_dir(dataset),
            rules=find_table_rules(project, dataset),
            before=before,
        )
        write_table(table_path, downloads, DOWNLOADS)


def _attempt(
    project: Project,
    dataset: str,
    clip_ids: Sequence[str],
    *,
    is_quiet: bool,
    are_doubtful: bool = False,
) -> None:
    """Attempt marked clips now, or read doubtful ones again; print what became of them."""
    # With `only`, the run does not fail because many other clips of the dataset are missing.
    downloads = download_clips(
        read_table(project.clips_table_path(dataset), CLIPS),
        AccountPaths.find(project, dataset),
        parameters=project.parameters(DownloadParameters, "download"),
        dataset=dataset,
        is_linked=load(dataset).is_linked,
        excluded_flags=find_excluded_flags(project, dataset),
        is_quiet=is_quiet,
        only=clip_ids,
        doubtful=clip_ids if are_doubtful else (),
    )

    # What became of them, most frequent first.
    wanted = set(clip_ids)
    columns = (downloads[name].to_pylist() for name in ("clip_id", "status", "reason"))
    counts = Counter(
        reason or status
        for clip_id, status, reason in zip(*columns, strict=True)
        if clip_id in wanted
    )
    words = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    print(
        f"{dataset}: {len(clip_ids)} clips {'read' if are_doubtful else 'attempted'} again: "
        f"{words}; `dvc repro` goes on with what {'is whole' if are_doubtful else 'arrived'}"
    )
