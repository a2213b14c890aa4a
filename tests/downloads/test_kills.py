"""The download engine and its workers killed at any instant end like an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.parse

import psutil
import pytest

from earshot.files import sha256_of
from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.downloads.account.ledger import read_entries
from pipeline.downloads.account.table import derive_from_ledger
from pipeline.downloads.video_requests import work_folder_of
from pipeline.downloads.worker.fetcher import find_source
from tests.helpers.downloads.download_helpers import (
    QUICK,
    answer,
    clips_table,
    download,
    published,
    quick,
)
from tests.helpers.downloads.misbehaving_server import Answer


def test_a_stalled_worker_is_killed_and_a_crash_is_an_attempt(tmp_path, media, server):
    dripping = answer(media / "clip0.mp4", pace_seconds=30)
    rows = [
        ("drip", server.add("/drip.mp4", dripping)),
        ("fine", server.add("/fine.mp4", answer(media / "clip1.mp4"))),
    ]
    parameters = quick(
        num_workers=1, time_limit_seconds=2.0, socket_timeout_seconds=20.0, num_quick_attempts=1
    )
    found = download(tmp_path, clips_table(*rows), parameters=parameters)

    assert found["drip"]["reason"] == "network"
    assert "no result within download.time_limit_seconds (2 s)" in found["drip"]["detail"]
    assert found["fine"]["status"] == "ok"
    assert _fetching_processes(os.getpid()) == []


RUN_PROGRAM = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.engine import download_clips
from pipeline.downloads.parameters import DownloadParameters
from pipeline.base.parameters import build
from earshot.tables import CLIPS, DOWNLOADS, read_table
folder = Path(sys.argv[1])
download_clips(
    read_table(folder / "clips.parquet", CLIPS),
    AccountPaths(folder / "clips", folder / "attempts.jsonl", folder / "downloads.parquet"),
    parameters=build(DownloadParameters, json.loads(sys.argv[2]), "download"),
    dataset="test",
    is_quiet=True,
)
"""


