"""Shared fixtures: where the optional folder of foreign lists, media and golden numbers is."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("EARSHOT_SHARED", ROOT.parent / "shared"))


def shared_path(*parts: str) -> Path:
    """Path in the shared folder; skips the calling test, with the reason, when it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path.name} of the shared folder, which is absent ({path})")
    return path


@pytest.fixture
def shared():
    """``shared("media", "video_90.mov")`` gives a path or skips."""
    return shared_path
