"""The evaluation protocols of the field by name: which pixels of the 224x224 grid a map marks.

A protocol is an upsampling, a normalization and a threshold. Everything else (``ciou``, success
rate, AUC) is the same for all. Each protocol follows its authors' released code, quirks included,
since the papers do not describe them.

- ``lvs`` (Chen et al. 2021): normalizes as ``1 - minmax(-map)`` in float32 and marks what is
  strictly above the median value.
- ``ezvsl`` (Mo and Morgado 2022): the authors' test script. ``ezvsl_val`` is their training
  script, where it chooses the best checkpoint (on the test set).
- ``htf`` (Fedorishin et al. 2023): as ``lvs``, with ``minmax(map)`` and cubic upsampling.
- ``rcgrad`` (Wu et al. 2022), ``flowgrad`` (Singh et al. 2023): values below the median are set to
  0, then values >= 0.5 are marked. FlowGrad's code prints success at 0.3, its paper says 0.5.
  Both are in the results. FlowGrad's code takes flow, boxes and FlowGrad-H's product as they are:
  nothing normalizes them (``score_maps(is_absolute=True)``).
- ``slavc`` (Mo and Morgado 2022, extended test sets): at or above the median, bicubic, corners
  aligned.
- ``sspl`` (Song et al. 2022): at or above half of the range, so its numbers are not those of a
  median.
- ``sslalignment`` (Senocak et al. 2023): strictly above the median, corners aligned. Its code
  scores VGG-SS as ``lvs`` does. ``sslalignment_adaptive`` and ``sslalignment_adaptive_vggss`` are
  its "cIoU Adap.": strictly above the k-th largest value for k pixels of ground truth: k - 1
  pixels or, with equal values, fewer.
- ``earshot``: the threshold marks as many pixels as the ground truth has, so that no method gains
  by a lucky size.

The median of 50,176 values is ``sorted[25088]``, as in all of that code. A constant map cannot be
normalized. The authors leave its values as they are, and so do the published protocols here: a map
of ones marks everything.
"""

from dataclasses import dataclass

import numpy as np

from earshot.errors import ParameterError
from eval.scoring.ground_truth import NUM_PIXELS

MEDIAN_INDEX = NUM_PIXELS // 2


@dataclass(frozen=True)
class Protocol:
    """How maps are scored."""

    name: str
    upsampling: str  # see ``upsampling.NAMES``
    is_inverted: bool  # normalize as 1 - minmax(-map)
    # above_median, from_median, half_from_median, half_range, own_area, above_own_area
    threshold: str
    published_at: float  # the ciou from which on its authors count a success
    summary: str  # for readers of a report
    # Maps that have a unit of their own are marked from 0.5 on, as they are.
    takes_absolute_maps: bool = False
    # The authors' maps are cosines divided by tau. They are moved from -1/tau .. 1/tau to 0..1
    # before they are normalized, which rounds some to one value.
    tau: float | None = None


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "earshot",
            "cv2_linear",
            False,
            "own_area",
            0.5,
            "bilinear upsampling; as many pixels are marked as the ground truth has (ties are "
            "marked together)",
        ),
        Protocol(
            "lvs",
            "cv2_linear",
            True,
            "above_median",
            0.5,
            "bilinear upsampling (OpenCV); strictly above the median",
        ),
        Protocol(
            "ezvsl",
            "torch_bilinear_corners",
            False,
            "from_median",
            0.5,
            "bilinear upsampling, corners aligned (torch); at or above the median: the authors' "
            "test script",
        ),
        Protocol(
            "ezvsl_val",
            "torch_bicubic",
            False,
            "from_median",
            0.5,
            "bicubic upsampling (torch); at or above the median: the authors' validation during "
            "training",
        ),
        Protocol(
            "htf",
            "cv2_cubic",
            False,
            "above_median",
            0.5,
            "bicubic upsampling (OpenCV); strictly above the median",
        ),
        Protocol(
            "rcgrad",
            "cv2_linear",
            False,
            "half_from_median",
            0.5,
            "bilinear upsampling (OpenCV); values below the median set to 0, then at or above 0.5 "
            "of the range",
        ),
        Protocol(
            "flowgrad",
            "cv2_linear",
            False,
            "half_from_median",
            0.3,
            "as rcgrad; success counted at 0.3 (code) and 0.5 (paper); flow, boxes and the product "
            "of FlowGrad-H are taken as they are, >= 0.5",
            takes_absolute_maps=True,
        ),
        Protocol(
            "slavc",
            "torch_bicubic_corners",
            False,
            "from_median",
            0.5,
            "bicubic upsampling, corners aligned (torch); at or above the median: the authors' "
            "test script with relative predictions",
            tau=0.03,
        ),
        Protocol(
            "sspl",
            "cv2_linear",
            False,
            "half_range",
            0.5,
            "bilinear upsampling (OpenCV); at or above 0.5 of the range",
        ),
        Protocol(
            "sslalignment",
            "torch_bilinear_corners",
            False,
            "above_median",
            0.5,
            "bilinear upsampling, corners aligned (torch); strictly above the median",
        ),
        Protocol(
            "sslalignment_adaptive",
            "torch_bilinear_corners",
            False,
            "above_own_area",
            0.5,
            "bilinear upsampling, corners aligned (torch); strictly above the k-th largest value, "
            "if the ground truth has k pixels",
        ),
        Protocol(
            "sslalignment_adaptive_vggss",
            "cv2_linear",
            False,
            "above_own_area",
            0.5,
            "as sslalignment_adaptive, with bilinear upsampling (OpenCV), as the authors score "
            "VGG-SS",
        ),
    )
}
ALIASES = {"ezvsl_test": "ezvsl"}


