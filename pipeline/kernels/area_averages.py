"""Shrinking pictures by area averages: the numbers of ``cv2.resize`` with ``INTER_AREA``, bit for bit, in less time.

A pixel of the smaller picture is the average of what it covers of the larger one, weighted by how much it covers.
OpenCV adds up one number at a time; ``pipeline.kernels.area_kernels`` does the same operations in the same order on vectors.
As with flow, equality is not taken on trust: each process compares both on a small picture before it first uses the
faster one, and stays with OpenCV where a bit differs or where compiled code cannot be kept on disk.
"""

import functools
import math

import cv2
import numpy as np

from pipeline.kernels.checked import load_checked

_MIN_SIDE = 4  # rows that are averaged at once, pixels that are stored at once
_MIN_SHARE = 1e-3  # of a pixel; OpenCV leaves out less


def average_areas(image: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Shrink ``(H, W)`` or ``(H, W, C)`` to at most its size; pictures of three bytes a pixel fast."""
    is_rgb = (
        image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.flags.carray
    )
    is_whole = (
        image.shape[0] % height == 0 and image.shape[1] % width == 0
    )  # OpenCV has fast code for these
    if is_rgb and not is_whole and min(image.shape[0], width) >= _MIN_SIDE:
        average_rows = load_average_rows()
        if average_rows is not None:
            return _average(average_rows, image, height, width)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


@functools.cache
def load_average_rows():
    """The compiled function, or None where OpenCV has to do (see above).

    The first process on a machine compiles for about a second; others load the result.
    """
    from pipeline.kernels.area_kernels import (
        compile_average_rows,  # importing Numba takes long and is not always needed
    )

    return load_checked(compile_average_rows, _is_right)


def _is_right(average_rows) -> bool:
    picture = np.random.default_rng(0).integers(0, 256, (75, 93, 3), dtype=np.uint8)
    return all(
        np.array_equal(
            _average(average_rows, picture, height, width),
            cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA),
        )
        for height, width in ((74, 91), (31, 30))
    )


def _average(average_rows, image: np.ndarray, height: int, width: int) -> np.ndarray:
    stride = image.shape[1] * 3
    end = np.empty(_MIN_SIDE * stride + 1, np.uint8)  # pixels are read as four bytes
    end[:-1] = image[-_MIN_SIDE:].reshape(-1)
    averages = np.empty((height, width, 3), np.uint8)
    x_first, columns, x_weights = find_areas(image.shape[1], width)
    y_areas = find_areas(image.shape[0], height)
    average_rows(
        image.reshape(-1),
        end,
        image.shape[0],
        x_first,
        columns * 3,
        x_weights,
        *y_areas,
        averages.reshape(-1),
    )
    return averages


@functools.lru_cache(maxsize=64)
def find_areas(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of ``size`` pixels in a row each of ``new_size`` covers, and with what weight.

    Pixel i covers ``pixels[first[i]:first[i + 1]]`` (int64) with ``weights`` of the same numbers (float32).
    """
    scale = 1 / (new_size / size)
    first, pixels, weights = [0], [], []
    for index in range(new_size):
        start, stop = index * scale, index * scale + scale
        covered = min(scale, size - start)
        last = min(math.floor(stop), size - 1)
        whole = min(math.ceil(start), last)
        if whole - start > _MIN_SHARE:
            pixels.append(whole - 1)
            weights.append((whole - start) / covered)
        pixels.extend(range(whole, last))
        weights.extend([1 / covered] * (last - whole))
        if stop - last > _MIN_SHARE:
            pixels.append(last)
            weights.append(min(stop - last, 1.0, covered) / covered)
        first.append(len(pixels))
    return np.array(first), np.array(pixels), np.array(weights, np.float32)
