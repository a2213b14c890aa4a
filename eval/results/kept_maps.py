"""Keep the maps of an entrant for the page, and find those that look wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from eval.entrants.entrant import Entrant
from eval.entrants.maps import Maps, write_maps

_LOOK_SIDE = 56  # pixels of a foreign map that is kept for looking
_NUM_NAMED = 5  # ids in a sentence


def keep_maps(path: Path, entrant: Entrant, sample_ids: Sequence[str], maps: Maps) -> None:
    """Write the maps of an entrant; without maps, remove the file of an earlier run.

    Maps of other systems can be large and have different sizes. They are scored as they are, but
    only small copies are kept, to look at.

    Args:
        path: of the ``.npz`` file.
        entrant: whose maps they are.
        sample_ids: ``(n,)``.
        maps: n maps.
    """
    if not sample_ids:
        path.unlink(missing_ok=True)
        return
    # Foreign maps can be of any size, and the page only draws them.
    kept = maps if entrant.kind != "external" else _shrink(maps)
    write_maps(path, sample_ids=sample_ids, maps=kept)


def _shrink(maps: Maps) -> Maps:
    arrays = [np.asarray(maps[position], np.float32) for position in range(len(maps))]
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1 and max(arrays[0].shape) <= _LOOK_SIDE:
        return arrays
    size = (_LOOK_SIDE, _LOOK_SIDE)
    return [cv2.resize(array, size, interpolation=cv2.INTER_AREA) for array in arrays]


def find_problems(
    entrant: Entrant, dataset: str, tested_ids: Sequence[str], sample_ids: Sequence[str], maps: Maps
) -> list[dict[str, Any]]:
    """Find samples without a usable map, and maps that are constant.

    Args:
        entrant: whose maps they are.
        dataset: of the samples.
        tested_ids: all samples of the test sets.
        sample_ids: ``(n,)``, those of them that have a map.
        maps: n maps.

    Returns:
        An object of the list ``notes`` (see ``eval.results.files``) for each kind of problem.
    """
    constant, not_finite = [], []
    # One map at a time: some are computed when they are read, and not all fit in memory.
    for position, sample_id in enumerate(sample_ids):
        values = maps[position]
        if not np.isfinite(values).all():
            not_finite.append(sample_id)
        elif np.ptp(values) == 0:
            constant.append(sample_id)

    found = {
        "not_finite": ("has a value that is not finite, and is not scored", not_finite),
        "constant": (
            "has one value everywhere, so that it marks the whole frame or nothing",
            constant,
        ),
    }
    # For our own entrants, the features that they read already tell what is missing.
    if entrant.own_ids is not None:
        absent = [sample_id for sample_id in tested_ids if sample_id not in entrant.own_ids]
        found = {"no_map": ("is missing, and counts as not scored", absent), **found}
    return [
        {
            "model": entrant.name,
            "dataset": dataset,
            "problem": problem,
            "num_samples": len(names),
            "text": f"{entrant.name}, {dataset}: the map of {len(names)} of {len(tested_ids)} "
            f"samples {words}: {_list_ids(names)}.",
        }
        for problem, (words, names) in found.items()
        if names
    ]


def _list_ids(sample_ids: Sequence[str]) -> str:
    more = len(sample_ids) - _NUM_NAMED
    return ", ".join(sample_ids[:_NUM_NAMED]) + (f" and {more} more" if more > 0 else "")