def get_protocol(name: str) -> Protocol:
    """Return the protocol of this name.

    Raises:
        ParameterError: lists the known names.
    """
    name = ALIASES.get(name, name)
    if name not in PROTOCOLS:
        raise ParameterError(f"unknown protocol {name!r}, expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def normalize(
    values: np.ndarray, protocol: Protocol, *, low: np.float32, high: np.float32
) -> np.ndarray:
    """Normalize values in the protocol's order of operations, so that they round as published.

    Args:
        values: float32, of any shape.
        protocol: says whether the map is inverted twice.
        low: smallest value of the map.
        high: largest value of the map.

    Returns:
        float32 values from 0 to 1; those of a constant map are as they were.
    """
    # A constant map has no range. The authors' code leaves it, or turns it into 1 - (-value).
    if high - low == 0:
        return np.float32(1) + values if protocol.is_inverted else values
    if protocol.is_inverted:
        # 1 - minmax(-values): -values - min(-values) rounds as high - values does.
        return np.float32(1) - (high - values) / (high - low)
    return (values - low) / (high - low)


def move_to_scores(values: np.ndarray, *, tau: float) -> np.ndarray:
    """Move similarities divided by ``tau`` to scores from 0 to 1, rounded as SLAVC's code does.

    Args:
        values: float32, of any shape.
        tau: the temperature.

    Returns:
        float32, of the same shape.
    """
    return (values - np.float32(-1 / tau)) / np.float32(2 / tau)


def mark_pixels(
    values: np.ndarray,
    protocol: Protocol,
    *,
    median: np.float32,
    low: np.float32,
    high: np.float32,
) -> np.ndarray:
    """Return which values a published protocol marks.

    Protocols compare normalized values: two values can become one when they are normalized.

    Args:
        values: float32, of any shape: all values of one map.
        protocol: any but those whose threshold depends on the ground truth (``own_area``,
            ``above_own_area``).
        median: ``sorted[25088]`` of the values.
        low: smallest value.
        high: largest value.

    Returns:
        bool, of the shape of ``values``.
    """
    # Values well beyond -1..1 are no cosines: they are divided by tau, as those of the authors.
    if protocol.tau is not None and max(-low, high) > 2:
        tau = protocol.tau
        values = move_to_scores(values, tau=tau)
        median, low, high = move_to_scores(np.array([median, low, high]), tau=tau)

    normalized = normalize(values, protocol, low=low, high=high)
    # The median goes through the same arithmetic, so that values equal to it stay equal.
    normalized_median = normalize(np.asarray(median), protocol, low=low, high=high)
    if protocol.threshold == "from_median":
        return normalized >= normalized_median
    if protocol.threshold == "above_median":
        # The code sets what is above the median to 1, and then what is below 1 to 0. A value of 1
        # therefore stays marked even where the median itself is 1.
        return normalized > normalized_median if normalized_median < 1 else normalized >= 1

    if protocol.threshold == "half_range":
        return normalized >= np.float32(0.5)

    assert protocol.threshold == "half_from_median", protocol.threshold
    return normalized >= max(np.float32(0.5), normalized_median)
