"""Files of maps: round trip, spellings of ids, and pickles."""

import numpy as np
import pytest

from earshot.errors import DataError
from eval.entrants.maps import read_maps, write_maps

MAPS = np.random.default_rng(0).random((2, 7, 7), np.float32)


def test_maps_round_trip_and_other_spellings_of_ids(tmp_path):
    write_maps(tmp_path / "m.npz", sample_ids=["a", "ü"], maps=MAPS[:2])
    ids, maps = read_maps(tmp_path / "m.npz")
    assert ids == ["a", "ü"]
    np.testing.assert_array_equal(maps, MAPS[:2])
    np.savez(
        tmp_path / "b.npz",
        sample_ids=np.array([b"a", b"b"]),
        maps=(MAPS[:2] * 255).astype(np.uint8),
    )
    assert read_maps(tmp_path / "b.npz")[0] == ["a", "b"]
    np.savez(
        tmp_path / "i.npz", sample_ids=np.array([3908875350]), maps=MAPS[:1].astype(np.float64)
    )
    ids, maps = read_maps(tmp_path / "i.npz")
    assert (ids, maps.dtype) == (["3908875350"], np.float32)
    with pytest.raises(DataError, match="2 sample ids with maps of shape"):
        write_maps(tmp_path / "x.npz", sample_ids=["a", "b"], maps=MAPS[:1])
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    "values", [1e9 + np.eye(4), 1e-50 * np.eye(4), 10**12 + np.eye(4, dtype=int)]
)
def test_a_map_whose_values_float32_cannot_tell_apart_is_refused(tmp_path, values):
    """It would be constant, and a constant map marks the whole frame."""
    other = np.full((4, 4), np.nan if values.dtype.kind == "f" else 3)
    np.savez(tmp_path / "maps.npz", sample_ids=["a", "b"], maps=np.stack([other, values]))
    with pytest.raises(DataError, match=r"maps\.npz: b has different values, which are one value"):
        read_maps(tmp_path / "maps.npz")
