"""Sites that yt-dlp knows: asked once for all sections; what they say is the reason."""

import av
import pytest

from pipeline.downloads.parameters import FetchParameters
from pipeline.downloads.worker.fetcher import Fetcher
from tests.helpers.downloads.download_helpers import (
    answer,
    clips_table,
    download,
    encode,
    published,
    quick,
    read_counter,
)
from tests.helpers.downloads.misbehaving_server import Answer


def site_fetcher(folder, server, **changes) -> Fetcher:
    """Return a fetcher whose yt-dlp knows one more site.

    Its pages are /watch?v=NAME on the server, its videos of 12 s at /NAME.mp4.
    """
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

    values = {
        name: getattr(quick(), name)
        for name in ("max_height", "format", "ffmpeg", "cookies_path", "proxy")
    }
    values |= {
        name: getattr(quick(), name)
        for name in ("num_site_retries", "time_limit_seconds", "max_gigabytes")
    }
    values |= {
        "socket_timeout_seconds": 5.0,
        "section_above_seconds": 5.0,
        "validation": quick().validation,
    }
    fetcher = Fetcher(FetchParameters(**values | changes), private_dir=folder / "private")
    fetcher._sites.load().add_info_extractor(TestSiteIE())
    # Before all others, as an extractor of yt-dlp's own would be before the generic one.
    fetcher._sites.load()._ies = {
        "TestSite": fetcher._sites.load()._ies["TestSite"],
        **fetcher._sites.load()._ies,
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
    """Only the sections of a long video are fetched, all of a short one; both cut exactly."""
    encode(
        tmp_path / "counter.mp4",
        "-i",
        str(media / "counter.mp4"),
        "-c",
        "copy",
        "-movflags",
        "+faststart",
    )
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
            numbers = [
                read_counter(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)
            ]
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
        url = server.add(
            f"/watch?v={number}",
            Answer(body=words.encode(), content_type="text/plain; charset=utf-8"),
        )
        [result] = fetch(fetcher, tmp_path, url, (0.0, 2.0))
        assert (result["reason"], result["by"]) == (reason, "text"), result
    url = server.add("/watch?v=late", Answer(status=429, headers={"Retry-After": "7"}))
    work_dir = str(tmp_path / "work")
    clips = [{"clip_id": "a", "start_seconds": None, "end_seconds": None, "file_stem": "a"}]
    found = fetcher.fetch(
        {
            "url": url,
            "is_linked": False,
            "work_dir": work_dir,
            "clips_dir": str(tmp_path),
            "clips": clips,
        }
    )

    assert (found["clips"][0]["reason"], found["retry_after_seconds"]) == ("rate_limit", 7.0)


def test_a_file_url_inside_a_playlist_is_not_read(tmp_path, media, server):
    """Only lists of this machine may name files; a site's playlist must not."""
    playlist = (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{media}/clip0.mp4\n#EXT-X-ENDLIST\n"
    ).encode()
    rows = [
        (
            "sly",
            server.add(
                "/sly.m3u8", Answer(body=playlist, content_type="application/vnd.apple.mpegurl")
            ),
        )
    ]
    found = download(tmp_path, clips_table(*rows), parameters=quick(num_quick_attempts=1))

    assert found["sly"]["status"] == "missing"
    assert published(tmp_path) == set()
