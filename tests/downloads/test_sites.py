"""Pace and pauses of one host by the clock, and by two processes at once."""

import itertools
import random
import subprocess
import sys
import time

import pytest

from pipeline.downloads.sites import SiteGate, SiteGates, SiteLimits, find_host, find_site
from tests.helpers.downloads.download_helpers import answer, clips_table, download, quick
from tests.helpers.downloads.misbehaving_server import MisbehavingServer

LIMITS = SiteLimits(0.0, pause_seconds=10.0, max_pause_seconds=30.0, probe_limit_seconds=100.0)
DAY = 86400.0


def make_gate(path=None, **changes) -> SiteGate:
    limits = SiteLimits(**{**vars(LIMITS), **changes})
    return SiteGate(limits, random.Random(0), path)


def test_which_host_a_url_names():
    urls = ["https://www.youtube.com/watch?v=a", "https://youtu.be/a", "http://127.0.0.1:1/a"]
    assert [find_site(url) for url in urls] == ["youtube", "youtube", "loopback"]
    assert (find_site("https://notyoutube.com/a"), find_site("file:///a")) == ("other", None)
    assert [find_site(url) for url in ("http://[::1/a", "http://[::1]:9/a", "http://a:x/")] == [
        *("other", "loopback", "other")
    ]
    assert find_host("https://m.youtube.com/a") == find_host("http://youtu.be/b")
    assert find_host("http://127.0.0.1:1/a") != find_host("http://127.0.0.1:2/a")
    assert find_host("http://A.org:8080/x") == find_host("https://a.org/y") == "a.org"


def test_the_pace_varies_around_its_mean():
    gate, now, starts = make_gate(per_hour=3600.0), 0.0, []
    for _ in range(200):
        now += gate.seconds_to_wait(now)
        starts.append(now)
        assert gate.try_start(now) == 0.0
        assert gate.try_start(now) > 0.0
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]

    assert 0.5 <= min(gaps) < 0.6 < 1.4 < max(gaps) <= 1.5
    assert sum(gaps) / len(gaps) == pytest.approx(1.0, abs=0.1)


def test_pauses_double_until_one_video_succeeds():
    gate = make_gate()
    # Two videos are under way: one pause.
    pauses = [gate.trip(100.0, started_at=99.0), gate.trip(105.0, started_at=99.0)]
    assert [(pause.end, pause.is_new) for pause in pauses] == [(110.0, True), (115.0, False)]

    ends = [gate.trip(now, started_at=now - 1.0).end for now in (120.0, 140.0, 170.0)]
    assert ends == [140.0, 170.0, 200.0]
    assert gate.trip(201.0, started_at=200.5, retry_after_seconds=500.0).end == 701.0
    assert gate.seconds_to_wait(202.0) == 499.0

    assert gate.record_answer(802.0, started_at=801.0)
    assert not gate.is_probing(802.0)
    assert gate.trip(810.0, started_at=805.0).end == 820.0


def test_an_answer_to_an_older_request_ends_no_pause():
    """Requested before the refusal, answered after the pause: it proves nothing."""
    gate = make_gate()
    gate.trip(100.0, started_at=99.0)
    assert not gate.record_answer(111.0, started_at=98.0)
    assert gate.is_probing(111.0)
    assert gate.try_start(111.0) == 0.0
    assert gate.try_start(111.5) > 0.0  # one video at a time
    # The slow one is refused as well: no new pause in the row, and none twice as long.
    assert not gate.trip(112.0, started_at=98.0).is_new
    assert gate.record_answer(130.0, started_at=122.5)
    assert gate.try_start(130.0) == gate.try_start(130.0) == 0.0


