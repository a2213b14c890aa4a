"""Damaged files of many kinds get a reason, and end nothing; `benchmarks/fuzz` has more of them."""

import random

from benchmarks.fuzz.mutator import MUTATIONS, mutate
from benchmarks.fuzz.run import FuzzReport, count_outcome, run
from benchmarks.fuzz.seeds import make_seeds


def test_damaged_files_get_a_reason(tmp_path):
    seeds = make_seeds(tmp_path / "seeds", seconds=1.2)
    assert len(seeds) > 10
    report = run(tmp_path, seeds, num_files=20, seed=3, workers=0)
    assert report.faults == []
    assert sum(report.reasons.values()) == 20
    assert sum(report.failures.values()) == 4 * 20
    assert 0 < report.reasons["ok"] < 20  # some of them were not damaged much
    assert report.largest_bytes < 1_000_000


def test_what_must_not_be_is_reported():
    report = FuzzReport()
    count_outcome(report, "frames", "a", "error", "ZeroDivisionError: x", 0)
    count_outcome(
        report, "frames", "b", "crashed", "reading the clip ended its worker process, repeatedly", 0
    )
    count_outcome(report, "frames", "c", None, None, 17_000_000)
    assert len(report.faults) == 3
    count_outcome(
        report,
        "frames",
        "d",
        "crashed",
        "reading the clip ended its worker process, repeatedly: it was ended by SIGSEGV",
        0,
    )
    assert len(report.faults) == 3


def test_every_mutation_changes_the_bytes_and_repeats():
    files = [bytes(range(256)) * 20, b"moovtrakmdia" * 400]
    for way in MUTATIONS:
        changed = 0
        for seed in range(5):
            data = bytearray(files[1])
            way(data, files[0], random.Random(seed))
            changed += bytes(data) != files[1]
        assert changed, way.__name__
    assert mutate(files, random.Random(1)) == mutate(files, random.Random(1))
