"""Why a clip is missing: the reasons, the patterns that give them, and what each asks for.

The texts are those of yt-dlp, of the sites behind it and of HTTP servers. ``classify`` normalizes a text (curly
apostrophes, colours, the ``ERROR: [extractor] id:`` prefix, case, URLs) and takes the first pattern that fits: the
order matters, since one text often holds several of them ("Private video. Sign in if you've been granted access").
Sites change their wording, so the raw text is kept in the ledger and can be classified again without the network.
"""

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Reason:
    """A reason, what becomes of the clip, and what a user can do.

    ``permanence``:

    - ``permanent``: never attempted again by itself;
    - ``confirm``: permanent once it was found on two different days (UTC);
    - ``transient``: attempted again after growing delays;
    - ``pause``: transient, and everything else waits too (the site refuses this machine, not this clip);
    - ``later``: not there yet; attempted again after a day;
    - ``stop``: this machine's own trouble; the run ends.
    """

    name: str
    permanence: str
    advice: str


_REASONS = (
    Reason(
        "bot_check", "pause", "wait, lower download.videos_per_hour, or set download.cookies_path"
    ),
    Reason("rate_limit", "pause", "wait an hour or more; lower download.videos_per_hour"),
    Reason(
        "private", "permanent", "nothing; with the cookies of an account that may see it, retry"
    ),
    Reason(
        "age_restricted",
        "permanent",
        "set download.cookies_path to an adult account's cookies, then retry",
    ),
    Reason("members_only", "permanent", "nothing; with a member's cookies, retry"),
    Reason("account_terminated", "permanent", "nothing; look for a copy and import it"),
    Reason(
        "geo_blocked",
        "permanent",
        "set download.proxy to an address in another country, then retry",
    ),
    Reason("copyright", "permanent", "nothing; look for a copy and import it"),
    Reason("removed", "permanent", "nothing; look for a copy and import it"),
    Reason("upcoming", "later", "retry after it was shown"),
    Reason("drm", "permanent", "nothing; look for a copy and import it"),
    Reason("paid", "permanent", "nothing; look for a copy and import it"),
    Reason(
        "no_format",
        "transient",
        "upgrade yt-dlp and its JavaScript runtime (see `doctor`), then retry",
    ),
    Reason("extractor", "transient", "upgrade yt-dlp (see `doctor`), then retry"),
    Reason("forbidden", "transient", "retry; if it dominates, upgrade yt-dlp (see `doctor`)"),
    Reason("network", "transient", "retry"),
    Reason("ffmpeg", "transient", "retry; if it dominates, see `doctor`"),
    Reason("local", "stop", "free disk space or mend what the text names, then run again"),
    Reason("unavailable", "confirm", "one more attempt on another day confirms it"),
    Reason("gone", "permanent", "nothing; look for a copy and import it"),
    Reason("unknown", "transient", "read the text (`missing --format json`), then retry"),
    # Found by looking at the file that arrived, not at a text:
    Reason("no_audio", "permanent", "nothing: the file has no sound"),
    Reason("no_video", "permanent", "nothing: the file has no moving picture"),
    Reason("too_short", "permanent", "nothing: the video ends before the wanted section does"),
    Reason("corrupt", "confirm", "retry once; replace the file if it is your own"),
    Reason("too_large", "permanent", "raise download.max_gigabytes, then retry"),
    Reason(
        "duplicate",
        "permanent",
        "nothing: another clip has the same bytes (download.allow_duplicates keeps both)",
    ),
)
REASONS = {reason.name: reason for reason in _REASONS}

# Reasons that say more about this machine's tools than about the clip when they dominate a run.
ENVIRONMENT_REASONS = frozenset({"no_format", "extractor", "forbidden"})

# (row of the table in docs/downloads.md, pattern on the normalized text, reason), in the order of the table.
PATTERNS = tuple(
    (row, re.compile(pattern), reason)
    for row, pattern, reason in (
        (
            1,
            r"confirm you're not a bot|captcha challenge|your ip is likely being blocked",
            "bot_check",
        ),
        (2, r"this content isn't available, try again later|rate-limited by youtube", "rate_limit"),
        (3, r"http error 429|too many requests", "rate_limit"),
        (4, r"private video|this video is private", "private"),
        (5, r"confirm your age|inappropriate for some users|age-restricted", "age_restricted"),
        (6, r"join this channel|members-only", "members_only"),
        (7, r"account associated with this video has been terminated", "account_terminated"),
        (
            8,
            r"blocked it in your country|not made this video available in your country|geo restriction|"
            r"georestrictederror",
            "geo_blocked",
        ),
        (9, r"copyright claim", "copyright"),
        (10, r"removed by the uploader|removed for violating|isn't available anymore", "removed"),
        (11, r"live event will begin|premieres in", "upcoming"),
        (12, r"drm protected", "drm"),
        (12, r"requires payment", "paid"),
        (13, r"requested format is not available|no video formats found", "no_format"),
        (14, r"failed to extract any player response|please report this issue", "extractor"),
        (15, r"http error 403", "forbidden"),
        (
            16,
            r"http error 5\d\d|timed[ -]?out|time[ -]?out|bytes read|did not get any data blocks|"
            r"downloaded file is empty|content too short",
            "network",
        ),
        # Other words of the same row: the connection failed, not the site.
        (
            16,
            r"connection (?:refused|reset|aborted|broken)|connection was (?:reset|closed|aborted)|"
            r"remote end closed connection|failed to resolve|name or service not known|"
            r"temporary failure in name resolution|network is unreachable|no route to host",
            "network",
        ),
        (17, r"ffmpeg exited with code", "ffmpeg"),
        (18, r"postprocessing:|no space left|disk quota exceeded|read-only file system", "local"),
        (19, r"video unavailable|does not exist", "unavailable"),
        (20, r"\b404\b|\b410\b|\bstat(?:us)?\b\W{0,4}fail|stat not ok|not a video", "gone"),
    )
)

_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(r"^\s*error:\s*")
_EXTRACTOR = re.compile(r"^\[[^\]\s]+\]\s*(?:\S+:\s+)?")
_URL = re.compile(r"\b(?:https?|file)://\S+")
_APOSTROPHES = str.maketrans(
    {"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u00b4": "'", "`": "'", "\u00a0": " "}
)


def normalize(text: str) -> str:
    """The text as patterns see it: lower case, straight apostrophes, one line, without prefix, colours and URLs.

    URLs and the id after ``[extractor]`` are data: ``http://host/404.mp4`` must not read as an error 404.
    """
    text = _ANSI_COLOUR.sub("", text).translate(_APOSTROPHES).lower()
    text = " ".join(text.split())
    text = _EXTRACTOR.sub("", _PREFIX.sub("", text))
    return _URL.sub("<url>", text)


@lru_cache(maxsize=4096)
def classify(text: str) -> str:
    """The reason that a raw text stands for; ``unknown`` when no pattern fits."""
    normalized = normalize(text)
    for _, pattern, reason in PATTERNS:
        if pattern.search(normalized):
            return reason
    return "unknown"


def permanence_of(reason: str) -> str:
    """``Reason.permanence`` by name; a reason of a newer version counts as transient."""
    return REASONS[reason].permanence if reason in REASONS else "transient"