def start_run(folder, parameters: dict) -> subprocess.Popen:
    """The engine in a process of its own, to be killed."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return subprocess.Popen(
        [sys.executable, "-c", RUN_PROGRAM, str(folder), json.dumps(parameters)],
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
    )


def whole_clips(folder) -> set[str]:
    """Return the clips that are whole: ok in the ledger, or fetched and in a work folder."""
    entries = read_entries(folder / "attempts.jsonl")
    whole = {entry["clip_id"] for entry in entries if entry["outcome"] == "ok"}
    urls = {
        work_folder_of(row["url"]): row["clip_id"]
        for row in read_table(folder / "clips.parquet", CLIPS).to_pylist()
    }
    for work_dir in (folder / "clips" / ".work").glob("*"):
        if work_dir.name in urls and find_source(work_dir) is not None:
            whole.add(urls[work_dir.name])
    return whole


@pytest.mark.parametrize("max_kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_instants_it_ends_like_an_undisturbed_run(
    tmp_path, media, server, max_kills
):
    """After many SIGKILLs the table is the same, and no whole clip was fetched again."""
    num_clips, parameters = 3 * max_kills + 5, QUICK | {"num_workers": 2, "num_quick_attempts": 2}
    rows = []
    for number in range(num_clips):
        body = (media / f"clip{number % 6}.mp4").read_bytes()
        answers = Answer(body=body + _free_box(number), pace_seconds=0.05)
        rows.append((f"-c{number:02d}", server.add(f"/{number}.mp4", answers)))
    rows.append(("gone", server.add("/gone.mp4", Answer(status=404))))
    rows.append(("down", server.add("/down.mp4", Answer(status=500))))
    rows.append(
        ("half", server.add("/half.mp4", Answer(body=(media / "clip0.mp4").read_bytes()[:3000])))
    )
    rows.append(("cut", server.add("/counter.mp4", answer(media / "counter.mp4")), 3.0, 5.0))
    folders = [tmp_path / "undisturbed", tmp_path / "killed"]
    for folder in folders:
        write_table(folder / "clips.parquet", clips_table(*rows), CLIPS)
    process = start_run(folders[0], parameters)

    assert process.wait(120) == 0, process.stderr.read()

    requests_undisturbed = server.num_requests.copy()
    server.num_requests.clear()

    generator, num_kills, folder, settled = random.Random(1), 0, folders[1], {}
    while num_kills < max_kills:
        before = sum(server.num_requests.values())
        process = start_run(folder, parameters)
        while process.poll() is None and sum(server.num_requests.values()) == before:
            time.sleep(0.005)
        if process.poll() is not None:
            break  # it was done
        time.sleep(generator.uniform(0.0, 0.2))
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        num_kills += 1
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert alive == [], "workers outlived their parent"
        whole = whole_clips(folder)
        for name, url, *_ in rows:
            if name in whole:
                settled.setdefault(name, server.num_requests[urllib.parse.urlsplit(url).path])
    assert num_kills >= max_kills // 2

    process = start_run(folder, parameters)
    assert process.wait(120) == 0, process.stderr.read()

    for name, url, *_ in rows:
        if name in settled:
            assert server.num_requests[urllib.parse.urlsplit(url).path] == settled[name], (
                f"{name} was fetched again"
            )
    tables = [
        read_table(folder / "downloads.parquet", DOWNLOADS).drop(["last_attempt"]).to_pylist()
        for folder in folders
    ]
    assert tables[0] == tables[1]
    assert [row["status"] for row in tables[0]] == ["ok"] * num_clips + ["missing"] * 3 + ["ok"]
    assert published(folders[0]) == published(folders[1])

    for row in tables[1]:
        if row["status"] == "ok":
            assert sha256_of(folders[1] / "clips" / row["path"]) == row["sha256"]
    assert sum(requests_undisturbed.values()) == len(rows) + 1


def _free_box(number: int) -> bytes:
    """An empty MP4 box: other bytes, the same media."""
    return (8 + 4).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big")


def test_the_table_follows_from_ledger_and_files_alone(tmp_path, media, server):
    rows = [(str(n), server.add(f"/{n}.mp4", answer(media / f"clip{n}.mp4"))) for n in range(3)]
    rows.append(("gone", server.add("/gone.mp4", Answer(status=404))))
    download(tmp_path, clips_table(*rows), table_path=tmp_path / "downloads.parquet")
    entries = read_entries(tmp_path / "attempts.jsonl")
    derived = derive_from_ledger(clips_table(*rows), entries, clips_dir=tmp_path / "clips")
    write_table(tmp_path / "derived.parquet", derived, DOWNLOADS)
    assert (tmp_path / "derived.parquet").read_bytes() == (
        tmp_path / "downloads.parquet"
    ).read_bytes()


@pytest.mark.parametrize("moment", ["before_rename", "after_rename"])
def test_a_run_that_died_between_ledger_and_renaming_goes_on(tmp_path, media, server, moment):
    """The ledger has the clip; its place does not, or has it beside the staged name."""
    url = server.add("/a.mp4", answer(media / "clip0.mp4"))
    first = download(tmp_path, clips_table(("a", url)))
    entry = read_entries(tmp_path / "attempts.jsonl")[0]
    staged_path, path = tmp_path / "clips" / entry["file"]["staged"], tmp_path / "clips" / "a.mp4"
    staged_path.parent.mkdir(parents=True)
    os.link(path, staged_path)
    if moment == "before_rename":
        path.unlink()

    assert download(tmp_path, clips_table(("a", url))) == first
    assert path.exists()
    assert server.num_requests["/a.mp4"] == 1
    assert published(tmp_path) == {"a.mp4"}


def _fetching_processes(parent_id: int) -> list:
    return [
        process
        for process in psutil.Process(parent_id).children(recursive=True)
        if "pipeline.downloads.worker" in " ".join(process.cmdline())
    ]
