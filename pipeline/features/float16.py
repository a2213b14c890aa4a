"""Fast rounding of float32 arrays to float16, for arrays that are stored."""

import cv2
import numpy as np

_MIN_SIZE = 64  # OpenCV takes an array of up to four numbers for one pixel


def to_float16(array: np.ndarray) -> np.ndarray:
    """Return the bits of ``array.astype(np.float16)`` in a fraction of its time.

    NumPy converts one value after the other, and values that are subnormal in float16 twenty times
    more slowly still; flow of still pictures (1e-9 pixels) is full of them. OpenCV converts
    vectors. Both round to nearest, ties to even.

    Args:
        array: float32, any shape.

    Returns:
        float16, the same shape.
    """
    # For few values the calls cost more than they save.
    if array.size < _MIN_SIZE:
        return array.astype(np.float16)
    # Rounding does not depend on the order in memory, so a transposed array need not be copied.
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        return to_float16(array.T).T

    # OpenCV reads a third axis as channels, whose number it limits. Two axes avoid that.
    rows = np.ascontiguousarray(array, np.float32).reshape(array.shape[0], -1)
    # OpenCV's `convertTo` does not exist in Python. A product with 1 in another type is the same.
    rounded = cv2.multiply(rows, 1.0, dtype=cv2.CV_16F)  # type: ignore[call-overload]
    return rounded.reshape(array.shape)
