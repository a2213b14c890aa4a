"""Why a clip is missing: every reason, the texts that mean it, and what the engine does about it.

``REASONS`` is the whole answer to "how is a 403 classified?": one row a reason. The rest of the
project reads the properties of a row and never compares a reason's name, so that a new reason is
one more row.

The texts are those of yt-dlp, of the sites behind it and of HTTP servers. ``classify`` normalizes
a text and takes the first row whose pattern fits. The order of the rows matters, because one text
often fits several patterns ("Private video. Sign in if you've been granted access"). Sites change
their wording, so the ledger keeps the raw text, and ``python -m pipeline reclassify`` can classify
it again without the network.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Permanence = Literal[
    "permanent",  # the engine never attempts the clip again by itself
    "confirm",  # permanent once it was seen on two different days (UTC)
    "transient",  # attempted again after growing delays
    "pause",  # transient; all other clips wait too: the site refuses this machine, not the clip
    "later",  # not published yet; attempted again after a day
    "stop",  # a problem of this machine; the run ends
]

# What the report page says about another attempt.
_OUTLOOK_ON_PAGE: dict[Permanence, str] = {
    "permanent": "permanent",
    "confirm": "once more on another day",
    "transient": "worth a retry",
    "pause": "worth a retry, after a pause",
    "later": "worth a retry, later",
    "stop": "worth a retry, once this machine is in order",
}

_FIND_A_COPY = "nothing; look for a copy and import it"


@dataclass(frozen=True)
class Reason:
    """One reason: how long it lasts, what can change it, and what a user can do."""

    name: str  # as in downloads.parquet and the ledger
    permanence: Permanence
    advice: str  # what a user can do

    # Regular expression on the normalized text; None: seen on the file, not read from a text.
    pattern: str | None = None

    # What makes another attempt worthwhile at once: other credentials or another address
    # ("access"), or other versions of the tools ("upgrade").
    retry_when: Literal["access", "upgrade"] | None = None

    # Whether the tools of this machine are to blame when the reason dominates a run.
    is_environment: bool = False

    # Whether the first attempts follow each other quickly. False: even the first one waits long.
    has_quick_retries: bool = True

    def outlook(self, *, is_confirmed: bool = False) -> str:
        """Return ``permanent``, ``confirm`` (one more attempt on another day) or ``retry``."""
        if self.permanence == "permanent" or (self.permanence == "confirm" and is_confirmed):
            return "permanent"
        return "confirm" if self.permanence == "confirm" else "retry"

    def describe(self, *, is_confirmed: bool = False) -> str:
        """Return the outlook and the advice as the report page prints them."""
        permanence: Permanence = "permanent" if is_confirmed else self.permanence
        return f"{_OUTLOOK_ON_PAGE[permanence]}: {self.advice}"


# In the order in which ``classify`` tries them; docs/downloads.md has the same table in words.
_ROWS = (
    Reason(
        "bot_check",
        "pause",
        "wait, lower download.videos_per_hour, or set download.cookies_path",
        r"confirm you're not a bot|captcha challenge|your ip is likely being blocked",
        retry_when="access",
    ),
    Reason(
        "rate_limit",
        "pause",
        "wait an hour or more; lower download.videos_per_hour",
        r"this content isn't available, try again later|rate-limited by youtube"
        r"|http error 429|too many requests",
        retry_when="access",
    ),
    Reason(
        "private",
        "permanent",
        "nothing; with the cookies of an account that may see it, retry",
        r"private video|this video is private",
        retry_when="access",
    ),
    Reason(
        "age_restricted",
        "permanent",
        "set download.cookies_path to an adult account's cookies, then retry",
        r"confirm your age|inappropriate for some users|age-restricted",
        retry_when="access",
    ),
    Reason(
        "members_only",
        "permanent",
        "nothing; with a member's cookies, retry",
        r"join this channel|members-only",
        retry_when="access",
    ),
    Reason(
        "account_terminated",
        "permanent",
        _FIND_A_COPY,
        r"account associated with this video has been terminated",
    ),
    Reason(
        "geo_blocked",
        "permanent",
        "set download.proxy to an address in another country, then retry",
        r"blocked it in your country|not made this video available in your country"
        r"|geo restriction|georestrictederror",
        retry_when="access",
    ),
    Reason("copyright", "permanent", _FIND_A_COPY, r"copyright claim"),
    Reason(
        "removed",
        "permanent",
        _FIND_A_COPY,
        r"removed by the uploader|removed for violating|isn't available anymore",
    ),
    Reason("upcoming", "later", "retry after it was shown", r"live event will begin|premieres in"),
    Reason("drm", "permanent", _FIND_A_COPY, r"drm protected"),
    Reason("paid", "permanent", _FIND_A_COPY, r"requires payment"),
    Reason(
        "no_format",
        "transient",
        "upgrade yt-dlp and its JavaScript runtime (see `doctor`), then retry",
        r"requested format is not available|no video formats found",
        retry_when="upgrade",
        is_environment=True,
        has_quick_retries=False,
    ),
    Reason(
        "extractor",
        "transient",
        "upgrade yt-dlp (see `doctor`), then retry",
        r"failed to extract any player response|please report this issue",
        retry_when="upgrade",
        is_environment=True,
    ),
    # Media URLs expire: each attempt extracts a new one.
    Reason(
        "forbidden",
        "transient",
        "retry; if it dominates, upgrade yt-dlp (see `doctor`)",
        r"http error 403",
        is_environment=True,
    ),
    Reason(
        "network",
        "transient",
        "retry",
        r"http error 5\d\d|timed[ -]?out|time[ -]?out|bytes read|did not get any data blocks"
        r"|downloaded file is empty|content too short"
        r"|connection (?:refused|reset|aborted|broken)|connection was (?:reset|closed|aborted)"
        r"|remote end closed connection|failed to resolve|name or service not known"
        r"|temporary failure in name resolution|network is unreachable|no route to host",
    ),
    Reason(
        "ffmpeg", "transient", "retry; if it dominates, see `doctor`", r"ffmpeg exited with code"
    ),
    Reason(
        "local",
        "stop",
        "free disk space or mend what the text names, then run again",
        r"postprocessing:|no space left|disk quota exceeded|read-only file system",
    ),
    Reason(
        "unavailable",
        "confirm",
        "one more attempt on another day confirms it",
        r"video unavailable|does not exist",
    ),
    # Flickr answers an API call for an absent video with "stat: fail".
    Reason(
        "gone",
        "permanent",
        _FIND_A_COPY,
        r"\b404\b|\b410\b|\bstat(?:us)?\b\W{0,4}fail|stat not ok|not a video",
    ),
    Reason("unknown", "transient", "read the text (`missing --format json`), then retry"),
    # Seen on the file that arrived, not read from a text:
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
REASONS = {reason.name: reason for reason in _ROWS}

_PATTERNS = tuple(
    (re.compile(reason.pattern), reason.name) for reason in _ROWS if reason.pattern is not None
)

_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(r"^\s*error:\s*")
_EXTRACTOR = re.compile(r"^\[[^\]\s]+\]\s*(?:\S+:\s+)?")
_URL = re.compile(r"\b(?:https?|file)://\S+")
_APOSTROPHES = str.maketrans(
    {"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u00b4": "'", "`": "'", "\u00a0": " "}
)


def normalize(text: str) -> str:
    """Return a text as the patterns see it: one line, lower case, straight apostrophes.

    Colours, the prefix ``ERROR: [extractor] id:`` and URLs are removed, because ids and URLs are
    data: ``http://host/404.mp4`` must not read as an error 404.
    """
    text = _ANSI_COLOUR.sub("", text).translate(_APOSTROPHES).lower()
    text = " ".join(text.split())
    text = _EXTRACTOR.sub("", _PREFIX.sub("", text))
    return _URL.sub("<url>", text)


@lru_cache(maxsize=4096)
def classify(text: str) -> str:
    """Return the name of the reason that a raw text means.

    Args:
        text: what yt-dlp, a site or a server said, unchanged.

    Returns:
        A key of ``REASONS``; ``unknown`` when no pattern fits.
    """
    normalized = normalize(text)
    for pattern, name in _PATTERNS:
        if pattern.search(normalized):
            return name
    return "unknown"


def find_reason(name: str) -> Reason:
    """Return the row of a reason; one that only a newer version knows counts as transient."""
    return REASONS.get(name) or Reason(name, "transient", "retry")
