"""Baselines without training: every table must be read against them.

Each map is float32, and larger means more likely; the protocols do the rest.
"""

import zlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from earshot.errors import DataError, ParameterError
from earshot.reader import FeatureReader
from eval.entrants.entrant import Entrant
from eval.entrants.maps import Maps
from eval.scoring.ground_truth import GRID
from pipeline.features.flow import encode_jpeg8

# Name of the baseline -> how its flow is coded (see ``make_flow_map``).
FLOW_BASELINES = {"flow": "signed", "flow_8bit": "flowgrad", "flow_jpeg": "htf"}
FLOW_CODINGS = ("flowgrad", "htf", "signed")
NORMALIZED = "_normalized"  # the end of a name: the same map, scored as a model's map is
BASELINES = (
    "centre",
    "uniform",
    "random",
    *FLOW_BASELINES,
    *(f"{name}{NORMALIZED}" for name in FLOW_BASELINES),
)
# Baselines that need a network; train/inference/object_baseline.py makes them.
NETWORK_BASELINES = ("ogl_l1", "ogl_cls")

# The side of the square that marks about half of the grid, as the median thresholds do.
CENTRE_SIDE = 158


def make_baseline(name: str) -> Entrant:
    """Make the entrant of one baseline.

    ``flow`` is the magnitude of the signed flow, ``flow_8bit`` FlowGrad's coding of it and
    ``flow_jpeg`` Hear The Flow's. These maps are in pixels of motion, which FlowGrad's code does
    not normalize: under its protocol a pixel counts from 0.5 on. ``<name>_normalized`` is the same
    map, min-max normalized as the map of a model is.

    Args:
        name: one of ``BASELINES``.

    Returns:
        An entrant of this name. It reads the feature ``flow`` if its maps are made from flow, and
        no feature otherwise.

    Raises:
        ParameterError: there is no such baseline; the message lists them.
    """
    # These look neither at the picture nor at the sound.
    if name == "centre":
        return Entrant(name, "trivial", lambda ids, readers: [make_centre_map()] * len(ids))
    if name == "uniform":
        return Entrant(name, "trivial", lambda ids, readers: [make_uniform_map()] * len(ids))
    if name == "random":
        return Entrant(
            name,
            "trivial",
            lambda ids, readers: [make_random_map(sample_id) for sample_id in ids],
            seed=0,
        )

    if name not in BASELINES:
        known = ", ".join((*BASELINES, *NETWORK_BASELINES))
        raise ParameterError(f"params: evaluate.baselines has {name!r}, expected some of {known}")

    # With `_normalized` the maps are the same. Only how they are scored differs.
    coding = FLOW_BASELINES[name.removesuffix(NORMALIZED)]

    def predict(sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /) -> Maps:
        """Return the flow maps of the samples; each is computed when it is read."""
        return FlowMaps(sample_ids, readers["flow"], coding=coding)

    return Entrant(
        name,
        "baseline",
        predict,
        reads=("flow",),
        is_absolute=not name.endswith(NORMALIZED),
        method=name,
    )


def make_centre_map() -> np.ndarray:
    """Return a square peak, float32 ``(224, 224)``: 1 in the centre, 0 at the border.

    The centred square of 158x158 pixels is at or above 0.5, and the median thresholds mark exactly
    it (with the next ring of equal values where they include the median). Thresholds at other areas
    mark smaller or larger centred squares.
    """
    # Offsets from the centre in pixels: -111.5 to 111.5.
    offset = np.abs(np.arange(GRID) - (GRID - 1) / 2)
    ring = np.maximum(offset[:, None], offset[None, :]) - 0.5  # 0 in the centre to 111
    inside, outermost = CENTRE_SIDE // 2, GRID // 2 - 1

    # From 1 to 0.5 within the square, and from below 0.5 to 0 outside of it.
    inner = 1 - 0.5 * ring / inside
    outer = 0.5 * (outermost - ring) / (outermost - inside + 1)
    return np.where(ring < inside, inner, outer).astype(np.float32)


