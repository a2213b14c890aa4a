"""The rehearsal of large datasets: its site loses videos, its tables are read, its sums add up."""

import argparse
import json
import urllib.error
import urllib.request
from collections import Counter

import pytest

from benchmarks.ledger import make_clips
from benchmarks.rehearsal.engine import run_engine
from benchmarks.rehearsal.estimate import Plan, estimate
from benchmarks.rehearsal.kills import describe_state, run_rounds
from benchmarks.rehearsal.origin import GONE, Origin, choose_fate
from benchmarks.rehearsal.path import Cost
from benchmarks.rehearsal.tables import measure_process, write_project
from earshot.tables import CLIPS, DOWNLOADS, write_table
from tests.helpers.checkouts import make_checkout


def test_each_hundred_videos_has_each_fate():
    fates = Counter(choose_fate(number) for number in range(100))
    assert (fates["gone"], fates["whole"]) == (GONE, 80)
    assert fates == Counter(choose_fate(number) for number in range(100, 200))


def test_videos_differ_and_what_passes_by_is_gone_at_the_second_request():
    numbers = {choose_fate(number): number for number in range(100)}
    with Origin([b"a clip"], seconds_a_megabyte=0.0) as origin:

        def fetch(fate):
            with urllib.request.urlopen(origin.url_of(numbers[fate])) as answer:
                return answer.read()

        assert fetch("whole") == b"a clip\0\0\0\x10free" + numbers["whole"].to_bytes(8, "big")
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                fetch("gone")
        with pytest.raises(urllib.error.HTTPError, match="503"):
            fetch("busy")
        assert fetch("busy").startswith(b"a clip")


def test_large_tables_are_read_and_a_process_is_measured(tmp_path):
    write_project(tmp_path / "project", 50)
    run = measure_process("status", ["-m", "pipeline", "status"], tmp_path / "project")
    assert 0 < run.cpu_seconds < 60
    assert 20 < run.mebibytes < 1000
    with pytest.raises(RuntimeError, match="no such"):
        measure_process("wrong", ["-c", "raise SystemExit('no such')"], tmp_path)


def test_the_engine_runs_with_workers_that_fetch_nothing(tmp_path):
    write_table(tmp_path / "clips.parquet", list(make_clips(10)), CLIPS)
    cpu_seconds, _, mebibytes = run_engine(tmp_path)
    assert 0 < cpu_seconds < 30 and mebibytes > 20
    assert len(list((tmp_path / "clips").glob("*.mp4"))) == 8


def test_a_state_without_times_tells_other_results_and_not_other_days(tmp_path):
    def describe(name: str, *, day: int, detail: str, seconds: float) -> dict[str, str]:
        tables = tmp_path / name / "manifests" / "sample"
        row = {"clip_id": "a", "status": "ok", "detail": detail, "last_attempt": day * 86400}
        write_table(tables / "downloads.parquet", [row], DOWNLOADS)
        (tables / "frames.json").write_text(json.dumps({"ok": 1, "seconds": seconds}))
        return describe_state(tmp_path / name)

    first = describe("first", day=1, detail="x", seconds=1.0)
    assert set(first) == {"manifests/sample/downloads.parquet", "manifests/sample/frames.json"}
    assert describe("second", day=2, detail="x", seconds=2.0) == first
    assert describe("third", day=1, detail="y", seconds=1.0) != first


@pytest.mark.slow
def test_a_killed_repro_ends_like_an_undisturbed_one(tmp_path):
    """One kill of each of the first two stages; the benchmark has twenty of all."""
    folder = make_checkout(tmp_path / "checkout")
    arguments = argparse.Namespace(seed=1, kills=1, minutes=60.0, whom="all", stages=[])
    *_, last = run_rounds(folder, ["download@sample"], arguments)
    assert "killed 2: sources@sample 1, download@sample 1" in last


def test_costs_are_extrapolated():
    costs = {"download": Cost(1.0, 9.0, 1e6), "frames": Cost(2.0, 9.0, 2e6)}
    found = estimate(Plan("x", 3600, 3600, 1800.0, 0.5, samples_per_clip=2.0), costs)
    assert found.request_hours == 2.0
    assert found.hours[2] == pytest.approx((1.0 + 2.0) / 2)
    assert found.gigabytes == pytest.approx(3.6 + 7.2)
