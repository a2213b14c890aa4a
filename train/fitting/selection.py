"""Score an epoch, so that the weights of the best one can be kept."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from train.data.sample_source import SampleSource
from train.fitting.lightning_module import TrainingModule
from train.inference.predictor import Predictor
from train.models.training_parameters import TrainingParameters


class ScoreMaps(Protocol):
    """Score localization maps (n, h, w) of samples against their ground truth; larger is better."""

    def __call__(self, sample_ids: Sequence[str], maps: np.ndarray) -> float: ...


class ScoreEpoch(Protocol):
    """Score the epoch that just ended, after its validation; larger is better."""

    def __call__(self, module: TrainingModule) -> float: ...


def make_epoch_score(
    parameters: TrainingParameters,
    source: SampleSource,
    score_maps: ScoreMaps | None,
    *,
    weights_dir: Path | None,
) -> ScoreEpoch | None:
    """Choose how epochs are compared.

    Args:
        parameters: of the run. With ``select_on: last`` epochs are not compared.
        source: the samples that select.
        score_maps: scores the maps of ``source``. None: the score is minus the validation loss.
        weights_dir: where EZ-VSL's object guidance keeps its classifier.

    Returns:
        The score of an epoch, the same in all processes, or None for ``select_on: last``.
    """
    if parameters.select_on == "last":
        return None
    if score_maps is None:
        return lambda module: -module.compute_validation_loss()

    @functools.cache  # object guidance reads its classifier once, not every epoch
    def make_predictor(module: TrainingModule) -> Predictor:
        device = str(module.device)
        return Predictor(module.model, parameters, device=device, weights_dir=weights_dir)

    def score_epoch(module: TrainingModule) -> float:
        score = None
        # One process scores for all. Rounding differs between GPUs, and all processes must agree
        # on when to stop early.
        if module.trainer.is_global_zero:
            was_training = module.model.training
            predictor = make_predictor(module)
            module.model.eval()

            maps = _predict(predictor, source, batch_size=parameters.batch_size)
            module.model.train(was_training)

            score = float(score_maps(source.sample_ids, maps))
        return module.trainer.strategy.broadcast(score)

    return score_epoch


def _predict(predictor: Predictor, source: SampleSource, *, batch_size: int) -> np.ndarray:
    maps = []
    for first in range(0, len(source), batch_size):
        positions = range(first, min(first + batch_size, len(source)))
        maps.append(predictor.localize(source[(0, positions)]))
    return np.concatenate(maps)
