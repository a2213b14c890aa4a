"""Whether the memory of a worker grows over many clips.

    python -m benchmarks.memory [--clips N] [--seconds N] [--workers N]

Extracts frames and flow of many short clips on local Dask workers and reads their resident memory
ten times a second. Prints the median and the largest value for every 200 clips, then compares the
last fifth of the run with the second fifth (during the first one, libraries are loaded).
"""

import argparse
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil

from benchmarks.inputs.clips import render_many_clips
from benchmarks.inputs.feature_cache import FeatureCache
from pipeline.shards.workers.cluster import ClusterParameters

_STEP_CLIPS = 200
_SHARD_CLIPS = 64  # progress is counted in finished shards
_MIN_WORKER_THREADS = 4  # a worker has more; its nanny and the resource tracker have fewer
_ALLOWED_PERCENT = 20


def measure(cache: FeatureCache) -> list[tuple[int, float]]:
    """Build frames and flow; return (finished clips, MB of one worker) ten times a second."""
    values: list[tuple[int, float]] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.1):
            num_shards = len(list((cache.folder / "store" / "frames").glob("*.h5")))
            for process in psutil.Process().children(recursive=True):
                try:
                    if process.num_threads() >= _MIN_WORKER_THREADS:
                        megabytes = process.memory_info().rss / 1e6
                        values.append((_SHARD_CLIPS * num_shards, megabytes))
                except psutil.NoSuchProcess:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        cache.build_frames_and_flow()
    finally:
        is_over.set()
        thread.join()
    return values


def main() -> None:
    """Print memory by progress, and how much it grew."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=2, help="length of a clip")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="earshot-memory-") as name:
        folder = Path(name)
        clips_dir = folder / "clips"
        render_many_clips(clips_dir, num_clips=arguments.clips, seconds=arguments.seconds)
        cluster = ClusterParameters(workers=arguments.workers, dashboard=False)
        cache = FeatureCache(folder / "memory", clips_dir, arguments.clips, cluster=cluster)
        values = measure(cache)

    def memory_between(first: float, stop: float) -> list[float]:
        return [megabytes for num_done, megabytes in values if first <= num_done < stop]

    for first in range(0, arguments.clips, _STEP_CLIPS):
        if memory := memory_between(first, first + _STEP_CLIPS):
            print(
                f"clips {first:>5} to {first + _STEP_CLIPS:<5}{np.median(memory):6.0f} MB, "
                f"largest {max(memory):.0f} MB"
            )

    early = memory_between(0.2 * arguments.clips, 0.4 * arguments.clips)
    late = memory_between(0.8 * arguments.clips, np.inf)
    for kind, summarize in (("median", np.median), ("largest", max)):
        before, after = summarize(early), summarize(late)
        print(
            f"{kind}: {before:.0f} MB early, {after:.0f} MB late "
            f"({100 * (after / before - 1):+.1f} %; allowed: {_ALLOWED_PERCENT})"
        )


if __name__ == "__main__":
    main()
