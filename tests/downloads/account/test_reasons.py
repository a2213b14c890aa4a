"""Reasons: each row, the order of the rows, and what is removed from a text."""

import pytest

from pipeline.downloads.account.reasons import PAGE_MARK, REASONS, classify, find_reason, normalize
from tests.helpers.paths import DATA

# (row of the table, raw text as tools print it, reason)
TEXTS = [
    (
        1,
        "ERROR: [youtube] abc: Sign in to confirm you\u2019re not a bot. "
        "Use --cookies-from-browser",
        "bot_check",
    ),
    (1, "ERROR: [youtube] abc: Sign in to confirm you're not a bot", "bot_check"),
    (1, "This page is a captcha challenge", "bot_check"),
    (1, "Your IP is likely being blocked by YouTube", "bot_check"),
    (
        2,
        "ERROR: [youtube] abc: Video unavailable. "
        "This content isn\u2019t available, try again later.",
        "rate_limit",
    ),
    (2, "The current session has been rate-limited by YouTube for up to an hour", "rate_limit"),
    (
        2,
        "ERROR: [youtube] abc: Video unavailable. This content isn\u2019t available.",
        "rate_limit",
    ),
    (3, "ERROR: unable to download video data: HTTP Error 429: Too Many Requests", "rate_limit"),
    (3, "too many requests", "rate_limit"),
    (
        4,
        "ERROR: [youtube] -bc: Private video. Sign in if you've been granted access to this video",
        "private",
    ),
    (
        5,
        "ERROR: [youtube] a: Sign in to confirm your age. "
        "This video may be inappropriate for some users.",
        "age_restricted",
    ),
    (5, "This video is age-restricted and only available on YouTube", "age_restricted"),
    (6, "Join this channel to get access to members-only content like this video", "members_only"),
    (
        7,
        "Video unavailable. This video is no longer available because the YouTube account "
        "associated with this video has been terminated.",
        "account_terminated",
    ),
    (
        7,
        "ERROR: [youtube] abc: This video is no longer available because the uploader has closed "
        "their YouTube account.",
        "account_terminated",
    ),
    (8, "ERROR: [youtube] abc: This video is not available in your country", "geo_blocked"),
    (
        8,
        "Video unavailable. The uploader has not made this video available in your country",
        "geo_blocked",
    ),
    (
        8,
        "This video contains content from X, "
        "who has blocked it in your country on copyright grounds",
        "geo_blocked",
    ),
    (8, "This video is not available from your location due to geo restriction", "geo_blocked"),
    (8, "not here (GeoRestrictedError)", "geo_blocked"),
    (
        9,
        "Video unavailable. This video is no longer available due to a copyright claim by X",
        "copyright",
    ),
    (10, "Video unavailable. This video has been removed by the uploader", "removed"),
    (10, "This video has been removed for violating YouTube's Terms of Service", "removed"),
    (10, "Video unavailable. This video isn\u2019t available anymore", "removed"),
    (10, "ERROR: [youtube] abc: This live stream recording is not available.", "removed"),
    (11, "This live event will begin in 3 days.", "upcoming"),
    (11, "Premieres in 2 hours", "upcoming"),
    (12, "This video is DRM protected", "drm"),
    (12, "This video requires payment to watch.", "paid"),
    (
        13,
        "Requested format is not available. Use --list-formats for a list of available formats",
        "no_format",
    ),
    (
        13,
        "ERROR: [youtube] abc: No video formats found!; "
        "please report this issue on https://github.com/yt-dlp",
        "no_format",
    ),
    (
        14,
        "ERROR: [youtube] abc: Failed to extract any player response; "
        "please report this issue on  https://x",
        "extractor",
    ),
    (
        14,
        "KeyError('x'); please report this issue on https://github.com/yt-dlp/yt-dlp/issues",
        "extractor",
    ),
    (
        14,
        "ERROR: [youtube] abc: Video unavailable. "
        "Playback on other websites has been disabled by the video owner",
        "extractor",
    ),
    (
        14,
        "ERROR: [youtube] abc: The following content is not available on this app.. "
        "Watch on the latest version of YouTube.",
        "extractor",
    ),
    (14, "ERROR: [youtube] abc: The page needs to be reloaded.", "extractor"),
    (15, "ERROR: unable to download video data: HTTP Error 403: Forbidden", "forbidden"),
    (16, "HTTP Error 500: Internal Server Error", "network"),
    (16, "HTTP Error 503: Service Unavailable", "network"),
    (16, "The read operation timed out", "network"),
    (16, "1034 bytes read, 20000 more expected", "network"),
    (16, "Did not get any data blocks", "network"),
    (16, "The downloaded file is empty", "network"),
    (16, "content too short (expected 20 bytes and served 10)", "network"),
    (16, "<urlopen error [Errno 111] Connection refused>", "network"),
    (
        16,
        "('Unable to connect to proxy', OSError('Tunnel connection failed: 404 Not Found'))",
        "network",
    ),
    (16, "HTTP Error 407: Proxy Authentication Required", "network"),
    (17, "ERROR: ffmpeg exited with code 8", "ffmpeg"),
    (18, "unable to write data: [Errno 28] No space left on device", "local"),
    (
        18,
        "ERROR: unable to open for writing: [Errno 13] Permission denied: '/data/x.part'",
        "local",
    ),
    (18, "OSError: [Errno 5] Input/output error", "local"),
    (18, "unable to create directory [Errno 24] Too many open files: '/data/a'", "local"),
    (18, "unable to rename file: [Errno 116] Stale file handle", "local"),
    (18, "ERROR: Postprocessing: /data/x.temp.mp4: No space left on device", "local"),
    (18, "ERROR: Postprocessing: ffprobe and ffmpeg not found", "local"),
    (18, "'/a/c.txt' does not look like a Netscape format cookies file", "local"),
    (18, "failed to load cookies", "local"),
    (19, "ERROR: Postprocessing: Conversion failed!", "merge"),
    (19, "ERROR: Postprocessing: Invalid data found when processing input", "merge"),
    (20, "ERROR: [youtube] abc: Video unavailable", "unavailable"),
    (20, "This channel does not exist", "unavailable"),
    (21, "HTTP Error 404: Not Found", "gone"),
    (21, "HTTP Error 410: Gone", "gone"),
    (21, "flickr: stat: fail, not a video", "gone"),
    (21, 'ERROR: [flickr] 2333478006: Photo "2333478006" not found (invalid ID)', "gone"),
    (21, "ERROR: [flickr] 2333478006: Photo not found", "gone"),
    (22, "something new", "unknown"),
    (22, "", "unknown"),
]


