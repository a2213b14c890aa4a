"""Extraction with several local workers.

    python -m benchmarks.scaling [--clips N] [--workers 1 2 4]

Frames, flow and spectrograms of the same clips with each number of Dask workers, from an empty cache, as a ratio
to one worker (start-up of the cluster included, and given); the results must be the same bytes. Clips as in
`benchmarks.reruns`; what becomes of a worker's memory is in `benchmarks.memory`.
"""

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

from benchmarks.reruns import Bench, make_tables, render_clips
from pipeline.shards.cluster import ClusterParameters


def digest(folder: Path) -> str:
    """Hash of all names and bytes of the features."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("[fs]*/*.h5")) + sorted(folder.glob("[fs]*/index.parquet")):
        if path.parent.name != "store":
            found.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def make_bench(folder: Path, clips_dir: Path, num_clips: int, workers: int) -> Bench:
    folder.mkdir()
    (folder / "clips").symlink_to(clips_dir)
    cluster = ClusterParameters(workers=workers, dashboard=False)
    return Bench(folder, make_tables(clips_dir, num_clips), cluster=cluster)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="earshot-scaling-") as name:
        folder = Path(name)
        render_clips(
            folder / "clips", num_clips=arguments.clips, num_rendered=8, seconds=arguments.seconds
        )
        print(f"{arguments.clips} clips of {arguments.seconds} s, {os.cpu_count()} cores")
        digests, base = set(), None
        for workers in arguments.workers:
            bench = make_bench(
                folder / f"workers{workers}", folder / "clips", arguments.clips, workers
            )
            start = time.perf_counter()
            bench.build()
            seconds = time.perf_counter() - start
            base = base or seconds
            digests.add(digest(bench.folder))
            print(
                f"{workers} workers{seconds:10.1f} s{arguments.clips / seconds:8.1f} clips/s{base / seconds:8.2f}x"
            )
        print("the same bytes" if len(digests) == 1 else "DIFFERENT BYTES")


if __name__ == "__main__":
    main()
