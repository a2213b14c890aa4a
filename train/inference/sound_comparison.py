"""How well each place of a frame fits other sounds than its own: what negative audio needs."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch

from earshot.reader import FeatureReader
from eval.entrants.negative_sounds import SOUND_FEATURES, Sounds
from train.data.collate import collate
from train.data.sample_source import SampleSource
from train.inference.predictor import Predictor

_BATCH_SIZE = 32

Inputs = dict[str, torch.Tensor]


@torch.inference_mode()
def compare_sounds(
    predictor: Predictor,
    sample_ids: Sequence[str],
    readers: Mapping[str, FeatureReader],
    sounds: Sequence[Sounds],
) -> np.ndarray:
    """Compute raw similarities (see ``Localizer.similarity``) of frames and several sounds each.

    The network sees a frame once, and hears a sound once that several samples have.

    Args:
        predictor: of a model with ``has_similarity``.
        sample_ids: which samples.
        readers: of the features that the model reads.
        sounds: what is heard, in place of the samples' own sounds.

    Returns:
        float32 (len(sounds), n, h, w).
    """
    readers = {name: readers[name] for name in predictor.reads}
    source = SampleSource(sample_ids, readers, input_format=predictor.model.input_format)
    memory = _Memory(predictor)

    parts = []
    for first in range(0, len(source), _BATCH_SIZE):
        names = sample_ids[first : first + _BATCH_SIZE]
        inputs = predictor.prepare(source[(0, range(first, first + len(names)))])
        embeddings = predictor.model.embed(inputs)
        # One frame is enough beside the sounds: what they are does not depend on it.
        one_frame = {name: values[:1] for name, values in inputs.items()}
        maps = [
            predictor.model.similarity(embeddings | memory.embed(sound, names, one_frame))
            for sound in sounds
        ]
        parts.append(torch.stack(maps).float().cpu().numpy())
    return np.concatenate(parts, axis=1)


class _Memory:
    """What the network makes of sounds; those that can come again are kept."""

    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        self._kept: dict[Hashable, Inputs] = {}

    def embed(self, sounds: Sounds, sample_ids: Sequence[str], one_frame: Inputs) -> Inputs:
        """Return the features of each sample's sound, samples first."""
        # A sound that no other sample has is known by its place, for this batch.
        keys = [sounds.key(name) for name in sample_ids]
        places = [("place", i) if key is None else key for i, key in enumerate(keys)]
        new = {
            place: name
            for place, name in zip(places, sample_ids, strict=True)
            if place not in self._kept
        }

        found = dict(zip(new, self._compute(sounds, list(new.values()), one_frame), strict=True))
        self._kept |= {key: found[key] for key in keys if key in found}
        features = [found[place] if place in found else self._kept[place] for place in places]
        return {name: torch.stack([one[name] for one in features]) for name in features[0]}

    def _compute(
        self, sounds: Sounds, sample_ids: Sequence[str], one_frame: Inputs
    ) -> list[Inputs]:
        if not sample_ids:
            return []
        feature = next(name for name in self._predictor.reads if name in SOUND_FEATURES)
        arrays = [sounds.read(name) for name in sample_ids]
        heard = self._predictor.prepare(collate({feature: arrays}, ids=sample_ids))
        embedded = self._predictor.model.embed_sounds(one_frame | heard)
        return [
            {name: values[i] for name, values in embedded.items()} for i in range(len(sample_ids))
        ]
