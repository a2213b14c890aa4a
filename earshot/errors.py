"""The one root of Earshot's exceptions: whatever a user can cause is an ``EarshotError`` with a one-line message."""

_MAX_QUOTED = 60


def quote(text: str) -> str:
    """Quote a piece of foreign text in an error message: escaped and short."""
    return repr(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "...")


class EarshotError(Exception):
    """Bad input or a failed run, told in one sentence: which file or id, what was found, what was expected.

    Command lines print the message without a traceback and exit with ``exit_code``.
    """

    exit_code = 2


class ParameterError(EarshotError):
    """A key of params.yaml (or of a command line) is unknown, missing or out of range."""


class DataError(EarshotError):
    """A list, annotation, table or shard is not what its format says."""


class MediaError(EarshotError):
    """A media file cannot give what was asked of it.

    ``reason`` is the machine-readable name that ends up in manifests and indexes (``corrupt``, ``no_audio``,
    ``no_video``, ``too_short``, ...); the message says it in words.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason

    def __reduce__(self):
        return type(self), (self.reason, str(self))


class RunError(EarshotError):
    """A stage did its work but the result must not be used: too many failures, a failed check."""

    exit_code = 1
