"""How much faster extraction is with several local workers.

    python -m benchmarks.scaling [--clips N] [--workers 1 2 4]

Extracts frames, flow and spectrograms of the same clips with each number of Dask workers, from an
empty cache. Prints the ratio to the first number, the start of the cluster included. The results
must be the same bytes. ``benchmarks.memory`` measures the workers' memory.

Beside it stands what the machine allows: as many plain processes, each with its share of the clips
and a cache of its own, without Dask.
"""

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.inputs.clips import render_many_clips
from benchmarks.inputs.feature_cache import FeatureCache
from pipeline.shards.workers.cluster import ClusterParameters


def digest(folder: Path) -> str:
    """Return a hash of the names and bytes of all features."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("[fs]*/*.h5")) + sorted(folder.glob("[fs]*/index.parquet")):
        if path.parent.name != "store":
            total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def build_in_plain_processes(folder: Path, clips_dir: Path, num_processes: int) -> None:
    """Build a cache of its own in each process, from every n-th clip."""
    paths = sorted(clips_dir.glob("*.mp4"))
    shares = []
    for number in range(num_processes):
        share = folder / f"share_{number}"
        share.mkdir(parents=True)
        for path in paths[number::num_processes]:
            (share / path.name).hardlink_to(path)
        shares.append(share)

    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as processes:
        list(processes.map(_build_share, shares))


def _build_share(clips_dir: Path) -> None:
    num_clips = len(list(clips_dir.glob("*.mp4")))
    FeatureCache(clips_dir.with_suffix(".cache"), clips_dir, num_clips).build()


def measure_seconds(action: Callable[[], object]) -> float:
    """Return how long the action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    """Print one line for each number of workers, and whether the bytes are the same."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=int, default=10, help="length of a clip")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="earshot-scaling-") as name:
        folder, num_clips = Path(name), arguments.clips
        clips_dir = folder / "clips"
        render_many_clips(clips_dir, num_clips=num_clips, seconds=arguments.seconds)
        print(f"{num_clips} clips of {arguments.seconds} s, {os.cpu_count()} cores")

        digests, first, first_plain = set(), None, None
        for workers in arguments.workers:
            cluster = ClusterParameters(workers=workers, dashboard=False)
            cache = FeatureCache(folder / str(workers), clips_dir, num_clips, cluster=cluster)
            seconds = measure_seconds(cache.build)
            digests.add(digest(cache.folder))

            plain_dir = folder / f"plain_{workers}"
            plain_seconds = measure_seconds(
                partial(build_in_plain_processes, plain_dir, clips_dir, workers)
            )

            first, first_plain = first or seconds, first_plain or plain_seconds
            print(
                f"{workers} workers{seconds:10.1f} s{num_clips / seconds:8.1f} clips/s"
                f"{first / seconds:8.2f}x    plain processes{plain_seconds:10.1f} s"
                f"{first_plain / plain_seconds:8.2f}x",
                flush=True,
            )
        print("the same bytes" if len(digests) == 1 else "DIFFERENT BYTES")


if __name__ == "__main__":
    main()
