"""Samples to score, the scoring of maps on them, and a published metric as a plain loop."""

import numpy as np
import pyarrow as pa

from earshot.tables import SAMPLES
from eval.published.test_sets import find_subset_ids
from eval.results.model_results import evaluate_model
from eval.results.model_scores import ModelMaps


class ArrayReader:
    """A feature reader with the arrays of some samples; the others have the reason "gone"."""

    def __init__(self, arrays, **attributes):
        self._arrays, self._attributes = arrays, attributes

    def __contains__(self, sample_id):
        return sample_id in self._arrays

    def reason(self, sample_id):
        return "gone"

    def read(self, sample_id):
        return self._arrays[sample_id]

    def read_attributes(self, sample_id):
        return self._attributes


def make_samples(num_samples=20, num_negatives=0):
    """Make a table SAMPLES: samples ``s0``, ``s1``, ... with one box, then negatives ``s0+s1``."""
    rng, rows = np.random.default_rng(0), []
    for i in range(num_samples):
        x, y = rng.uniform(0, 0.6, 2)
        splits = ["test", "single" if i % 2 else "traffic"]
        rows.append(make_row(f"s{i}", boxes=[[x, y, x + 0.3, y + 0.3]], splits=splits))

    for i in range(num_negatives):
        audio_clip_id = f"clip-s{i + 1}"
        rows.append(
            make_row(f"s{i}+s{i + 1}", boxes=[], splits=["test"], audio_clip_id=audio_clip_id)
        )
    return make_table(rows)


def make_row(sample_id, *, boxes, splits, audio_clip_id=None, attributes=()):
    """Make one row of the table SAMPLES."""
    return {
        "sample_id": sample_id,
        "clip_id": f"clip-{sample_id}",
        "time_seconds": 1.0,
        "splits": splits,
        "label": None,
        "boxes": boxes,
        "box_annotators": [0] * len(boxes),
        "audio_clip_id": audio_clip_id,
        "attributes": list(attributes),
    }


def make_table(rows):
    """Make a table SAMPLES of rows."""
    return pa.Table.from_pylist(rows, schema=SAMPLES.columns)


def evaluate_maps(
    samples,
    maps,
    sample_ids,
    *,
    dataset="sample",
    model="m",
    subsets=("test",),
    protocols=("earshot",),
    num_resamples=100,
    **facts,
):
    """Evaluate maps on subsets of ``samples``; ``facts`` are further fields of ``ModelMaps``."""
    return evaluate_model(
        ModelMaps(model, dataset, sample_ids, maps, **facts),
        samples,
        test_sets={subset: find_subset_ids(samples, subset) for subset in subsets},
        protocols=protocols,
        num_resamples=num_resamples,
    )


def loop_average_precision(cious, confidences, is_positive):
    """Compute the average precision as SLAVC does, sample by sample."""
    precisions, recalls = [], []
    step = max(1, len(cious) // 200)

    for threshold in np.sort(confidences)[:-1][::-step]:
        right = wrong = missed = 0
        for ciou, confidence, positive in zip(cious, confidences, is_positive, strict=True):
            if confidence >= threshold:
                if positive and ciou >= 0.5:
                    right += 1
                else:
                    wrong += 1
            elif positive:
                missed += 1
        precisions.append(1.0 if right + wrong == 0 else right / (right + wrong))
        recalls.append(1.0 if right + missed == 0 else right / (right + missed))

    best = [max(precisions[i:]) for i in range(len(precisions))]
    return sum(best[i] * (recalls[i + 1] - recalls[i]) for i in range(len(best) - 1))
