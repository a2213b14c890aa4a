"""Extraction with several local workers: speed, and whether their memory stays flat.

    python -m benchmarks.scaling [--clips N] [--workers 1 2 4] [--memory-clips N]

First frames, flow and spectrograms of the same clips with each number of Dask workers, from an empty cache, as a ratio
to one worker (start-up of the cluster included, and given); the results must be the same bytes. Then
``--memory-clips`` clips on two workers, whose resident memory is looked at all the time: the median over the last
tenth against that over the second tenth (the first warms up). Clips as in `benchmarks.reruns`.
"""

import argparse
import hashlib
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.reruns import Bench, make_tables, render_clips
from pipeline.cluster import ClusterParameters


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


def measure_memory(bench: Bench) -> dict[int, list[float]]:
    """Resident MB of each worker process during a build, one value a second."""
    history: dict[int, list[float]] = {}
    is_over = threading.Event()

    def watch():
        while not is_over.wait(1.0):
            for process in psutil.Process().children(recursive=True):
                try:
                    is_worker = process.num_threads() > 3
                    memory = process.memory_info().rss / 1e6
                except psutil.NoSuchProcess:
                    continue
                if is_worker:
                    history.setdefault(process.pid, []).append(memory)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        bench.build_frames_and_flow()
    finally:
        is_over.set()
        thread.join()
    return history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--memory-clips", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="earshot-scaling-") as name:
        folder = Path(name)
        num_clips = max(arguments.clips, arguments.memory_clips)
        render_clips(folder / "clips", num_clips=num_clips, num_rendered=8, seconds=arguments.seconds)
        print(f"{arguments.clips} clips of {arguments.seconds} s, {os.cpu_count()} cores")
        digests, base = set(), None
        for workers in arguments.workers:
            bench = make_bench(folder / f"workers{workers}", folder / "clips", arguments.clips, workers)
            start = time.perf_counter()
            bench.build()
            seconds = time.perf_counter() - start
            base = base or seconds
            digests.add(digest(bench.folder))
            print(f"{workers} workers{seconds:10.1f} s{arguments.clips / seconds:8.1f} clips/s{base / seconds:8.2f}x")
        print("the same bytes" if len(digests) == 1 else "DIFFERENT BYTES")
        if arguments.memory_clips:
            bench = make_bench(folder / "memory", folder / "clips", arguments.memory_clips, 2)
            start = time.perf_counter()
            history = measure_memory(bench)
            print(f"{arguments.memory_clips} clips, frames and flow, {time.perf_counter() - start:.0f} s")
            for pid, values in history.items():
                if len(values) >= 20:
                    tenth = len(values) // 10
                    early, late = np.median(values[tenth : 2 * tenth]), np.median(values[-tenth:])
                    print(
                        f"process {pid}: {early:.0f} MB early, {late:.0f} MB late ({100 * (late / early - 1):+.1f} %)"
                    )


if __name__ == "__main__":
    main()
