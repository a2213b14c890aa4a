"""The size of cached pictures and flow: the shown aspect is kept, the short side is given."""

import functools
from fractions import Fraction

import cv2
import numpy as np

from earshot.errors import MediaError

# Of the longer side to the shorter one. A panorama has 10; with 32, frames stay below 10 MB.
_LONGEST_ASPECT = 32


@functools.lru_cache(maxsize=1024)
def fit_short_side(
    height: int, width: int, *, short_side: int, pixel_aspect: Fraction = Fraction(1)
) -> tuple[int, int]:
    """Return the size of a picture with square pixels and a given short side.

    Args:
        height: Of the picture, in stored pixels.
        width: Of the picture, in stored pixels.
        short_side: Of the result, in pixels.
        pixel_aspect: Width over height of a stored pixel.

    Returns:
        ``(height, width)``, with the aspect as shown.

    Raises:
        MediaError: ``corrupt`` when the picture is a strip, which would become too long to hold.
    """
    # Stored pixels need not be square: 720 x 576 may be shown as 16:9.
    shown_width = width * pixel_aspect
    if not 1 <= _LONGEST_ASPECT * shown_width / height <= _LONGEST_ASPECT**2:
        raise MediaError(
            "corrupt",
            f"its picture is {float(shown_width):g} pixels wide and {height} high; expected one "
            f"side at most {_LONGEST_ASPECT} times the other",
        )
    # Fractions are exact: no size depends on how a float was rounded.
    if height <= shown_width:
        return short_side, max(1, round(Fraction(short_side) * shown_width / height))
    return max(1, round(Fraction(short_side) * height / shown_width)), short_side


def resize_stored(image: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Resize an array for the cache: area averages when shrinking, bicubic when enlarging.

    ``(H, W)`` or ``(H, W, C)`` to ``(height, width)`` or ``(height, width, C)``. The drawings of
    ``pictures.resize_shown`` enlarge differently; cached arrays must not.
    """
    if image.shape[:2] == (height, width):
        return image
    is_smaller = height <= image.shape[0] and width <= image.shape[1]
    interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=interpolation)
