"""The sizes of the real datasets, rehearsed on this machine.

    python -m benchmarks.rehearsal [--part N] [--clips N] [--rows N] [--workers N]

Measures three things, and extrapolates from the first:

- a part of a dataset from a site on 127.0.0.1 (``origin``) to all features: CPU of each stage,
- commands over the tables of a whole dataset (``--clips``): seconds and memory,
- lists of millions of rows (``--rows``): seconds and memory.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.inputs.clips import render_many_clips
from benchmarks.rehearsal.estimate import PLANS, estimate
from benchmarks.rehearsal.origin import Origin
from benchmarks.rehearsal.path import run_path
from benchmarks.rehearsal.tables import (
    measure_process,
    write_addresses,
    write_project,
    write_records,
)

# The first `plan` measures the rates of this machine, which the second one finds.
_COMMANDS = (("status",), ("missing", "--by", "reason"), ("plan",), ("plan",))
_READ_ADDRESSES = """
from pathlib import Path
from pipeline.lists.soundnet import read_addresses
wanted = [str(4_000_000_000 + number) for number in range(144_000)]
assert len(read_addresses(Path("addresses.txt"), wanted)) == min(144_000, {rows})
"""
_BUILD_TABLES = """
from pathlib import Path
from pipeline.datasets.table import Parameters, build_tables
clips, samples = build_tables(Parameters(path="rows.csv"), cache_dir=Path())
assert len(clips) == len(samples) == {rows}
"""


def main() -> None:
    """Print what was measured, then what is extrapolated."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", type=int, default=300, help="clips that are fetched")
    parser.add_argument("--clips", type=int, default=200_000, help="rows of a dataset's tables")
    parser.add_argument("--rows", type=int, default=2_000_000, help="of the largest lists")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="earshot-rehearsal-") as name:
        folder = Path(name)
        measure_tables(folder, num_clips=arguments.clips, num_rows=arguments.rows)
        measure_part(folder, num_clips=arguments.part, workers=arguments.workers)


def measure_tables(folder: Path, *, num_clips: int, num_rows: int) -> None:
    """Print seconds and memory of commands and lists."""
    # Half of it is fetched, so that each command has something to say.
    write_project(folder / "project", num_clips, num_fetched=num_clips // 2)
    write_addresses(folder / "addresses.txt", num_rows)
    write_records(folder / "rows.csv", num_rows)
    runs = [
        measure_process(
            f"{' '.join(words)}, {num_clips:,} clips",
            ["-m", "pipeline", *words],
            folder / "project",
        )
        for words in _COMMANDS
    ]
    for title, text in (("addresses", _READ_ADDRESSES), ("rows of a CSV file", _BUILD_TABLES)):
        words = ["-c", text.format(rows=num_rows)]
        runs.append(measure_process(f"{num_rows:,} {title}", words, folder))
    for run in runs:
        print(
            f"{run.name:45}{run.cpu_seconds:8.1f} s CPU{run.seconds:8.1f} s"
            f"{run.mebibytes:8.0f} MiB",
            flush=True,
        )


def measure_part(folder: Path, *, num_clips: int, workers: int) -> None:
    """Print the cost of each stage, and of whole datasets."""
    render_many_clips(folder / "rendered" / "clips", num_clips=1)
    clips = [path.read_bytes() for path in sorted((folder / "rendered").glob("source*.mp4"))]
    with Origin(clips) as origin:
        costs, reasons = run_path(folder / "part", origin, num_clips=num_clips, workers=workers)
    print(f"{num_clips} clips: {', '.join(f'{n} {r}' for r, n in reasons.most_common())}")
    for name, cost in costs.items():
        print(
            f"{name:20}{1000 * cost.cpu_seconds:8.1f} ms CPU a clip"
            f"{1000 * cost.wall_seconds:8.1f} ms with {workers} workers"
            f"{cost.num_bytes / 1e6:8.2f} MB a clip"
        )

    print("extrapolated:")
    for plan in PLANS:
        found = estimate(plan, costs)
        hours = ", ".join(f"{value:.2f} h on {cores}" for cores, value in found.hours.items())
        print(
            f"{plan.name:20}{plan.num_requests:>9,} requests, {found.request_hours:.0f} h; "
            f"{hours} cores; {found.gigabytes:.0f} GB"
        )


if __name__ == "__main__":
    main()