@pytest.mark.parametrize(("row", "text", "reason"), TEXTS)
def test_text_gives_reason(row, text, reason):
    assert classify(text) == reason
    assert classify(text.upper()) == reason


def test_texts_as_yt_dlp_could_print_them():
    lines = (DATA / "downloader_texts.txt").read_text().splitlines()[1:]
    pairs = [line.split("\t") for line in lines]
    assert len(pairs) > 250
    wrong = [(reason, classify(text), text) for reason, text in pairs if classify(text) != reason]
    assert not wrong


def test_every_reason_that_is_read_from_texts_has_an_example():
    """The examples stand in the order of the table, and so does the code."""
    by_text = [reason.name for reason in REASONS.values() if reason.pattern is not None]
    assert list(dict.fromkeys(reason for _, _, reason in TEXTS)) == [*by_text, "unknown"]
    assert [row for row, _, _ in TEXTS] == sorted(row for row, _, _ in TEXTS)


@pytest.mark.parametrize("first", range(len(TEXTS)))
def test_earlier_row_wins_over_every_later_one(first):
    """Two texts in one: the row that stands higher in the table gives the reason."""
    row, text, reason = TEXTS[first]
    for later_row, later_text, _ in TEXTS[first + 1 :]:
        if later_row > row and text:
            assert classify(f"{later_text} {text}") == reason, (row, later_row)


