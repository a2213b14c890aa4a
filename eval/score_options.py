"""The options of ``python -m eval.score``."""

import argparse
from pathlib import Path

from eval.published.test_sets import find_test_sets
from eval.results.further_metrics import METRICS_OF
from eval.scoring.bootstrap import NUM_RESAMPLES
from eval.scoring.protocols import PROTOCOLS


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.score", description="Score localization maps of any system."
    )
    _add_input_options(parser)
    _add_result_options(parser)
    return parser


def _add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is scored, and against which ground truth."""
    # What to score and how.
    parser.add_argument(
        "maps",
        type=Path,
        metavar="MAPS",
        help=".npz with sample_ids (n,) and maps (n, h, w), or a folder of <sample id>.npy or .png",
    )
    parser.add_argument(
        "--dataset", required=True, metavar="NAME", help=f"test set: {', '.join(find_test_sets())}"
    )
    parser.add_argument(
        "--protocol",
        action="append",
        metavar="NAME",
        help=f"may be repeated: {', '.join(PROTOCOLS)} (default: earshot)",
    )

    parser.add_argument(
        "--metric",
        action="append",
        metavar="NAME",
        help=f"may be repeated: {', '.join(METRICS_OF)} (default: none of them)",
    )

    # Where the ground truth comes from.
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="a samples.parquet, or the published vggss.json",
    )
    parser.add_argument(
        "--lists",
        type=Path,
        metavar="FOLDER",
        help="published lists, in folders named after their repository (ezvsl, htf, ...)",
    )
    parser.add_argument(
        "--xml",
        type=Path,
        metavar="FOLDER",
        help="Flickr annotations, one XML a video (with --lists)",
    )

    # Which part of it counts, and what the model was trained on.
    parser.add_argument("--ids", type=Path, metavar="FILE", help="score only the ids of this list")
    parser.add_argument(
        "--train-list",
        type=Path,
        metavar="FILE",
        help="training clips; test clips among them are counted",
    )
    parser.add_argument(
        "--root", type=Path, default=Path(), metavar="FOLDER", help="the checkout (default: here)"
    )


def _add_result_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how maps are scored, and what is printed and written."""
    # What a reader must know of the model.
    parser.add_argument(
        "--selection", default="not stated", help="how the checkpoint was chosen, for the result"
    )
    parser.add_argument("--model", metavar="NAME", help="name in the results (default: the file's)")

    # How it is scored.
    parser.add_argument(
        "--absolute",
        action="store_true",
        help="flowgrad: take values as they are, do not normalize",
    )
    parser.add_argument(
        "--resamples",
        type=int,
        default=NUM_RESAMPLES,
        metavar="N",
        help="number of bootstrap resamples for the intervals",
    )

    # What is written and printed.
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write scores.parquet and results.json there"
    )
    parser.add_argument(
        "--list-missing", type=int, default=5, metavar="N", help="how many missing ids to name"
    )
