"""Results of test sets with negatives."""

import numpy as np
import pyarrow as pa
import pytest

from eval.results.files import METRICS
from eval.results.summaries import compute_sample_values
from tests.helpers.scoring.score_examples import (
    evaluate_maps,
    loop_average_precision,
    make_row,
    make_samples,
    make_table,
)


def test_without_a_map_of_any_negative_their_metrics_are_not_defined():
    samples = make_samples(10, num_negatives=9)
    maps = np.random.default_rng(0).random((10, 14, 14), np.float32)
    result = evaluate_maps(samples, maps, samples["sample_id"].to_pylist()[:10])[1][0]
    assert (result["n"], result["num_requested"], result["num_negatives"]) == (10, 19, 0)
    assert (
        result["average_precision"] is result["max_f1"] is result["localization_accuracy"] is None
    )


def test_negatives_have_confidence_and_give_average_precision():
    samples = make_samples(10, num_negatives=9)
    ids = samples["sample_id"].to_pylist()
    maps = np.zeros((19, 14, 14), np.float32)
    for i, boxes in enumerate(samples["boxes"].to_pylist()[:10]):
        x1, y1, x2, y2 = (int(14 * v) for v in boxes[0])
        maps[i, y1:y2, x1:x2] = 3  # the right place, sure
    maps[10:] = 0.01 * np.random.default_rng(0).random((9, 14, 14))  # anywhere, unsure
    scores, results = evaluate_maps(samples, maps, ids)
    result = results[0]
    assert (result["n"], result["num_negatives"]) == (19, 9)
    assert result["max_f1"] == 1
    assert result["localization_accuracy"] == 1
    columns = [
        np.array([r[name] or 0 for r in scores]) for name in ("ciou", "confidence", "is_positive")
    ]
    assert result["average_precision"] == pytest.approx(loop_average_precision(*columns))
    assert 0.5 < result["average_precision"] < 1  # SLAVC's sum begins after its first threshold
    negative = next(r for r in scores if not r["is_positive"])
    assert negative["ciou"] is None
    assert 0 < negative["confidence"] < 0.01
    top_quarter = np.sort(np.full((224, 224), 2.0).ravel())[-224 * 56 :].mean()
    flat = evaluate_maps(samples, np.full((19, 2, 2), 2.0), ids)[0][0]["confidence"]
    assert flat == top_quarter
    silent = make_row("a+a", boxes=[], splits=["test"], attributes=[("negative", "true")])
    table = pa.concat_tables([samples, make_table([silent])])
    assert evaluate_maps(table, maps, ids)[1][0]["missing"] == {"no_map": 1}


def test_a_success_is_at_or_above_its_threshold():
    cious = [0.29, 0.3, 0.32, 0.49, 0.5, 0.51]
    rows = [dict.fromkeys(("adaptive_ciou", "median_ciou", "pointing"), 0.0) for _ in cious]
    for row, ciou in zip(rows, cious, strict=True):
        row["ciou"] = ciou
    values = dict(zip(METRICS, compute_sample_values(rows).T.tolist(), strict=True))
    assert values["success_rate_at_30"] == [0, 1, 1, 1, 1, 1]
    assert values["success_rate"] == [0, 0, 0, 0, 1, 1]