def test_prefix_id_colours_and_urls_are_ignored():
    assert (
        normalize("\x1b[0;31mERROR:\x1b[0m [youtube] -404_429: Private  video") == "private video"
    )
    assert classify("ERROR: [generic] 404: something else") == "unknown"
    assert classify("Unsupported URL: http://127.0.0.1:4040/404.mp4?x=http-error-403") == "unknown"
    assert classify("file 404abc is odd, 1410 too") == "unknown"


def test_statuses_and_errors_of_the_system_are_not_read_from_a_web_page():
    """A page is written by people: its numbers are no statuses, its disk is not ours."""
    page = "the server sent a web page, expected a video; the page says: "
    for words in (
        "410 people are waiting",
        "Error 404: HTTP Error 404",
        "fopen(/var/x): failed to open stream: Permission denied",
        "[Errno 28] No space left on device",
        "this is not a video site",
        "HTTP Error 403",
    ):
        assert classify(page + words) == "unknown", words
    # The status line counts, whatever the page below it says.
    assert classify(f"HTTP Error 500: Oops; {PAGE_MARK} 404, no space left") == "network"
    assert classify(f"HTTP Error 401: Permission denied; {PAGE_MARK} 410") == "unknown"
    assert classify(f"HTTP Error 404: Not Found; {PAGE_MARK} timetable") == "gone"
    assert classify(page + "This private video") == "private"


def test_which_reasons_are_the_clips_own():
    """When most videos fail for any other reason, the session or the downloader is the cause."""
    assert {reason.name for reason in REASONS.values() if not reason.is_of_clip} == {
        *("bot_check", "rate_limit", "no_format", "extractor", "forbidden", "network", "ffmpeg"),
        *("local", "merge", "unavailable", "unknown"),
    }


PERMANENCE = {
    "permanent": {
        *("private", "removed", "copyright", "gone", "members_only", "account_terminated", "drm"),
        *("paid", "age_restricted", "geo_blocked"),
        *("no_audio", "no_video", "too_short", "too_large", "duplicate"),
        "excluded",
    },
    "confirm": {"unavailable", "corrupt"},
    "transient": {
        *("network", "forbidden", "unknown", "extractor", "ffmpeg", "no_format", "merge"),
    },
    "pause": {"bot_check", "rate_limit"},
    "later": {"upcoming"},
    "stop": {"local"},
}


def test_each_reason_has_its_permanence_and_an_advice():
    found = {}
    for reason in REASONS.values():
        found.setdefault(reason.permanence, set()).add(reason.name)
        assert reason.advice
        assert reason.outlook() in ("permanent", "retry", "confirm")
    assert found == PERMANENCE
    assert find_reason("not a reason yet").permanence == "transient"


def test_what_can_change_a_reason():
    """Credentials, an upgrade of the tools, and which reasons blame the tools of this machine."""
    by_access = {reason.name for reason in REASONS.values() if reason.retry_when == "access"}
    by_upgrade = {reason.name for reason in REASONS.values() if reason.retry_when == "upgrade"}
    assert by_access == {
        *("age_restricted", "private", "members_only", "bot_check", "geo_blocked", "rate_limit")
    }
    assert by_upgrade == {"no_format", "extractor"}
    assert {reason.name for reason in REASONS.values() if reason.is_environment} == {
        *("no_format", "extractor", "forbidden")
    }
    assert {reason.name for reason in REASONS.values() if not reason.has_quick_retries} == {
        "no_format"
    }


@pytest.mark.parametrize("name", ["unavailable", "corrupt"])
def test_a_confirmed_reason_is_permanent(name):
    reason = REASONS[name]
    assert (reason.outlook(), reason.outlook(is_confirmed=True)) == ("confirm", "permanent")
