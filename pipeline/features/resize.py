"""The geometry that cached pictures share: aspect kept, short side given."""

import functools
from fractions import Fraction

import cv2
import numpy as np

from pipeline.kernels.area_averages import average_areas


@functools.lru_cache(maxsize=1024)
def fit_short_side(
    height: int, width: int, *, short_side: int, pixel_aspect: Fraction = Fraction(1)
) -> tuple[int, int]:
    """(height, width) with square pixels and the shown aspect, its short side ``short_side``."""
    shown_width = width * pixel_aspect
    if height <= shown_width:
        return short_side, max(1, round(Fraction(short_side) * shown_width / height))
    return max(1, round(Fraction(short_side) * height / shown_width)), short_side


def resize(image: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Resize ``(H, W)`` or ``(H, W, C)``: area averages when shrinking, bicubic when enlarging."""
    if image.shape[:2] == (height, width):
        return image
    is_shrinking = height <= image.shape[0] and width <= image.shape[1]
    if is_shrinking:
        return average_areas(image, height=height, width=width)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
