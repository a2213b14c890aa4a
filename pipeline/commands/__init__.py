"""Commands of ``python -m pipeline``, one module each.

A command module has ``HELP`` (one line), ``add_arguments(parser)`` and ``run(arguments, project) -> int`` (exit code).
"""

NAMES = (
    "doctor",
    "status",
    "missing",
    "retry",
    "reclassify",
    "import",
    "audit",
    "verify",
    "repair",
    "prune",
    "show",
    "refresh",
)


def module_of(name: str) -> str:
    """The name of a command's module: the command's own, which for ``import`` is a word of Python."""
    return "import_clips" if name == "import" else name
