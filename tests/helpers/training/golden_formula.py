"""Weights and inputs by formula, so that golden numbers need no checkpoint.

A state dict is filled key by key, in float32 from float64 draws of a generator. The generator is
seeded by a salt and a name. Golden arrays of another salt are compared by

    EARSHOT_GOLDEN_SALT=... EARSHOT_GOLDEN_DIR=... python -m pytest tests/train/models
"""

import os
import zlib
from collections.abc import Mapping

import numpy as np
import torch

from train.models.localizer import Localizer
from train.models.registry import build_parameters, make_model

SALT = os.environ.get("EARSHOT_GOLDEN_SALT", "public")
METHODS = {
    "lvs": {"method": "lvs"},
    "ezvsl": {"method": "ezvsl"},
    "htf_cnn": {"method": "htf", "flow_encoder": "cnn"},
    "htf_maxpool": {"method": "htf", "flow_encoder": "maxpool"},
    "rcgrad": {"method": "rcgrad"},
    "flowgrad_ic": {"method": "flowgrad_ic"},
    "flowgrad_en": {"method": "flowgrad_en"},
}


def generator(name: str, salt: str = SALT) -> np.random.Generator:
    """Return the generator of one name."""
    return np.random.default_rng(zlib.crc32((salt + name).encode()))


def tensor(values) -> torch.Tensor:
    """Turn values into a float32 tensor."""
    return torch.from_numpy(np.asarray(values, np.float32))


def fill_state_dict(
    template: Mapping[str, torch.Tensor], salt: str = SALT
) -> dict[str, torch.Tensor]:
    """Return weights by formula for the keys and shapes of ``template``."""
    return {key: _fill(key, value, salt) for key, value in template.items()}


def _fill(key: str, value: torch.Tensor, salt: str) -> torch.Tensor:
    if key.endswith(("num_batches_tracked", "spectrogram.window")):
        return value.clone()
    draws, shape = generator(key, salt), tuple(value.shape)
    if key.startswith(("pcm.a0.", "pcm.b0.")):
        return tensor(0.5 + 0.1 * draws.standard_normal(shape))
    if len(shape) >= 2:
        return tensor(draws.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:])))
    if key.endswith("running_var"):
        return tensor(draws.uniform(0.5, 1.5, shape))
    if key.endswith(("running_mean", "bias")):
        return tensor(0.1 * draws.standard_normal(shape))
    return tensor(1 + 0.1 * draws.standard_normal(shape))


def make_inputs(salt: str = SALT) -> dict[str, torch.Tensor]:
    """``image``, ``spectrogram``, ``flow``, ``flowmag`` and ``audio``, batch 3."""
    return {
        "image": tensor(generator("image", salt).standard_normal((3, 3, 224, 224))),
        "spectrogram": tensor(generator("spectrogram", salt).standard_normal((3, 1, 257, 300))),
        "flow": tensor(generator("flow", salt).standard_normal((3, 2, 224, 224))),
        "flowmag": tensor(generator("flowmag", salt).uniform(size=(3, 1, 224, 224))),
        "audio": tensor(0.1 * generator("audio", salt).standard_normal((3, 80000))),
    }


def inputs_of(name: str, salt: str = SALT) -> dict[str, torch.Tensor]:
    """The formula inputs under the names that a model reads."""
    inputs = make_inputs(salt)
    if name.startswith(("lvs", "ezvsl", "htf")):
        return {
            "frames": inputs["image"],
            "flow": inputs["flow"],
            "spectrograms": inputs["spectrogram"],
        }
    return {"frames": inputs["image"], "flow": inputs["flowmag"], "waveforms": inputs["audio"]}


def make_formula_model(name: str, salt: str = SALT, **settings) -> Localizer:
    """The published network of one of ``METHODS`` with formula weights, in evaluation mode."""
    model = make_model(build_parameters({**METHODS[name], **settings}, "test"))
    model.load_state_dict(fill_state_dict(model.state_dict(), salt))
    return model.eval()


def make_loss_features(salt: str = SALT) -> tuple[torch.Tensor, torch.Tensor]:
    """Return visual (3, 512, 7, 7) and audio (3, 512) features of unit norm.

    Their similarities spread over 0..0.7.
    """
    normalize = torch.nn.functional.normalize
    audio = normalize(tensor(generator("lossaud", salt).standard_normal((3, 512))), dim=1)
    own, other = audio[:, :, None, None], audio.roll(1, 0)[:, :, None, None]
    visual = normalize(tensor(generator("lossimg", salt).standard_normal((3, 512, 7, 7))), dim=1)
    mix = tensor(generator("mix", salt).uniform(size=(3, 1, 7, 7)))
    mix2 = tensor(generator("mix2", salt).uniform(size=(3, 1, 7, 7)))
    return normalize(visual + mix * own + 0.9 * mix2 * other, dim=1), audio
