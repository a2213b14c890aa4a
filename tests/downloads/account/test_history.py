"""When a clip's failures confirm each other, when it is due, and whether its file is intact."""

import os
import shutil
import time
import tracemalloc

import pytest

from pipeline.downloads.account.histories import read_histories
from pipeline.downloads.account.history import NEVER, History, RetryPolicy
from pipeline.downloads.account.ledger import Ledger, read_entries
from pipeline.downloads.worker.plain_http import parse_retry_after
from tests.helpers.downloads.download_helpers import answer, clips_table, download

HOUR, DAY = 3600.0, 86400.0
MIDNIGHT = 20_000 * DAY
POLICY = RetryPolicy(num_quick_attempts=3, quick_delay_seconds=5.0, slow_delay_seconds=HOUR)


def make_history(*times: float, reason: str = "unavailable", url: str = "http://a/b") -> History:
    entries = [
        {
            **{"type": "attempt", "clip_id": "c", "time": moment, "url": url},
            **{"start_seconds": None, "end_seconds": None, "outcome": "failed"},
            **{"reason": reason, "text": "gone?", "by": "check", "access": "", "versions": ""},
        }
        for moment in times
    ]
    return read_histories(clips_table(("c", url)), entries)["c"]


@pytest.mark.parametrize(
    ("times", "is_confirmed"),
    [
        ([MIDNIGHT - 5, MIDNIGHT + 5], False),  # two days, ten seconds apart
        ([MIDNIGHT, MIDNIGHT + 19.9 * HOUR], False),
        ([MIDNIGHT, MIDNIGHT + 20 * HOUR], True),
        ([MIDNIGHT, MIDNIGHT + 10 * HOUR, MIDNIGHT + 21 * HOUR], True),
        ([MIDNIGHT + 30 * DAY, MIDNIGHT], False),  # the first one is from a clock that was ahead
        ([MIDNIGHT], False),
    ],
)
def test_two_failures_confirm_each_other_after_twenty_hours(times, is_confirmed):
    history = make_history(*times)
    assert history.is_confirmed() == is_confirmed
    due = history.next_attempt(POLICY, times[-1])
    assert due == (NEVER if is_confirmed else times[-1] + 20 * HOUR)


@pytest.mark.parametrize("reason", ["network", "unavailable", "upcoming", "rate_limit"])
def test_an_entry_from_a_clock_that_was_ahead_delays_nothing(reason):
    history = make_history(MIDNIGHT + 30 * DAY, reason=reason)
    assert history.next_attempt(POLICY, MIDNIGHT) == 0.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *((header, None) for header in (None, "", "0", "-5", "soon", "\u00b2", "1e9")),
        *(("Thu, 01 Jan 1970 00:00:00 GMT", None), ("Wed, 99 Foo 2020 00:00:00 GMT", None)),
        ("120", 120.0),
        ("9" * 400, None),
    ],
)
def test_what_retry_after_says(header, seconds):
    assert parse_retry_after(header) == seconds


def test_retry_after_as_a_date_without_a_zone_is_utc(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        for zone in ("GMT", "-0000"):
            moment = time.strftime("%a, %d %b %Y %H:%M:%S", time.gmtime(time.time() + 600))
            assert parse_retry_after(f"{moment} {zone}") == pytest.approx(600, abs=60)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_clip_whose_bytes_changed_at_the_same_size_is_fetched_again(tmp_path, media, server):
    url = server.add("/a.mp4", answer(media / "clip0.mp4"))
    first = download(tmp_path, clips_table(("a", url)))
    path = tmp_path / "clips" / "a.mp4"
    data = path.read_bytes()
    path.write_bytes(data[:-100] + bytes(100))
    os.utime(path, (time.time() + 1, time.time() + 1))

    second = download(tmp_path, clips_table(("a", url)))
    assert path.read_bytes() == data
    assert second["a"]["sha256"] == first["a"]["sha256"]
    assert server.num_requests["/a.mp4"] == 2


def test_a_file_that_was_copied_is_read_once_and_kept(tmp_path, media, server):
    url = server.add("/a.mp4", answer(media / "clip0.mp4"))
    download(tmp_path, clips_table(("a", url)))
    path = tmp_path / "clips" / "a.mp4"
    shutil.copyfile(path, tmp_path / "copy")
    os.replace(tmp_path / "copy", path)
    os.utime(path, (time.time() - 1e-3, time.time() - 1e-3))
    for _ in range(2):
        download(tmp_path, clips_table(("a", url)))
    assert server.num_requests["/a.mp4"] == 1
    types = [entry["type"] for entry in read_entries(tmp_path / "attempts.jsonl")]
    assert types == ["attempt", "intact"]


def test_histories_take_little_memory(tmp_path):
    num_clips = 5_000
    rows = [
        (f"clip{i:06d}", f"https://example.org/watch?v={i:011d}", 0.0, 10.0)
        for i in range(num_clips)
    ]
    clips = clips_table(*rows)
    file = {"path": "a.mp4", "bytes": 1, "duration_seconds": 1.0, "width": 64, "height": 48}
    file |= {"fps": 25.0, "video_codec": "h264", "audio_codec": "aac", "sample_rate": 16000}

    with Ledger(tmp_path / "attempts.jsonl") as ledger:
        ledger.append(
            {
                **{"type": "attempt", "clip_id": clip_id, "time": 1.0, "url": url},
                **{"start_seconds": start, "end_seconds": end, "outcome": "ok", "versions": "x"},
                "file": file | {"sha256": f"{number:064x}", "flags": []},
            }
            for number, (clip_id, url, start, end) in enumerate(rows)
        )

        tracemalloc.start()
        try:
            histories = read_histories(clips, ledger)
            num_bytes, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        # Python values of an entry take 3 kB.
        assert num_bytes < 500 * num_clips
        assert peak < 600 * num_clips
        last = histories[rows[-1][0]]
        assert last.ok["file"]["sha256"] == f"{num_clips - 1:064x}"
        assert last.request == rows[-1][1:]
