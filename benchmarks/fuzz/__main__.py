"""What the product says of damaged media files.

    python -m benchmarks.fuzz [--files N] [--seed N] [--workers N] [--keep FOLDER]

Makes small whole files of many containers and codecs, damages them (bits, headers, ends, holes,
splices), and puts them through the check of a download and through frames, flow, spectrograms and
waveforms. Exit code 1, with a list, if a file gets no reason (`unknown`), an error of ours, a lost
worker without a cause, or an array of more than 16 MB.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.fuzz.run import run
from benchmarks.fuzz.seeds import make_seeds


def main() -> int:
    """Print the reasons and what must not be; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="an empty folder that stays, with all files")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="earshot-fuzz-") as name:
        folder = arguments.keep or Path(name)
        seeds = make_seeds(folder / "seeds")
        start = time.monotonic()
        report = run(
            folder,
            seeds,
            num_files=arguments.files,
            seed=arguments.seed,
            workers=arguments.workers,
        )
        seconds = time.monotonic() - start

    print(f"{arguments.files} files of {len(seeds)} kinds, {seconds:.0f} s")
    print("check:", ", ".join(f"{name} {count}" for name, count in report.reasons.most_common()))
    for name, count in sorted(report.failures.items()):
        print(f"  {name} {count}")
    print(f"largest array: {report.largest_bytes / 1e6:.2f} MB")
    for fault in report.faults:
        print(f"FAULT {fault}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
