"""Check values of a run that its classes take, and that would end in a wrong number or a crash.

They are checked here, before any work: the classes of the parameters are no place for it, since
their code enters the key of every training.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields

from earshot.errors import ParameterError
from train.models.training_parameters import HardwareParameters, TrainingParameters

_LARGEST_SEED = 2**63 - 1  # of torch
_LARGEST_SIZE = 2**16  # of a layer; larger ones fit into no memory
_LARGEST_PICTURE = 4096
_LARGEST_BATCH = 2**20
_LARGEST_NUMBER = 10**6
_LARGEST_MASK = 1000  # rows or columns
_SMALLEST_SCALE, _LARGEST_SCALE = 1e-6, 1e6

# Setting -> its smallest and its largest value; of all methods that have it.
_RANGES: Mapping[str, tuple[float, float]] = {
    "seed": (0, _LARGEST_SEED),
    "epochs": (1, _LARGEST_NUMBER),
    "accumulate": (1, _LARGEST_NUMBER),
    "batch_size": (2, _LARGEST_BATCH),
    "width": (4, _LARGEST_SIZE),
    "audio_width": (0, _LARGEST_SIZE),
    "image_size": (8, _LARGEST_PICTURE),
    "embedding_size": (0, _LARGEST_SIZE),
    "attention_size": (0, _LARGEST_SIZE),
    "spectrogram_mean": (-_LARGEST_SCALE, _LARGEST_SCALE),
    "spectrogram_std": (_SMALLEST_SCALE, _LARGEST_SCALE),
    "flow_scale": (_SMALLEST_SCALE, _LARGEST_SCALE),
    "sound_seconds": (0, 3600),
    # Wider ones would mask whole spectrograms.
    "mask_width": (0, _LARGEST_MASK),
    "mask_times": (0, _LARGEST_MASK),
    "mask_bands": (0, _LARGEST_MASK),
    "num_sound_clusters": (1, 16),
    # Temperatures: far outside, all logits are alike, or none is finite.
    "tau": (1e-4, 100),
    "temperature": (1e-4, 100),
    "initial_temperature": (1e-4, 100),
    # Cosines.
    "epsilon": (-1, 1),
    "epsilon_positive": (-1, 1),
    "epsilon_negative": (-1, 1),
    # A map is scaled to 0..1, and at 1 no place sounds.
    "foreground_threshold": (0, 1),
}
# None of these methods can do without it.
_NEEDS_EMBEDDING = ("ezvsl", "fnac", "slavc")


def check_values(parameters: TrainingParameters, *, where: str) -> None:
    """Check the values of a run.

    Args:
        parameters: of the run.
        where: the name of its section, for messages.

    Raises:
        ParameterError: a value is out of range, or does not fit another one.
    """
    for name, (least, most) in _RANGES.items():
        value = getattr(parameters, name, None)
        # A method of one's own may mean another thing by a name, such as a pair of numbers.
        if isinstance(value, int | float) and not least <= value <= most:
            raise ParameterError(
                f"params: {where}.{name} is {value!r}, expected {least:g} to {most:g}"
            )
    if parameters.method in _NEEDS_EMBEDDING and not getattr(parameters, "embedding_size", 1):
        raise ParameterError(f"params: {where}.embedding_size is 0, expected 1 or more")

    _check_sources(parameters, where=where)
    num_clusters = getattr(parameters, "num_picture_clusters", 0)
    # A convolution with a stride gives the last, incomplete cell, too.
    num_cells = math.ceil(parameters.image_size / parameters.map_stride) ** 2
    if num_clusters > num_cells:
        raise ParameterError(
            f"params: {where}.num_picture_clusters is {num_clusters}, expected at most the "
            f"{num_cells} cells of the map"
        )

    p = parameters
    if p.schedule == "plateau" and not p.plateau_factor < 1:
        raise ParameterError(
            f"params: {where}.plateau_factor is {p.plateau_factor:g}, expected less than 1: a "
            "plateau lowers the learning rate"
        )


def _check_sources(parameters: TrainingParameters, *, where: str) -> None:
    """Check that names and paths are none that stand for nothing."""
    for field in fields(parameters):
        if getattr(parameters, field.name) == "" and field.default not in ("", MISSING):
            raise ParameterError(
                f"params: {where}.{field.name} is '', expected a name or a path; without the key "
                f"it is {field.default}"
            )
    # ImageNet's networks hear nothing.
    if getattr(parameters, "sound_encoder", None) in ("imagenet", "random"):
        raise ParameterError(
            f"params: {where}.sound_encoder is {parameters.sound_encoder!r}, "  # type: ignore[attr-defined]
            "expected the folder of a run"
        )


def describe_small_split(
    parameters: TrainingParameters, num_samples: int, *, num_selecting: int
) -> str:
    """Return a sentence where the splits are smaller than a run's settings ask for; or "".

    Args:
        parameters: of the run.
        num_samples: of the training split.
        num_selecting: of the split that selects.
    """
    p = parameters
    if p.batch_size > num_samples:
        return (
            f"batch_size is {p.batch_size}, but there are {num_samples} training samples, so each "
            "batch has at most these, with as few negatives"
        )
    num_batches = num_samples // p.batch_size
    if p.accumulate > num_batches:
        return f"accumulate is {p.accumulate}, but an epoch has {num_batches} batches"

    is_own = p.num_held_out != TrainingParameters.num_held_out
    if p.select_on == "val" and is_own and num_selecting < p.num_held_out:
        return (
            f"num_held_out is {p.num_held_out}, but {num_selecting} samples select: those of split "
            f"{p.val_split!r}, or else at most about a tenth of the training split"
        )
    return ""


def check_batch(
    parameters: TrainingParameters, hardware: HardwareParameters, *, where: str
) -> None:
    """Check that the processes that are planned get equal parts of a batch.

    Args:
        parameters: of a run.
        hardware: where it is trained. Without ``devices`` the machine decides.
        where: the name of the run's section, for messages.

    Raises:
        ParameterError: they do not.
    """
    num_processes = max(hardware.devices, 1) * hardware.num_nodes
    if parameters.batch_size % num_processes:
        raise ParameterError(
            f"params: {where}.batch_size is {parameters.batch_size}, expected a multiple of the "
            f"{num_processes} processes of hardware (devices, num_nodes)"
        )


def check_hardware(hardware: HardwareParameters) -> None:
    """Check the values of section ``hardware``.

    Raises:
        ParameterError: a value is out of range.
    """
    if hardware.num_workers < -1:
        raise ParameterError(
            f"params: hardware.num_workers is {hardware.num_workers}, expected 0 or more, or -1 "
            "for a number that fits the machine"
        )
