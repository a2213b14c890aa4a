"""What the download engine itself costs, when fetching costs nothing.

    python -m benchmarks.engine [--clips N ...]

Workers that only write a file of a few bytes stand in for those that fetch and check. All the rest
is what a run does: the ledger (synced), moving each clip to its place, the pace, the rules, the
table. Prints the CPU of the engine's process by clip, which must not grow with the number of clips.
A real clip costs about 40 ms (``benchmarks.rehearsal``), so 4 ms is a tenth.
"""

import argparse
import hashlib
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.ledger import make_clips, read_peak_kibibytes
from earshot.tables import CLIPS, read_table, write_table
from pipeline.base.parameters import build
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.engine import download_clips
from pipeline.downloads.messages import FetchAnswer, FetchRequest
from pipeline.downloads.parameters import DownloadParameters

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

    def __init__(self) -> None:
        self.is_ready, self.is_busy, self.num_fetched = True, False, 0
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
        self._answer = {"clips": [result], "retry_after_seconds": None}  # type: ignore[list-item]

    def poll(self) -> FetchAnswer | None:
        answer, self._answer = self._answer, None
        self.is_busy = False
        return answer


class _Pool:
    """Workers in this process."""

    def __init__(self, _: Any, *, max_workers: int, **__: Any) -> None:
        self.workers = [_Worker() for _ in range(max_workers)]

    def find_idle(self) -> _Worker | None:
        return next((worker for worker in self.workers if not worker.is_busy), None)

    def close(self, worker: _Worker) -> None:
        worker.num_fetched = 0

    def wait(self, **_: Any) -> None:
        return

    close_all = kill_all = lambda self: None


def run_engine(folder: Path) -> tuple[float, float, float]:
    """Run it over the list of a folder; return CPU seconds, seconds and MiB of this process."""
    cpu_seconds, start = time.process_time(), time.monotonic()
    with mock.patch("pipeline.downloads.engine.WorkerPool", _Pool):
        table = download_clips(
            read_table(folder / "clips.parquet", CLIPS),
            AccountPaths(folder / "clips", folder / "attempts.jsonl", folder / "downloads.parquet"),
            parameters=build(DownloadParameters, _SETTINGS, "download"),
            dataset="benchmark",
            sites_dir=folder / "sites",
            is_quiet=True,
        )
    assert set(table["status"].to_pylist()) == {"ok", "missing"}
    seconds = time.monotonic() - start
    return time.process_time() - cpu_seconds, seconds, read_peak_kibibytes() / 1024


def main() -> None:
    """Print the cost of each size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[5_000, 20_000])
    arguments = parser.parse_args()

    context = multiprocessing.get_context("spawn")  # a new process has no memory of this one
    for num_clips in arguments.clips:
        with tempfile.TemporaryDirectory(prefix="earshot-engine-") as name:
            folder = Path(name)
            write_table(folder / "clips.parquet", list(make_clips(num_clips)), CLIPS)
            with context.Pool(1) as pool:
                cpu_seconds, seconds, mebibytes = pool.apply(run_engine, (folder,))
        print(
            f"{num_clips:>7} clips: {1000 * cpu_seconds / num_clips:.2f} ms CPU a clip, "
            f"{cpu_seconds:.1f} s CPU, {seconds:.1f} s, {mebibytes:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
