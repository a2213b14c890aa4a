"""``export``: hand a dataset over as WebDataset, Hugging Face dataset or plain files."""

import argparse
from pathlib import Path

from earshot.errors import ParameterError
from earshot.shard_format import INDEX_NAME
from pipeline.base.project import Project
from pipeline.commands.arguments import format_bytes
from pipeline.datasets.dataset import find_own_tables
from pipeline.datasets.dataset import names as dataset_names
from pipeline.exports.export import export_dataset
from pipeline.exports.parameters import AUDIO, FORMATS, ExportParameters
from pipeline.exports.summary import Summary
from pipeline.features.registry import FEATURES

HELP = "write a dataset for others: WebDataset, a Hugging Face folder, or plain files"
_NUM_REASONS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder")
    parser.add_argument(
        "--splits", nargs="+", default=[], metavar="SPLIT", help="only these (default: all)"
    )
    parser.add_argument(
        "--features",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"cached features, and {AUDIO}: the whole sound of the clip (default: frames and "
        f"{AUDIO} for files, else all that are cached)",
    )
    parser.add_argument(
        "--pictures", choices=("jpg", "png"), default="jpg", help="png keeps every bit"
    )
    parser.add_argument(
        "--clips", action="store_true", help="files: the media files, too, as hard links"
    )
    parser.add_argument("--licence", metavar="TEXT", help="of files of your own; one sentence")
    parser.add_argument(
        "--shard-samples", type=int, default=256, metavar="N", help="samples in a shard"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(arguments: argparse.Namespace, project: Project) -> int:
    """Export the dataset and print what is there and what is missing."""
    dataset = arguments.dataset
    known = (*dataset_names(), *find_own_tables(project.params))
    if dataset not in known and not project.manifests_dir(dataset).is_dir():
        raise ParameterError(f"export: DATASET is {dataset!r}, expected one of {', '.join(known)}")

    try:
        parameters = ExportParameters(
            format=arguments.format,
            features=_choose_features(arguments, project),
            splits=tuple(dict.fromkeys(arguments.splits)),
            pictures=arguments.pictures,
            shard_samples=arguments.shard_samples,
            has_clips=arguments.clips,
            licence=arguments.licence,
        )
    except ValueError as error:
        raise ParameterError(f"export: {error}") from None

    summary, num_written = export_dataset(
        project, dataset, parameters, arguments.output, is_quiet=arguments.quiet
    )
    _print(summary, num_written, arguments.output)
    return 0


def _choose_features(arguments: argparse.Namespace, project: Project) -> tuple[str, ...]:
    if arguments.features:
        return tuple(dict.fromkeys(arguments.features))
    if arguments.format == "files":
        return ("frames", AUDIO)
    cached = project.dataset_cache_dir(arguments.dataset).glob(f"*/{INDEX_NAME}")
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
        f"{format_bytes(summary.num_bytes)}"
    )
