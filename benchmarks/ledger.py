"""Memory and seconds of a download run over a ledger of a million entries.

    python -m benchmarks.ledger [--entries N ...]

Writes a ledger of attempts: one a clip, three quarters of them ok. Then a process of its own reads
it, finds nothing to do, and writes the table, as ``dvc repro`` does when a run of weeks is
continued. Prints its seconds and the largest memory that it held (peak RSS). All clips that are ok
name one file, because making a million files takes longer than all the rest.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.rehearsal.costs import Costs, measure, measure_alone
from earshot.tables import CLIPS, read_table, write_table
from pipeline.base.parameters import build
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.engine import download_clips
from pipeline.downloads.parameters import DownloadParameters

_FILE_NAME = "v0123456789_000123.mp4"
_VERSIONS = "yt-dlp 2026.8.19; deno 2.9.8; ffmpeg 7.1; av 18.1.0"


def write_ledger(folder: Path, num_entries: int) -> None:
    """Write a list, its ledger and the clips' file."""
    (folder / "clips").mkdir()
    (folder / "clips" / _FILE_NAME).write_bytes(b"whole")
    now = time.time() + 1  # of entries that are newer than their file, so that it is not read
    rows = list(make_clips(num_entries))
    write_table(folder / "clips.parquet", rows, CLIPS)
    with open(folder / "attempts.jsonl", "w") as ledger:
        for number, row in enumerate(rows):
            ledger.write(json.dumps(make_entry(number, row, now), separators=(",", ":")) + "\n")


def make_clips(num_clips: int) -> Iterator[dict]:
    """Yield rows of a list such as VGG-Sound's."""
    for number in range(num_clips):
        video_id, start = f"v{number:010d}", float(number % 300)
        yield {
            "clip_id": f"{video_id}_{int(start):06d}",
            "video_id": video_id,
            "url": f"https://www.youtube.com/watch?v={video_id}",
            "start_seconds": start,
            "end_seconds": start + 10.0,
            "splits": ["train"],
        }


def make_entry(
    number: int, row: dict, now: float, *, every: int = 4, file_name: str = _FILE_NAME
) -> dict:
    """Return the attempt at a clip; of each ``every`` clips one was removed."""
    entry = {
        **{"type": "attempt", "clip_id": row["clip_id"], "time": now},
        **{name: row[name] for name in ("url", "start_seconds", "end_seconds")},
    }
    if number % every == 0:
        text = f"ERROR: [youtube] {row['video_id']}: This video has been removed by the uploader"
        entry |= {"outcome": "failed", "reason": "removed", "text": text, "by": "text"}
    else:
        # A real hash: its first half alone tells clips apart.
        sha256 = hashlib.sha256(row["clip_id"].encode()).hexdigest()
        file = {"path": file_name, "bytes": 5, "sha256": sha256}
        file |= {"duration_seconds": 10.0, "width": 640, "height": 360, "fps": 30.0}
        file |= {"video_codec": "h264", "audio_codec": "aac", "sample_rate": 44100, "flags": []}
        entry |= {"outcome": "ok", "file": file}
    return entry | {"access": "guest", "versions": _VERSIONS}


def run_download(folder: Path) -> Costs:
    """Continue a run that has nothing left to do; return what that cost."""
    costs, table = download_list(folder, {"max_failed_fraction": 1.0, "min_free_gigabytes": 0.0})
    assert pc.all(pc.not_equal(table["status"], "pending")).as_py()
    return costs


def download_list(folder: Path, settings: Mapping[str, Any]) -> tuple[Costs, pa.Table]:
    """Run the engine over the list and the ledger of a folder; return its costs and its table."""
    clips = read_table(folder / "clips.parquet", CLIPS)
    return measure(
        lambda: download_clips(
            clips,
            AccountPaths(folder / "clips", folder / "attempts.jsonl", folder / "downloads.parquet"),
            parameters=build(DownloadParameters, settings, "download"),
            dataset="benchmark",
            sites_dir=folder / "sites",
            is_quiet=True,
        )
    )


def main() -> None:
    """Print MiB, bytes an entry and seconds, for a first table and for one that is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--entries", type=int, nargs="+", default=[612_000, 1_000_000])
    arguments = parser.parse_args()

    for num_entries in arguments.entries:
        with tempfile.TemporaryDirectory(prefix="earshot-ledger-") as name:
            folder = Path(name)
            write_ledger(folder, num_entries)
            for step in ("first table", "table is there"):
                costs = measure_alone(run_download, folder)
                each = costs.mebibytes * 2**20 / num_entries
                print(
                    f"{num_entries:>9} entries, {step:<15}{costs.mebibytes:7.0f} MiB "
                    f"({each:.0f} bytes an entry), {costs.seconds:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
