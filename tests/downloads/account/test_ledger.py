"""The ledger: no acknowledged entry is lost, whatever the writer did when it died."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from earshot.errors import DataError, RunError
from pipeline.downloads.account.ledger import Ledger, read_entries


def entry(number: int) -> dict:
    return {"type": "attempt", "clip_id": f"clip{number}", "text": "it\u2019s\nodd \udcff"}


def test_appended_entries_come_back(tmp_path):
    path = tmp_path / "folder" / "attempts.jsonl"
    assert read_entries(path) == []
    with Ledger(path) as ledger:
        assert ledger.entries == []
        ledger.append([entry(0), entry(1)])
        ledger.append([])
    with Ledger(path) as ledger:
        assert ledger.entries == [entry(0), entry(1)]
        ledger.append([entry(2)])
    assert read_entries(path) == [entry(0), entry(1), entry(2)]


def test_every_torn_end_is_repaired(tmp_path):
    """Cut the file at every byte of its last entry: earlier entries survive, writing works."""
    path = tmp_path / "attempts.jsonl"
    with Ledger(path) as ledger:
        ledger.append([entry(0), entry(1)])
    whole = path.read_bytes()
    first_end = whole.index(b"\n") + 1
    for length in range(first_end, len(whole)):
        path.write_bytes(whole[:length])
        assert read_entries(path) == [entry(0)]

        with Ledger(path) as ledger:
            assert ledger.entries == [entry(0)]
            ledger.append([entry(2)])
        assert read_entries(path) == [entry(0), entry(2)]


def test_zeros_at_the_end_are_repaired(tmp_path):
    """What some file systems leave after a loss of power."""
    path = tmp_path / "attempts.jsonl"
    with Ledger(path) as ledger:
        ledger.append([entry(0)])
    with open(path, "ab") as file:
        file.write(bytes(500) + b"\n" + bytes(20))
    with Ledger(path) as ledger:
        ledger.append([entry(1)])
    assert read_entries(path) == [entry(0), entry(1)]


@pytest.mark.parametrize("line", ["{broken", "[" * 100_000])
def test_a_broken_line_in_the_middle_is_named(tmp_path, line):
    path = tmp_path / "attempts.jsonl"
    path.write_text(json.dumps(entry(0)) + f"\n{line}\n" + json.dumps(entry(1)) + "\n")
    with pytest.raises(DataError, match=r"attempts\.jsonl, line 2: not an entry of a ledger"):
        read_entries(path)
    with pytest.raises(DataError, match="line 2"):
        Ledger(path)


def test_one_writer_at_a_time(tmp_path):
    path = tmp_path / "attempts.jsonl"
    with Ledger(path):
        with pytest.raises(RunError, match="another process is downloading"):
            Ledger(path)
        assert read_entries(path) == []
    with Ledger(path) as ledger:
        ledger.append([entry(0)])


def test_a_patient_writer_waits_and_sees_what_was_written(tmp_path, capsys):
    path = tmp_path / "attempts.jsonl"
    with ThreadPoolExecutor(1) as executor:
        with Ledger(path) as first:
            second = executor.submit(Ledger, path, is_patient=True)
            time.sleep(0.3)
            assert not second.done()
            first.append([entry(0)])
        with second.result() as ledger:
            assert ledger.entries == [entry(0)]
    assert "another process is downloading into this ledger; this one waits" in (
        capsys.readouterr().err
    )


def test_lock_goes_with_its_process_and_acknowledged_entries_stay(tmp_path):
    """A writer is killed while it writes: all acknowledged entries are in the ledger."""
    path = tmp_path / "attempts.jsonl"
    program = (
        "import sys; from pipeline.downloads.account.ledger import Ledger\n"
        "with Ledger(sys.argv[1]) as ledger:\n"
        "    for number in range(10**9):\n"
        "        ledger.append([{'type': 'attempt', 'clip_id': str(number), 'text': 'x' * 5000}])\n"
        "        print(number, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    while process.stdout.readline() != "20\n":
        assert process.poll() is None
    with pytest.raises(RunError):
        Ledger(path)
    process.send_signal(signal.SIGKILL)
    acknowledged = [20] + [
        int(line) for line in process.stdout.read().split("\n") if line.isdigit()
    ]
    process.wait()
    with Ledger(path) as ledger:
        numbers = [int(found["clip_id"]) for found in ledger.entries]

    assert numbers == list(range(len(numbers)))
    assert numbers[-1] >= acknowledged[-1]


def test_a_failed_write_leaves_no_half_entry(tmp_path, monkeypatch):
    path = tmp_path / "attempts.jsonl"
    with Ledger(path) as ledger:
        ledger.append([entry(0)])
        real_write = os.pwrite

        def full_disk(descriptor, data, offset):
            if len(data) > 40:
                return real_write(descriptor, data[:40], offset)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "pwrite", full_disk)
        with pytest.raises(RunError, match="No space left on device"):
            ledger.append([entry(1)])
        monkeypatch.undo()
        assert read_entries(path) == [entry(0)]

        ledger.append([entry(2)])

    assert read_entries(path) == [entry(0), entry(2)]


def test_a_hundred_thousand_entries_are_read_in_seconds(tmp_path):
    path = tmp_path / "attempts.jsonl"
    line = json.dumps(
        entry(0) | {"file": {"sha256": "0" * 64}, "url": "https://example.org/watch?v=0123456789a"}
    )
    path.write_text(f"{line}\n" * 100_000)
    start = time.process_time()
    assert len(read_entries(path)) == 100_000
    assert time.process_time() - start < 10


def test_reading_needs_no_lock(tmp_path):
    path = tmp_path / "attempts.jsonl"
    with Ledger(path) as ledger:
        ledger.append([entry(0)])
        assert read_entries(path) == [entry(0)]
