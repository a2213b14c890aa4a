"""The options of ``earshot score``."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from eval.published.test_sets import find_test_sets
from eval.results.further_metrics import METRICS_OF
from eval.scoring.bootstrap import NUM_RESAMPLES
from eval.scoring.protocols import PROTOCOLS
from pipeline.commands.options import FILE


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What the command line says."""

    # What to score and how.
    maps: Path
    dataset: str
    split: str | None
    protocols: tuple[str, ...]
    metrics: tuple[str, ...]

    # Where the ground truth comes from.
    annotations: Path | None
    lists: Path | None
    xml: Path | None
    root: Path

    # Which part of it counts, and what the model was trained on.
    ids: Path | None
    train_list: Path | None

    # What a reader must know of the model.
    selection: str
    model: str | None

    # How it is scored, and what is written and printed.
    is_absolute: bool
    num_resamples: int
    output: Path | None
    num_listed: int


def _propose(names: Iterable[str]) -> Callable[..., list[str]]:
    """Return what a shell completes with these names."""

    def complete(_: click.Context, __: click.Parameter, start: str) -> list[str]:
        return [name for name in names if name.startswith(start)]

    return complete


_OPTIONS = (
    click.argument("maps", type=FILE),
    click.option(
        "--dataset",
        required=True,
        metavar="NAME",
        shell_complete=_propose(find_test_sets()),
        help=f"test set: {', '.join(find_test_sets())}; or local, or a table of your own in "
        "params.yaml",
    ),
    click.option(
        "--split",
        metavar="NAME",
        help="of local or a table of your own (default: its only test split)",
    ),
    click.option(
        "--protocol",
        "protocols",
        multiple=True,
        metavar="NAME",
        shell_complete=_propose(PROTOCOLS),
        help=f"may be repeated: {', '.join(PROTOCOLS)} (default: earshot)",
    ),
    click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="NAME",
        shell_complete=_propose(METRICS_OF),
        help=f"may be repeated: {', '.join(METRICS_OF)} (default: none of them)",
    ),
    click.option(
        "--annotations",
        type=FILE,
        metavar="FILE",
        help="a samples.parquet, or the published vggss.json",
    ),
    click.option(
        "--lists",
        type=FILE,
        metavar="FOLDER",
        help="published lists, in folders named after their repository (ezvsl, htf, ...)",
    ),
    click.option(
        "--xml",
        type=FILE,
        metavar="FOLDER",
        help="Flickr annotations, one XML a video (with --lists)",
    ),
    click.option("--ids", type=FILE, metavar="FILE", help="score only the ids of this list"),
    click.option(
        "--train-list",
        type=FILE,
        metavar="FILE",
        help="training clips; test clips among them are counted",
    ),
    click.option("--root", type=FILE, metavar="FOLDER", help="the checkout (default: here)"),
    click.option(
        "--selection",
        default="not stated",
        metavar="TEXT",
        help="how the checkpoint was chosen, for the result",
    ),
    click.option("--model", metavar="NAME", help="name in the results (default: the file's)"),
    click.option(
        "--absolute",
        "is_absolute",
        is_flag=True,
        help="flowgrad: take values as they are, do not normalize",
    ),
    click.option(
        "--resamples",
        "num_resamples",
        type=int,
        default=NUM_RESAMPLES,
        metavar="N",
        help=f"number of bootstrap resamples for the intervals (default: {NUM_RESAMPLES})",
    ),
    click.option(
        "--output", type=FILE, metavar="FOLDER", help="write scores.parquet and results.json there"
    ),
    click.option(
        "--list-missing",
        "num_listed",
        type=int,
        default=5,
        metavar="N",
        help="how many missing ids to name (default: 5)",
    ),
)


def score_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of ``ScoreOptions``."""
    # Decorators apply from the last to the first; `--help` lists the first one first.
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
