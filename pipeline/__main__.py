"""``python -m pipeline COMMAND``, which is the same as ``earshot COMMAND``."""

import sys

if not __package__:  # `python pipeline` instead of `python -m pipeline`
    sys.exit("error: run `python -m pipeline` in the root of a checkout of Earshot")

from pipeline.base.environment import require_environment

require_environment()  # before the imports that need packages

from pipeline.commands import command_line  # noqa: E402


def main(words: list[str] | None = None) -> int:
    """Run one command and return its exit code; an error becomes one line on stderr."""
    return command_line.main(words, name="python -m pipeline")


if __name__ == "__main__":
    sys.exit(main())
