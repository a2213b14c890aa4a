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
