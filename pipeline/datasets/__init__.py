"""Datasets: one module each, with ``Parameters`` and ``build_tables``; a sixth is one more module."""

import importlib
from pathlib import Path
from types import ModuleType

from earshot.errors import ParameterError

NAMES = ("sample", "local", "flickr", "vggsound", "urbansas")


def load(name: str) -> ModuleType:
    """Import the module of one dataset (and of no other, so that a stage depends on its own dataset alone)."""
    if name not in NAMES:
        raise ParameterError(f"params: datasets has {name!r}, expected one of {', '.join(NAMES)}")
    is_folder = (Path(__file__).parent / name).is_dir()
    return importlib.import_module(
        f"pipeline.datasets.{name}.dataset" if is_folder else f"pipeline.datasets.{name}"
    )
