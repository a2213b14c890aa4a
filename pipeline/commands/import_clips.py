"""``import``: clips that are already on this machine, instead of downloading them."""

import json

from earshot.errors import ParameterError
from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.base.project import Project
from pipeline.downloads.engine import DownloadParameters
from pipeline.downloads.history import derive_downloads, read_histories
from pipeline.downloads.import_clips import ImportParameters, ImportReport, import_clips
from pipeline.downloads.ledger import read_entries

HELP = "take clips from folders or tar files that you have instead of downloading them"
_NUM_SHOWN = 20


def add_arguments(parser) -> None:
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="folder, tar file or media file"
    )
    parser.add_argument(
        "--dataset", help="whose clips they are (default: the only one of params.yaml)"
    )
    parser.add_argument(
        "--mode", choices=("link", "copy"), default="link", help="hard links (default) or copies"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="files looked at at the same time (default: 2)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(arguments, project: Project) -> int:
    """Import, bring ``downloads.parquet`` up to date, name what was not imported; 1 when nothing was found."""
    dataset = _dataset(arguments, project)
    if arguments.workers < 1:
        raise ParameterError(f"--workers is {arguments.workers}, expected 1 or more")
    parameters = project.parameters(DownloadParameters, "download")
    clips = read_table(project.clips_table_path(dataset), CLIPS)
    report = import_clips(
        arguments.sources,
        clips,
        clips_dir=project.clips_dir(dataset),
        ledger_path=project.ledger_path(dataset),
        parameters=ImportParameters(mode=arguments.mode, num_workers=arguments.workers),
        validation=parameters.validation,
        is_quiet=arguments.quiet,
    )
    if report.imported:
        histories = read_histories(clips, read_entries(project.ledger_path(dataset)))
        downloads = derive_downloads(
            histories,
            clips_dir=project.clips_dir(dataset),
            allow_duplicates=parameters.allow_duplicates,
        )
        write_table(project.downloads_table_path(dataset), downloads, DOWNLOADS)
    if arguments.format == "json":
        print(json.dumps(_as_mapping(report), indent=1))
    else:
        _print_text(dataset, report)
    return 0 if report.imported or report.present else 1


def _dataset(arguments, project: Project) -> str:
    if arguments.dataset is not None:
        return arguments.dataset
    if len(project.datasets) != 1:
        raise ParameterError(
            f"params: datasets are {', '.join(project.datasets)}; say which with --dataset"
        )
    return project.datasets[0]


def _as_mapping(report: ImportReport) -> dict:
    return {
        "imported": report.imported,
        "present": report.present,
        "rejected": [
            dict(zip(("file", "clip_id", "reason", "detail"), row, strict=True))
            for row in report.rejected
        ],
        "foreign": [dict(zip(("file", "why"), row, strict=True)) for row in report.foreign],
        "hidden": report.num_hidden,
    }


def _print_text(dataset: str, report: ImportReport) -> None:
    for name, clip_id, reason, words in report.rejected[:_NUM_SHOWN]:
        print(f"rejected {name!r} (clip {clip_id}): {reason}: {words}")
    for name, why in report.foreign[:_NUM_SHOWN]:
        print(f"left alone {name!r}: {why}")
    num_more = max(len(report.rejected) - _NUM_SHOWN, 0) + max(len(report.foreign) - _NUM_SHOWN, 0)
    if num_more:
        print(f"... and {num_more} more (--format json names all)")
    print(
        f"{dataset}: {len(report.imported)} clips imported, {len(report.present)} were there, {len(report.rejected)} "
        f"rejected, {len(report.foreign)} files left alone, {report.num_hidden} hidden"
    )
    if report.imported:
        print("run `dvc repro` to go on with them")
