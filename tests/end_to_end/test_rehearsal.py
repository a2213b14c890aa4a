"""The rehearsal of large datasets: its site loses videos, its tables are read, its sums add up."""

import urllib.error
import urllib.request
from collections import Counter

import pytest

from benchmarks.rehearsal.estimate import Plan, estimate
from benchmarks.rehearsal.origin import GONE, Origin, choose_fate
from benchmarks.rehearsal.path import Cost
from benchmarks.rehearsal.tables import measure_process, write_project


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


def test_costs_are_extrapolated():
    costs = {"download": Cost(1.0, 9.0, 1e6), "frames": Cost(2.0, 9.0, 2e6)}
    found = estimate(Plan("x", 3600, 3600, 1800.0, 0.5, samples_per_clip=2.0), costs)
    assert found.request_hours == 2.0
    assert found.hours[2] == pytest.approx((1.0 + 2.0) / 2)
    assert found.gigabytes == pytest.approx(3.6 + 7.2)
