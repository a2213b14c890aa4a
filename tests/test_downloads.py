"""The download engine against a server that misbehaves, files that are broken, and kills at random instants."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.parse

import av
import psutil
import pytest
from download_helpers import (
    QUICK,
    clips_table,
    download,
    encode,
    make_clip,
    make_counter,
    published,
    quick,
    read_counter,
)
from misbehaving_server import Answer, MisbehavingServer, page

from pipeline.downloads import work_folder_of
from pipeline.errors import RunError
from pipeline.fetch_requests import FetchParameters
from pipeline.fetching import Fetcher, find_source
from pipeline.files import sha256_of
from pipeline.histories import derive_downloads, read_histories
from pipeline.ledger import read_entries
from pipeline.pacing import CircuitBreaker, Pace, site_of
from pipeline.tables import CLIPS, DOWNLOADS, read_table, write_table

DAY = 86400.0


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A folder of real clips: ``clip0.mp4`` ... ``clip5.mp4`` (2 s), ``counter.mp4`` (12 s), and broken ones."""
    folder = tmp_path_factory.mktemp("media")
    for number in range(6):
        make_clip(folder / f"clip{number}.mp4", tone=300 + 50 * number)
    make_counter(folder / "counter.mp4")
    whole = str(folder / "clip0.mp4")
    encode(folder / "mute.mp4", "-i", whole, "-an", "-c", "copy")
    encode(folder / "sound_only.mp4", "-i", whole, "-vn", "-c", "copy")
    make_clip(folder / "short.mp4", seconds=0.4)
    encode(folder / "front.mp4", "-i", whole, "-c", "copy", "-movflags", "+faststart")
    encode(
        folder / "silent_still.mp4",
        *("-f", "lavfi", "-i", "color=red:size=64x64:rate=10:duration=2"),
        *("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-shortest", "-pix_fmt", "yuv420p", "-c:a", "aac"),
    )
    return folder


@pytest.fixture
def server():
    with MisbehavingServer() as server:
        yield server


def answer(path, **changes) -> Answer:
    return Answer(body=path.read_bytes(), **changes)


