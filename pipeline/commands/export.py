"""``export``: hand a dataset over as WebDataset, Hugging Face dataset or plain files."""

from pathlib import Path
from typing import Literal

import click
from rich import filesize

from earshot.errors import ParameterError
from earshot.shard_format import INDEX_NAME
from pipeline.base.project import Project
from pipeline.commands.options import (
    FILE,
    dataset_argument,
    has_tables,
    pass_project,
    quiet_option,
)
from pipeline.datasets.dataset import find_own_tables
from pipeline.datasets.dataset import names as dataset_names
from pipeline.exports.export import export_dataset
from pipeline.exports.parameters import AUDIO, FORMATS, ExportParameters
from pipeline.exports.summary import Summary
from pipeline.features.registry import FEATURES

_NUM_REASONS = 10


@click.command()
@dataset_argument
@click.option(
    "--format",
    "output_format",
    type=click.Choice(FORMATS),
    required=True,
    help="what others read it with",
)
@click.option("--output", type=FILE, required=True, metavar="DIR", help="the folder")
@click.option(
    "--split",
    "--splits",
    "splits",
    multiple=True,
    metavar="SPLIT",
    help="only this split (can be repeated; default: all)",
)
@click.option(
    "--feature",
    "--features",
    "features",
    multiple=True,
    metavar="NAME",
    help=f"a cached feature, or {AUDIO}: the whole sound of the clip (can be repeated; default: "
    f"frames and {AUDIO} for files, else all that are cached)",
)
@click.option(
    "--pictures",
    type=click.Choice(("jpg", "png")),
    default="jpg",
    help="png keeps every bit (default: jpg)",
)
@click.option(
    "--clips",
    "has_clips",
    is_flag=True,
    help="files: the media files, too, as hard links",
)
@click.option("--licence", metavar="TEXT", help="of files of your own; one sentence")
@click.option(
    "--shard-samples",
    type=int,
    default=256,
    metavar="N",
    help="samples in a shard (default: 256)",
)
@quiet_option(help="no progress")
@pass_project
def run(
    project: Project,
    dataset: str,
    output_format: Literal["webdataset", "huggingface", "files"],
    output: Path,
    splits: tuple[str, ...],
    features: tuple[str, ...],
    pictures: Literal["jpg", "png"],
    has_clips: bool,
    licence: str | None,
    shard_samples: int,
    is_quiet: bool,
) -> int:
    """Export the dataset and print what is there and what is missing."""
    known = (*dataset_names(), *find_own_tables(project.params))
    if dataset not in known and not has_tables(project, dataset):
        raise ParameterError(f"export: DATASET is {dataset!r}, expected one of {', '.join(known)}")

    # A name that is given twice counts once; the order is that of the command line.
    try:
        parameters = ExportParameters(
            format=output_format,
            features=tuple(dict.fromkeys(features))
            or _find_features(project, dataset, output_format),
            splits=tuple(dict.fromkeys(splits)),
            pictures=pictures,
            shard_samples=shard_samples,
            has_clips=has_clips,
            licence=licence,
        )
    except ValueError as error:
        raise ParameterError(f"export: {error}") from None

    summary, num_written = export_dataset(project, dataset, parameters, output, is_quiet=is_quiet)
    _print(summary, num_written, output)
    return 0


def _find_features(project: Project, dataset: str, output_format: str) -> tuple[str, ...]:
    if output_format == "files":
        return ("frames", AUDIO)
    cached = project.dataset_cache_dir(dataset).glob(f"*/{INDEX_NAME}")
    names = {path.parent.name for path in cached}
    # Known features in their usual order, then those that others added.
    return (*(name for name in FEATURES if name in names), *sorted(names - set(FEATURES)))


def _print(summary: Summary, num_written: int, folder: Path) -> None:
    reasons = summary.count_reasons()
    for reason, count in list(reasons.items())[:_NUM_REASONS]:
        print(f"missing {count}: {reason}")
    if len(reasons) > _NUM_REASONS:
        print(f"... and {len(reasons) - _NUM_REASONS} more reasons (samples.csv has all)")
    print(
        f"{folder}: {summary.num_exported} of {len(summary.rows)} samples of {summary.dataset}, "
        f"{len(summary.shards)} shards ({num_written} written now), "
        f"{filesize.decimal(summary.num_bytes)}"
    )
