"""Make the tables of large datasets, and measure what reads them: seconds and memory."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import yaml

from earshot.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, write_table

_ROOT = Path(__file__).resolve().parents[2]
_FEATURES = ("frames", "flow", "spectrograms")
_POLL_SECONDS = 0.05
_FIFTH = 5  # every fifth clip is missing


@dataclass(frozen=True)
class Run:
    """What a process took."""

    name: str
    cpu_seconds: float
    seconds: float
    mebibytes: float  # largest memory


def measure_process(name: str, words: Sequence[str], folder: Path) -> Run:
    """Run a program of this project to its end."""
    start = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        mebibytes = 0.0
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            mebibytes = max(mebibytes, _read_peak_mebibytes(process.pid))
            time.sleep(_POLL_SECONDS)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            raise RuntimeError(f"{name}: {errors.read().decode()[-2000:]}")
    return Run(name, usage.ru_utime + usage.ru_stime, time.monotonic() - start, mebibytes)


def _read_peak_mebibytes(pid: int) -> float:
    """Return the largest memory so far; what `wait4` says counts the parent's, too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0  # nothing is left of a process that has ended


def write_project(folder: Path, num_clips: int) -> None:
    """Write a checkout's tables as if a dataset of this size had been fetched and computed."""
    params = yaml.safe_load((_ROOT / "params.yaml").read_text()) | {"datasets": ["vggsound"]}
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    ids = [f"v{number:010d}_{number % 300:06d}" for number in range(num_clips)]
    is_ok = [number % _FIFTH != 0 for number in range(num_clips)]

    def write(name: str, schema, **columns) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        empty = {
            one: pa.nulls(num_clips, schema.columns.field(one).type) for one in schema.columns.names
        }
        table = pa.table(empty | columns, schema=schema.columns)
        write_table(path, table, schema)

    urls = [f"https://www.youtube.com/watch?v={name[:11]}" for name in ids]
    splits = pa.array([["train"]] * num_clips, pa.list_(pa.string()))
    write(
        "manifests/vggsound/clips.parquet",
        CLIPS,
        clip_id=ids,
        video_id=ids,
        url=urls,
        splits=splits,
    )
    write("manifests/vggsound/samples.parquet", SAMPLES, sample_id=ids, clip_id=ids, splits=splits)
    status = ["ok" if ok else "missing" for ok in is_ok]
    reasons = [None if ok else "removed" for ok in is_ok]
    write(
        "manifests/vggsound/downloads.parquet",
        DOWNLOADS,
        clip_id=ids,
        status=status,
        reason=reasons,
        is_confirmed=pa.array([not ok for ok in is_ok]),
        attempts=pa.array([1] * num_clips, pa.int32()),
        path=[f"{name}.mp4" if ok else None for name, ok in zip(ids, is_ok, strict=True)],
        bytes=pa.array([1_200_000 if ok else None for ok in is_ok], pa.int64()),
        sha256=[f"{number:064x}" if ok else None for number, ok in enumerate(is_ok)],
        duration_seconds=pa.array([10.0 if ok else None for ok in is_ok]),
        flags=pa.array([[]] * num_clips, pa.list_(pa.string())),
    )
    for feature in _FEATURES:
        write(
            f"cache/vggsound/{feature}/index.parquet",
            INDEX,
            sample_id=ids,
            status=status,
            reason=reasons,
        )


def write_addresses(path: Path, num_lines: int) -> None:
    """Write a list like SoundNet's, of two million Flickr addresses."""
    with open(path, "w") as file:
        for number in range(num_lines):
            file.write(
                f"http://www.flickr.com/videos/u{number % 90_000}@N00/{4_000_000_000 + number}"
                f"/play/orig/{number:010x}\n"
            )


def write_records(path: Path, num_rows: int) -> None:
    """Write a dataset of the user's own, as a CSV file."""
    with open(path, "w") as file:
        file.write("id,url,start,end,split\n")
        for number in range(num_rows):
            file.write(f"r{number:09d},https://example.org/{number}.mp4,0,10,train\n")
