"""What a run is: its method's form, what is not its authors', its weights, what it reads.

``templates/section_training.html`` shows these views, before the facts of the training.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from eval.published.method_forms import MethodForm, find_form
from pipeline.base.parameters import complete_run, find_section
from pipeline.features.registry import find_base

_NOT_DESCRIBED = "not described; a method of the user's own"
# What a training begins with besides its first weights, by the name of its parameter.
_SOURCES = {
    "teacher_weights": "the teacher's weights",
    "labels": "labels",
    "label_encoder": "labels are clusters of the features of",
    "frame_encoder": "neighbours by frame",
    "sound_encoder": "neighbours by sound",
}
_FIRST_WEIGHTS = {"imagenet": "those of ImageNet", "random": "random ones"}


class Fact(NamedTuple):
    """A title and what is to be read beside it."""

    title: str
    value: str


def describe_identity(
    name: str, run: Mapping[str, Any], params: Mapping[str, Any]
) -> tuple[Fact, ...]:
    """Say what a run is.

    Args:
        name: of the run.
        run: the content of its ``run.json``.
        params: sections of params.yaml; which variants of features the run reads stands there.

    Returns:
        Method, form, what is not theirs, weights and inputs; empty without a method.
    """
    if "method" not in run:
        return ()
    form = find_form(run)
    facts = [
        Fact("method", str(run["method"]) if form is None else form.title),
        Fact("form", _NOT_DESCRIBED if form is None else form.form),
    ]
    if form is not None:
        facts.append(Fact("ours, recalled or not known", form.not_theirs or "nothing"))
    facts.append(Fact("weights", _describe_weights(run, form)))
    facts.append(Fact("inputs", _describe_inputs(name, run, form, params)))
    return tuple(facts)


def _describe_weights(run: Mapping[str, Any], form: MethodForm | None) -> str:
    if run.get("status") == "untrained":
        return f"none: {run.get('reason')}"

    parameters = run.get("parameters") or {}
    if run.get("selection") == "released":
        note = f"; {form.released}" if form is not None and form.released else ""
        return f"released by the authors, not trained here: {run.get('source')}{note}"

    # FlowGrad-H, and runs of equal settings, take the weights of another run.
    source = run.get("weights_from_run")
    text = "trained here" if source is None else f"those of the run {source}"
    init = parameters.get("init")
    if init is not None:
        text += f"; first weights: {_FIRST_WEIGHTS.get(str(init), init)}"
    for key, title in _SOURCES.items():
        if parameters.get(key):
            text += f"; {title}: {parameters[key]}"
    return text


def _describe_inputs(
    name: str, run: Mapping[str, Any], form: MethodForm | None, params: Mapping[str, Any]
) -> str:
    # A run is a section of one of these.
    section = complete_run(params, name) or find_section(params, "weights", name)
    variants = {find_base(str(variant)): variant for variant in section.get("features") or ()}
    names: Sequence[str] = tuple(variants) if form is None else form.reads
    text = ", ".join(str(variants.get(feature, feature)) for feature in names) or "not described"

    if run.get("selection") == "released":
        told = section.get("trained_on")
        known = (
            f"trained on {told}, as its authors say" if told else "its training data are not known"
        )
        return f"{text}; {known}"
    datasets = params.get("datasets") or ("",)
    dataset = section.get("dataset") or datasets[0]
    split = (run.get("parameters") or {}).get("train_split")
    return f"{text}; trained on {dataset}/{split}" if dataset and split else text
