"""The exceptions of Earshot. Everything that a user can cause is an ``EarshotError``."""

import errno

# Why a file cannot be read now, whatever is in it. It must not be taken for a damaged one.
READ_ERRORS: frozenset[int] = frozenset(
    [
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ESTALE,
        errno.ENOLCK,
        getattr(errno, "EREMOTEIO", errno.EIO),  # Linux alone has it
    ]
)

_MAX_QUOTED = 60


def quote(text: str) -> str:
    """Return ``text`` escaped, in quotes and shortened, for an error message."""
    return repr(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "...")


class EarshotError(Exception):
    """Bad input or a failed run.

    The message is one sentence that names the file or id, what is there, and what was expected.
    Command lines print it without a traceback and exit with ``exit_code``.
    """

    exit_code = 2


class ParameterError(EarshotError):
    """A key of params.yaml or of a command line is unknown, missing or out of range."""


class DataError(EarshotError):
    """A list, annotation, table or shard does not fit its format."""


class MediaError(EarshotError):
    """A media file cannot be read as requested.

    Attributes:
        reason: Name for manifests and indexes: ``corrupt``, ``no_audio``, ``no_video``,
            ``too_short``, ... The message explains it.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["MediaError"], tuple[str, str]]:
        # By default, pickle would call the class with the message alone.
        return type(self), (self.reason, str(self))


class RunError(EarshotError):
    """A stage ran, but its result must not be used: too many failures, or a failed check."""

    exit_code = 1
