"""``retry``: attempt again what a reason, dataset, split or id selects."""

import time
from collections import Counter

from earshot.errors import DataError, ParameterError
from pipeline.base.project import Project
from pipeline.commands.arguments import (
    add_dataset_argument,
    require_known_splits,
    selected_datasets,
)
from pipeline.datasets.dataset import load
from pipeline.downloads.reasons import REASONS

HELP = "attempt again the clips that a reason, dataset, split or id selects (then: dvc repro)"


def add_arguments(parser) -> None:
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
    parser.add_argument("more_ids", nargs="*", metavar="ID", help="more clip ids")
    parser.add_argument(
        "--later", action="store_true", help="only mark them; the next `dvc repro` attempts them"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be attempted")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(arguments, project: Project) -> int:
    """Without a reason or an id: all that is missing and worth a retry.

    The wish goes to the ledger before anything else, and the account (downloads.parquet) shows the clips as pending:
    DVC sees a changed output and runs the download stage, whatever becomes of this process.
    """
    ids = [*arguments.ids, *arguments.more_ids]
    for reason in arguments.reason:
        if reason not in REASONS:
            raise ParameterError(
                f"--reason is {reason!r}, expected one of {', '.join(sorted(REASONS))}"
            )
    chosen, names = {}, selected_datasets(arguments, project)
    require_known_splits(arguments.split, project, names, option="--split")
    for dataset in names:
        if project.downloads_table_path(dataset).exists():
            chosen[dataset] = _select(project, dataset, ids, arguments.reason, arguments.split)
        elif arguments.dataset:
            raise DataError(
                f"{project.downloads_table_path(dataset)}: not found; run `dvc repro download@{dataset}` first"
            )
    if not chosen:
        raise DataError("no dataset has an account yet; run `dvc repro` first")
    unknown = set(ids) - {clip_id for clip_ids in chosen.values() for clip_id in clip_ids}
    if unknown:
        raise ParameterError(
            f"--id is {min(unknown)!r}, which is no clip of {', '.join(chosen) or 'any dataset'}"
            + (f" with reason {' or '.join(arguments.reason)}" if arguments.reason else "")
        )
    for dataset, clip_ids in chosen.items():
        if not clip_ids:
            print(f"{dataset}: nothing to retry")
        elif arguments.dry_run:
            print(
                f"{dataset}: would attempt {len(clip_ids)} clips again: {', '.join(clip_ids[:10])}"
            )
        else:
            _retry(project, dataset, clip_ids, is_later=arguments.later, is_quiet=arguments.quiet)
    return 0


def _select(
    project: Project, dataset: str, ids: list[str], reasons: list[str], splits: list[str]
) -> list[str]:
    from earshot.tables import CLIPS, read_table
    from pipeline.downloads.counts import missing_clips

    if ids and not reasons and not splits:
        known = set(
            read_table(project.clips_table_path(dataset), CLIPS, columns=["clip_id"])[
                "clip_id"
            ].to_pylist()
        )
        return [clip_id for clip_id in dict.fromkeys(ids) if clip_id in known]
    rows = (
        missing_clips(project, dataset, reasons=reasons, splits=splits)
        .select(["clip_id", "outlook"])
        .to_pylist()
    )
    if ids:
        rows = [row for row in rows if row["clip_id"] in set(ids)]
    elif not reasons:
        rows = [row for row in rows if row["outlook"] != "permanent"]
    return [row["clip_id"] for row in rows]


def _retry(
    project: Project, dataset: str, clip_ids: list[str], *, is_later: bool, is_quiet: bool
) -> None:
    from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
    from pipeline.downloads.engine import DownloadParameters, download_clips
    from pipeline.downloads.history import derive_downloads, read_histories
    from pipeline.downloads.ledger import Ledger

    parameters = project.parameters(DownloadParameters, "download")
    clips = read_table(project.clips_table_path(dataset), CLIPS)
    table_path = project.downloads_table_path(dataset)
    with Ledger(project.ledger_path(dataset)) as ledger:
        marks = [
            {"type": "retry", "clip_id": clip_id, "time": round(time.time(), 3)}
            for clip_id in clip_ids
        ]
        ledger.append(marks)
        histories = read_histories(clips, [*ledger.entries, *marks])
        downloads = derive_downloads(
            histories,
            clips_dir=project.clips_dir(dataset),
            allow_duplicates=parameters.allow_duplicates,
        )
        write_table(table_path, downloads, DOWNLOADS)
    if is_later:
        print(f"{dataset}: {len(clip_ids)} clips will be attempted again by `dvc repro`")
        return
    downloads = download_clips(
        clips,
        parameters=parameters,
        dataset=dataset,
        clips_dir=project.clips_dir(dataset),
        ledger_path=project.ledger_path(dataset),
        is_quiet=is_quiet,
        table_path=table_path,
        only=clip_ids,
        is_linked=load(dataset).is_linked,
    )
    wanted = set(clip_ids)
    columns = zip(
        *(downloads[name].to_pylist() for name in ("clip_id", "status", "reason")), strict=True
    )
    counts = Counter(reason or status for clip_id, status, reason in columns if clip_id in wanted)
    words = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    print(
        f"{dataset}: {len(clip_ids)} clips attempted again: {words}; `dvc repro` goes on with what arrived"
    )
