"""Score an epoch, so that the weights of the best one can be kept."""

from collections.abc import Sequence
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


def name_selection_score(
    parameters: TrainingParameters, score_maps: ScoreMaps | None
) -> str | None:
    """Return the name of the score that compares epochs; None if they are not compared."""
    if parameters.select_on == "last":
        return None
    return "loss" if score_maps is None else parameters.select_by


def make_epoch_score(
    parameters: TrainingParameters,
    source: SampleSource,
    score_maps: ScoreMaps | None,
) -> ScoreEpoch | None:
    """Choose how epochs are compared.

    Args:
        parameters: of the run. With ``select_on: last`` epochs are not compared.
        source: the samples that select.
        score_maps: scores the maps of ``source``. None: the score is minus the validation loss.

    Returns:
        The score of an epoch, the same in all processes, or None for ``select_on: last``.
    """
    if parameters.select_on == "last":
        return None
    if score_maps is None:
        return lambda module: -module.compute_validation_loss()

    def score_epoch(module: TrainingModule) -> float:
        score = None
        # One process scores for all. Rounding differs between GPUs, and all processes must agree
        # on when to stop early.
        if module.trainer.is_global_zero:
            was_training = module.model.training
            device = str(module.device)
            # Maps that select are not mixed with EZ-VSL's map of objects.
            predictor = Predictor(module.model, parameters, device=device, is_guided=False)
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
