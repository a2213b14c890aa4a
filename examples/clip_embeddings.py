"""CLIP's embedding of each frame: a feature of your own, which no module of Earshot knows.

In params.yaml, with a model folder of open_clip (docs/features.md):

    variants: [clip-vit_b_32]
    feature_variants:
      clip-vit_b_32: {code: examples.clip_embeddings, folder: weights/clip, sha256: ...}

Needs ``pip install '.[clip]'``.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from earshot.errors import DataError
from earshot.files import sha256_of
from pipeline.features.feature import CodeParameters, Decoded, Extracted, Feature, Moment, Needs
from pipeline.features.frames import resize_frame
from pipeline.media.reader import MediaInfo

VERSION = 1  # raise it when the same parameters give other arrays
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class Parameters(CodeParameters):
    """Of this feature. All of them are parts of the key of every array."""

    folder: str  # with open_clip_config.json and the weights, as model pages of the hub have them
    sha256: str  # of the file of weights


def make_feature(parameters: Parameters) -> Feature:
    """Make the feature; arrays float32 (d,) of length 1, so that a product is a similarity."""
    return Feature(
        name="clip",
        kind="vector",
        version=VERSION,
        parameters=parameters,
        attributes={"layout": "one value for each dimension", "units": "embedding of length 1"},
        needs=find_needs,
        compute=functools.partial(compute, parameters),
    )


def find_needs(moment: Moment, info: MediaInfo) -> Needs:
    """Ask for the frame at the sample's time."""
    return Needs(frame_times=(moment.time_in(info.duration_seconds),))


def compute(parameters: Parameters, moment: Moment, decoded: Decoded) -> Extracted:
    """Embed the frame as open_clip does: with the model's own size, crop and normalization."""
    network, prepare = load_network(parameters.folder, parameters.sha256)
    (frame,) = decoded.frames

    # Pixels of a video need not be square; the network expects those of a photograph.
    side = min(frame.rgb.shape[:2])
    picture = resize_frame(frame.rgb, short_side=side, pixel_aspect=frame.pixel_aspect)
    inputs = prepare(Image.fromarray(picture))[None]
    with torch.inference_mode():
        embedding = network.encode_image(inputs, normalize=True)[0]
    return Extracted(embedding.numpy().astype(np.float32))


@functools.cache
def load_network(folder: str, sha256: str) -> tuple:
    """Load the network and what prepares a picture for it, once in each process."""
    path = Path(folder).expanduser().absolute()
    weights = [path / name for name in _WEIGHTS if (path / name).is_file()]
    if not weights or sha256_of(weights[0]) != sha256:
        names = " or ".join(_WEIGHTS)
        raise DataError(f"{path}: has no {names}, or not the one with sha256 {sha256}")
    network, prepare = open_clip.create_model_from_pretrained(f"local-dir:{path}")
    return network.eval(), prepare
