"""What trainings of this checkout took, and which of them say what another run will take.

The library does not import PyTorch, and neither does ``plan``. So parameters that a section of
params.yaml leaves out are taken from params.schema.json, which is made from the methods' classes.
"""

import functools
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.base.parameters import complete_run, find_section
from pipeline.base.project import Project
from pipeline.features.registry import FEATURES, find_base

_SCHEMA_NAME = "params.schema.json"
_RUN_NAME = "run.json"
# Keys of a run's section that are no parameters of its method.
_DATA_KEYS = ("preset", "dataset", "features", "protocol")
# Methods without a training of their own have the weights of these.
_TRAINED_AS = {"flowgrad_h": "rcgrad"}

# A sample costs the same whatever these are. Any other parameter counts, also one that is new.
_FREE_PARAMETERS = frozenset(
    {
        # which samples, how often, and which epoch is kept
        "train_split",
        "val_split",
        "test_split",
        "num_held_out",
        "epochs",
        "early_stop_patience",
        "select_on",
        "select_by",
        "seed",
        # first weights
        "init",
        "first_weights",
        # numbers of the optimizer
        "learning_rate",
        "weight_decay",
        "schedule",
        "warmup_epochs",
        "plateau_factor",
        "plateau_patience",
        "plateau_floor",
        # numbers that inputs and losses are multiplied with or compared to
        "spectrogram_mean",
        "spectrogram_std",
        "image_mean",
        "image_std",
        "flow_scale",
        "margin",
        "tau",
        "temperature",
        "initial_temperature",
        "epsilon",
        "epsilon_positive",
        "epsilon_negative",
    }
)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run of section ``train`` trains, and on what."""

    name: str
    dataset: str
    parameters: Mapping[str, Any]  # of the network that is trained, with all defaults
    reads: tuple[str, ...]  # features in the cache; empty: not known
    inputs: Mapping[str, Any]  # by feature, the settings that decide its arrays

    @property
    def costs(self) -> dict[str, Any]:
        """What decides how long a sample takes."""
        return {key: self.parameters[key] for key in self.parameters if key not in _FREE_PARAMETERS}

    def has_inputs_of(self, other: "RunSettings") -> bool:
        """Return whether both runs read arrays of the same settings."""
        # Methods that train the same network need not read the same: FlowGrad-H also reads flow.
        names = self.inputs.keys() & other.inputs.keys()
        return bool(names) and all(self.inputs[name] == other.inputs[name] for name in names)


@dataclass(frozen=True, kw_only=True)
class PastTraining:
    """A training of this checkout, as its ``run.json`` tells it."""

    settings: RunSettings
    is_whole: bool  # not stopped because something went wrong
    num_samples: int  # of the training split, also those that lack a feature
    device: str  # the GPU's name, or ``cpu``
    rate: float | None  # samples a second, the median of its epochs; None: not of this machine
    day: str  # when it ended


def read_run_settings(project: Project, name: str) -> RunSettings:
    """Read what a run trains.

    Args:
        project: Whose params.yaml is read.
        name: Of a run of section ``train``.

    Raises:
        ParameterError: There is no such run, or its preset is not known.
    """
    project.section(f"train.{name}")
    values = complete_run(project.params, name)
    reads = _read_inputs(project, name)
    # The first words of a variant's name are its feature, which it replaces.
    features = values.get("features")
    features = features if isinstance(features, list) else []
    variants = {find_base(variant): variant for variant in map(str, features)}
    return RunSettings(
        name=name,
        dataset=str(values.get("dataset") or project.first_dataset),
        parameters=_complete(
            {key: value for key, value in values.items() if key not in _DATA_KEYS}, project.root
        ),
        reads=tuple(variants.get(feature, feature) for feature in reads),
        inputs=_describe_inputs(project, variants, reads or tuple(FEATURES)),
    )


def list_trained_runs(project: Project) -> list[RunSettings]:
    """Return the runs of ``models``, each after the runs whose weights it begins with.

    Args:
        project: Whose params.yaml is read.

    Raises:
        ParameterError: One of them is not in section ``train``, or its preset is not known.
    """
    if "models" not in project.params:
        return []
    folders = {project.run_dir(run).resolve(): run for run in find_section(project.params, "train")}
    ordered: dict[str, RunSettings] = {}

    def visit(name: str, readers: tuple[str, ...]) -> None:
        # Training refuses runs that begin with each other; here they must only come to an end.
        if name in ordered or name in readers:
            return
        settings = read_run_settings(project, name)
        for value in settings.parameters.values():
            if isinstance(value, str) and "/" in value:
                first = folders.get((project.root / Path(value).expanduser()).resolve())
                if first is not None:
                    visit(first, (*readers, name))
        ordered[name] = settings

    for name in project.names("models"):
        visit(name, ())
    return list(ordered.values())


def read_past_trainings(project: Project) -> list[PastTraining]:
    """Read the trainings of a checkout, the newest first.

    A run folder can come from another machine, through ``dvc pull``. Finished trainings are also
    kept in the storage, which does not travel, and a training that stopped is no output of DVC: so
    these two are of this machine.

    Args:
        project: The checkout, with the parameters that its trainings had.
    """
    kept = sorted(project.training_dir.glob(f"*/finished/run/{_RUN_NAME}"))
    folders = sorted((project.root / "cache" / "runs").glob(f"*/{_RUN_NAME}"))
    found = []
    for path in (*kept, *folders):
        name = path.parents[2].name if path in kept else path.parent.name
        training = _read_past_training(project, name, path, is_kept=path in kept)
        if training is not None:
            found.append((path.stat().st_mtime, training))
    return [training for _, training in sorted(found, key=lambda item: -item[0])]


def find_rate(
    settings: RunSettings, past: list[PastTraining], *, accelerator: str
) -> PastTraining | None:
    """Return the newest training in which a sample took what it will take in a run.

    Args:
        settings: Of the run.
        past: Trainings, the newest first.
        accelerator: ``cpu``, ``cuda`` or ``auto``, which takes what the newest training had.
    """
    for training in past:
        is_cpu = training.device == "cpu"
        is_device = accelerator == "auto" or is_cpu == (accelerator == "cpu")
        is_same = training.settings.costs == settings.costs
        if training.rate and is_device and is_same and settings.has_inputs_of(training.settings):
            return training
    return None


def _read_past_training(
    project: Project, name: str, path: Path, *, is_kept: bool
) -> PastTraining | None:
    """Return a training; None where it trained nothing, or cannot be read."""
    try:
        facts = json.loads(path.read_text())
        parameters, history = facts["parameters"], facts["history"]
        num_samples = facts["num_train"] + sum(facts["num_unusable"].values())
        rates = [row["samples_per_second"] for row in history]
        device, is_whole = facts["device"], facts["status"] == "ok"
    except (OSError, ValueError, KeyError, TypeError):
        # Weights of others have no history. What is damaged the training says itself.
        return None

    # Which data it read is not in its facts, but in the section of its run.
    runs = find_section(project.params, "train")
    now = read_run_settings(project, name) if name in runs else None
    is_here = is_kept or not is_whole
    return PastTraining(
        settings=RunSettings(
            name=name,
            dataset=now.dataset if now else "",
            parameters=_complete(parameters, project.root),
            reads=now.reads if now else (),
            inputs=now.inputs if now else {},
        ),
        is_whole=is_whole,
        num_samples=num_samples,
        device=device,
        rate=statistics.median(rates) if rates and is_here else None,
        day=time.strftime("%Y-%m-%d", time.localtime(path.stat().st_mtime)),
    )


def _read_inputs(project: Project, name: str) -> tuple[str, ...]:
    """Return the features that a run reads, once the stage ``inputs`` has written them."""
    try:
        return tuple(json.loads(project.run_inputs_path(name).read_text())["features"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _describe_inputs(
    project: Project, variants: Mapping[str, str], reads: tuple[str, ...]
) -> dict[str, Any]:
    settings = find_section(project.params, "feature_variants")
    return {
        feature: settings.get(variants[feature])
        if feature in variants
        else project.params.get(FEATURES[feature].section)
        for feature in reads
        if feature in FEATURES
    }


def _complete(values: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return parameters of a method with the defaults of those that are not given."""
    method = _TRAINED_AS.get(str(values.get("method")), values.get("method"))
    return {**_read_defaults(root).get(str(method), {}), **values, "method": method}


@functools.cache
def _read_defaults(root: Path) -> dict[str, dict[str, Any]]:
    """Return the defaults of each method's parameters, by method; empty without the schema."""
    # The schema of this code. An installed package has none, but the checkout has.
    for folder in (Path(__file__).resolve().parents[2], root):
        path = folder / _SCHEMA_NAME
        if path.is_file():
            methods = json.loads(path.read_text())["$defs"]
            return {
                method: {
                    key: about["default"]
                    for key, about in schema["properties"].items()
                    if "default" in about and key not in _DATA_KEYS
                }
                for method, schema in methods.items()
            }
    return {}
