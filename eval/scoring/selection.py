"""Score the maps of a validation split, so that a training run can choose its checkpoint."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from eval.scoring.ground_truth import ground_truths_of
from eval.scoring.protocols import get_protocol
from eval.scoring.score_maps import score_maps

ADAPTIVE_CIOU = "adaptive_ciou"


def score_selection(
    sample_ids: Sequence[str], maps: np.ndarray, *, by: str, samples: pa.Table, box_rule: str
) -> float:
    """Return the score of some maps by which epochs are compared.

    Args:
        sample_ids: n ids, all with ground truth (``count_ground_truth``).
        maps: ``(n, h, w)``.
        by: ``adaptive_ciou`` for its mean, or the name of a protocol for its success rate.
        samples: SAMPLES rows that hold the ids.
        box_rule: the rule of their dataset (``Dataset.box_rule``).

    Returns:
        The score, 0 to 1.
    """
    protocol = get_protocol("earshot" if by == ADAPTIVE_CIOU else by)
    truths = ground_truths_of(samples, box_rule=box_rule)
    scores = score_maps(list(maps), [truths[name] for name in sample_ids], protocol=protocol)

    if by == ADAPTIVE_CIOU:
        return float(scores.adaptive_ciou.mean())
    return float((scores.ciou >= protocol.published_at).mean())


def count_ground_truth(sample_ids: Sequence[str], samples: pa.Table, *, box_rule: str) -> int:
    """Return how many of the samples can be scored, because they have boxes.

    Args:
        sample_ids: the samples in question.
        samples: SAMPLES rows that hold the ids.
        box_rule: the rule of their dataset (``Dataset.box_rule``).
    """
    return len(set(sample_ids) & set(ground_truths_of(samples, box_rule=box_rule)))
