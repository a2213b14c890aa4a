"""Score maps that are arrays in memory: what ``earshot.score`` calls."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from earshot.errors import DataError
from eval.entrants.maps import to_float32
from eval.results.summaries import compute_metrics
from eval.scoring.ground_truth import make_ground_truth
from eval.scoring.protocols import get_protocol
from eval.scoring.score_maps import has_finite_range, score_maps

# Published boxes reach a little beyond the frame now and then; pixels reach far beyond 1.
_BOX_TOLERANCE = 0.5
_COLUMNS = ("ciou", "adaptive_ciou", "median_ciou", "pointing")


def score_arrays(
    maps: Mapping[str, np.ndarray],
    boxes: Mapping[str, Sequence[Sequence[float]]],
    *,
    protocol: str = "earshot",
    box_rule: str = "union",
) -> dict[str, Any]:
    """Score maps against boxes; the sample ids are the keys of both.

    Args:
        maps: id -> map (h, w) of any size, larger = more likely.
        boxes: id -> boxes x1 y1 x2 y2, as parts of the frame. Each id is asked for.
        protocol: name of a protocol.
        box_rule: how boxes become ground truth (see ``eval.scoring.ground_truth``).

    Returns:
        ``n``; ``missing``, the ids without a map; each metric and the ends of its interval.

    Raises:
        DataError: a map or a box is wrong, an id of ``maps`` has no boxes, or no id has a map.
        ParameterError: the protocol is unknown.
    """
    chosen = get_protocol(protocol)

    for what, given in (("maps", maps), ("boxes", boxes)):
        if not isinstance(given, Mapping):
            raise DataError(f"{what} is a {type(given).__name__}, expected a dict by sample id")

    # A mistyped id would only make n smaller.
    unknown = [name for name in maps if name not in boxes]
    if unknown:
        raise DataError(f"maps: {unknown[0]!r} has no boxes ({len(unknown)} such ids)")
    ids = [name for name in boxes if name in maps]
    if not ids:
        raise DataError(f"maps: none of the {len(boxes)} samples with boxes has a map")

    scores = score_maps(
        [_check_map(name, maps[name]) for name in ids],
        [make_ground_truth(_check_boxes(name, boxes[name]), rule=box_rule) for name in ids],
        protocol=chosen,
    )
    rows = [
        {"sample_id": name} | {column: float(getattr(scores, column)[row]) for column in _COLUMNS}
        for row, name in enumerate(ids)
    ]
    missing = [name for name in boxes if name not in maps]
    return {"n": len(ids), "missing": missing, **compute_metrics(rows)}


def _check_map(sample_id: str, values: np.ndarray) -> np.ndarray:
    array = _to_numbers("maps", sample_id, values)
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"maps: {sample_id!r} has shape {array.shape}, expected (height, width)")
    if not has_finite_range(array):
        raise DataError(f"maps: {sample_id!r} holds values that are not finite, or too large")
    return to_float32(array[None], names=[f"maps: {sample_id!r}"])[0]


def _check_boxes(sample_id: str, boxes: Sequence[Sequence[float]]) -> np.ndarray:
    array = _to_numbers("boxes", sample_id, boxes).astype(np.float64)
    if array.ndim != 2 or array.shape[1] != 4 or len(array) == 0:
        raise DataError(
            f"boxes: {sample_id!r} has shape {array.shape}, expected (number of boxes, 4)"
        )
    if not np.isfinite(array).all():
        raise DataError(f"boxes: {sample_id!r} holds values that are not finite")
    # Published boxes can leave the frame a little. Those in pixels lie far beyond.
    if array.min() < -_BOX_TOLERANCE or array.max() > 1 + _BOX_TOLERANCE:
        raise DataError(
            f"boxes: {sample_id!r} has values from {array.min():g} to {array.max():g}, expected "
            "parts of the frame, 0 to 1"
        )
    # Corner, width and height instead of two corners would be another box, or none.
    if not (array[:, :2] < array[:, 2:]).all():
        raise DataError(
            f"boxes: {sample_id!r} has a box whose x2 or y2 is not above its x1 or y1: "
            f"{array.tolist()}; expected x1 y1 x2 y2"
        )
    return array


def _to_numbers(what: str, sample_id: str, values: Any) -> np.ndarray:
    """Return an array, also of lists or a tensor, if its values are real numbers.

    Raises:
        DataError: they are not, or some of them are masked.
    """
    # NumPy would take the values below a mask.
    if np.ma.is_masked(values):
        raise DataError(f"{what}: {sample_id!r} has masked values, expected numbers; fill them")
    try:
        array = np.asarray(values)
        # Numbers that came through a table.
        array = array.astype(np.float64) if array.dtype == object else array
    except (ValueError, TypeError, RuntimeError) as error:
        # Rows of different lengths; a tensor with a gradient, on a GPU or in bfloat16.
        reason = " ".join(str(error).split())
        raise DataError(f"{what}: {sample_id!r} cannot become an array: {reason}") from None

    # Floating point, signed, unsigned, boolean; not text or complex numbers.
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what}: {sample_id!r} holds {array.dtype}, expected numbers")
    return array
