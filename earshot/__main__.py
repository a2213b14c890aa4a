"""``earshot COMMAND``: run a command of the rooms above, or say what it lacks."""

import sys
from pathlib import Path

from earshot.errors import DataError, EarshotError
from earshot.upper_rooms import import_room

_ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run the command of this process and return its exit code."""
    try:
        _require_own_checkout(Path.cwd())
        return import_room("pipeline.commands.command_line").main()
    except EarshotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _require_own_checkout(folder: Path) -> None:
    """Refuse to work on a checkout with the code of another one.

    Raises:
        DataError: ``folder`` is a checkout, and this program is not of it.
    """
    # The code of another checkout can have other tables: its results would not be those of this
    # one.
    is_checkout = (folder / "pipeline" / "commands" / "command_line.py").exists()
    if is_checkout and folder.resolve() != _ROOT:
        raise DataError(
            f"{folder} is a checkout, but this `earshot` runs the code of {_ROOT}; run "
            "`python -m pipeline` here, or the `earshot` of this checkout's environment"
        )


if __name__ == "__main__":
    sys.exit(main())
