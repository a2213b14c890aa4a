"""Messages between the download engine and its worker processes.

Both sides write one JSON object a line. ``worker_pool.py`` is the engine's side, the room
``worker`` is the other.
"""

from typing import Any, NotRequired, TypedDict

from pipeline.downloads.account.reasons import classify


class ClipRequest(TypedDict):
    """One clip wanted from a video: ``[start_seconds, end_seconds)``, null for the whole video."""

    clip_id: str
    start_seconds: float | None
    end_seconds: float | None
    file_stem: str  # name of its file in the clips folder, without suffix
    # Decode every picture: an earlier file of it was damaged where the usual check does not look.
    needs_full_check: NotRequired[bool]


class FetchRequest(TypedDict):
    """One video to fetch and the clips wanted from it."""

    url: str
    is_linked: bool  # link the user's own file instead of copying it
    work_dir: str  # where the worker puts everything
    clips_dir: str
    clips: list[ClipRequest]


class ClipResult(TypedDict):
    """What became of one clip; without ``clip_id`` it goes into the ledger as it is."""

    clip_id: NotRequired[str]
    outcome: str  # ok or failed

    # If failed:
    reason: NotRequired[str]
    text: NotRequired[str]  # raw
    by: NotRequired[str]  # text: the reason was read from the text; check: seen on the file

    # If ok: path, staged (where it waits, relative to the clips folder), bytes, hashes, facts.
    file: NotRequired[dict[str, Any]]


class FetchAnswer(TypedDict):
    """The results of a ``FetchRequest``, one a clip."""

    clips: list[ClipResult]
    retry_after_seconds: float | None  # what the server said


class FetchError(Exception):
    """A video could not be fetched.

    Attributes:
        text: what the tool or the server said, unchanged.
        reason: name of the reason; None: it must be read from the text.
        retry_after_seconds: what the server said, None if nothing.
    """

    def __init__(
        self, text: str, *, reason: str | None = None, retry_after_seconds: float | None = None
    ):
        super().__init__(text)
        self.text, self.reason, self.retry_after_seconds = text, reason, retry_after_seconds


def make_failure(reason: str | None, text: str) -> ClipResult:
    """Return the result of a clip that failed.

    Args:
        reason: Name of a ``Reason``; None: it is read from the text.
        text: What the tool or the server said, unchanged.
    """
    # `by` says whether the reason was found out or read from a text.
    if reason is not None:
        return {"outcome": "failed", "reason": reason, "text": text, "by": "check"}
    return {"outcome": "failed", "reason": classify(text), "text": text, "by": "text"}
