"""Samples to score, and published metrics computed sample by sample."""

import numpy as np
import pyarrow as pa

from earshot.tables import SAMPLES


def make_samples(num_samples=20, num_negatives=0):
    rng, rows = np.random.default_rng(0), []
    for i in range(num_samples):
        x, y = rng.uniform(0, 0.6, 2)
        rows.append(
            row(
                f"s{i}",
                boxes=[[x, y, x + 0.3, y + 0.3]],
                splits=["test", "single" if i % 2 else "traffic"],
            )
        )
    for i in range(num_negatives):
        rows.append(
            row(f"s{i}+s{i + 1}", boxes=[], splits=["test"], audio_clip_id=f"clip-s{i + 1}")
        )
    return pa.Table.from_pylist(rows, schema=SAMPLES.columns)


def row(sample_id, *, boxes, splits, audio_clip_id=None, attributes=()):
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


def loop_average_precision(cious, confidences, is_positive):
    """SLAVC's computation, sample by sample."""
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
