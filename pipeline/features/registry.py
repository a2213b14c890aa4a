"""The list of features: what each one is called, what kind of array it has, where its settings are.

To add a feature, write ``pipeline/features/NAME.py`` with ``Parameters`` and ``make_feature``, and
add one line to ``FEATURES``. The stages, the cache, training, evaluation and the commands read
this list; none of them has a list of its own.

A *variant* is a feature with other settings than those of its section, for runs that read such:
``spectrograms-lvs`` beside ``spectrograms``. Section ``feature_variants`` of params.yaml holds the
settings, and the list ``variants`` chooses which are computed. A variant has a folder in the cache
and an account of its own. It shares the store of its feature, so that equal settings are computed
once. With code of its own (``code``), a variant can also be of a feature that this list lacks, such
as ``clip-vit_b_32``.

This module imports no feature, so it is quick to import. ``pipeline.features.configure`` loads a
feature's module by its name.
"""

from dataclasses import dataclass
from typing import Literal

# picture  an image with the frame's aspect, one per sample
# motion   like a picture, but computed from several frames
# sound    computed from the audio track; all samples have the same shape
# sequence several pictures, all samples of one shape
# boxes    a table of boxes, as many rows as there are boxes
# vector   one array, all samples of one shape, which is no picture
Kind = Literal["picture", "motion", "sound", "sequence", "boxes", "vector"]


@dataclass(frozen=True)
class RegisteredFeature:
    """One line of the list."""

    name: str  # of its module in pipeline/features, its folder in the cache and its stage
    kind: Kind
    section: str  # of params.yaml
    title: str | None = None  # of its picture in `show` and in the report; None: it has none
    datasets_section: str | None = None  # of params.yaml: datasets that have it; None: all have it
    has_weights: bool = False  # a network with weights computes it

    @property
    def is_sound(self) -> bool:
        """Whether arrays are computed from the audio track."""
        return self.kind == "sound"

    @property
    def is_image(self) -> bool:
        """Whether arrays keep the frame's aspect, so that their shapes differ between samples."""
        return self.kind in ("picture", "motion")


FEATURES: dict[str, RegisteredFeature] = {
    feature.name: feature
    for feature in (
        RegisteredFeature("frames", "picture", "frames", "Frame"),
        RegisteredFeature("flow", "motion", "flow", "Flow"),
        RegisteredFeature("spectrograms", "sound", "spectrogram", "Spectrogram"),
        # Few methods read them, and they are the largest sound.
        RegisteredFeature("waveforms", "sound", "waveform", datasets_section="waveform_datasets"),
        # Nine pictures a sample, for AVObject alone.
        RegisteredFeature(
            "sequences", "sequence", "sequence", datasets_section="sequence_datasets"
        ),
        RegisteredFeature(
            "detections",
            "boxes",
            "detections.detector",
            datasets_section="detections.datasets",
            has_weights=True,
        ),
    )
}

_SEPARATOR = "-"  # no module has it in its name

# Every dataset has these; the others are computed for the datasets that params.yaml names.
STANDARD_FEATURES = tuple(
    name for name, feature in FEATURES.items() if feature.datasets_section is None
)


def find_base(name: str) -> str:
    """Return the feature of a variant, such as ``spectrograms`` for ``spectrograms-lvs``.

    Args:
        name: Of a variant, or of a feature, which is its own base.
    """
    return name.partition(_SEPARATOR)[0]


def is_variant(name: str) -> bool:
    """Return whether a name is that of a variant of a feature, also of one of the user's own."""
    base, _, own = name.partition(_SEPARATOR)
    return bool(base and own)


def find_companions(name: str) -> tuple[str, ...]:
    """Return the features that are computed in the same pass over a clip as ``name``.

    Decoding video costs more than computing a picture from it. Pictures and motion therefore share
    one pass. Sound is cheap to decode and needs no companion. Variants are computed alone.
    """
    if is_variant(name) or not FEATURES[name].is_image:
        return ()
    return tuple(other for other in STANDARD_FEATURES if other != name and FEATURES[other].is_image)
