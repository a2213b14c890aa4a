"""Rows of scores: ids and maps that do not fit, and samples that cannot be scored."""

import numpy as np
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
