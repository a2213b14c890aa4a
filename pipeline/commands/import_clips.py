"""``import``: take clips that are already on this machine instead of downloading them."""

import json
from typing import Any, Literal

import click

from earshot.errors import ParameterError
from earshot.tables import CLIPS, read_table
from pipeline.base.project import Project
from pipeline.commands.options import one_dataset_option, pass_project, quiet_option
from pipeline.datasets.listing import list_dataset
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.imports.collector import ImportReport
from pipeline.downloads.imports.import_clips import ImportParameters, import_clips
from pipeline.downloads.imports.sources import find_sources
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.table_rules import find_table_rules

_NUM_PRINTED = 20


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@one_dataset_option(help="whose clips they are (default: the only one of params.yaml)")
@click.option(
    "--mode",
    type=click.Choice(("link", "copy")),
    default="link",
    help="hard links (default) or copies",
)
@click.option(
    "--workers",
    "num_workers",
    type=int,
    default=2,
    metavar="N",
    help="files validated at the same time (default: 2)",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(("text", "json")),
    default="text",
    help="of what is printed (default: text)",
)
@quiet_option(help="no progress")
@pass_project
def run(
    project: Project,
    sources: tuple[str, ...],
    dataset: str | None,
    mode: Literal["link", "copy"],
    num_workers: int,
    output_format: str,
    is_quiet: bool,
) -> int:
    """Import, update ``downloads.parquet`` and print what was not imported.

    A SOURCE is a folder, a tar or zip file, a media file, or hf://datasets/OWNER/NAME[/PATH].

    Returns:
        1 when no file was a clip of the list, or an archive is damaged.
    """
    dataset = _choose_dataset(project) if dataset is None else dataset
    if num_workers < 1:
        raise ParameterError(f"--workers is {num_workers}, expected 1 or more")

    parameters = project.parameters(DownloadParameters, "download")
    paths = AccountPaths.find(project, dataset)
    # Before the lists are fetched, which can take a while.
    find_sources(sources, clips_dir=paths.clips_dir)

    if not project.clips_table_path(dataset).exists():
        print(f"{list_dataset(project, dataset)}, listed for the first time")
    clips = read_table(project.clips_table_path(dataset), CLIPS)

    report = import_clips(
        sources,
        clips,
        # With the table of now, DVC sees a changed output and runs the stages after it.
        paths,
        hub_dir=project.hub_dir(dataset),
        parameters=ImportParameters(
            mode=mode,
            num_workers=num_workers,
            max_gigabytes=parameters.max_gigabytes,
            min_free_gigabytes=parameters.min_free_gigabytes,
        ),
        validation=parameters.validation,
        rules=find_table_rules(project, dataset),
        is_quiet=is_quiet,
    )

    if output_format == "json":
        print(json.dumps(_as_mapping(report), indent=1))
    else:
        _print_text(dataset, report)

    # When an import is repeated, all clips are present: that is no failure.
    is_useful = bool(report.imported or report.present)
    return 0 if is_useful and not report.damaged else 1


def _choose_dataset(project: Project) -> str:
    # A guess among several datasets could match files to the wrong clips.
    if len(project.datasets) != 1:
        raise ParameterError(
            f"params: datasets are {', '.join(project.datasets)}; say which with --dataset"
        )
    return project.datasets[0]


def _as_mapping(report: ImportReport) -> dict[str, Any]:
    return {
        "imported": report.imported,
        "present": report.present,
        "rejected": [
            dict(zip(("file", "clip_id", "reason", "detail"), row, strict=True))
            for row in report.rejected
        ],
        "damaged": [dict(zip(("file", "why"), row, strict=True)) for row in report.damaged],
        "foreign": [dict(zip(("file", "why"), row, strict=True)) for row in report.foreign],
        "hidden": report.num_hidden,
    }


def _print_text(dataset: str, report: ImportReport) -> None:
    # A folder can hold thousands of files that are no clips: print a few of each kind.
    for name, clip_id, reason, detail in report.rejected[:_NUM_PRINTED]:
        print(f"rejected {name!r} (clip {clip_id}): {reason}: {detail}")
    for name, cause in report.foreign[:_NUM_PRINTED]:
        print(f"left alone {name!r}: {cause}")
    for _, cause in report.damaged:
        print(f"read up to its damage; copy it again: {cause}")
    num_more = sum(max(len(files) - _NUM_PRINTED, 0) for files in (report.rejected, report.foreign))
    if num_more:
        print(f"... and {num_more} more (--format json names all)")

    print(
        f"{dataset}: {len(report.imported)} clips imported, {len(report.present)} were there, "
        f"{len(report.rejected)} rejected, {len(report.foreign)} files left alone, "
        f"{report.num_hidden} hidden"
    )
    if report.imported:
        print("run `dvc repro` to go on with them")
