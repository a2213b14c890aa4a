"""Where the tests find the checkout and the optional folder of foreign lists and media."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
# Golden arrays of networks. Another folder holds those of another salt, which
# `EARSHOT_GOLDEN_SALT` names; ``tests/data/make_golden_*.py`` write it.
GOLDEN_DIR = Path(os.environ.get("EARSHOT_GOLDEN_DIR", DATA))
TRAINING_SCRIPT = ROOT / "tests" / "helpers" / "training" / "training_script.py"
SHARED = Path(os.environ.get("EARSHOT_SHARED", ROOT.parent / "shared"))


def shared_path(*parts: str) -> Path:
    """Return a path in the shared folder; skip the calling test when it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path.name} of the shared folder, which is absent ({path})")
    return path
