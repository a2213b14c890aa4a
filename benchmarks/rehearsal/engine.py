"""What the engines themselves cost, when fetching and computing cost nothing.

    python -m benchmarks.rehearsal.engine [--clips N ...] [--samples N ...]

For downloads, workers that only write a file of a few bytes stand in for those that fetch and
check. All the rest is what a run does: the ledger (synced), moving each clip to its place, the
pace, the rules, the table. For features, an extractor returns arrays of a few bytes; plan, shards,
index and catalog are real, and a second run finds all of them.

Prints the CPU of the process by clip or sample, which must not grow with their number. A real clip
costs about 40 ms, and its features 127 ms (``benchmarks.rehearsal``).
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.ledger import download_list, make_clips
from benchmarks.rehearsal.costs import Costs, measure, measure_alone
from benchmarks.rehearsal.tables import make_table
from earshot.tables import CLIPS, DOWNLOADS, SAMPLES, write_table
from pipeline.downloads.messages import FetchAnswer, FetchRequest
from pipeline.features import frames
from pipeline.features.feature import Extracted, Feature, Moment
from pipeline.shards.build import BuildOptions, FeatureFolders, build_feature
from pipeline.shards.workers.cluster import ClusterParameters

_NUM_FILES = 200
_SETTINGS = {
    **{"num_workers": 2, "videos_per_hour": 0, "min_free_gigabytes": 0.0},
    **{"max_failed_fraction": 1.0, "max_wait_seconds": 0.0},
}
_GONE = {
    "outcome": "failed",
    "reason": "removed",
    "text": "ERROR: [youtube] x: This video has been removed by the uploader",
    "by": "text",
}
_FACTS = {
    **{"duration_seconds": 10.0, "width": 640, "height": 360, "fps": 30.0, "flags": []},
    **{"video_codec": "h264", "audio_codec": "aac", "sample_rate": 44100},
}


class _Worker:
    """Answers at once: every fifth video was removed, the others are files of a few bytes."""

    def __init__(self, seconds: float) -> None:
        self.is_ready, self.is_busy, self.num_fetched = True, False, 0
        self.answers_at, self._seconds = 0.0, seconds
        self._answer: FetchAnswer | None = None

    def start(self, request: FetchRequest, **_: Any) -> None:
        (clip,) = request["clips"]
        data = clip["clip_id"].encode()
        self.num_fetched += 1
        self.is_busy = True
        result: dict[str, Any] = {"clip_id": clip["clip_id"]}
        if int(clip["clip_id"][1:11]) % 5 == 0:
            result |= _GONE
        else:
            folder, name = Path(request["work_dir"]), f"{clip['file_stem']}.mp4"
            folder.mkdir(parents=True)
            (folder / name).write_bytes(data)
            file = {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            staged = (folder / name).relative_to(request["clips_dir"])
            result |= {"outcome": "ok", "file": file | {"staged": str(staged)} | _FACTS}
        self.answers_at = time.monotonic() + self._seconds
        self._answer = {"clips": [result], "retry_after_seconds": None}  # type: ignore[list-item]

    def poll(self) -> FetchAnswer | None:
        if time.monotonic() < self.answers_at:
            return None
        answer, self._answer = self._answer, None
        self.is_busy = False
        return answer


class _Pool:
    """Workers in this process."""

    seconds = 0.0  # that a video takes

    def __init__(self, _: Any, *, max_workers: int, **__: Any) -> None:
        self.workers = [_Worker(self.seconds) for _ in range(max_workers)]

    def find_idle(self) -> _Worker | None:
        return next((worker for worker in self.workers if not worker.is_busy), None)

    def close(self, worker: _Worker) -> None:
        worker.num_fetched = 0

    def wait(self, **_: Any) -> None:
        first = min(worker.answers_at for worker in self.workers if worker.is_busy)
        time.sleep(max(first - time.monotonic(), 0.0))

    close_all = kill_all = lambda self: None


def run_engine(folder: Path, *, fetch_seconds: float = 0.0) -> Costs:
    """Run it over the list of a folder; return what that cost."""
    _Pool.seconds = fetch_seconds
    with mock.patch("pipeline.downloads.engine.WorkerPool", _Pool):
        costs, table = download_list(folder, _SETTINGS)
    assert set(table["status"].to_pylist()) == {"ok", "missing"}
    return costs


def run_features(folder: Path, num_samples: int) -> Costs:
    """Build a feature of arrays of a few bytes; return what that cost."""
    # A file for each sample would take longer than all the rest.
    (folder / "clips").mkdir(exist_ok=True)
    hashes = []
    for number in range(_NUM_FILES):
        data = str(number).encode()
        (folder / "clips" / f"{number}.mp4").write_bytes(data)
        hashes.append(hashlib.sha256(data).hexdigest())

    # Several samples share a file, and differ by their time.
    ids = [f"v{number:010d}" for number in range(num_samples)]
    files = [number % _NUM_FILES for number in range(num_samples)]
    samples = make_table(
        SAMPLES,
        sample_id=ids,
        clip_id=[ids[number] for number in files],
        time_seconds=[float(number) for number in range(num_samples)],
    )
    downloads = make_table(
        DOWNLOADS,
        clip_id=ids,
        status=["ok"] * num_samples,
        path=[f"{number}.mp4" for number in files],
        bytes=[len(str(number)) for number in files],
        sha256=[hashes[number] for number in files],
    )

    feature = frames.make_feature(frames.Parameters())
    costs, report = measure(
        lambda: build_feature(
            feature,
            samples=samples,
            downloads=downloads,
            folders=FeatureFolders(folder / "clips", folder / "store", folder / "frames"),
            extract=_extract,
            options=BuildOptions(ClusterParameters(workers=0), is_quiet=True),
        )
    )

    assert report.ok == num_samples
    return costs


def _extract(
    _: Path, moments: Sequence[Moment], features: Sequence[Feature]
) -> Iterator[dict[str, Extracted]]:
    for _moment in moments:
        yield {feature.name: Extracted(np.zeros((2, 2, 3), np.uint8)) for feature in features}


def main() -> None:
    """Print the cost of each size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, nargs="*", default=[5_000, 20_000])
    parser.add_argument("--fetch-seconds", type=float, default=0.0, help="that a video takes")
    parser.add_argument("--samples", type=int, nargs="*", default=[5_000, 40_000])
    arguments = parser.parse_args()

    for num_clips in arguments.clips:
        with tempfile.TemporaryDirectory(prefix="earshot-engine-") as name:
            folder = Path(name)
            write_table(folder / "clips.parquet", list(make_clips(num_clips)), CLIPS)
            costs = measure_alone(run_engine, folder, fetch_seconds=arguments.fetch_seconds)
        _print_costs(f"{num_clips} clips", num_clips, costs)

    for num_samples in arguments.samples:
        with tempfile.TemporaryDirectory(prefix="earshot-engine-") as name:
            for words in ("computed", "from the cache"):
                costs = measure_alone(run_features, Path(name), num_samples)
                _print_costs(f"{num_samples} samples, {words}", num_samples, costs)


def _print_costs(name: str, number: int, costs: Costs) -> None:
    print(
        f"{name:>30}: {1000 * costs.cpu_seconds / number:.2f} ms CPU each, "
        f"{costs.cpu_seconds:.1f} s CPU, {costs.seconds:.1f} s, {costs.mebibytes:.0f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    main()
