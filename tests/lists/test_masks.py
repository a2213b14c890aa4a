"""Masks: pictures of them, and run lengths."""

import numpy as np
import pytest
from PIL import Image

from earshot.errors import DataError
from pipeline.lists.masks import decode_mask, encode_mask, read_mask


def test_masks_come_back_from_their_run_lengths(tmp_path):
    rng = np.random.default_rng(0)
    for mask in (
        rng.random((224, 224)) > 0.5,
        np.zeros((224, 224), bool),
        np.ones((224, 224), bool),
    ):
        assert np.array_equal(decode_mask(encode_mask(mask), where="x"), mask)

    Image.fromarray(np.eye(448, dtype=np.uint8)).save(tmp_path / "mask.png")  # values 0 and 1
    assert np.array_equal(read_mask(tmp_path / "mask.png"), np.eye(224, dtype=bool))
    (tmp_path / "mask.png").write_text("x")
    with pytest.raises(DataError, match=r"mask\.png: not a readable PNG or JPEG"):
        read_mask(tmp_path / "mask.png")


def test_the_opacity_of_a_mask_is_no_colour(tmp_path):
    expected = np.zeros((224, 224), bool)
    expected[:10, :20] = True
    white = np.where(expected, 255, 0).astype(np.uint8)
    opaque = np.full_like(white, 255)
    for name, channels in {
        "black ground": (white, white, white, opaque),
        "grey and opaque": (white, opaque),
        "transparent ground": (opaque, opaque, opaque, white),
    }.items():
        Image.fromarray(np.stack(channels, axis=2)).save(tmp_path / "mask.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), expected, name)

    palette = Image.fromarray(white).convert("P")
    palette.save(tmp_path / "mask.png", transparency=palette.getpixel((100, 100)))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), expected)
