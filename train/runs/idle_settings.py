"""Find the settings of a run that change nothing beside its method and its other settings.

A setting of the network that no code of the method reads is a mistake. One that another setting
switches off is none: an ablation sets one setting and keeps all others. ``_RULES`` lists those.

This is no part of the classes of the parameters: their code enters the key of every training.
"""

import ast
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.base.import_closure import import_closure
from train.models.registry import features_read
from train.models.training_parameters import TrainingParameters

_SOURCE_DIR = Path(__file__).resolve().parents[2]
# They read settings for all methods, whether or not these use them.
_NOT_OF_A_METHOD = {"train/models/training_parameters.py", "train/models/registry.py"}
# Settings of all methods that the network alone reads. What else they share, the training reads.
NETWORK_SETTINGS = ("backbone", "width", "audio_width", "map_stride", "image_size", "audio_pooling")
SPECTROGRAM_SETTINGS = ("spectrogram_mean", "spectrogram_std", "spectrogram_pooling")


@dataclass(frozen=True)
class _Rule:
    """Settings that another one switches off."""

    settings: tuple[str, ...]
    is_idle: Callable[[Any], bool]  # of parameters that have the settings of `needs`
    why: str  # {names} are replaced by values
    needs: tuple[str, ...] = ()  # of a method's own settings, which tell where the rule holds
    methods: tuple[str, ...] = ()  # empty: all that have `needs`


_PLATEAU = ("plateau_factor", "plateau_patience", "plateau_floor")
_RULES = (
    # Of all methods.
    _Rule(
        _PLATEAU,
        lambda p: p.schedule != "plateau",
        "schedule is {schedule}, and plateau alone reads it",
    ),
    _Rule(
        _PLATEAU,
        lambda p: 0 < p.early_stop_patience <= p.plateau_patience + 1,
        "with early_stop_patience {early_stop_patience} and plateau_patience {plateau_patience} "
        "the training ends when the learning rate would fall",
    ),
    _Rule(
        _PLATEAU,
        lambda p: p.plateau_floor >= p.learning_rate,
        "learning_rate {learning_rate:g} is not above plateau_floor {plateau_floor:g}",
    ),
    _Rule(
        ("select_by",),
        lambda p: p.select_on == "last",
        "with select_on last no epochs are compared by a score",
    ),
    _Rule(
        ("num_held_out",),
        lambda p: p.select_on != "val",
        "select_on is {select_on}, and only val takes samples out of the training split",
    ),
    # Of some.
    _Rule(
        ("object_guidance_alpha", "object_guidance_weights"),
        lambda p: p.object_guidance == "none",
        "object_guidance is none",
        needs=("object_guidance",),
    ),
    _Rule(
        ("epsilon", "margin", "cross_clip_negatives"),
        lambda p: p.loss == "multiple_instance",
        "loss is multiple_instance, which has none",
        methods=("htf",),
    ),
    _Rule(
        ("epsilon_negative",),
        lambda p: not p.has_hard_negatives,
        "has_hard_negatives is false",
        needs=("has_hard_negatives",),
    ),
    _Rule(
        ("mask_times", "mask_bands"),
        lambda p: p.mask_probability == 0,
        "mask_probability is 0",
        needs=("mask_probability",),
    ),
    _Rule(
        ("max_shift",),
        lambda p: p.contrast_with == "clips",
        "contrast_with is clips, so no sound is moved",
        needs=("contrast_with",),
    ),
    _Rule(("margin",), lambda p: p.stage == 1, "stage 1 has no parts", methods=("coarsetofine",)),
    _Rule(
        ("num_contrast_epochs", "foreground_threshold"),
        lambda p: p.affinity_weight == 0,
        "affinity_weight is 0",
        needs=("affinity_weight",),
    ),
    _Rule(
        ("warmup_epochs",),
        lambda p: p.warmup_epochs >= p.epochs,
        "epochs is {epochs}, so the training ends before learning_rate is reached",
    ),
    _Rule(
        ("early_stop_patience",),
        lambda p: p.early_stop_patience >= p.epochs,
        "epochs is {epochs}, so the training ends before that",
    ),
    _Rule(
        ("affinity_weight", "foreground_threshold", "num_contrast_epochs"),
        lambda p: p.num_contrast_epochs >= p.epochs,
        "epochs is {epochs}, and the first {num_contrast_epochs} are without affinities",
        needs=("num_contrast_epochs",),
    ),
    _Rule(
        ("teacher_weights",),
        lambda p: p.labels != "imagenet",
        "labels is {labels}, so no network names frames",
        methods=("coarsetofine",),
    ),
)


def find_unread(parameters: TrainingParameters) -> dict[str, str]:
    """Return the settings of a run that its method does not read, each with the reason.

    Args:
        parameters: of the run.
    """
    method = parameters.method
    read = read_settings(method)
    unread = {
        name: f"{method} has nothing that reads it" for name in NETWORK_SETTINGS if name not in read
    }
    # The same width for both sides is no width of its own.
    if parameters.audio_width == parameters.width:
        unread.pop("audio_width", None)
    if "spectrograms" not in features_read(parameters):
        unread |= dict.fromkeys(SPECTROGRAM_SETTINGS, f"{method} reads no spectrograms")
    return unread


def find_switched_off(parameters: TrainingParameters) -> dict[str, str]:
    """Return the settings of a run that another one switches off, each with the reason.

    Args:
        parameters: of the run.
    """
    found: dict[str, str] = {}
    for rule in _RULES:
        if rule.methods and parameters.method not in rule.methods:
            continue
        if all(hasattr(parameters, name) for name in rule.needs) and rule.is_idle(parameters):
            why = rule.why.format(**vars(parameters))
            settings = (name for name in rule.settings if hasattr(parameters, name))
            # The first reason is enough.
            found = dict.fromkeys(settings, why) | found
    return found


@functools.cache
def read_settings(method: str) -> frozenset[str]:
    """Return the names of all attributes that the code of a method reads.

    That is its own module, and what it imports of this project.

    Args:
        method: one of ``METHODS``.
    """
    paths = import_closure(f"train.models.{method}", root=_SOURCE_DIR)
    return frozenset().union(*(_list_attributes(path) for path in paths - _NOT_OF_A_METHOD))


@functools.cache
def _list_attributes(path: str) -> set[str]:
    tree = ast.parse((_SOURCE_DIR / path).read_bytes())
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
