"""``browse``: write a page of samples, with sound, before anything is trained."""

import argparse
import re
from pathlib import Path

from earshot.errors import ParameterError
from earshot.upper_rooms import import_room
from pipeline.base.project import Project

HELP = "write a page of random samples of a split: frame, boxes, flow, spectrogram, sound"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")  # in the name of a file
_MAX_SAMPLES = 500  # of which a page is smaller than 15 MB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `browse`."""
    parser.add_argument(
        "--random", type=int, default=50, metavar="N", help="how many samples (default: 50)"
    )
    parser.add_argument("--split", help="of which split, for example train (default: of all)")
    parser.add_argument("--dataset", help="of which dataset (default: the first of params.yaml)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other samples")
    parser.add_argument("--output", type=Path, help="the page (default: browse_DATASET_SPLIT.html)")


def run(arguments: argparse.Namespace, project: Project) -> int:
    """Write the page and say where it is."""
    if not 1 <= arguments.random <= _MAX_SAMPLES:
        raise ParameterError(f"--random is {arguments.random}, expected 1 to {_MAX_SAMPLES}")
    dataset = arguments.dataset or project.datasets[0]
    if dataset not in project.datasets:
        raise ParameterError(
            f"--dataset is {dataset!r}, expected one of {', '.join(project.datasets)}"
        )

    name = _UNSAFE.sub("_", f"{dataset}_{arguments.split or 'all'}")
    path = arguments.output or Path(f"browse_{name}.html")
    # The page is drawn by a room above this one, which is imported only here.
    browse = import_room("eval.report.browse")
    print(
        browse.write_browse_page(
            project,
            dataset,
            split=arguments.split,
            num_samples=arguments.random,
            seed=arguments.seed,
            path=path,
        )
    )
    return 0
