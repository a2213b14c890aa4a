"""Score the maps of a validation split, so that a training run can choose its checkpoint."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from eval.scoring.ground_truth import ground_truths_of
from eval.scoring.protocols import get_protocol
from eval.scoring.score_maps import score_maps


def mean_adaptive_ciou(
    sample_ids: Sequence[str], maps: np.ndarray, *, samples: pa.Table, box_rule: str
) -> float:
    """Return the mean adaptive ciou of some maps.

    Args:
        sample_ids: n ids, all with ground truth (``has_ground_truth``).
        maps: ``(n, h, w)``.
        samples: SAMPLES rows that hold the ids.
        box_rule: the rule of their dataset (``Dataset.box_rule``).

    Returns:
        The mean over the samples, 0 to 1.
    """
    truths = ground_truths_of(samples, box_rule=box_rule)
    scores = score_maps(
        list(maps), [truths[name] for name in sample_ids], protocol=get_protocol("earshot")
    )
    return float(scores.adaptive_ciou.mean())


def has_ground_truth(sample_ids: Sequence[str], samples: pa.Table, *, box_rule: str) -> bool:
    """Return whether all of the samples can be scored.

    Args:
        sample_ids: the samples in question.
        samples: SAMPLES rows that hold the ids.
        box_rule: the rule of their dataset (``Dataset.box_rule``).

    Returns:
        True if each sample has boxes; also for no samples at all.
    """
    return set(sample_ids) <= set(ground_truths_of(samples, box_rule=box_rule))
