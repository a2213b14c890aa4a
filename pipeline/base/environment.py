"""Say in one sentence that a program runs outside of the project's environment.

This module needs nothing but an old Python.
"""

import importlib.util
import sys

_OLDEST_PYTHON = (3, 11)
# A few of the packages; the others are installed together with them.
_PACKAGES = ("yaml", "numpy", "pyarrow", "h5py", "filelock", "av", "click")


def require_environment():
    # type: () -> None
    """End the program with exit code 2 where Python is too old or packages are missing."""
    # Looked for, not imported: importing them all takes seconds.
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if sys.version_info[:2] >= _OLDEST_PYTHON and not missing:
        return

    found = f"the package {missing[0]} is missing" if missing else "it is too old"
    sys.stderr.write(
        f"error: {sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}: {found}, "
        "expected the environment of the project; run `make setup`, then "
        "`source .venv/bin/activate`\n"
    )
    sys.exit(2)