def test_a_retry_after_that_was_too_short_does_not_shorten_the_next_pause():
    gate = make_gate()
    assert gate.trip(100.0, started_at=99.0, retry_after_seconds=2.0).end == 102.0
    assert gate.trip(103.0, started_at=102.5, retry_after_seconds=2.0).end == 123.0


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_clock_that_was_ahead_stalls_nobody(tmp_path, is_shared):
    path = tmp_path / "state.json" if is_shared else None
    gate = make_gate(path, per_hour=360.0)
    ahead = 1000.0 + 30 * DAY
    assert gate.try_start(ahead) == 0.0
    gate.trip(ahead, started_at=ahead)
    # The clock was set right: the pause lasts as long as it was meant, and so does the step.
    assert gate.seconds_to_wait(1000.0) <= 15.0
    assert gate.seconds_to_wait(1020.0) == 0.0
    gate.restore(2000.0, tripped_at=2000.0 + 30 * DAY, retry_after_seconds=None)
    assert gate.seconds_to_wait(2000.0) == 10.0


def test_two_processes_keep_one_pace_and_one_pause(tmp_path):
    path = tmp_path / "state.json"
    first, second = (make_gate(path, per_hour=360.0) for _ in range(2))
    assert first.try_start(0.0) == 0.0
    assert second.try_start(1.0) >= 4.0
    second.trip(20.0, started_at=15.0)
    assert first.seconds_to_wait(21.0) == 9.0

    # One probe at a time over both; a lost one ends by itself.
    assert first.try_start(31.0) == 0.0
    assert second.try_start(60.0) > 0.0
    assert second.try_start(140.0) == 0.0

    path.write_text("{}x")  # damaged: each goes on with what it knows
    assert first.seconds_to_wait(1000.0) == second.seconds_to_wait(1000.0) == 0.0


def test_many_processes_start_at_the_pace_of_one(tmp_path):
    """The state is read and written under a lock: no start is counted twice or lost."""
    program = (
        "import random, sys, time\n"
        "from pathlib import Path\n"
        "from pipeline.downloads.sites import SiteGate, SiteLimits\n"
        "gate = SiteGate(SiteLimits(36000.0, 1, 1, 1), random.Random(0), Path(sys.argv[1]))\n"
        "end = time.time() + 1.0\n"
        "number = 0\n"
        "while time.time() < end:\n"
        "    number += gate.try_start(time.time()) == 0\n"
        "print(number)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "state.json")]
    start = time.time()
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    total = sum(int(process.communicate()[0]) for process in processes)
    # A video may start every 0.05 to 0.15 s.
    assert 2 <= total <= (time.time() - start) / 0.05 + 1
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_state_that_cannot_be_locked_is_said_once(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    gate = make_gate(tmp_path / "file" / "state.json")
    assert gate.try_start(0.0) == gate.try_start(0.0) == 0.0
    text = capsys.readouterr().err
    assert text.count("cannot be locked") == text.count("\n") == 1


def test_a_folder_that_is_not_ours_is_not_used(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    gates = SiteGates(quick(), access="", generator=random.Random(0), folder=tmp_path / "file")
    assert "is not a folder of yours" in capsys.readouterr().err
    gate = gates.find("http://a.org/x")
    assert gate is not None
    assert gate.try_start(0.0) == 0.0
    assert gates.find("http://a.org/y") is gate
    assert gates.find("file:///a") is None


def test_files_and_other_sites_do_not_wait_for_a_pause(tmp_path, media, server):
    """Another process paused a site: its video waits, although it stands first in the list."""
    url = server.add("/a.mp4", answer(media / "clip0.mp4"))
    gates = SiteGates(quick(), access="", generator=random.Random(0), folder=tmp_path / "sites")
    start = time.time()
    gates.find(url).trip(start, started_at=start, retry_after_seconds=50.0)

    with MisbehavingServer() as other:
        other_url = other.add("/b.mp4", answer(media / "clip2.mp4"))
        rows = [("a", url), ("file", (media / "clip1.mp4").as_uri()), ("other", other_url)]

        def clock() -> float:
            # The pause ends when the other site was asked; at the latest after a minute.
            is_over = other.num_requests["/b.mp4"] or time.time() > start + 60
            return start + (60.0 if is_over else 0.0)

        found = download(tmp_path, clips_table(*rows), sites_dir=tmp_path / "sites", clock=clock)
        assert other.request_times["/b.mp4"] < server.request_times["/a.mp4"]
    assert {row["status"] for row in found.values()} == {"ok"}
    assert found["file"]["last_attempt"].timestamp() == int(start)
