"""List the reasons why a clip is missing: their texts, and what the engine does about them.

``REASONS`` is the whole answer to "how is a 403 classified?": one row a reason. The rest of the
project reads the properties of a row and never compares a reason's name, so that a new reason is
one more row.

The texts are those of yt-dlp, of the sites behind it and of HTTP servers. ``classify`` normalizes
a text and takes the first row whose pattern fits. The order of the rows matters, because one text
often fits several patterns ("Private video. Sign in if you've been granted access"). Sites change
their wording, so the ledger keeps the raw text, and ``earshot reclassify`` can classify it again
without the network.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Permanence = Literal[
    "permanent",  # the engine never attempts the clip again by itself
    "confirm",  # permanent once it was seen twice, at least 20 hours apart
    "transient",  # attempted again after growing delays
    "pause",  # transient; all other clips wait too: the site refuses this machine, not the clip
    "later",  # not published yet; attempted again after a day
    "stop",  # a problem of this machine; the run ends if it lasts
]

_FIND_A_COPY = "nothing; look for a copy and import it"

# The words of this machine's errors (errno), as programs print them. A server can say "permission
# denied" as well. So the text must be about a file, and not the phrase of an HTTP status.
_DENIED = r"(?:permission denied|operation not permitted|file too large)"
_LOCAL = (
    r"no space left|disk is full|disk quota exceeded|read-only file system|input/output error"
    r"|too many open files|stale (?:nfs )?file handle|cannot allocate memory|remote i/o error"
    r"|structure needs cleaning|transport endpoint is not connected"
    rf"|\[errno \d+\] {_DENIED}"
    rf"|^(?!.*http error \d).*(?:(?:/|\bopen|\bwrit|postprocessing:).*{_DENIED}|{_DENIED}: '?/)"
    r"|^memoryerror\b"
    r"|\bff(?:mpeg|probe)\b(?: and ff(?:mpeg|probe))?(?: is| are)? not (?:found|installed)"
    r"|(?:not (?:be )?found|could not be run)\. please install"
    r"|failed to load cookies|netscape format cookies file|could not find \w+ cookies database"
    # A folder that vanished, for example: what yt-dlp does with its own files.
    r"|unable to (?:open for writing|create directory|rename file|open fragment)"
    r"|file locking is not supported"
)

# What ``plain_http`` writes between the status line and the words of a web page.
PAGE_MARK = "the page says:"


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

    # Whether the tools of this machine are the cause if a run fails mostly for this reason.
    is_environment: bool = False

    # Whether the first attempts follow each other quickly. False: the first retry is slow, too.
    has_quick_retries: bool = True

    # Whether the clip itself is the cause. If most videos of a site fail for other reasons, the
    # site refuses this machine, whatever its messages say.
    is_of_clip: bool = False

    # Whether the pattern is also looked for in the words of a web page. A page is written by
    # people: "410 people are waiting" is no status, and its "permission denied" is not ours.
    is_in_pages: bool = True

    # Whether the clip could not be had. False: it is here, and a parameter leaves it out.
    is_failure: bool = True

    def outlook(self, *, is_confirmed: bool = False) -> str:
        """Return ``permanent``, ``confirm`` (one more attempt on another day) or ``retry``."""
        if self.permanence == "permanent" or (self.permanence == "confirm" and is_confirmed):
            return "permanent"
        return "confirm" if self.permanence == "confirm" else "retry"

    def advise(self, *, is_confirmed: bool = False) -> str:
        """Return what a user can do; a confirmed reason needs no further attempt."""
        if self.permanence == "confirm" and is_confirmed:
            return _FIND_A_COPY.replace("nothing", "nothing, as another attempt would not help")
        return self.advice


# In the order in which ``classify`` tries them; docs/downloads.md has the same table in words.
_ROWS = (
    Reason(
        "bot_check",
        "pause",
        "wait, lower download.videos_per_hour, or set download.cookies_path",
        r"confirm (?:that )?you(?:'re| are) not a (?:ro)?bot|\bcaptcha\b"
        r"|your ip (?:address )?is (?:likely being blocked|blocked|unable to access)"
        r"|unusual traffic|suspicious activity|anti-bot challenge"
        r"|verify (?:that )?you(?:'re| are) (?:a )?human|please sign in(?:\.|$)",
        retry_when="access",
    ),
    # To a blocked session, YouTube says of every video that "this content isn't available".
    Reason(
        "rate_limit",
        "pause",
        "wait an hour or more; lower download.videos_per_hour",
        # Of one video it is said with a place, a device, or an owner who shows it to few.
        r"this content (?:isn't|is not) available(?! (?:in|from|on this|right now)\b)"
        r"|\brate[- ]limit|http error 429|too many requests"
        r"|request is (?:blocked|rejected) by server",
        retry_when="access",
    ),
    Reason(
        "private",
        "permanent",
        "nothing; with the cookies of an account that may see it, retry",
        r"private video|this video is private|only available for registered users"
        r"|login (?:is )?required(?!.*\bage-)|login details are needed"
        r"|password[- ]protected|protected by a pass(?:word|code)|protected tweet"
        r"|account is (?:likely either )?private|because of its privacy settings"
        r"|(?:do not have access|do not have permission to (?:view|watch)|^permission denied$)",
        retry_when="access",
        is_of_clip=True,
    ),
    Reason(
        "age_restricted",
        "permanent",
        "set download.cookies_path to an adult account's cookies, then retry",
        r"confirm your age|inappropriate (?:for some users|or offensive)|nsfw tweet requires"
        r"|\b(?:age|adult)[- ](?:restricted|verification|verified)",
        retry_when="access",
        is_of_clip=True,
    ),
    Reason(
        "members_only",
        "permanent",
        "nothing; with a member's cookies, retry",
        r"join this channel|members[- ]only|(?:this channel's members|members of this channel)"
        r"|\b(?:is|available) for subscribers\b|video requires a subscription",
        retry_when="access",
        is_of_clip=True,
    ),
    Reason(
        "account_terminated",
        "permanent",
        _FIND_A_COPY,
        r"account associated with this video has been (?:terminated|closed|suspended|deleted)"
        r"|(?:uploader|user|owner) has (?:closed|deleted) (?:their|his|her) (?:youtube )?account"
        r"|\b(?:account|channel) (?:has been|was) (?:terminated|closed|suspended|deleted|banned)",
        is_of_clip=True,
    ),
    Reason(
        "geo_blocked",
        "permanent",
        "set download.proxy to an address in another country, then retry",
        r"(?:blocked|restricted)(?: it)? in your (?:country|region)"
        r"|(?:n't |not (?:be |made this video )?|un)available (?:in|from) your (?:country|region"
        r"|location|territory)|geo[- ]?(?:restrict|block)|http error 451"
        r"|available to (?:play|watch) in the [\w ]+ only|video is available in \w+ only"
        r"|only licensed to users in",
        retry_when="access",
        is_of_clip=True,
    ),
    Reason(
        "copyright",
        "permanent",
        _FIND_A_COPY,
        r"copyright (?:claim|grounds|infringement)"
        r"|(?:due to|because of) an? (?:copyright|trademark|dmca)\b"
        r"|in response to a report by the copyright",
        is_of_clip=True,
    ),
    Reason(
        "removed",
        "permanent",
        _FIND_A_COPY,
        r"removed by the (?:uploader|user|owner|author)|removed for violating"
        r"|(?:isn't|is not) available anymore"
        r"|\b(?:video|clip|content|broadcast)(?: \S+)? (?:is no longer available|no longer exists)"
        r"|\bvideo (?:\S+ )?(?:has been|was) (?:removed|deleted)"
        r"|live stream recording is not available",
        is_of_clip=True,
    ),
    Reason(
        "upcoming",
        "later",
        "retry after it was shown",
        r"live event will begin|premiere will begin|premieres in|processing this video"
        r"|(?:live event|stream) has not (?:yet )?started|not currently live|live event has ended"
        r"|(?:stream|channel) is offline|(?:not available yet|not yet available)"
        r"|is scheduled to start|still be (?:uploading|processing)|video is processing",
        is_of_clip=True,
    ),
    Reason("drm", "permanent", _FIND_A_COPY, r"drm protect", is_of_clip=True),
    Reason(
        "paid",
        "permanent",
        _FIND_A_COPY,
        r"requires (?:payment|purchase)|purchase or rent"
        r"|available (?:to|for) (?:\w+ )?premium (?:members|users)",
        is_of_clip=True,
    ),
    Reason(
        "no_format",
        "transient",
        "upgrade yt-dlp and its JavaScript runtime (see `doctor`), then retry",
        r"requested format is not available|no video formats found"
        r"|only images are available for download",
        retry_when="upgrade",
        is_environment=True,
        has_quick_retries=False,
    ),
    # The second line is YouTube's answer for every video to a client that is out of date.
    Reason(
        "extractor",
        "transient",
        "upgrade yt-dlp (see `doctor`), then retry",
        r"failed to extract any player response|please report this issue"
        r"|playback on other websites has been disabled"
        r"|(?:n't |not |un)available on this (?:app|device)|from display on this website"
        r"|video player configuration error|challenge solving failed|tls fingerprint"
        r"|the page needs to be reloaded|watch (?:this video )?on the latest version of youtube"
        r"|no longer supported in this application|(?:nsig|signature) extraction failed"
        r"|unable to extract|failed to parse json",
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
        is_in_pages=False,
    ),
    Reason(
        "network",
        "transient",
        "retry",
        r"http error 5\d\d|timed[ -]?out|time[ -]?out|bytes read|did not get any data blocks"
        r"|downloaded file is empty|content too short"
        r"|connection (?:refused|reset|abort(?:ed)?|broken)\b"
        r"|connection was (?:reset|closed|aborted)"
        r"|remote end closed connection|failed to resolve|name or service not known"
        r"|temporary failure in name resolution|network is unreachable|no route to host"
        r"|host (?:is )?unreachable|eof occurred in violation of protocol|conflicting range"
        r"|http error 416|service (?:is )?(?:currently|temporarily) unavailable|throttle limit"
        r"|\[ssl\b|certificate_verify_failed|max retries exceeded|broken pipe|curl: \(\d"
        r"|giving up after \d+ (?:fragment )?retries|fragment \d+ not found|record layer failure"
        # A proxy answers with a status of its own, also 404.
        r"|tunnel connection failed|(?:connect|connection) to proxy|proxyerror"
        r"|http error 407|proxy authentication required",
    ),
    Reason(
        "ffmpeg",
        "transient",
        "retry; if it dominates, see `doctor`",
        r"ffmpeg exited with code",
        is_in_pages=False,
    ),
    Reason(
        "local",
        "stop",
        "free disk space or mend what the text names, then run again",
        _LOCAL,
        is_in_pages=False,
    ),
    # yt-dlp could not join or convert what it fetched: this video alone.
    Reason(
        "merge",
        "transient",
        "retry; if it dominates, see `doctor`",
        r"p(?:ost|re)processing:|conversion failed|invalid data found when processing input",
        is_in_pages=False,
    ),
    Reason(
        "unavailable",
        "confirm",
        "one more attempt on another day confirms it",
        r"video unavailable|does not exist|(?:content|video) not available"
        r"|\bvideo (?:\S+ )?(?:is (?:currently )?(?:not available|unavailable)|isn't available)",
    ),
    # Only the status line of a text counts. For an absent video Flickr answers "stat: fail", and
    # yt-dlp passes on its words: 'Photo "1" not found (invalid ID)'.
    Reason(
        "gone",
        "permanent",
        _FIND_A_COPY,
        r"http error (?:404|410)\b|\bstat(?:us)?\b\W{0,4}fail|stat not ok|not a video"
        r"|\bphoto (?:\W?\d+\W? )?not found\b|no video could be found in this",
        is_of_clip=True,
        is_in_pages=False,
    ),
    Reason("unknown", "transient", "read the text (`missing --format json`), then retry"),
    # Seen on the file that arrived, not read from a text:
    Reason("no_audio", "permanent", "nothing: the file has no sound", is_of_clip=True),
    Reason("no_video", "permanent", "nothing: the file has no moving picture", is_of_clip=True),
    Reason(
        "too_short",
        "permanent",
        "nothing: the video ends before the wanted section does",
        is_of_clip=True,
    ),
    Reason("corrupt", "confirm", "retry once; replace the file if it is your own", is_of_clip=True),
    Reason("too_large", "permanent", "raise download.max_gigabytes, then retry", is_of_clip=True),
    Reason(
        "duplicate",
        "permanent",
        "nothing: another clip has the same bytes (download.allow_duplicates keeps both)",
        is_of_clip=True,
    ),
    Reason(
        "excluded",
        "permanent",
        "nothing: it is here, and exclude_flags of its dataset leaves it out",
        is_of_clip=True,
        is_failure=False,
    ),
)
REASONS = {reason.name: reason for reason in _ROWS}

_PATTERNS = tuple(
    (re.compile(reason.pattern), reason) for reason in _ROWS if reason.pattern is not None
)

_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(r"^\s*error:\s*")
_EXTRACTOR = re.compile(r"^\[[^\]\s]+\]\s*(?:\S+:\s+)?")
# What yt-dlp adds to every answer of Flickr's interface.
_FLICKR_REPORT = re.compile(
    r"^(\[flickr\] \S+ (?:photo .*not found(?: \(invalid id\))?|permission denied"
    r"|service currently unavailable)); please report this issue on .*"
)
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
    text = _FLICKR_REPORT.sub(r"\1", _PREFIX.sub("", text))
    text = _EXTRACTOR.sub("", text)
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
    # A page may hold any words, so its text counts for those reasons only that pages name.
    status_line = normalized.split(PAGE_MARK, 1)[0]
    for pattern, reason in _PATTERNS:
        if pattern.search(normalized if reason.is_in_pages else status_line):
            return reason.name
    return "unknown"


def find_reason(name: str) -> Reason:
    """Return the row of a reason; one that only a newer version knows counts as transient."""
    return REASONS.get(name) or Reason(name, "transient", "retry")
