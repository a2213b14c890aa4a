"""Rows of scores: ids and maps that do not fit, and samples that cannot be scored."""

import numpy as np
import pyarrow as pa
import pytest

from earshot.errors import DataError
from tests.helpers.scoring.score_examples import evaluate_maps, make_row, make_table


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m, i: (m, [*i[:-1], i[0]]), r"sample id s0 appears twice \(1 such ids\)"),
        (lambda m, i: (m, [*i[:-1], "x"]), r"sample id x is not in the dataset \(1 such ids\)"),
        (lambda m, i: (m[:-1], i), "19 maps for 20 sample ids"),
        (
            lambda m, i: (m.reshape(20, -1), i),
            r"the map of s0 has shape \(196,\), expected \(height, width\)",
        ),
        (lambda m, i: (m[:, :0], i), r"the map of s0 has shape \(0, 14\)"),
    ],
)
def test_bad_maps_are_refused(samples, ids, maps, spoil, message):
    with pytest.raises(DataError, match=message):
        evaluate_maps(samples, *spoil(maps, ids))


def test_samples_without_ground_truth_count_as_missing():
    rows = [
        make_row("a", boxes=[[0, 0, 0.5, 0.5]], splits=["test"]),
        make_row("b", boxes=[], splits=["test"]),
    ]
    samples = make_table(rows)
    _, results = evaluate_maps(samples, np.ones((2, 7, 7)), ["a", "b"])
    assert (results[0]["n"], results[0]["missing"]) == (1, {"no_ground_truth": 1})


@pytest.mark.parametrize("largest", [2e38, -2e38, 3e38])
def test_values_whose_range_is_infinite_are_no_score(samples, ids, maps, largest):
    """They are finite, but normalizing them gave 0 or NaN, and a success rate without an error."""
    maps = maps.copy()
    maps[3, 0, 0] = largest
    maps[4] *= 1e30  # large, and without harm
    scores, (result,) = evaluate_maps(samples, maps, ids, protocols=("ezvsl",))
    assert result["missing"] == {"not_finite": 1}
    same = evaluate_maps(samples, maps / np.float32(1e30), ids, protocols=("ezvsl",))[0]
    assert scores[4]["ciou"] == pytest.approx(same[4]["ciou"])


def test_a_samples_table_with_an_id_twice_is_refused(samples, ids, maps):
    twice = pa.concat_tables([samples, samples.slice(2, 1)])
    with pytest.raises(DataError, match=r"samples table of sample has s2 twice, expected each id"):
        evaluate_maps(twice, maps, ids)


def test_maps_of_any_size_fit(samples, ids, maps):
    mixed = [*maps[:18], np.ones((1, 1), np.float32), np.ones((3, 40), np.float32)]
    _, (result,) = evaluate_maps(samples, mixed, ids)
    assert (result["n"], result["missing"]) == (20, {})
