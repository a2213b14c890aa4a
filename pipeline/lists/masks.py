"""Masks as text in the samples table: run lengths, so that a table needs no other file.

A mask of 224x224 pixels becomes ``12 5 207 ...``: how many pixels are off, then on, then off,
row by row. The numbers add up to 224 * 224.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from earshot.errors import DataError

SIDE = 224
ATTRIBUTE = "mask"  # of a sample
_DARKEST_ON = 127  # JPEG masks have grey borders


def read_mask(path: Path) -> np.ndarray:
    """Read a picture of a mask: bool ``(224, 224)``; other sizes are resized without blending.

    Any colour counts: a pixel is on if one of its channels is above 127 (or, in a picture whose
    values are 0 and 1, is 1). What is transparent is off.

    Raises:
        DataError: the file is absent or no picture.
    """
    try:
        # Pillow reads many formats, some of them with the help of other programs.
        with Image.open(path, formats=["PNG", "JPEG"]) as picture:
            values = np.asarray(_drop_transparency(picture))
    except FileNotFoundError:
        raise DataError(f"{path}: not found, expected the picture of a mask") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise DataError(f"{path}: not a readable PNG or JPEG") from None

    values = values.reshape(*values.shape[:2], -1).max(axis=2)
    is_on = values > (_DARKEST_ON if values.max(initial=0) > 1 else 0)

    if is_on.shape != (SIDE, SIDE):
        # The same pixels as OpenCV's nearest neighbour takes.
        rows, columns = (np.arange(SIDE) * size // SIDE for size in is_on.shape)
        is_on = is_on[rows][:, columns]
    return is_on


def _drop_transparency(picture: Image.Image) -> Image.Image:
    """Return what a picture shows on black: its opacity is no colour."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, picture).convert("RGB")
    # Pixels of a palette picture are numbers of colours.
    return picture.convert("RGB") if picture.mode == "P" else picture


def encode_mask(mask: np.ndarray) -> str:
    """Return the run lengths of a mask, bool ``(224, 224)``."""
    assert mask.shape == (SIDE, SIDE), mask.shape
    # One pixel that is off goes first, so the first run is of off pixels, maybe none.
    flat = np.concatenate([[False], mask.ravel().astype(bool)])
    edges = np.flatnonzero(np.diff(flat))
    return " ".join(map(str, np.diff([0, *edges, mask.size])))


def decode_mask(text: str, *, where: str) -> np.ndarray:
    """Return the mask of run lengths, bool ``(224, 224)``.

    Args:
        text: of ``encode_mask``.
        where: for the error message, such as ``sample X``.

    Raises:
        DataError: the text holds something else.
    """
    try:
        runs = np.array([int(word) for word in text.split()], np.int64)
    except ValueError:
        runs = np.zeros(0, np.int64)

    if len(runs) == 0 or runs.min() < 0 or runs.sum() != SIDE * SIDE:
        raise DataError(
            f"{where}: the attribute mask holds no run lengths of {SIDE} x {SIDE} pixels"
        )
    # Runs of an odd number are on.
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(SIDE, SIDE)
