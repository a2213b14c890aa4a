"""``earshot.score`` and ``earshot.localize``: they work, or say which file is in the way."""

import subprocess
import sys

import numpy as np
import pytest

import earshot
from earshot.errors import DataError, ParameterError
from tests.helpers.paths import ROOT

BOXES = {"a": [(0.25, 0.25, 0.5, 0.5)], "b": [(0, 0, 1, 1)], "c": [(0.5, 0.5, 1, 1)]}


def make_maps() -> dict[str, np.ndarray]:
    corner = np.zeros((4, 4))
    corner[1, 1] = 1
    return {"a": corner, "b": np.ones((3, 5))}


def test_scores_of_arrays():
    result = earshot.score(make_maps(), BOXES)
    assert (result["n"], result["missing"]) == (2, ["c"])
    assert result["pointing_accuracy"] == 1
    assert result["auc_low"] <= result["auc"] <= result["auc_high"]


@pytest.mark.parametrize(
    ("maps", "boxes", "protocol", "message"),
    [
        ({"d": np.ones((2, 2))}, BOXES, "earshot", "maps: 'd' has no boxes"),
        ({}, BOXES, "earshot", "none of the 3 samples with boxes has a map"),
        ({"a": np.ones(4)}, BOXES, "earshot", r"'a' has shape \(4,\), expected \(height, width\)"),
        ({"a": np.full((2, 2), np.nan)}, BOXES, "earshot", "'a' holds values that are not finite"),
        ({"a": np.ones((2, 2))}, {"a": [(10, 20, 90, 80)]}, "earshot", "from 10 to 90, expected"),
        ({"a": np.ones((2, 2))}, {"a": [(0.5, 0.5, 0.2, 0.3)]}, "earshot", "expected x1 y1 x2 y2"),
        ({"a": np.ones((2, 2))}, {"a": [(0, 0, np.nan, 1)]}, "earshot", "'a' holds values that"),
        ({"a": np.ones((2, 2))}, {"a": [(0, 0, 1)]}, "earshot", r"'a' has shape \(1, 3\)"),
        ({"a": np.ones((2, 2))}, BOXES, "nothing", "unknown protocol 'nothing'"),
        ([np.ones((2, 2))], BOXES, "earshot", "maps is a list, expected a dict by sample id"),
        ({"a": np.eye(2) * 1j}, BOXES, "earshot", "maps: 'a' holds complex128, expected numbers"),
        ({"a": [["x"]]}, BOXES, "earshot", "maps: 'a' holds <U1, expected numbers"),
        ({"a": [[1, 2], [3]]}, BOXES, "earshot", "maps: 'a' cannot become an array"),
        (
            {"a": np.ones((2, 2))},
            {"a": [[0, 0], [1]]},
            "earshot",
            "boxes: 'a' cannot become an arr",
        ),
        ({"a": np.ma.masked_less(np.eye(2), 1)}, BOXES, "earshot", "'a' has masked values"),
        # In float32, all values are one.
        ({"a": 1e9 + np.eye(2)}, BOXES, "earshot", "maps: 'a' has different values, which are one"),
        ({"a": 1e-50 * np.eye(2)}, BOXES, "earshot", "'a' has different values, which are one"),
    ],
)
def test_what_cannot_be_scored_is_told(maps, boxes, protocol, message):
    with pytest.raises((DataError, ParameterError), match=message):
        earshot.score(maps, boxes, protocol=protocol)


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", "i8", "u1", bool, object])
def test_arrays_of_any_numbers_have_one_score(dtype):
    values = np.zeros((5, 4), dtype)[::-1].T
    values[1, 1] = 1
    values.flags.writeable = False
    # As text: with one sample, the ends of intervals are NaN.
    expected = str(earshot.score({"a": np.array(values, np.float32)}, BOXES))
    assert str(earshot.score({"a": values}, BOXES)) == expected
    assert str(earshot.score({"a": values.tolist()}, BOXES)) == expected


@pytest.mark.parametrize(
    ("name", "call"), [("eval", "score({}, {})"), ("train", "localize(1, 2, 3)")]
)
def test_a_file_of_the_user_that_hides_a_room_is_named(tmp_path, name, call):
    (tmp_path / f"{name}.py").write_text("print('mine')\n")
    program = f"import sys; sys.path.append({str(ROOT)!r}); import earshot; earshot.{call}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    last_line = done.stderr.strip().splitlines()[-1]
    assert f"is hidden by {tmp_path / name}.py" in last_line and "rename it" in last_line
