"""What clips on the disk take until all features are there, beside the features alone.

    python -m benchmarks.rehearsal.local_clips [--clips N] [--workers 2 1]

Runs the stages of the dataset `local` on rendered clips, as `dvc repro` runs them, from an empty
cache for each number of workers: listing, checking, frames with flow, spectrograms. The start of
each stage and of its workers is included. The first stage after a change of params.yaml, listing,
checks all of it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.inputs.clips import render_many_clips

_ROOT = Path(__file__).resolve().parents[2]
_LISTING, _CHECKING = (("sources",),), (("download",),)
_FEATURES = (("feature", "frames"), ("feature", "flow"), ("feature", "spectrograms"))


def write_project(folder: Path, clips_dir: Path, workers: int) -> None:
    """Write parameters with one dataset, the folder of clips."""
    params = yaml.safe_load((_ROOT / "params.yaml").read_text())
    params |= {"datasets": ["local"], "models": []}
    params["sources"]["local"]["folder"] = str(clips_dir)
    params["evaluate"]["subsets"] = {}
    params["download"]["num_workers"] = workers
    params["cluster"] |= {"workers": workers, "dashboard": False}
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def time_stages(folder: Path, stages: tuple[tuple[str, ...], ...]) -> float:
    """Run stages one after the other; return their seconds."""
    start = time.monotonic()
    for name, *words in stages:
        subprocess.run(
            [sys.executable, "-m", f"stages.{name}", *words, "local"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    return time.monotonic() - start


def main() -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 1])
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="earshot-local-") as name:
        clips_dir = Path(name, "clips")
        render_many_clips(clips_dir, num_clips=arguments.clips)
        print(f"{arguments.clips} clips of 10 s, {os.cpu_count()} cores")
        for workers in arguments.workers:
            folder = Path(name, f"project{workers}")
            write_project(folder, clips_dir, workers)
            listing = time_stages(folder, _LISTING)
            checking, features = time_stages(folder, _CHECKING), time_stages(folder, _FEATURES)
            ratio = (checking + features) / features
            print(
                f"{workers} workers: listing {listing:.1f} s, checking {checking:.1f} s, features "
                f"{features:.1f} s: checks and features take {ratio:.2f}x the features alone",
                flush=True,
            )


if __name__ == "__main__":
    main()
