"""How much faster extraction is with several local workers.

    python -m benchmarks.scaling [--clips N] [--workers 1 2 4]

Extracts frames, flow and spectrograms of the same clips with each number of Dask workers, from an
empty cache. Prints the ratio to the first number, the start of the cluster included. The results
must be the same bytes. ``benchmarks.memory`` measures the workers' memory.
"""

import argparse
import hashlib
import os
import tempfile
import time
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

        digests, first = set(), None
        for workers in arguments.workers:
            cluster = ClusterParameters(workers=workers, dashboard=False)
            cache = FeatureCache(folder / str(workers), clips_dir, num_clips, cluster=cluster)
            start = time.perf_counter()
            cache.build()
            seconds = time.perf_counter() - start
            first = first or seconds
            digests.add(digest(cache.folder))
            print(
                f"{workers} workers{seconds:10.1f} s{num_clips / seconds:8.1f} clips/s"
                f"{first / seconds:8.2f}x"
            )
        print("the same bytes" if len(digests) == 1 else "DIFFERENT BYTES")


if __name__ == "__main__":
    main()
