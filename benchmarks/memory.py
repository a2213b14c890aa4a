"""Memory of a worker over many clips: flat, or growing?

    python -m benchmarks.memory [--clips N] [--seconds N] [--workers N]

Frames and flow of many short clips (as in `benchmarks.reruns`) through the engine on local Dask workers. Their resident
memory is looked at ten times a second; printed is, for every 200 clips done, the median and the largest value over the
workers, then the last fifth of the run against the second fifth (the first one loads libraries).
"""

import argparse
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil

from benchmarks.reruns import Bench, render_clips
from benchmarks.scaling import make_bench

_STEP_CLIPS, _SHARD_CLIPS = 200, 64
_MIN_WORKER_THREADS = 4  # a worker has more, its nanny and the resource tracker fewer


def measure(bench: Bench) -> list[tuple[int, float]]:
    """(clips done, resident MB) of each worker process during a build, ten times a second."""
    values: list[tuple[int, float]] = []
    is_over = threading.Event()

    def watch():
        while not is_over.wait(0.1):
            num_done = _SHARD_CLIPS * len(list((bench.folder / "store" / "frames").glob("*.h5")))
            for process in psutil.Process().children(recursive=True):
                try:
                    if process.num_threads() >= _MIN_WORKER_THREADS:
                        values.append((num_done, process.memory_info().rss / 1e6))
                except psutil.NoSuchProcess:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        bench.build_frames_and_flow()
    finally:
        is_over.set()
        thread.join()
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="earshot-memory-") as name:
        folder = Path(name)
        render_clips(
            folder / "clips", num_clips=arguments.clips, num_rendered=8, seconds=arguments.seconds
        )
        values = measure(
            make_bench(folder / "memory", folder / "clips", arguments.clips, arguments.workers)
        )

    def between(first: float, stop: float) -> list[float]:
        return [memory for num_done, memory in values if first <= num_done < stop]

    for first in range(0, arguments.clips, _STEP_CLIPS):
        if found := between(first, first + _STEP_CLIPS):
            print(
                f"clips {first:>5} to {first + _STEP_CLIPS:<5}{np.median(found):6.0f} MB, largest {max(found):.0f} MB"
            )
    early = between(0.2 * arguments.clips, 0.4 * arguments.clips)
    late = between(0.8 * arguments.clips, np.inf)
    for kind, count in (("median", np.median), ("largest", max)):
        before, after = count(early), count(late)
        print(
            f"{kind}: {before:.0f} MB early, {after:.0f} MB late ({100 * (after / before - 1):+.1f} %; allowed: 20)"
        )


if __name__ == "__main__":
    main()
