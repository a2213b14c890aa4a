"""Pooled features of frames and sounds, by which a model finds the frame of a sound among many."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from earshot.reader import FeatureReader
from train.data.sample_source import SampleSource
from train.inference.predictor import Predictor
from train.models import rcgrad

_BATCH_SIZE = 32


def has_pooled_features(predictor: Predictor) -> bool:
    """Return whether a model's features of frames and of sounds lie in one space."""
    return predictor.model.has_similarity or isinstance(predictor.model, rcgrad.Model)


@torch.inference_mode()
def embed_pairs(
    predictor: Predictor, sample_ids: Sequence[str], readers: Mapping[str, FeatureReader]
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the features of frames and sounds.

    The features of a frame's places are averaged. Papers do not say how they pool.

    Args:
        predictor: of a model for which ``has_pooled_features`` holds.
        sample_ids: which samples.
        readers: of the features that the model reads.

    Returns:
        Of frames and of sounds, float32 ``(n, c)``.
    """
    readers = {name: readers[name] for name in predictor.reads}
    source = SampleSource(sample_ids, readers, input_format=predictor.model.input_format)

    frames, sounds = [], []
    for first in range(0, len(source), _BATCH_SIZE):
        places = range(first, min(first + _BATCH_SIZE, len(source)))
        embeddings = predictor.model.embed(predictor.prepare(source[(0, places)]))
        visual = embeddings["visual"]
        frames.append(visual.mean((2, 3)) if visual.ndim == 4 else visual)
        sounds.append(embeddings["audio"])
    return tuple(torch.cat(parts).float().cpu().numpy() for parts in (frames, sounds))
