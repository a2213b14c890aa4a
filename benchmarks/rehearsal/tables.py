"""Make the tables of large datasets, and measure what reads them: seconds and memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from benchmarks.ledger import make_entry
from benchmarks.rehearsal.costs import read_peak_mebibytes
from earshot.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, Schema, read_table, write_table
from pipeline.base.project import Project
from pipeline.downloads.account.ledger import read_entries
from pipeline.downloads.account.table import derive_from_ledger
from pipeline.features.configure import configure_feature
from pipeline.shards.keys import KeyMaker

_ROOT = Path(__file__).resolve().parents[2]
_FEATURES = ("frames", "flow", "spectrograms")
_POLL_SECONDS = 0.05
_FIFTH = 5  # every fifth clip was removed


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
            mebibytes = max(mebibytes, read_peak_mebibytes(process.pid))
            time.sleep(_POLL_SECONDS)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            raise RuntimeError(f"{name}: {errors.read().decode()[-2000:]}")
    return Run(name, usage.ru_utime + usage.ru_stime, time.monotonic() - start, mebibytes)


def make_table(schema: Schema, **columns: Sequence[Any]) -> pa.Table:
    """Return a table with these columns; the others are null."""
    (num_rows,) = {len(column) for column in columns.values()}
    empty = {field.name: pa.nulls(num_rows, field.type) for field in schema.columns}
    return pa.table(empty | columns, schema=schema.columns)


def write_project(folder: Path, num_clips: int, *, num_fetched: int | None = None) -> None:
    """Write a checkout's tables as if a dataset of this size had been fetched and computed.

    Args:
        folder: Where.
        num_clips: Rows of the list; every fifth clip that was fetched is missing.
        num_fetched: How many were fetched (None: all); the others are pending.
    """
    params = yaml.safe_load((_ROOT / "params.yaml").read_text()) | {"datasets": ["vggsound"]}
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    project = Project.load(folder)

    def write(path: Path, schema: Schema, **columns: Any) -> None:
        write_table(path, make_table(schema, **columns), schema)

    # A clip a sample, as VGG-Sound has it.
    ids = [f"v{number:010d}_{number % 300:06d}" for number in range(num_clips)]
    urls = [f"https://www.youtube.com/watch?v={name[:11]}" for name in ids]
    splits = pa.array([["train"]] * num_clips, pa.list_(pa.string()))
    clips_path = project.clips_table_path("vggsound")
    write(clips_path, CLIPS, clip_id=ids, video_id=ids, url=urls, splits=splits)
    write(
        project.samples_table_path("vggsound"), SAMPLES, sample_id=ids, clip_id=ids, splits=splits
    )

    # Making a file for each clip would take longer than all the rest, so all name one file.
    clip_path = project.clips_dir("vggsound") / "clip.mp4"
    clip_path.parent.mkdir(parents=True)
    clip_path.write_bytes(b"whole")
    _write_ledger(project, ids[:num_fetched], urls)
    downloads = derive_from_ledger(
        read_table(clips_path, CLIPS),
        read_entries(project.ledger_path("vggsound")),
        clips_dir=clip_path.parent,
    )
    write_table(project.downloads_table_path("vggsound"), downloads, DOWNLOADS)

    for name in _FEATURES:
        # The keys are looked up, the shard is not opened.
        make_key = KeyMaker(configure_feature(project, name))
        hashes = downloads["sha256"].to_pylist()
        keys = [None if sha256 is None else make_key(sha256, None) for sha256 in hashes]

        folder = project.feature_dir("vggsound", name)
        write(
            folder / "index.parquet",
            INDEX,
            sample_id=ids,
            status=["missing" if key is None else "ok" for key in keys],
            reason=downloads["reason"].to_pylist(),
            key=keys,
            shard=[None if key is None else "all.h5" for key in keys],
        )
        (folder / "all.h5").write_bytes(b"")


def _write_ledger(project: Project, ids: Sequence[str], urls: Sequence[str]) -> None:
    """Write an attempt at each clip, as a run of weeks leaves it."""
    with open(project.ledger_path("vggsound"), "w") as file:
        for number, (clip_id, url) in enumerate(zip(ids, urls, strict=False)):
            row = {"clip_id": clip_id, "video_id": clip_id, "url": url}
            row |= {"start_seconds": None, "end_seconds": None}
            entry = make_entry(number, row, time.time() + 1, every=_FIFTH, file_name="clip.mp4")
            file.write(json.dumps(entry, separators=(",", ":")) + "\n")


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