def make_uniform_map() -> np.ndarray:
    """Return ones ``(224, 224)``: every protocol marks the whole image."""
    return np.ones((GRID, GRID), np.float32)


def make_random_map(sample_id: str, *, seed: int = 0, size: int = 14) -> np.ndarray:
    """Return uniform noise ``(size, size)`` that depends on the sample and the seed alone."""
    # A checksum, because Python's own hash of a text differs between processes.
    rng = np.random.default_rng([seed, zlib.crc32(sample_id.encode())])
    return rng.random((size, size), np.float32)


def make_flow_map(flow: np.ndarray, *, coding: str = "signed") -> np.ndarray:
    """Turn optical flow into a map.

    Args:
        flow: ``(2, h, w)``, x and then y, in pixels of the native frame; or ``(1, h, w)``, the
            magnitude. uint8 is flow that has been through an 8-bit JPEG.
        coding: one of ``FLOW_CODINGS``.

            - ``flowgrad``: the magnitude as an 8-bit JPEG (rounded, at most 255), which Pillow
              resizes: whole levels, as FlowGrad's code reads them. It is scored without
              normalization: a pixel counts from 0.5 on.
            - ``htf``: each component through 8 bits, so that every negative component becomes 0
              (motion to the left and upwards is lost), then the magnitude of the rest.
            - ``signed``: the magnitude; nothing is lost.

    Returns:
        float32 ``(224, 224)``.

    Raises:
        DataError: the array has another shape, or there is no such coding.
    """
    if coding not in FLOW_CODINGS:
        known = ", ".join(FLOW_CODINGS)
        raise DataError(f"unknown flow coding {coding!r}, expected one of {known}")

    # HTF's coding needs x and y, which a cached magnitude no longer has.
    flow = np.asarray(flow)
    is_known = flow.ndim == 3 and (len(flow) == 2 or (len(flow) == 1 and coding != "htf"))
    if not is_known:
        expected = "(2, height, width)" + ("" if coding == "htf" else " or (1, height, width)")
        raise DataError(f"flow has shape {flow.shape}, expected {expected}")

    if coding == "flowgrad":
        return _make_flowgrad_map(flow)

    flow = np.asarray(flow, np.float32)
    if coding == "htf":
        # HTF keeps x and y as 8-bit pictures, which erases motion to the left and upwards.
        flow = np.clip(np.rint(flow), 0, 255)
    return cv2.resize(_compute_magnitude(flow), (GRID, GRID))


def _compute_magnitude(flow: np.ndarray) -> np.ndarray:
    flow = np.asarray(flow, np.float32)
    # A cached magnitude has a single channel.
    return flow[0] if len(flow) == 1 else cv2.magnitude(flow[0], flow[1])


def _make_flowgrad_map(flow: np.ndarray) -> np.ndarray:
    """Do what FlowGrad's code does between its flow and its maps."""
    # The cache can hold the authors' picture itself. Coding it again would change it.
    is_stored_picture = len(flow) == 1 and flow.dtype == np.uint8
    picture = flow[0] if is_stored_picture else encode_jpeg8(_compute_magnitude(flow))
    # Pillow's default: bicubic over the whole area of a pixel, in 8 bits.
    return np.asarray(Image.fromarray(picture).resize((GRID, GRID)), np.float32)


class FlowMaps:
    """Maps of a flow baseline, computed when they are read: thousands would not fit in memory.

    Args:
        sample_ids: ``(n,)``, samples that have flow.
        reader: of the feature ``flow``.
        coding: one of ``FLOW_CODINGS``.
    """

    def __init__(self, sample_ids: Sequence[str], reader: FeatureReader, *, coding: str):
        self._sample_ids, self._reader, self._coding = list(sample_ids), reader, coding

    def __len__(self) -> int:
        return len(self._sample_ids)

    def __getitem__(self, position: int, /) -> np.ndarray:
        return make_flow_map(self._reader.read(self._sample_ids[position]), coding=self._coding)
