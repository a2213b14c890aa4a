"""Score maps of several sources: CAP, PIAP and IoU (metric ``sources`` of ``further_metrics``).

Published evaluations give a model the mixture of the sounds, and it returns a map for each source.
Where a test set has each sound alone, too (``vggsound_duet_apart``), a model that takes a sound
makes one map for each: an easier task, and the row says so. Other models have one map a sample, and
find one source at most.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from earshot.errors import DataError
from eval.entrants.maps import keep_finite
from eval.results.model_scores import ModelMaps
from eval.scoring.ground_truth import GRID
from eval.scoring.metrics import auc, success_rate
from eval.scoring.protocols import MEDIAN_INDEX
from eval.scoring.several_sources import (
    score_duet,
    score_sources,
    swapped_average_precision_as_published,
)
from eval.scoring.upsampling import upsample

# Attributes of samples with several sources: the source of each box, and how pictures are laid out.
SOURCES_ATTRIBUTE, LAYOUT_ATTRIBUTE = "box_sources", "layout"
SOURCE_ATTRIBUTE = "heard_source"  # of a sample with the sound of one source alone
HEARD_ALONE = "each source was heard alone, which is easier than the mixture of the papers"
ONE_MAP = "one map a sample: of two sources, one at most can be found"

Facts = Mapping[str, Mapping[str, str]]  # sample id -> attributes
Boxes = Mapping[str, Sequence[Sequence[float]]]  # sample id -> boxes


@dataclass(frozen=True)
class _Scene:
    """A picture with several sources, and what a model has for it."""

    is_stacked: bool  # two pictures, one above the other
    truths: np.ndarray  # bool (number of sources, 224, 224)
    maps: list[np.ndarray]


def score_several_sources(
    model_maps: ModelMaps, samples: pa.Table, facts: Facts, ids: Sequence[str]
) -> dict[str, Any] | None:
    """Score the maps of the sources of each picture (NoPrior, AVGN).

    Args:
        model_maps: maps of one dataset, and perhaps maps of sources.
        samples: the dataset's whole table SAMPLES.
        facts: sample id -> attributes.
        ids: the samples of a test set that have a map.

    Returns:
        The fields of the metric; None if no sample has several sources.

    Raises:
        DataError: numbers of sources are wrong, or a sample has more maps than sources.
    """
    columns = samples.select(["sample_id", "boxes"]).to_pydict()
    boxes_of = dict(zip(*columns.values(), strict=True))
    mixtures = [name for name in ids if SOURCES_ATTRIBUTE in facts[name]]
    alone = [name for name in ids if SOURCE_ATTRIBUTE in facts[name]]
    scenes = [
        *_find_mixtures(model_maps, facts, boxes_of, mixtures),
        *_find_scenes_of_sounds(model_maps, facts, boxes_of, alone),
    ]
    if not scenes:
        return None

    ious: list[float] = []
    precisions: list[float] = []
    piaps, swapped = [], []
    for scene in scenes:
        if not scene.maps:
            # As in NoPrior, a missing map counts as a miss.
            ious += [0.0] * len(scene.truths)
            precisions += [0.0] * len(scene.truths)
            piaps.append(0.0)
            continue

        # Two pictures, one above the other, are marked half by half.
        scores = (score_duet if scene.is_stacked else score_sources)(scene.maps, scene.truths)
        ious += scores.ious.tolist()
        precisions += scores.average_precisions.tolist()
        piaps.append(scores.piap)
        if not scene.is_stacked:
            swapped.append(_compute_swapped(scene.maps, scene.truths))

    has_source_maps = model_maps.source_maps is not None or bool(alone)
    found = np.array(ious)
    return {
        "n": len(mixtures) + len(alone),
        "num_scenes": len(scenes),
        "num_sources": len(ious),
        "has_source_maps": has_source_maps,
        "cap": float(np.mean(precisions)),
        "piap": float(np.mean(piaps)),
        "iou_at_30": success_rate(found, at=0.3),
        "iou_at_50": success_rate(found, at=0.5),
        "auc": auc(found),
        # AVGN's code swaps truth and prediction. Compare this value only with that paper.
        "piap_swapped_as_published": float(np.mean(swapped)) if swapped else None,
        "note": HEARD_ALONE if alone else None if has_source_maps else ONE_MAP,
    }


def _find_mixtures(
    model_maps: ModelMaps, facts: Facts, boxes_of: Boxes, ids: Sequence[str]
) -> Iterator[_Scene]:
    """Yield samples whose sound is the sum of several."""
    position_of = {name: i for i, name in enumerate(model_maps.sample_ids)}
    for name in ids:
        is_stacked = facts[name].get(LAYOUT_ATTRIBUTE) == "stacked"
        sources = _read_numbers(name, facts[name], SOURCES_ATTRIBUTE, num=len(boxes_of[name]))
        truths = _make_source_truths(
            sources, boxes_of[name], num_sources=max(sources) + 1, is_stacked=is_stacked
        )
        maps = _read_source_maps(model_maps, position_of[name], num_sources=len(truths))
        yield _Scene(is_stacked, truths, maps)


def _find_scenes_of_sounds(
    model_maps: ModelMaps, facts: Facts, boxes_of: Boxes, ids: Sequence[str]
) -> Iterator[_Scene]:
    """Yield pictures whose sources are heard one by one: each sample has the map of one source."""
    position_of = {name: i for i, name in enumerate(model_maps.sample_ids)}
    # All samples of a picture, since a sample without a map is a source without one.
    members: dict[str, dict[int, str]] = {facts[name].get("picture", name): {} for name in ids}
    for name, attributes in facts.items():
        picture = attributes.get("picture", name)
        if SOURCE_ATTRIBUTE in attributes and picture in members:
            (source,) = _read_numbers(name, attributes, SOURCE_ATTRIBUTE, num=1)
            members[picture][source] = name

    for names in members.values():
        ordered = sorted(names)
        sources = [source for source in ordered for _ in boxes_of[names[source]]]
        boxes = [box for source in ordered for box in boxes_of[names[source]]]
        is_stacked = facts[names[ordered[0]]].get(LAYOUT_ATTRIBUTE) == "stacked"
        truths = _make_source_truths(
            sources, boxes, num_sources=ordered[-1] + 1, is_stacked=is_stacked
        )

        found = [position_of[names[source]] for source in ordered if names[source] in position_of]
        maps = [np.asarray(model_maps.maps[place], np.float32) for place in found]
        yield _Scene(is_stacked, truths, [one for one in maps if np.isfinite(one).all()])


def _compute_swapped(maps: Sequence[np.ndarray], truths: np.ndarray) -> float:
    total = np.sum([upsample(one, how="cv2_linear") for one in maps], axis=0)
    is_marked = total >= np.partition(total, MEDIAN_INDEX, None)[MEDIAN_INDEX]
    return swapped_average_precision_as_published(np.asarray(truths.any(axis=0)), is_marked)


def _read_numbers(
    sample_id: str, attributes: Mapping[str, str], attribute: str, *, num: int
) -> list[int]:
    words = attributes[attribute].split()
    if len(words) != num or not all(re.fullmatch("[0-9]{1,2}", word) for word in words):
        expected = (
            f"for each of its {num} boxes" if attribute == SOURCES_ATTRIBUTE else "and no more"
        )
        raise DataError(
            f"sample {sample_id}: {attribute} is {attributes[attribute]!r}, expected the number "
            f"of a source, from 0 on, {expected}"
        )
    return [int(word) for word in words]


def _make_source_truths(
    sources: Sequence[int],
    boxes: Sequence[Sequence[float]],
    *,
    num_sources: int,
    is_stacked: bool,
) -> np.ndarray:
    """Return bool ``(number of sources, 224, 224)``; in stacked pictures, each in its half."""
    truths = np.zeros((num_sources, GRID, GRID), bool)
    for source, box in zip(sources, boxes, strict=True):
        x1, y1, x2, y2 = box
        # Source 0 is the upper half, source 1 the lower one: stretch it to a whole picture.
        if is_stacked:
            y1, y2 = 2 * y1 - source, 2 * y2 - source

        # Halving and doubling must not move a whole pixel.
        corners = np.clip(np.round([x1, y1, x2, y2], 12), 0, 1)
        left, top, right, bottom = (corners * GRID).astype(int)
        truths[source, top:bottom, left:right] = True
    return truths


def _read_source_maps(
    model_maps: ModelMaps, position: int, *, num_sources: int
) -> list[np.ndarray]:
    # A model with one map finds at most one source.
    if model_maps.source_maps is None:
        return keep_finite(np.asarray(model_maps.maps[position])[None])
    maps = keep_finite(model_maps.source_maps[position])
    # Which of them are the sources nobody could say, and the first ones need not be.
    if len(maps) > num_sources:
        raise DataError(
            f"{model_maps.model}: {model_maps.sample_ids[position]} has {len(maps)} maps of "
            f"sources, expected at most {num_sources} (NaN stands for a source without a map)"
        )
    return maps
