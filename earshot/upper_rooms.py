"""Import what lies above `earshot`: the rooms `pipeline`, `eval` and `train`.

They are packages of common names. A user's own `train.py` or `eval.py` hides them, and then it must
be said which file is in the way.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from earshot.errors import DataError

_ROOT = Path(__file__).resolve().parents[1]


def import_room(name: str) -> ModuleType:
    """Import a module of an upper room, such as ``eval.score_arrays``.

    Args:
        name: The dotted name of the module. Its first part is a folder beside ``earshot``.

    Returns:
        The module.

    Raises:
        DataError: Another file has the name of the room, or a package that it needs is absent.
    """
    room = name.split(".")[0]
    found = _find(room)
    if found is None:
        raise DataError(
            f"{name} needs the project's folder {room!r}, which is not at {_ROOT}; install all of "
            "earshot, or run from a checkout"
        )
    # `eval` and `train` are common names: a folder of the user's own can come first on the path.
    if found != _ROOT / room:
        raise DataError(
            f"{name} is hidden by {found}, which has the name of earshot's folder {room!r}; rename "
            "it, or call this from another folder"
        )

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name} needs the package {error.name}, which is not installed; install earshot[train]"
        ) from error


def _find(room: str) -> Path | None:
    """Return the file or folder that ``import room`` gives."""
    loaded = sys.modules.get(room)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(room)
    if spec is None:
        return None
    # Every package has this, also one without an __init__.py. That one has no origin.
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin or room).resolve()
