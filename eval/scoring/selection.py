"""By what a training run chooses its checkpoint, where the split that it selects on has ground truth."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from eval.scoring.ground_truth import ground_truths_of
from eval.scoring.protocols import get_protocol
from eval.scoring.score_maps import score_maps


def mean_adaptive_ciou(
    sample_ids: Sequence[str], maps: np.ndarray, *, samples: pa.Table, box_rule: str
) -> float:
    """Mean adaptive ciou of ``maps`` (n, h, w) for ``sample_ids``, all of which must have ground truth."""
    truths = ground_truths_of(samples, box_rule=box_rule)
    scores = score_maps(
        list(maps), [truths[name] for name in sample_ids], protocol=get_protocol("earshot")
    )
    return float(scores.adaptive_ciou.mean())


def has_ground_truth(sample_ids: Sequence[str], samples: pa.Table, *, box_rule: str) -> bool:
    """Whether every one of the samples can be scored."""
    return set(sample_ids) <= set(ground_truths_of(samples, box_rule=box_rule))
