"""Networks that are trained already turn clips into vectors: ImageNet's, or that of any run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from earshot.errors import DataError
from earshot.files import sha256_of
from earshot.reader import FeatureReader
from pipeline.base.progress import Progress
from pipeline.features.registry import FEATURES
from train.data.augmentation import prepare_inputs
from train.data.device_copies import move_to
from train.data.feature_readers import describe_features, open_readers
from train.data.sample_source import SampleSource
from train.models.localizer import InputFormat, full_precision
from train.runs.run_folder import MODEL_NAME, read_features, read_model
from train.weights.frozen_networks import attach_classifier, load_classifier

Side = Literal["frames", "sounds"]

IMAGENET = "imagenet"
_IMAGENET_BACKBONE = "resnet18"
_IMAGENET_FORMAT = InputFormat(224, 224)
_PARTS: dict[str, str] = {"frames": "visual", "sounds": "audio"}  # of what a model embeds
_BATCH_SIZE = 64


@dataclass(frozen=True)
class ClipEncoder:
    """A network in evaluation mode that turns frames, or sounds, into vectors."""

    name: str  # as in the parameters of the run
    key: str  # of its weights
    reads: tuple[str, ...]  # names of features
    input_format: InputFormat
    network: nn.Module
    encode: Callable[[dict[str, torch.Tensor]], torch.Tensor]  # inputs -> (n, c) or (n, c, h, w)
    # of sounds that it was trained on: feature -> its parameters; empty where that is not known
    sounds: Mapping[str, Any] = field(default_factory=dict)


def open_encoder(name: str, side: Side, *, weights_dir: Path | None) -> ClipEncoder:
    """Open an encoder.

    Args:
        name: ``imagenet`` (of frames), or the folder of a run.
        side: what it is for.
        weights_dir: folder for fetched weights; None: torch's own.

    Raises:
        DataError: there is no such run, its network has no such vectors, or the weights cannot be
            fetched.
    """
    if name == IMAGENET:
        if side == "sounds":
            raise DataError("sound_encoder imagenet: expected the folder of a run")
        classifier = load_classifier(
            _IMAGENET_BACKBONE, source=IMAGENET, needs_head=False, weights_dir=weights_dir
        ).eval()
        # Fetched weights are compared with their hash, so the name says which they are.
        key = f"{IMAGENET} {_IMAGENET_BACKBONE}"
        return ClipEncoder(
            name,
            key,
            ("frames",),
            _IMAGENET_FORMAT,
            classifier,
            lambda inputs: classifier(inputs["frames"]),
        )

    run_dir = Path(name).expanduser()
    model, _ = read_model(run_dir)
    attach_classifier(model, weights_dir=weights_dir)
    part = _PARTS[side]

    def encode(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        embeddings = model.embed(inputs)
        if part not in embeddings:
            raise DataError(f"{name}: its network has no vectors of {side}")
        return embeddings[part]

    # A run that is trained again has other bytes, and so other lists.
    key = sha256_of(run_dir / MODEL_NAME)
    sounds = {}
    if side == "sounds":
        features = read_features(run_dir)
        sounds = {name: features[name] for name in features if FEATURES[name].is_sound}
    return ClipEncoder(name, key, model.reads, model.input_format, model, encode, sounds)


@torch.inference_mode()
def encode_clips(
    encoder: ClipEncoder,
    sample_ids: list[str],
    features_dirs: Mapping[str, Path],
    *,
    device: torch.device,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Return a vector of unit norm for each sample, float32 (n, c) on ``device``.

    A feature map is averaged over its places.

    Args:
        encoder: of frames or sounds.
        sample_ids: the samples.
        features_dirs: feature -> its folder.
        device: where to compute.
        progress: counts the samples.

    Raises:
        DataError: a feature that the encoder reads is not cached, or not of a sample; or it was
            trained on sounds with other parameters.
    """
    readers = open_readers(features_dirs, encoder.reads)
    _require_cached(encoder, sample_ids, readers)
    _require_same_sounds(encoder, readers)
    source = SampleSource(sample_ids, readers, input_format=encoder.input_format)
    encoder.network.to(device)

    vectors = []
    for first in range(0, len(source), _BATCH_SIZE):
        positions = range(first, min(first + _BATCH_SIZE, len(source)))
        # Epoch 0. It decides crops alone, and here are none.
        batch = move_to(source[(0, positions)], device)
        inputs = prepare_inputs(batch, encoder.input_format, dtype=torch.float32)
        values = full_precision(encoder.encode(inputs))
        values = values.flatten(2).mean(2) if values.ndim > 2 else values
        vectors.append(F.normalize(values, dim=1))
        if progress is not None:
            progress.update(len(positions))
    return torch.cat(vectors)


def _require_cached(
    encoder: ClipEncoder, sample_ids: list[str], readers: Mapping[str, FeatureReader]
) -> None:
    for feature, reader in readers.items():
        missing = [sample_id for sample_id in sample_ids if sample_id not in reader]
        if missing:
            raise DataError(
                f"{encoder.name} reads {feature}, which {len(missing)} training samples lack, "
                f"first {missing[0]}"
            )


def _require_same_sounds(encoder: ClipEncoder, readers: Mapping[str, FeatureReader]) -> None:
    # Another spectrogram can have the same shape and other values: vectors would mean nothing.
    for feature, parameters in encoder.sounds.items():
        found = describe_features({feature: readers[feature]})[feature]
        if parameters and found and parameters != found:
            names = sorted(
                name for name in {*parameters, *found} if parameters.get(name) != found.get(name)
            )
            raise DataError(
                f"{encoder.name} was trained on {feature} with other parameters "
                f"({names[0]} {parameters.get(names[0])}, here {found.get(names[0])}); name a run "
                "that reads the same"
            )
