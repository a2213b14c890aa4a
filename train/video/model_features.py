"""Make the features that a model reads, as its training data were made."""

from collections.abc import Mapping
from typing import Any

from pipeline.base.parameters import build
from pipeline.features.configure import load_module, restore_feature
from pipeline.features.feature import Feature
from train.inference.predictor import Predictor

# method -> feature -> preset. How the authors' tests prepare sound, for weights that were imported
# and not trained here.
_PUBLISHED_PRESETS = {
    "lvs": {"spectrograms": "lvs"},
    "ezvsl": {"spectrograms": "ezvsl"},
    "htf": {"spectrograms": "htf"},
    "sslalignment": {"spectrograms": "sslalignment"},
    "attention10k": {"waveforms": "soundnet"},
    "ssltie": {"waveforms": "ssltie"},
    "rcgrad": {"waveforms": "rcgrad"},
    "flowgrad_h": {"waveforms": "flowgrad_test"},
    "flowgrad_ic": {"waveforms": "flowgrad_test"},
    "flowgrad_en": {"waveforms": "flowgrad_test"},
}


def make_features(predictor: Predictor, recorded: Mapping[str, Mapping[str, Any]]) -> list[Feature]:
    """Make the features that a model reads.

    Args:
        predictor: Of the model.
        recorded: Feature -> its parameters at training, from ``run_folder.read_features``. A
            feature that is not there gets the parameters of the method's authors.

    Returns:
        The features in the order of ``predictor.reads``.
    """
    presets = _PUBLISHED_PRESETS.get(predictor.method, {})
    features = []
    for name in predictor.reads:
        # Weights that were imported recorded nothing.
        if recorded.get(name):
            features.append(restore_feature(name, recorded[name]))
            continue

        module = load_module(name)
        values = {"preset": presets[name]} if name in presets else {}
        features.append(module.make_feature(build(module.Parameters, values, name)))
    return features
