"""``browse``: write a page of samples, with sound, before anything is trained."""

import re
from pathlib import Path

import click

from earshot.errors import ParameterError
from earshot.upper_rooms import import_room
from pipeline.base.project import Project
from pipeline.commands.options import FILE, one_dataset_option, pass_project
from pipeline.commands.output import choose_output

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")  # in the name of a file
_MAX_SAMPLES = 500  # of which a page is smaller than 15 MB


@click.command()
@click.option(
    "--random",
    "num_samples",
    type=int,
    default=50,
    metavar="N",
    help="how many samples (default: 50)",
)
@click.option("--split", metavar="SPLIT", help="of which split (default: of all)")
@one_dataset_option(help="of which dataset (default: the first of params.yaml)")
@click.option("--seed", type=int, default=0, help="another seed, other samples")
@click.option(
    "--output", type=FILE, help="the page, or a folder (default: browse_DATASET_SPLIT.html, here)"
)
@pass_project
def run(
    project: Project,
    num_samples: int,
    split: str | None,
    dataset: str | None,
    seed: int,
    output: Path | None,
) -> int:
    """Write the page and say where it is."""
    if not 1 <= num_samples <= _MAX_SAMPLES:
        raise ParameterError(f"--random is {num_samples}, expected 1 to {_MAX_SAMPLES}")

    dataset = dataset or project.first_dataset
    if dataset not in project.datasets:
        raise ParameterError(
            f"--dataset is {dataset!r}, expected one of {', '.join(project.datasets)}"
        )

    # The names come from lists and params.yaml, and can have a slash.
    name = _UNSAFE.sub("_", f"{dataset}_{split or 'all'}")
    path = choose_output(output, f"browse_{name}.html")
    # The page is drawn by a room above this one, which is imported only here.
    browse = import_room("eval.report.browse")
    print(
        browse.write_browse_page(
            project,
            dataset,
            split=split,
            num_samples=num_samples,
            seed=seed,
            path=path,
        )
    )
    return 0
