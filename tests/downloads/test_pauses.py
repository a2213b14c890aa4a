"""When everything pauses, when a clip is due again, and when a run stops."""

import time

import pytest

from earshot.errors import RunError
from tests.helpers.downloads.download_helpers import (
    answer,
    clips_table,
    download,
    quick,
)
from tests.helpers.downloads.misbehaving_server import Answer, page

DAY = 86400.0


def test_rate_limit_and_bot_check_pause_everything(tmp_path, media, server):
    """After a 429 nobody is asked before Retry-After is over; afterwards everything arrives."""
    limited = Answer(status=429, headers={"Retry-After": "2"})
    rows = [("a", server.add("/a.mp4", limited, answer(media / "clip0.mp4")))]
    rows += [
        (f"b{n}", server.add(f"/b{n}.mp4", answer(media / f"clip{n}.mp4"))) for n in range(1, 4)
    ]
    rows += [
        (
            "bot",
            server.add(
                "/bot.mp4",
                page("Sign in to confirm you\u2019re not a bot"),
                answer(media / "clip4.mp4"),
            ),
        )
    ]
    found = download(tmp_path, clips_table(*rows), parameters=quick(num_workers=1))

    assert {row["status"] for row in found.values()} == {"ok"}

    refused_at = server.request_times["/a.mp4"][0]
    others = [
        moment
        for path, times in server.request_times.items()
        for moment in times
        if moment != refused_at
    ]
    assert min(others) - refused_at >= 1.9

    bot_at = server.request_times["/bot.mp4"][0]
    assert min(moment for moment in others if moment > bot_at) - bot_at >= 0.25
    assert found["a"]["attempts"] == found["bot"]["attempts"] == 2


def test_a_site_that_refuses_for_ever_stops_the_run_and_leaves_clips_pending(tmp_path, server):
    urls = [server.add(f"/{n}.mp4", page("Your IP is likely being blocked")) for n in range(8)]
    clips = clips_table(*((str(n), url) for n, url in enumerate(urls)))
    table_path = tmp_path / "downloads.parquet"
    with pytest.raises(
        RunError, match=r"pending\): the site refuses this machine \(bot_check, 3 times"
    ):
        download(
            tmp_path,
            clips,
            parameters=quick(num_workers=1, max_pauses=2, pause_seconds=0.1),
            table_path=table_path,
        )

    assert table_path.exists()
    assert sum(server.num_requests.values()) == 3

    # The pause outlives the run: a new one, started at once, does not ask before it is over.
    start = time.monotonic()
    with pytest.raises(RunError):
        download(
            tmp_path,
            clips,
            parameters=quick(num_workers=1, max_pauses=1, pause_seconds=1.5, num_quick_attempts=9),
        )
    first_again = min(
        moment for times in server.request_times.values() for moment in times if moment > start
    )
    assert first_again - start > 0.8


def test_a_run_stops_when_the_tools_are_to_blame(tmp_path, server):
    clips = clips_table(*((str(n), server.add(f"/{n}.mp4", Answer(status=403))) for n in range(12)))
    with pytest.raises(
        RunError, match=r"pending\): 5 of the last 5 videos failed with forbidden: the environment"
    ):
        download(tmp_path, clips, parameters=quick(num_workers=1, num_quick_attempts=1))
    assert sum(server.num_requests.values()) == 5


def test_too_many_missing_clips_and_a_full_disk_fail_the_run(tmp_path, media, server):
    rows = [("good", server.add("/good.mp4", answer(media / "clip0.mp4")))]
    rows += [(str(n), server.add(f"/{n}.mp4", Answer(status=404))) for n in range(3)]
    with pytest.raises(
        RunError, match=r"test: 3 of 4 clips are missing \(3 gone\), expected at most .*\(0.7\)"
    ):
        download(tmp_path / "a", clips_table(*rows), parameters=quick(max_failed_fraction=0.7))
    assert download(tmp_path / "a", clips_table(*rows), parameters=quick(max_failed_fraction=0.75))[
        "good"
    ]["path"]

    with pytest.raises(
        RunError, match=r"4 pending\): .* GB free, expected download\.min_free_gigabytes"
    ):
        download(tmp_path / "b", clips_table(*rows), parameters=quick(min_free_gigabytes=1e9))


def test_confirmation_on_another_day_and_growing_delays(tmp_path, server):
    """``unavailable`` is asked on two days and never again; a 500 less and less often."""
    rows = [
        ("gone?", server.add("/u.mp4", page("Video unavailable"))),
        ("down", server.add("/d.mp4", Answer(status=500))),
    ]
    clips, now = clips_table(*rows), [1_800_000_000.0]

    def requests_at(days: float) -> tuple[int, int]:
        now[0] = 1_800_000_000.0 + days * DAY
        before = server.num_requests.copy()
        download(
            tmp_path,
            clips,
            parameters=quick(num_workers=1, num_quick_attempts=1),
            clock=lambda: now[0],
        )
        return tuple(server.num_requests[path] - before[path] for path in ("/u.mp4", "/d.mp4"))

    assert requests_at(0) == (1, 1)
    assert requests_at(0.03) == (0, 0)  # less than an hour: too early for both
    assert requests_at(0.05) == (0, 1)
    assert requests_at(1.0) == (1, 1)
    assert requests_at(5.0) == (0, 1)


def test_pace_is_kept_over_all_workers(tmp_path, media, server):
    rows = [(str(n), server.add(f"/{n}.mp4", answer(media / f"clip{n}.mp4"))) for n in range(4)]
    download(
        tmp_path,
        clips_table(*rows),
        parameters=quick(num_workers=2, loopback_videos_per_hour=3600.0),
    )
    moments = [moment for times in server.request_times.values() for moment in times]
    assert (
        max(moments) - min(moments) > 1.2
    )  # three steps of half a second or more, and what a busy machine adds
