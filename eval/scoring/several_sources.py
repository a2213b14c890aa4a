"""Several sources at once (Mix and Localize, AVGN, NoPrior): one map for each source.

Duets are two pictures, one above the other, whose sounds are added. The metrics are those of
NoPrior's code: marked pixels are what lies strictly above the median of each half.

Boxes of ``music_duet.json`` and ``music_solo.json`` are x, y, width and height. AVGN's code reads
them as two corners, and half of the boxes are then empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earshot.errors import DataError
from eval.scoring.masks import compute_iou
from eval.scoring.protocols import MEDIAN_INDEX
from eval.scoring.upsampling import upsample, upsample_pair


@dataclass(frozen=True)
class DuetScores:
    """Scores of one duet. A source without a map of its own counts 0."""

    ious: np.ndarray  # float64 (number of sources,), in the order of the maps
    average_precisions: np.ndarray  # the same; their mean over all sources is CAP
    piap: float  # average precision of the sum of the maps, both sources as one


def pixel_average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the average precision of pixels, as scikit-learn's ``average_precision_score``.

    Args:
        truth: bool, of any shape.
        scores: numbers or bool, of the same shape; larger = more likely.

    Returns:
        The average precision; 0 where the truth is empty.
    """
    truth, scores = np.asarray(truth, bool).ravel(), np.asarray(scores, np.float64).ravel()
    num_positives = np.count_nonzero(truth)
    if num_positives == 0:
        return 0.0

    # Pixels of one score are taken together.
    order = np.argsort(-scores, kind="stable")
    is_last_of_value = np.append(np.diff(scores[order]) != 0, True)
    num_right = np.cumsum(truth[order])[is_last_of_value]
    num_taken = np.flatnonzero(is_last_of_value) + 1
    return float(np.sum(np.diff(num_right, prepend=0) / num_positives * num_right / num_taken))


def swapped_average_precision_as_published(truth: np.ndarray, is_marked: np.ndarray) -> float:
    """Return AVGN's average precision, whose code swaps the truth and the prediction.

    For comparison with the numbers of that paper only: it is no average precision of the map.

    Args:
        truth: bool, of any shape: the pixels of the source.
        is_marked: bool, of the same shape: the pixels that the method marks.
    """
    return pixel_average_precision(is_marked, truth)


def mark_halves(pair_map: np.ndarray) -> np.ndarray:
    """Mark what is strictly above the median of each half: bool ``(2, 224, 224)``."""
    return np.stack([_mark_strictly(half) for half in pair_map])


def score_duet(maps: Sequence[np.ndarray], truths: np.ndarray) -> DuetScores:
    """Score the maps of one duet of two pictures, one above the other.

    Each map in turn is matched with the half in which its IoU is larger; the truth of that half is
    then taken.

    Args:
        maps: up to two maps ``(2h, w)`` of the two pictures, the first above the second.
        truths: bool ``(2, 224, 224)``: what sounds in each picture.

    Returns:
        The scores.

    Raises:
        DataError: there are other than one or two maps.
    """
    _check_number(maps, num_sources=2)
    total = np.zeros(truths.shape, np.float32)
    marked = []
    for lowres_map in maps:
        pair_map = upsample_pair(lowres_map)
        total += pair_map
        marked.append(mark_halves(pair_map))

    ious, precisions = _match(marked, truths)
    return DuetScores(ious, precisions, pixel_average_precision(truths, mark_halves(total)))


def score_sources(maps: Sequence[np.ndarray], truths: np.ndarray) -> DuetScores:
    """Score the maps of several sources in one picture (MUSIC duets), as ``score_duet`` does.

    Each map in turn is matched with the source with which its IoU is larger. What lies strictly
    above the median of the picture is marked.

    Args:
        maps: up to k maps ``(h, w)``.
        truths: bool ``(k, 224, 224)``: the sources of the picture.

    Returns:
        The scores; ``piap`` is of all sources as one.

    Raises:
        DataError: there are no maps, or more than sources.
    """
    _check_number(maps, num_sources=len(truths))
    grids = [upsample(one, how="torch_bicubic") for one in maps]
    marked = [np.broadcast_to(_mark_strictly(one), truths.shape) for one in grids]

    ious, precisions = _match(marked, truths)
    merged = _mark_strictly(np.sum(grids, axis=0))
    union = np.asarray(np.any(truths, axis=0))
    piap = pixel_average_precision(union, merged)
    return DuetScores(ious, precisions, piap)


def _check_number(maps: Sequence[np.ndarray], *, num_sources: int) -> None:
    if not 1 <= len(maps) <= num_sources:
        expected = "one or two" if num_sources == 2 else f"1 to {num_sources}"
        raise DataError(f"a duet has {len(maps)} maps, expected {expected}")


def _match(marked: Sequence[np.ndarray], truths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return IoU and average precision of each map with the source that it fits best."""
    left = np.array(truths, bool)
    ious, precisions = np.zeros(len(left)), np.zeros(len(left))
    for number, is_marked in enumerate(marked):
        found = [compute_iou(*masks) for masks in zip(is_marked, left, strict=True)]
        best = int(np.argmax(found))
        ious[number] = found[best]
        precisions[number] = pixel_average_precision(left[best], is_marked[best])
        # A source that has a map is not free for the next one.
        left[best] = False
    return ious, precisions


def _mark_strictly(values: np.ndarray) -> np.ndarray:
    return np.asarray(values > np.partition(values, MEDIAN_INDEX, None)[MEDIAN_INDEX])
