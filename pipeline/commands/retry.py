"""``retry``: attempt again the clips that a reason, dataset, split or id selects."""

import argparse
import time
from collections import Counter
from collections.abc import Collection, Sequence

from earshot.errors import DataError, ParameterError
from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.base.project import Project
from pipeline.commands.arguments import (
    add_dataset_argument,
    require_known_splits,
    selected_datasets,
)
from pipeline.datasets.dataset import find_excluded_flags, load
from pipeline.downloads.account.counts import list_missing_clips, read_downloads
from pipeline.downloads.account.ledger import Ledger
from pipeline.downloads.account.ledger_copy import adopt_copy
from pipeline.downloads.account.reasons import REASONS
from pipeline.downloads.account.table import derive_from_ledger, read_downloads_if_there
from pipeline.downloads.engine import download_clips
from pipeline.downloads.parameters import DownloadParameters

HELP = "attempt again the clips that a reason, dataset, split or id selects (then: dvc repro)"
_NUM_PRINTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `retry`."""
    # Which clips.
    add_dataset_argument(parser)
    parser.add_argument(
        "--reason",
        action="append",
        default=[],
        help="clips missing for this reason (can be repeated)",
    )
    parser.add_argument(
        "--split", action="append", default=[], help="only clips of this split (can be repeated)"
    )
    parser.add_argument(
        "--id",
        action="append",
        default=[],
        dest="ids",
        metavar="ID",
        help="this clip, also one that is ok",
    )
    parser.add_argument(
        "--absent",
        action="store_true",
        help="clips that are ok but have no file here, as after `dvc pull`",
    )
    parser.add_argument("more_ids", nargs="*", metavar="ID", help="more clip ids")

    # What to do with them.
    parser.add_argument(
        "--later", action="store_true", help="only mark them; the next `dvc repro` attempts them"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be attempted")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(arguments: argparse.Namespace, project: Project) -> int:
    """Attempt clips again; without a reason or an id, all that are worth a retry.

    The ledger is marked before anything else, and ``downloads.parquet`` shows the clips as
    pending. DVC then sees a changed output and runs the download stage, even if this process dies.
    """
    # Check all options before the first clip is marked.
    for reason in arguments.reason:
        if reason not in REASONS:
            known = ", ".join(sorted(REASONS))
            raise ParameterError(f"--reason is {reason!r}, expected one of {known}")

    if arguments.absent and (arguments.reason or arguments.split or arguments.ids):
        raise ParameterError("--absent selects all such clips, expected no --reason, --split, --id")

    for dataset, clip_ids in _select(arguments, project).items():
        _require_network(project, dataset, clip_ids)
        if not clip_ids:
            print(f"{dataset}: nothing to retry")
        elif arguments.dry_run:
            names = ", ".join(clip_ids[:_NUM_PRINTED])
            print(f"{dataset}: would attempt {len(clip_ids)} clips again: {names}")
        else:
            # Mark first, also if the attempt follows at once: this process can die during it.
            _mark(project, dataset, clip_ids)
            if arguments.later:
                print(f"{dataset}: {len(clip_ids)} clips will be attempted again by `dvc repro`")
            else:
                _attempt(project, dataset, clip_ids, is_quiet=arguments.quiet)
    return 0


def _require_network(project: Project, dataset: str, clip_ids: Collection[str]) -> None:
    """Refuse to mark clips that could not be attempted: those that are ok would become pending."""
    if project.parameters(DownloadParameters, "download").network or not clip_ids:
        return
    clips = read_table(project.clips_table_path(dataset), CLIPS, columns=["clip_id", "url"])
    urls = dict(zip(clips["clip_id"].to_pylist(), clips["url"].to_pylist(), strict=True))
    if any(not urls.get(clip_id, "file:").startswith("file:") for clip_id in clip_ids):
        raise ParameterError(
            f"{dataset}: download.network is false, so no site is asked for clips; set it to true, "
            "or take clips that you have with `import`"
        )


def _select(arguments: argparse.Namespace, project: Project) -> dict[str, list[str]]:
    """Return the ids of the selected clips by dataset."""
    ids = [*arguments.ids, *arguments.more_ids]
    datasets = selected_datasets(arguments, project)
    require_known_splits(arguments.split, project, datasets, option="--split")

    # A dataset that was given by name must have been attempted before; others are skipped.
    selected = {}
    for dataset in datasets:
        path = project.downloads_table_path(dataset)
        if path.exists():
            if arguments.absent:
                selected[dataset] = _select_absent(project, dataset)
                continue
            selected[dataset] = _select_clips(
                project, dataset, ids, arguments.reason, arguments.split
            )
        elif arguments.dataset:
            raise DataError(f"{path}: not found; run `dvc repro download@{dataset}` first")
    if not selected:
        raise DataError("no dataset has an account yet; run `dvc repro` first")

    # The message names one id: usually it is mistyped, or its clip is missing for another reason.
    unknown = set(ids) - {clip_id for clip_ids in selected.values() for clip_id in clip_ids}
    if unknown:
        reasons = f" with reason {' or '.join(arguments.reason)}" if arguments.reason else ""
        raise ParameterError(
            f"--id is {min(unknown)!r}, which is no clip of {', '.join(selected)}{reasons}"
        )
    return selected


def _select_clips(
    project: Project,
    dataset: str,
    ids: Sequence[str],
    reasons: Sequence[str],
    splits: Sequence[str],
) -> list[str]:
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


def _select_absent(project: Project, dataset: str) -> list[str]:
    rows = read_downloads(project, dataset, ["clip_id", "status", "path"]).to_pylist()
    folder = project.clips_dir(dataset)
    return [
        row["clip_id"]
        for row in rows
        if row["status"] == "ok" and not (folder / row["path"]).exists()
    ]


def _mark(project: Project, dataset: str, clip_ids: Sequence[str]) -> None:
    """Mark clips in the ledger, and show them as pending in the table."""
    # The ledger outlives every rerun: from here on the mark cannot be lost.
    clips = read_table(project.clips_table_path(dataset), CLIPS)
    parameters = project.parameters(DownloadParameters, "download")
    table_path = project.downloads_table_path(dataset)
    with Ledger(project.ledger_path(dataset)) as ledger:
        before = read_downloads_if_there(table_path)
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
            allow_duplicates=parameters.allow_duplicates,
            excluded_flags=find_excluded_flags(project, dataset),
            has_network=parameters.network,
            before=before,
        )
        write_table(table_path, downloads, DOWNLOADS)


def _attempt(project: Project, dataset: str, clip_ids: Sequence[str], *, is_quiet: bool) -> None:
    """Attempt marked clips now and print what became of them."""
    # With `only`, the run does not fail because many other clips of the dataset are missing.
    downloads = download_clips(
        read_table(project.clips_table_path(dataset), CLIPS),
        parameters=project.parameters(DownloadParameters, "download"),
        dataset=dataset,
        clips_dir=project.clips_dir(dataset),
        ledger_path=project.ledger_path(dataset),
        is_linked=load(dataset).is_linked,
        excluded_flags=find_excluded_flags(project, dataset),
        is_quiet=is_quiet,
        table_path=project.downloads_table_path(dataset),
        copy_path=project.ledger_copy_path(dataset),
        only=clip_ids,
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
        f"{dataset}: {len(clip_ids)} clips attempted again: {words}; "
        "`dvc repro` goes on with what arrived"
    )
