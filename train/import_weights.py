"""Turn a published checkpoint into a run folder: ``earshot weights import FILE RUN_DIR``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from earshot.errors import DataError
from pipeline.commands import command_line
from pipeline.commands.options import FILE


def _complete(_: click.Context, __: click.Parameter, start: str) -> list[str]:
    from train.models.registry import METHODS

    return [name for name in METHODS if name.startswith(start)]


@click.command()
@click.argument("file", type=FILE)
@click.argument("run_dir", type=FILE)
@click.option(
    "--method",
    metavar="NAME",
    shell_complete=_complete,
    help="method of the checkpoint (default: recognize it by the names of its tensors)",
)
def run(file: Path, run_dir: Path, method: str | None) -> int:
    """Turn FILE, a checkpoint as its authors gave it away, into the folder RUN_DIR."""
    # PyTorch takes seconds to import, which `--help` need not wait for.
    from train.weights.published_checkpoints import import_published

    try:
        name = import_published(file, method, run_dir)
    except OSError as error:
        raise DataError(f"{run_dir}: cannot be written: {error}") from None
    print(f"{run_dir}: {name} weights of {file}")
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command_line.main(["weights", "import", *(sys.argv[1:] if words is None else words)])
