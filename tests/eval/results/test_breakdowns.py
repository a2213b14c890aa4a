"""Breakdowns: groups of samples and their results."""

import numpy as np
import pytest

from eval.entrants.baselines import make_centre_map
from eval.results.breakdowns import break_down, group_samples
from pipeline.lists.masks import encode_mask
from tests.helpers.scoring.score_examples import evaluate_maps, make_row, make_table


def make_grouped_samples():
    """Make 30 samples with 1 to 3 boxes of growing size, two classes and two attributes."""
    rows = []
    for i in range(30):
        side = 0.1 + 0.02 * i
        row = make_row(
            f"s{i:02d}",
            boxes=[[0.05, 0.05, 0.05 + side, 0.05 + side]] * (1 + i % 3),
            splits=["vggss_test", "vggss_heard_test" if i % 2 else "vggss_unheard_test"],
            attributes=[
                ("night", str(i % 2)),
                ("source_is_moving", "true" if i < 5 else "false"),
            ],
        )
        rows.append(row | {"label": "dog" if i < 20 else "car"})
    return make_table(rows)


def test_breakdowns_split_a_result_without_losing_a_sample():
    samples = make_grouped_samples()
    ids = samples["sample_id"].to_pylist()
    scores, results = evaluate_maps(
        samples,
        [make_centre_map()] * 29,
        ids[:29],
        dataset="vggsound",
        model="centre",
        subsets=["vggss_test"],
        num_resamples=50,
    )
    groups = {
        by: members
        for dataset in ("vggsound", "urbansas", "sample")  # each knows attributes of its own
        for by, members in group_samples(samples, dataset=dataset).items()
    }
    assert set(groups) == {"num_boxes", "object_size", "class", "heard", "time_of_day", "motion"}
    assert set(groups["num_boxes"]) == {"1", "2", "3 or more"}
    assert set(groups["object_size"]) == {"small", "medium", "large", "huge"}
    assert {g: len(m) for g, m in groups["motion"].items()} == {"moving": 5, "still": 25}
    rows = break_down(scores, groups, subset="vggss_test", ids=ids, num_resamples=50)
    for by in groups:
        parts = [row for row in rows if row["by"] == by]
        assert sum(row["n"] for row in parts) == results[0]["n"] == 29
        assert sum(row["num_requested"] for row in parts) == 30
        mean = sum(row["n"] * row["mean_ciou"] for row in parts) / 29
        assert mean == pytest.approx(results[0]["mean_ciou"])


def test_the_size_of_an_object_is_that_of_its_mask():
    rows = []
    for name, side in (("tiny", 10), ("large", 120), ("huge", 200)):
        mask = np.zeros((224, 224), bool)
        mask[:side, :side] = True
        attributes = [("mask", encode_mask(mask))]
        rows.append(make_row(name, boxes=[], splits=["test"], attributes=attributes))
    groups = group_samples(make_table(rows), dataset="sample")
    assert groups["object_size"] == {"small": ["tiny"], "large": ["large"], "huge": ["huge"]}
    assert "num_boxes" not in groups
