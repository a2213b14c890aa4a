"""What of each method is its authors', and what is recalled, ours or not known.

The report says it beside each run. ``docs/training.md`` has the same words, and a test compares
them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MethodForm:
    """The form in which a method is here."""

    title: str
    reads: tuple[str, ...]  # features
    form: str  # published, or whose reading or simplification
    not_theirs: str = ""  # what is recalled from the paper, ours, or not known
    released: str = ""  # what is known of the weights that its authors released
    is_training_ours: bool = False  # no code of its authors trains it


def find_form(run: Mapping[str, Any]) -> MethodForm | None:
    """Return the form of a run's method.

    Args:
        run: the content of its ``run.json``.

    Returns:
        None for a method that is not described, such as one of the user's own.
    """
    method = run.get("method")
    # MarginNCE is EZ-VSL with a margin.
    if method == "ezvsl" and (run.get("parameters") or {}).get("margin"):
        method = "marginnce"
    return METHOD_FORMS.get(str(method))


METHOD_FORMS = {
    "lvs": MethodForm(
        title="LVS",
        reads=("frames", "spectrograms"),
        form="published network and loss",
        not_theirs="optimizer and epochs are ours",
    ),
    "ezvsl": MethodForm(
        title="EZ-VSL",
        reads=("frames", "spectrograms"),
        form="published",
    ),
    "marginnce": MethodForm(
        title="MarginNCE",
        reads=("frames", "spectrograms"),
        form="formula of MarginNCE",
        not_theirs="margin and temperature are recalled; no public code",
    ),
    "fnac": MethodForm(
        title="FNAC",
        reads=("frames", "spectrograms"),
        form="published",
    ),
    "slavc": MethodForm(
        title="SLAVC",
        reads=("frames", "spectrograms"),
        form="published",
        not_theirs="a run is tested on the 3 s of sound that it trains on, theirs on 5 s",
    ),
    "ssltie": MethodForm(
        title="SSL-TIE",
        reads=("frames", "waveforms"),
        form="published network, loss, transforms, mel",
        not_theirs=(
            "augmentation is that of all methods; no mixing of sounds; which 3 s of sound is ours"
        ),
    ),
    "hardpos": MethodForm(
        title="HardPos",
        reads=("frames", "spectrograms"),
        form="our reading of the paper; no public code",
        not_theirs=(
            "all recalled from the paper: four positives, one threshold, plain means of other "
            "clips; ours: the form of the logits, 100 neighbours, the encoders, optimizer, batch, "
            "epochs"
        ),
        is_training_ours=True,
    ),
    "sslalignment": MethodForm(
        title="SSLalignment",
        reads=("frames", "spectrograms"),
        form=(
            "released weights; the training is our reading of the paper, which has no public "
            "training code"
        ),
        not_theirs=(
            "recalled from the paper: three views (own, augmented, neighbour), two similarities, "
            "all 3x3 pairs, 1000 neighbours; ours: both losses in both directions, added; "
            "temperature, projections, what is augmented, the encoders, optimizer, batch, epochs. "
            "Names in the released files beside the network's are not known"
        ),
        is_training_ours=True,
    ),
    "dmc": MethodForm(
        title="DMC",
        reads=("frames", "waveforms"),
        form="authors' simplified form",
        not_theirs=(
            "next picture of the batch as negative; crops of all methods, no change of brightness "
            "or colour; the second of sound lies around the frame; nobody published it on these "
            "sets"
        ),
    ),
    "avobject": MethodForm(
        title="AVObject",
        reads=("sequences", "waveforms"),
        form="published network, mel, score, map",
        not_theirs=(
            "the training: sounds of other clips as negatives (moved ones are an option, "
            "recalled), optimizer, batch, epochs; map of the middle frame"
        ),
        released="trained on talking faces",
        is_training_ours=True,
    ),
    "coarsetofine": MethodForm(
        title="CoarseToFine",
        reads=("frames", "waveforms"),
        form="authors' later form",
        not_theirs=(
            "ImageNet's classes of the frame label both sides; which class is which category, and "
            "the map of stage 1, are ours; so are clusters of a run's features as labels "
            "(label_encoder); in training the middle of the frame, not squashed; biases do not "
            "decay"
        ),
    ),
    "attention10k": MethodForm(
        title="Attention10k",
        reads=("frames", "waveforms"),
        form="published, unsupervised loss",
        not_theirs=(
            "next sound of the batch as negative; middle of the frame, not squashed, in training"
        ),
        released="trained with annotated boxes, so no unsupervised result",
    ),
    "attention_resnet": MethodForm(
        title="Attention10k with trained encoders",
        reads=("frames", "spectrograms"),
        form="form of others (CSOL), for other data",
        not_theirs=(
            "the sound is the cached spectrogram, with frequency as vertical axis; next picture of "
            "the batch as negative; epochs; nobody published it on these sets"
        ),
    ),
    "sspl": MethodForm(
        title="SSPL",
        reads=("frames", "waveforms"),
        form="published; has_predictive_coding: true as in its better rows",
        not_theirs="frames keep their aspect before the crop; biases do not decay",
    ),
    "htf": MethodForm(
        title="Hear The Flow",
        reads=("frames", "flow", "spectrograms"),
        form="published",
    ),
    "rcgrad": MethodForm(
        title="RCGrad",
        reads=("frames", "waveforms"),
        form="published",
    ),
    "flowgrad_h": MethodForm(
        title="FlowGrad-H",
        reads=("frames", "flow", "waveforms"),
        form="published",
    ),
    "flowgrad_ic": MethodForm(
        title="FlowGrad-IC",
        reads=("frames", "flow", "waveforms"),
        form="published",
    ),
    "flowgrad_en": MethodForm(
        title="FlowGrad-EN",
        reads=("frames", "flow", "waveforms"),
        form="published",
    ),
}