def test_every_misbehaviour_ends_with_its_reason(tmp_path, media, server):
    """The statuses, lengths, stalls and pages of real servers; nothing bad is published and nothing is left over."""
    good, data = answer(media / "clip0.mp4"), (media / "clip0.mp4").read_bytes()
    front = (media / "front.mp4").read_bytes()
    cases = {
        "fine": ([good], None),
        "-begins-with-minus": ([answer(media / "clip1.mp4")], None),
        "later_fine": ([Answer(status=500), answer(media / "clip2.mp4")], None),
        "octets": ([answer(media / "clip3.mp4", content_type="application/octet-stream")], None),
        "404": ([Answer(status=404, body=b"This private video", content_type="text/plain")], "gone"),
        "410": ([Answer(status=410)], "gone"),
        "403": ([Answer(status=403)], "forbidden"),
        "500": ([Answer(status=500)], "network"),
        "empty": ([Answer()], "network"),
        "stalls": ([Answer(body=data, stall_seconds=30, stall_at=1000)], "network"),
        "cut": ([Answer(body=data, cut_at=len(data) // 2)], "network"),
        "too_long_announced": ([Answer(body=data, announced_bytes=len(data) + 999)], "network"),
        "too_short_announced": ([Answer(body=data, announced_bytes=len(data) // 2)], "corrupt"),
        "half_a_file": ([Answer(body=data[: len(data) // 2])], "corrupt"),
        "half_with_header": ([Answer(body=front[: len(front) // 2])], "corrupt"),
        "noise": ([Answer(body=random.Random(0).randbytes(20000))], "corrupt"),
        "page": ([page("Welcome to our site. <video src='/fine.mp4'></video>")], "unknown"),
        "page_as_video": ([Answer(body=page("Oops").body, content_type="video/mp4")], "unknown"),
        "mute": ([answer(media / "mute.mp4")], "no_audio"),
        "sound_only": ([answer(media / "sound_only.mp4")], "no_video"),
        "short": ([answer(media / "short.mp4")], "too_short"),
        "again": ([good], "duplicate"),
        "private": ([page("Private video. Sign in if you\u2019ve been granted access to this video")], "private"),
        "age": (
            [page("Sign in to confirm your age. This video may be inappropriate for some users.")],
            "age_restricted",
        ),
        "members": ([page("Join this channel to get access to members-only content")], "members_only"),
        "terminated": (
            [page("the YouTube account associated with this video has been terminated")],
            "account_terminated",
        ),
        "geo": ([page("The uploader has not made this video available in your country")], "geo_blocked"),
        "copyright": ([page("no longer available due to a copyright claim by X")], "copyright"),
        "removed": ([page("This video has been removed by the uploader")], "removed"),
        "upcoming": ([page("Premieres in 3 hours")], "upcoming"),
        "drm": ([page("This video is DRM protected")], "drm"),
        "unavailable": ([page("Video unavailable")], "unavailable"),
    }
    rows = [(name, server.add(f"/{name}.mp4", *answers)) for name, (answers, _) in cases.items()]
    found = download(tmp_path, clips_table(*rows), parameters=quick(num_quick_attempts=2))
    assert {name: row["reason"] for name, row in found.items()} == {name: reason for name, (_, reason) in cases.items()}
    assert [name for name, row in found.items() if row["status"] == "ok"] == [
        name for name, (_, reason) in cases.items() if reason is None
    ]
    assert {row["status"] for row in found.values()} == {"ok", "missing"}
    for name in ("fine", "-begins-with-minus", "later_fine", "octets"):
        row = found[name]
        assert sha256_of(tmp_path / "clips" / row["path"]) == row["sha256"]
        assert (row["width"], row["height"], row["fps"]) == (128, 72, 12.0)
        assert (row["video_codec"], row["audio_codec"], row["sample_rate"]) == ("h264", "aac", 16000)
        assert row["duration_seconds"] == pytest.approx(2.0, abs=0.2)
        assert row["bytes"] == os.path.getsize(tmp_path / "clips" / row["path"])
    assert published(tmp_path) == {
        f"{name}.mp4" for name in ("fine", "-begins-with-minus", "later_fine", "octets", "again")
    }
    assert found["later_fine"]["attempts"] == found["403"]["attempts"] == 2
    assert found["404"]["attempts"] == found["private"]["attempts"] == server.num_requests["/404.mp4"] == 1
    assert found["again"]["detail"] == "has the same bytes as fine"
    assert "yt-dlp 20" in found["403"]["tool_versions"]
    assert "ffmpeg " in found["403"]["tool_versions"]

    # The next run asks nobody: what is permanent is settled, what is transient is not due.
    before = server.num_requests.copy()
    assert download(tmp_path, clips_table(*rows), parameters=quick(num_quick_attempts=2)) == found
    assert server.num_requests == before


def test_rate_limit_and_bot_check_pause_everything(tmp_path, media, server):
    """After a 429 nobody is asked before Retry-After is over; afterwards everything arrives."""
    limited = Answer(status=429, headers={"Retry-After": "2"})
    rows = [("a", server.add("/a.mp4", limited, answer(media / "clip0.mp4")))]
    rows += [(f"b{n}", server.add(f"/b{n}.mp4", answer(media / f"clip{n}.mp4"))) for n in range(1, 4)]
    rows += [
        ("bot", server.add("/bot.mp4", page("Sign in to confirm you\u2019re not a bot"), answer(media / "clip4.mp4")))
    ]
    found = download(tmp_path, clips_table(*rows), parameters=quick(num_workers=1))
    assert {row["status"] for row in found.values()} == {"ok"}
    refused_at = server.request_times["/a.mp4"][0]
    others = [moment for path, times in server.request_times.items() for moment in times if moment != refused_at]
    assert min(others) - refused_at >= 1.9
    bot_at = server.request_times["/bot.mp4"][0]
    assert min(moment for moment in others if moment > bot_at) - bot_at >= 0.25
    assert found["a"]["attempts"] == found["bot"]["attempts"] == 2


def test_a_site_that_refuses_for_ever_stops_the_run_and_leaves_clips_pending(tmp_path, server):
    urls = [server.add(f"/{n}.mp4", page("Your IP is likely being blocked")) for n in range(8)]
    clips = clips_table(*((str(n), url) for n, url in enumerate(urls)))
    table_path = tmp_path / "downloads.parquet"
    with pytest.raises(RunError, match=r"pending\): the site refuses this machine \(bot_check, 3 times"):
        download(
            tmp_path, clips, parameters=quick(num_workers=1, max_pauses=2, pause_seconds=0.1), table_path=table_path
        )
    assert table_path.exists()
    assert sum(server.num_requests.values()) == 3
    # The pause outlives the run: a new one, started at once, does not ask before it is over.
    start = time.monotonic()
    with pytest.raises(RunError):
        download(
            tmp_path, clips, parameters=quick(num_workers=1, max_pauses=1, pause_seconds=1.5, num_quick_attempts=9)
        )
    first_again = min(moment for times in server.request_times.values() for moment in times if moment > start)
    assert first_again - start > 0.8


def test_systematic_trouble_is_the_environments(tmp_path, server):
    clips = clips_table(*((str(n), server.add(f"/{n}.mp4", Answer(status=403))) for n in range(12)))
    with pytest.raises(RunError, match=r"pending\): 5 of the last 5 videos failed with forbidden: the environment"):
        download(tmp_path, clips, parameters=quick(num_workers=1, num_quick_attempts=1))
    assert sum(server.num_requests.values()) == 5


def test_too_many_missing_clips_and_a_full_disk_fail_the_run(tmp_path, media, server):
    rows = [("good", server.add("/good.mp4", answer(media / "clip0.mp4")))]
    rows += [(str(n), server.add(f"/{n}.mp4", Answer(status=404))) for n in range(3)]
    with pytest.raises(RunError, match=r"test: 3 of 4 clips are missing \(3 gone\), expected at most .*\(0.7\)"):
        download(tmp_path / "a", clips_table(*rows), parameters=quick(max_failed_fraction=0.7))
    assert download(tmp_path / "a", clips_table(*rows), parameters=quick(max_failed_fraction=0.75))["good"]["path"]
    with pytest.raises(RunError, match=r"4 pending\): .* GB free, expected download\.min_free_gigabytes"):
        download(tmp_path / "b", clips_table(*rows), parameters=quick(min_free_gigabytes=1e9))


def test_several_sections_of_one_video_are_fetched_once_and_cut_exactly(tmp_path, media, server):
    url = server.add("/counter.mp4", answer(media / "counter.mp4"))
    clips = clips_table(
        ("early", url, 1.0, 3.0), ("late", url, 7.32, 9.32), ("end", url, 10.0, 14.0), ("beyond", url, 20.0, 22.0)
    )
    found = download(tmp_path, clips)
    assert server.num_requests["/counter.mp4"] == 1
    assert found["end"]["reason"] == found["beyond"]["reason"] == "too_short"
    for name, first in (("early", 25), ("late", 183)):
        assert found[name]["status"] == "ok"
        assert found[name]["duration_seconds"] == pytest.approx(2.0, abs=0.1)
        with av.open(str(tmp_path / "clips" / found[name]["path"])) as container:
            pictures = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        assert [read_counter(picture) for picture in pictures] == list(range(first, first + 50))


def site_fetcher(folder, server, **changes) -> Fetcher:
    """A fetcher whose yt-dlp knows one more site: /watch?v=NAME on the server, videos of 12 s at /NAME.mp4."""
    from yt_dlp.extractor.common import InfoExtractor
    from yt_dlp.utils import ExtractorError, GeoRestrictedError

    class TestSiteIE(InfoExtractor):
        _VALID_URL = r"http://127\.0\.0\.1:\d+/watch\?v=(?P<id>.+)"

        def _real_extract(self, url):
            video_id = self._match_id(url)
            words = self._download_webpage(url, video_id)
            if "only in" in words:
                raise GeoRestrictedError("not here", countries=["DE"])
            if words:
                raise ExtractorError(words, expected=True)
            return {"id": video_id, "title": video_id, "duration": 12, "ext": "mp4"} | {
                "url": server.url_of(f"/{video_id}.mp4")
            }

    values = {name: getattr(quick(), name) for name in ("max_height", "format", "ffmpeg", "cookies_path", "proxy")}
    values |= {name: getattr(quick(), name) for name in ("num_site_retries", "time_limit_seconds", "max_gigabytes")}
    values |= {"socket_timeout_seconds": 5.0, "section_above_seconds": 5.0, "validation": quick().validation}
    fetcher = Fetcher(FetchParameters(**values | changes), private_dir=folder / "private")
    fetcher._sites.instance().add_info_extractor(TestSiteIE())
    # Before all others, as an extractor of yt-dlp's own would be before the generic one.
    fetcher._sites.instance()._ies = {
        "TestSite": fetcher._sites.instance()._ies["TestSite"],
        **fetcher._sites.instance()._ies,
    }
    return fetcher


def fetch(fetcher: Fetcher, folder, url: str, *sections) -> list[dict]:
    """Results of one video, a clip a section."""
    clips = [
        {"clip_id": str(n), "start_seconds": start, "end_seconds": end, "file_stem": str(n)}
        for n, (start, end) in enumerate(sections)
    ]
    request = {
        "url": url,
        "is_linked": False,
        "work_dir": str(folder / "work"),
        "clips_dir": str(folder),
        "clips": clips,
    }
    return fetcher.fetch(request)["clips"]


@pytest.mark.parametrize(("above_seconds", "num_files"), [(5.0, 0), (60.0, 1)])
def test_a_site_is_asked_once_for_all_sections(tmp_path, media, server, above_seconds, num_files):
    """Of a long video only the sections come (through ffmpeg), of a short one all of it; both exact to the frame."""
    encode(tmp_path / "counter.mp4", "-i", str(media / "counter.mp4"), "-c", "copy", "-movflags", "+faststart")
    url = server.add("/watch?v=counter", Answer(content_type="text/html"))
    server.add("/counter.mp4", answer(tmp_path / "counter.mp4", has_ranges=True))
    fetcher = site_fetcher(tmp_path, server, section_above_seconds=above_seconds)
    early, late, beyond = fetch(fetcher, tmp_path, url, (1.0, 3.0), (7.32, 9.32), (20.0, 22.0))
    assert server.num_requests["/watch?v=counter"] == 1
    assert beyond["reason"] == "too_short"
    assert len(list((tmp_path / "work").glob("source.*"))) == num_files
    for result, first in ((early, 25), (late, 183)):
        assert result["outcome"] == "ok", result
        assert result["file"]["duration_seconds"] == pytest.approx(2.0, abs=0.1)
        with av.open(str(tmp_path / result["file"]["staged"])) as container:
            numbers = [read_counter(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
        assert numbers == list(range(first, first + 50))


def test_what_a_site_says_is_the_reason(tmp_path, server):
    fetcher = site_fetcher(tmp_path, server)
    says = {
        "Sign in to confirm you\u2019re not a bot": "bot_check",
        "Private video. Sign in if you've been granted access to this video": "private",
        "only in DE": "geo_blocked",
        "Video unavailable": "unavailable",
    }
    for number, (words, reason) in enumerate(says.items()):
        url = server.add(f"/watch?v={number}", Answer(body=words.encode(), content_type="text/plain; charset=utf-8"))
        [result] = fetch(fetcher, tmp_path, url, (0.0, 2.0))
        assert (result["reason"], result["by"]) == (reason, "text"), result
    url = server.add("/watch?v=late", Answer(status=429, headers={"Retry-After": "7"}))
    work_dir = str(tmp_path / "work")
    clips = [{"clip_id": "a", "start_seconds": None, "end_seconds": None, "file_stem": "a"}]
    found = fetcher.fetch(
        {"url": url, "is_linked": False, "work_dir": work_dir, "clips_dir": str(tmp_path), "clips": clips}
    )
    assert (found["clips"][0]["reason"], found["retry_after_seconds"]) == ("rate_limit", 7.0)


def test_a_file_url_inside_a_playlist_is_not_read(tmp_path, media, server):
    """Only lists of this machine may name files; a site's playlist that does gets nothing."""
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{media}/clip0.mp4\n#EXT-X-ENDLIST\n".encode()
    rows = [("sly", server.add("/sly.m3u8", Answer(body=playlist, content_type="application/vnd.apple.mpegurl")))]
    found = download(tmp_path, clips_table(*rows), parameters=quick(num_quick_attempts=1))
    assert found["sly"]["status"] == "missing"
    assert published(tmp_path) == set()


def test_large_pictures_shrink_and_the_users_own_files_are_linked(tmp_path, media, server):
    big = make_clip(tmp_path / "in" / "h\u00f6he % #1 'x'.mp4", size="640x480", seconds=1.5)
    odd = tmp_path / "in" / os.fsdecode(b"odd \xff\n name.mkv")
    encode(tmp_path / "in" / "plain.mkv", "-i", str(media / "clip1.mp4"), "-c", "copy").rename(odd)
    urls = ["file://" + urllib.parse.quote(os.fsencode(path)) for path in (big, odd)]
    clips = clips_table(("big", urls[0]), ("odd", urls[1]), ("away", "file:///nowhere/at%20all.mp4"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (big, odd)}
    copied = download(tmp_path / "copied", clips)
    assert (copied["big"]["width"], copied["big"]["height"]) == (480, 360)
    assert copied["odd"]["sha256"] == sha256_of(odd)
    linked = download(tmp_path / "linked", clips, dataset="local")
    assert (linked["big"]["width"], linked["big"]["height"]) == (640, 480)
    for name, path in (("big", big), ("odd", odd)):
        assert os.path.samefile(tmp_path / "linked" / "clips" / linked[name]["path"], path)
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before[path]
    assert copied["away"]["reason"] == linked["away"]["reason"] == "gone"


def test_a_changed_source_file_is_fetched_again_and_an_unchanged_one_is_not(tmp_path, media):
    paths = [tmp_path / "in" / f"{n}.mp4" for n in range(3)]
    for number, path in enumerate(paths[:2]):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((media / f"clip{number}.mp4").read_bytes())
    clips = clips_table(*((path.stem, path.as_uri()) for path in paths))
    first = download(tmp_path, clips)
    assert [row["status"] for row in first.values()] == ["ok", "ok", "missing"]
    os.utime(paths[0])  # another time, the same content
    paths[1].write_bytes((media / "clip4.mp4").read_bytes())
    paths[2].write_bytes((media / "clip5.mp4").read_bytes())
    second = download(tmp_path, clips)
    assert [row["status"] for row in second.values()] == ["ok"] * 3
    assert second["0"] == first["0"]
    assert second["1"]["sha256"] == sha256_of(paths[1]) == sha256_of(tmp_path / "clips" / second["1"]["path"])
    paths[0].unlink()
    assert download(tmp_path, clips) == second  # the copy outlives its source


def test_flags_are_facts_not_failures(tmp_path, media):
    rows = [("flat", (media / "silent_still.mp4").as_uri()), ("lively", (media / "clip0.mp4").as_uri())]
    found = download(tmp_path, clips_table(*rows))
    assert found["flat"]["flags"] == ["silent", "still"]
    assert found["lively"]["flags"] == []
    assert {row["status"] for row in found.values()} == {"ok"}


def test_a_lost_or_damaged_file_is_fetched_again(tmp_path, media, server):
    rows = [(name, server.add(f"/{name}.mp4", answer(media / f"clip{n}.mp4"))) for n, name in enumerate("abc")]
    first = download(tmp_path, clips_table(*rows))
    (tmp_path / "clips" / "a.mp4").unlink()
    (tmp_path / "clips" / "b.mp4").write_bytes(b"half")
    second = download(tmp_path, clips_table(*rows))
    assert [second[name]["sha256"] for name in "abc"] == [first[name]["sha256"] for name in "abc"]
    assert [server.num_requests[f"/{name}.mp4"] for name in "abc"] == [2, 2, 1]


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
        download(tmp_path, clips, parameters=quick(num_workers=1, num_quick_attempts=1), clock=lambda: now[0])
        return tuple(server.num_requests[path] - before[path] for path in ("/u.mp4", "/d.mp4"))

    assert requests_at(0) == (1, 1)
    assert requests_at(0.03) == (0, 0)  # less than an hour: too early for both
    assert requests_at(0.05) == (0, 1)
    assert requests_at(1.0) == (1, 1)
    assert requests_at(5.0) == (0, 1)


def test_a_stalled_worker_is_killed_and_a_crash_is_an_attempt(tmp_path, media, server):
    dripping = answer(media / "clip0.mp4", pace_seconds=30)
    rows = [("drip", server.add("/drip.mp4", dripping)), ("fine", server.add("/fine.mp4", answer(media / "clip1.mp4")))]
    parameters = quick(num_workers=1, time_limit_seconds=2.0, socket_timeout_seconds=20.0, num_quick_attempts=1)
    found = download(tmp_path, clips_table(*rows), parameters=parameters)
    assert found["drip"]["reason"] == "network"
    assert "no result within download.time_limit_seconds (2 s)" in found["drip"]["detail"]
    assert found["fine"]["status"] == "ok"
    assert _fetching_processes(os.getpid()) == []


def test_pace_and_breaker_by_the_clock():
    """Steps of half to one and a half of the mean for each kind of host; pauses double until an answer is good."""
    pace, now, starts = Pace({"youtube": 3600.0, "other": 0.0}, random.Random(0)), 0.0, []
    for _ in range(200):
        now += pace.seconds_to_wait("youtube", now)
        starts.append(now)
        pace.start("youtube", now)
        assert pace.seconds_to_wait("other", now) == pace.seconds_to_wait(None, now) == 0.0
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert 0.5 <= min(gaps) < 0.6 < 1.4 < max(gaps) <= 1.5
    assert sum(gaps) / len(gaps) == pytest.approx(1.0, abs=0.1)
    assert [
        site_of(url) for url in ("https://www.youtube.com/watch?v=a", "https://youtu.be/a", "http://127.0.0.1:1/a")
    ] == [
        "youtube",
        "youtube",
        "loopback",
    ]
    assert (site_of("https://notyoutube.com/a"), site_of("file:///a")) == ("other", None)

    breaker = CircuitBreaker(pause_seconds=10.0, max_pause_seconds=30.0)
    assert [breaker.trip(moment) for moment in (0.0, 5.0)] == [10.0, 15.0]  # two under way: one pause
    assert breaker.num_pauses == 1
    breaker.succeed(12.0)  # was under way, too
    assert breaker.is_probing
    assert [breaker.trip(20.0), breaker.trip(40.0), breaker.trip(100.0)] == [40.0, 70.0, 130.0]
    assert breaker.trip(200.0, retry_after_seconds=500.0) == 700.0
    breaker.succeed(701.0)
    assert (breaker.num_pauses, breaker.is_probing, breaker.seconds_to_wait(701.0)) == (0, False, 0.0)


def test_pace_is_kept_over_all_workers(tmp_path, media, server):
    rows = [(str(n), server.add(f"/{n}.mp4", answer(media / f"clip{n}.mp4"))) for n in range(4)]
    download(tmp_path, clips_table(*rows), parameters=quick(num_workers=2, loopback_videos_per_hour=3600.0))
    moments = [moment for times in server.request_times.values() for moment in times]
    assert max(moments) - min(moments) > 1.2  # three steps of half a second or more, and what a busy machine adds


# --- kills


RUN_PROGRAM = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from pipeline.downloads import DownloadParameters, download_clips
from pipeline.parameters import build
from pipeline.tables import CLIPS, DOWNLOADS, read_table
folder = Path(sys.argv[1])
download_clips(
    read_table(folder / "clips.parquet", CLIPS),
    parameters=build(DownloadParameters, json.loads(sys.argv[2]), "download"),
    dataset="test", clips_dir=folder / "clips", ledger_path=folder / "attempts.jsonl", is_quiet=True,
    table_path=folder / "downloads.parquet",
)
"""


def start_run(folder, parameters: dict) -> subprocess.Popen:
    """The engine in a process of its own, to be killed."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return subprocess.Popen(
        [sys.executable, "-c", RUN_PROGRAM, str(folder), json.dumps(parameters)],
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
    )


def whole_clips(folder) -> set[str]:
    """Clips that are whole on this machine: entered in the ledger as ok, or fetched and waiting in a work folder."""
    entries = read_entries(folder / "attempts.jsonl")
    whole = {entry["clip_id"] for entry in entries if entry["outcome"] == "ok"}
    urls = {
        work_folder_of(row["url"]): row["clip_id"] for row in read_table(folder / "clips.parquet", CLIPS).to_pylist()
    }
    for work_dir in (folder / "clips" / ".work").glob("*"):
        if work_dir.name in urls and find_source(work_dir) is not None:
            whole.add(urls[work_dir.name])
    return whole


@pytest.mark.parametrize("max_kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_instants_it_ends_like_an_undisturbed_run(tmp_path, media, server, max_kills):
    """SIGKILL again and again, while fetching goes on; then the same table, nothing whole fetched again."""
    num_clips, parameters = 3 * max_kills + 5, QUICK | {"num_workers": 2, "num_quick_attempts": 2}
    rows = []
    for number in range(num_clips):
        body = (media / f"clip{number % 6}.mp4").read_bytes()
        answers = Answer(body=body + _free_box(number), pace_seconds=0.05)
        rows.append((f"-c{number:02d}", server.add(f"/{number}.mp4", answers)))
    rows.append(("gone", server.add("/gone.mp4", Answer(status=404))))
    rows.append(("down", server.add("/down.mp4", Answer(status=500))))
    rows.append(("half", server.add("/half.mp4", Answer(body=(media / "clip0.mp4").read_bytes()[:3000]))))
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
            assert server.num_requests[urllib.parse.urlsplit(url).path] == settled[name], f"{name} was fetched again"
    tables = [
        read_table(folder / "downloads.parquet", DOWNLOADS).drop(["last_attempt"]).to_pylist() for folder in folders
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
    histories = read_histories(clips_table(*rows), read_entries(tmp_path / "attempts.jsonl"))
    derived = derive_downloads(histories, clips_dir=tmp_path / "clips")
    write_table(tmp_path / "derived.parquet", derived, DOWNLOADS)
    assert (tmp_path / "derived.parquet").read_bytes() == (tmp_path / "downloads.parquet").read_bytes()


@pytest.mark.parametrize("moment", ["before_rename", "after_rename"])
def test_a_run_that_died_between_ledger_and_renaming_goes_on(tmp_path, media, server, moment):
    """The narrowest gap: the ledger has the clip, its place does not (or has it, with the staged name still there)."""
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
        if "pipeline.fetching" in " ".join(process.cmdline())
    ]
