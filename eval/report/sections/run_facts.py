"""What was run: datasets, features, code, hardware and parameters.

``templates/section_run.html`` and the head of the page show these views.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from eval.report.data.inputs import DatasetInputs, ReportInputs
from eval.report.data.result_rows import ABSENT, Group


@dataclass(frozen=True)
class FeatureAttributes:
    """How one feature of a dataset was computed: pairs of a name and a value."""

    dataset: str
    name: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Run:
    """The last section: datasets, features, software, hardware and parameters of this run."""

    datasets: tuple[tuple[str, ...], ...]  # name, clips, samples, features
    features: tuple[FeatureAttributes, ...]
    trainings: tuple[tuple[str, ...], ...]  # model, device, time, software
    software: tuple[tuple[str, str], ...]
    parameters: str  # YAML, or nothing

    @property
    def version(self) -> str:
        """The version of Earshot, where it is known."""
        return dict(self.software).get("Earshot", "")

    @property
    def software_line(self) -> str:
        """The version and the commit, for the head of the page."""
        known = dict(self.software)
        version = f"Earshot {known['Earshot']}" if "Earshot" in known else ""
        commit = f"commit {known['commit']}" if "commit" in known else ""
        return ", ".join(part for part in (version, commit) if part)


def view_run(inputs: ReportInputs) -> Run:
    """Return the facts of a run."""
    datasets = [
        (
            dataset.name,
            f"{dataset.clips.num_rows:,}",
            f"{dataset.samples.num_rows:,}",
            ", ".join(dataset.readers) or ABSENT,
        )
        for dataset in inputs.datasets
    ]

    # Attributes stand in the shards, so there are none where no sample is ok.
    features = [
        FeatureAttributes(
            dataset.name,
            feature,
            # `attribute_fps` is a parameter of the feature, whose name is `fps`
            tuple(
                (name.removeprefix("attribute_"), str(value))
                for name, value in sorted(reader.attributes.items())
            ),
        )
        for dataset in inputs.datasets
        for feature, reader in dataset.readers.items()
        if reader.attributes
    ]

    trainings = [
        (
            model,
            str(run.get("device") or ABSENT),
            format_duration(run.get("seconds")),
            ", ".join(f"{name} {version}" for name, version in (run.get("versions") or {}).items())
            or ABSENT,
        )
        for model, run in inputs.runs.items()
    ]

    parameters = ""
    if inputs.parameters:
        plain = json.loads(json.dumps(inputs.parameters, default=str))  # YAML has no tuples
        parameters = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return Run(
        tuple(datasets),
        tuple(features),
        tuple(trainings),
        tuple(inputs.software.items()),
        parameters,
    )


def format_duration(seconds: object) -> str:
    """Return ``12 s``, ``3 min 20 s`` or ``2 h 05 min``; an en dash where nothing is known."""
    # A run.json can come from elsewhere, so the value can be of any type.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return ABSENT
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def describe_scope(
    groups: Sequence[Group], datasets: Sequence[DatasetInputs], *, num_test_samples: int
) -> str:
    """Return one line: how many models, baselines and test samples, and the size of the training.

    Args:
        groups: All tables of results.
        datasets: Of the run.
        num_test_samples: Different samples of all test sets.
    """
    # Any row of a model will do: its kind and its training are the same in all.
    rows = {str(row["model"]): row for group in groups for row in group.rows}
    counts = [
        ("model", ("model",)),
        ("other system", ("external",)),
        ("baseline", ("baseline", "trivial")),
    ]

    parts = []
    for title, kinds in counts:
        number = sum(row["kind"] in kinds for row in rows.values())
        if number:
            parts.append(_count(number, title))
    parts.append(_count(num_test_samples, "test sample"))

    sizes = sorted(
        {row["num_trained_on"] for row in rows.values() if row.get("num_trained_on") is not None}
    )
    limits = " to ".join(f"{size:,}" for size in dict.fromkeys([*sizes[:1], *sizes[-1:]]))
    trained = f"; trained on {limits} samples" if limits else ""

    # Without results, how much data there is.
    if not groups:
        number = sum(dataset.clips.num_rows for dataset in datasets)
        return f"{_count(number, 'clip')}; nothing was scored"
    return ", ".join(parts) + trained


def _count(number: int, title: str) -> str:
    return f"{number:,} {title}" + ("" if number == 1 else "s")


def describe_hardware(runs: Mapping[str, Mapping]) -> str:
    """Return on what the models were trained, and how long that took; nothing where unknown."""
    names = [str(run["device"]) for run in runs.values() if run.get("device")]
    devices = dict.fromkeys("a CPU" if name == "cpu" else name for name in names)
    seconds = [run["seconds"] for run in runs.values() if run.get("seconds") is not None]

    if not devices:
        return ""
    text = f"trained on {', '.join(devices)}"
    return f"{text} in {format_duration(sum(seconds))}" if seconds else text
