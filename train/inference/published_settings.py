"""Say in which settings a run has another network or loss than its authors published."""

from dataclasses import fields

from train.models.registry import load_method
from train.models.training_parameters import TrainingParameters
from train.weights.published_checkpoints import PUBLISHED_SETTINGS

# Of the settings that all methods share: those of the network and of what it reads.
_SHARED = (
    *("backbone", "width", "audio_width", "map_stride", "image_size"),
    *("spectrogram_pooling", "audio_pooling"),
)
# Settings of methods that make no other network or loss, and those for which authors have several
# values: in code and paper, in a table's rows, or for wide and narrow networks.
_NOT_COMPARED = frozenset(
    (
        *("object_guidance", "object_guidance_weights", "first_weights", "cross_clip_negatives"),
        *("pair_losses", "flow_encoder", "attention_size", "has_predictive_coding", "stage"),
        *("head_rate", "labels", "label_encoder", "frame_encoder", "sound_encoder"),
        *("teacher_weights", "uses_momentum_at_test", "uses_batch_statistics"),
        *("image_mean", "image_std"),
    )
)
_MARGIN_OF_MARGINNCE = -0.2


def list_own_settings(parameters: TrainingParameters) -> tuple[str, ...]:
    """Return what a published row of the method does not have: ``width 16 (published: 64)``.

    Optimization and data are not looked at: they differ between the rows of one method.

    Args:
        parameters: of a run.
    """
    method = parameters.method
    published = {field.name: field.default for field in fields(load_method(method).Parameters)}
    # The default reads the sign of the flow, which the authors' pictures do not have.
    if method == "htf":
        published |= PUBLISHED_SETTINGS["htf"]
    if parameters.name_variant() == "marginnce":
        published["margin"] = _MARGIN_OF_MARGINNCE

    shared = {field.name for field in fields(TrainingParameters)}
    names = [
        name
        for name in published
        if name in _SHARED or not (name in shared or name in _NOT_COMPARED)
    ]
    # A width of its own is one that differs from that of the frames.
    if parameters.audio_width == parameters.width:
        names.remove("audio_width")
    found = {name: getattr(parameters, name) for name in names}
    return tuple(
        f"{name} {_format(value)} (published: {_format(published[name])})"
        for name, value in found.items()
        if value != published[name]
    )


def _format(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
