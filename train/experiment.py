"""Train one run of params.yaml, from the tables and cached features to its run folder."""

import functools
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import torch

from earshot.errors import ParameterError, RunError
from earshot.files import sha256_of
from earshot.tables import CLIPS, SAMPLES, read_table
from eval.scoring.selection import ADAPTIVE_CIOU, count_ground_truth, score_selection
from pipeline.audit.leakage import (
    AuditParameters,
    audit_leakage,
    check_leakage,
    read_test_splits,
)
from pipeline.base.parameters import as_mapping
from pipeline.base.project import Project
from pipeline.datasets.dataset import load
from pipeline.features.configure import require_datasets
from train.data.feature_readers import describe_features, open_readers
from train.data.splits import find_boxes, find_split_ids, find_videos, hold_out
from train.fitting.decision import share_decision
from train.fitting.devices import TrainerPlan, plan_trainer
from train.fitting.fit import FitFolders, fit
from train.fitting.launcher import find_launch
from train.fitting.selection import ScoreMaps
from train.fitting.training_data import TrainingData
from train.models.registry import features_read, parameters_of_training
from train.models.training_parameters import (
    HardwareParameters,
    MonitoringParameters,
    TrainingParameters,
)
from train.neighbours.run_labels import (
    find_written_labels,
    keep_run_labels,
    write_run_labels,
)
from train.runs.finished_runs import (
    Decide,
    ObtainedRun,
    find_finished,
    is_finished,
    obtain_run,
)
from train.runs.run_folder import MODEL_NAME, adopt_run, read_run, write_untrained_run
from train.runs.run_key import RunInputs, compute_run_key
from train.runs.setting_values import describe_small_split
from train.runs.settings import (
    list_first_released,
    list_first_runs,
    read_run_data,
    read_run_parameters,
)
from train.weights.first_files import obtain_released
from train.weights.initialization import hash_first_weights

_SOURCE_DIR = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run of section ``train``, with everything that it needs."""

    name: str
    dataset: str
    box_rule: str  # of the dataset: how its boxes become ground truth
    parameters: TrainingParameters
    trained: TrainingParameters  # of the network that is trained: FlowGrad-H trains RCGrad's
    hardware: HardwareParameters
    monitoring: MonitoringParameters
    samples: pa.Table
    data: TrainingData
    folders: FitFolders

    def make_score(self) -> ScoreMaps | None:
        """Return how the maps of the samples that select are scored; None: by their loss.

        Raises:
            ParameterError: ``select_by`` needs boxes that the samples do not have.
        """
        select_on, select_by = self.trained.select_on, self.trained.select_by
        if select_on == "last" or select_by == "loss":
            return None

        # Without boxes the default falls back to the loss; a published score does not.
        sample_ids = self.data.get_selection_ids(select_on)
        count = count_ground_truth(sample_ids, self.samples, box_rule=self.box_rule)
        if count < len(sample_ids):
            found = f"{count} of the {len(sample_ids)} samples of the {select_on} split have boxes"
            if select_by != ADAPTIVE_CIOU:
                raise ParameterError(
                    f"{self.name}: select_by is {select_by}, but {found}; set select_by to loss"
                )
            print(f"{self.name}: {found}, so epochs are compared by their loss", file=sys.stderr)
            return None
        return functools.partial(
            score_selection, by=select_by, samples=self.samples, box_rule=self.box_rule
        )


def read_experiment(project: Project, name: str) -> Experiment:
    """Read the parameters, tables and splits of a run.

    Args:
        project: whose params.yaml and tables are read.
        name: of the run.

    Raises:
        ParameterError: a section of params.yaml is missing or wrong.
        RunError: the training split has clips of a test split, and that is not allowed.
    """
    parameters = read_run_parameters(project, name)
    inputs = read_run_data(project, name)
    dataset = inputs.find_dataset(project)

    # The network knows a feature by its own name, whichever variant the run reads.
    features = inputs.find_features(features_read(parameters))
    require_datasets(project, dataset, features.values(), reader=f"run {name}")
    audit = project.parameters(AuditParameters, "audit")
    samples = read_table(project.samples_table_path(dataset), SAMPLES)
    clips = read_table(project.clips_table_path(dataset), CLIPS)

    # Refuse to train on videos of the test sets, or on their bytes under another name.
    overlaps = audit_leakage(
        project,
        dataset,
        train_splits=[parameters.train_split],
        test_splits=read_test_splits(project, dataset),
    )
    check_leakage(overlaps, audit)

    # The samples of each split, and only the features that the method reads.
    data = TrainingData(
        features_dirs={
            feature: project.feature_dir(dataset, folder) for feature, folder in features.items()
        },
        train_ids=find_split_ids(samples, parameters.train_split),
        val_ids=find_split_ids(samples, parameters.val_split),
        test_ids=find_split_ids(samples, parameters.test_split),
        video_of=find_videos(samples, clips),
        is_leakage_allowed=audit.allow_leakage,
    )

    return Experiment(
        name=name,
        dataset=dataset,
        box_rule=load(dataset).box_rule,
        parameters=parameters,
        trained=parameters_of_training(parameters),
        hardware=project.parameters(HardwareParameters, "hardware"),
        monitoring=_read_monitoring(project),
        samples=samples,
        data=_hold_out_validation(data, parameters),
        folders=FitFolders(
            run_dir=project.run_dir(name),
            log_dir=project.curves_dir(name),
            # Not an output of DVC, which removes outputs before a stage runs.
            state_dir=project.training_dir / name,
            weights_dir=project.weights_dir,
            neighbours_dir=project.neighbours_dir,
        ),
    )


def _read_monitoring(project: Project) -> MonitoringParameters:
    if "monitoring" not in project.params:
        return MonitoringParameters()
    return project.parameters(MonitoringParameters, "monitoring")


def train_run(project: Project, name: str) -> str | None:
    """Write the run folder and the curves of a run: train it, or bring back a finished run.

    Args:
        project: whose params.yaml, tables and cache are read.
        name: of the run.

    A run that begins with the weights of another one trains that one first, if it has to, and one
    that begins with released weights fetches them.

    Returns:
        What was done, in words; None in further processes of a training, which write nothing.
    """
    for released in list_first_released(project, name):
        obtain_released(project, released, reader=name)
    for first in list_first_runs(project, name):
        _prepare_first_run(project, first, reader=name)
    return _obtain(project, name)


def _obtain(project: Project, name: str) -> str | None:
    experiment = read_experiment(project, name)

    # A dataset without a training split, such as a folder of videos, is only evaluated.
    folders = {"run": project.run_dir(name), "curves": project.curves_dir(name)}
    if not experiment.data.train_ids:
        split = experiment.parameters.train_split
        reason = f"dataset {experiment.dataset} has no samples in split {split!r}"
        # Of several processes one writes.
        if not find_launch(os.environ).is_first:
            return None
        write_untrained_run(
            folders["run"], experiment.parameters, log_dir=folders["curves"], reason=reason
        )
        return f"not trained, since {reason}"

    # Bring back the weights if they were trained before, or train them.
    plan = plan_trainer(experiment.trained, experiment.hardware)
    _make_labels(project, experiment, plan)
    key = _compute_key(experiment, plan)
    obtained = obtain_run(
        project.training_dir,
        name,
        key,
        folders,
        functools.partial(_train, experiment, key),
        on_wait=functools.partial(_report_waiting, name),
        is_first_process=plan.launch.is_first,
        decide=_make_decide(plan, experiment.hardware, key),
    )
    if obtained is None:
        return None

    # The weights may come from another run, or from RCGrad for FlowGrad-H.
    if obtained.name != name or experiment.trained != experiment.parameters:
        _adopt(experiment, obtained)

    # Also those of a run that was finished before runs kept them.
    keep_run_labels(experiment.trained, folders["run"])
    return _describe(experiment, obtained)


def _prepare_first_run(project: Project, name: str, *, reader: str) -> None:
    """Train the run whose weights are the first ones of another, unless its folder has them.

    Raises:
        ParameterError: several processes train together, so that it must be trained before.
        RunError: there is nothing that it could be trained on.
    """
    experiment = read_experiment(project, name)
    plan = plan_trainer(experiment.trained, experiment.hardware)
    _make_labels(project, experiment, plan)
    if _has_weights(project, experiment, plan):
        return

    if plan.num_processes > 1:
        raise ParameterError(
            f"{reader} begins with the weights of {name}, which are missing or not those of its "
            f"parameters, samples and code; first train it: dvc repro train@{name}"
        )

    print(f"{reader}: begins with the weights of {name}, which comes first", file=sys.stderr)
    print(f"{name}: {_obtain(project, name)}", file=sys.stderr)
    if not (project.run_dir(name) / MODEL_NAME).is_file():
        raise RunError(f"{reader} begins with the weights of {name}, which was not trained")


def _make_labels(project: Project, experiment: Experiment, plan: TrainerPlan) -> None:
    """Write the labels that a run reads, where they are clusters of another run's features."""
    write_run_labels(
        project,
        experiment.dataset,
        experiment.trained,
        experiment.data.train_ids,
        experiment.data.get_selection_ids(experiment.trained.select_on),
        device=torch.device("cuda" if plan.is_cuda else "cpu"),
    )


def _has_weights(project: Project, experiment: Experiment, plan: TrainerPlan) -> bool:
    """Return whether the folder of a run has the weights of its parameters, samples and code."""
    path = experiment.folders.run_dir / MODEL_NAME
    if not path.is_file():
        return False

    # A pulled checkout has runs, but no record of how they were trained.
    if not is_finished(project.training_dir, experiment.name):
        return read_run(experiment.folders.run_dir)["parameters"] == as_mapping(
            experiment.parameters
        )

    # The record has the present key, and the folder still has the weights of the record.
    finished = find_finished(project.training_dir, _compute_key(experiment, plan))
    return finished is not None and sha256_of(finished / "run" / MODEL_NAME) == sha256_of(path)


def _hold_out_validation(data: TrainingData, parameters: TrainingParameters) -> TrainingData:
    """Take validation samples from the training split where the dataset has none."""
    if parameters.select_on != "val" or data.val_ids or not data.train_ids:
        return data

    assert data.video_of is not None
    train_ids, val_ids = hold_out(
        data.train_ids, data.video_of, num_samples=parameters.num_held_out
    )
    return replace(data, train_ids=train_ids, val_ids=val_ids)


def _make_decide(plan: TrainerPlan, hardware: HardwareParameters, key: str) -> Decide | None:
    """Return how processes agree on training; None where training itself starts the others."""
    launch = plan.launch
    if launch.launcher == "lightning":
        # A training started this process, and its parent has decided.
        return None
    # One process on each node, or all of them.
    num_starts = launch.num_processes if launch.is_whole else hardware.num_nodes
    if num_starts == 1:
        return None
    return lambda decision: share_decision(launch, decision, num_starts=num_starts, key=key)


def _compute_key(experiment: Experiment, plan: TrainerPlan) -> str:
    data = experiment.data

    # The ground truth of the samples that select decides which epoch is kept.
    parameters = experiment.trained
    selection_ids = data.get_selection_ids(parameters.select_on)
    labels_path = find_written_labels(parameters)
    inputs = RunInputs(
        features_dirs={
            name: data.features_dirs[name] for name in features_read(experiment.trained)
        },
        split_ids={"train": data.train_ids, "selection": selection_ids},
        selection_truth=[experiment.box_rule, find_boxes(experiment.samples, selection_ids)],
        hardware=plan.list_deciding_settings(),
        initial_sha256=hash_first_weights(parameters),
        labels_sha256=None if labels_path is None else sha256_of(labels_path),
    )
    return compute_run_key(experiment.trained, inputs, source_dir=_SOURCE_DIR)


def _train(experiment: Experiment, key: str) -> bool:
    """Train; return whether this process is the one that writes the run."""
    data = experiment.data
    num_selecting = len(data.get_selection_ids(experiment.trained.select_on))
    note = describe_small_split(
        experiment.trained, len(data.train_ids), num_selecting=num_selecting
    )
    if note and find_launch(os.environ).is_first:
        print(f"{experiment.name}: {note}", file=sys.stderr)
    result = fit(
        experiment.trained,
        experiment.data,
        experiment.folders,
        score_maps=experiment.make_score(),
        hardware=experiment.hardware,
        monitoring=experiment.monitoring,
        state_key=key,
    )
    return result.is_first_process


def _report_waiting(name: str) -> None:
    print(f"{name}: waits for the run that trains the same weights", file=sys.stderr)


def _adopt(experiment: Experiment, obtained: ObtainedRun) -> None:
    """Turn a run that was trained for another name or method into this one."""
    parameters = experiment.parameters
    readers = open_readers(experiment.data.features_dirs, features_read(parameters))
    facts = {
        "weights_from_run": obtained.name,
        "weights_trained_as": experiment.trained.method,
    }

    run_dir = experiment.folders.run_dir
    adopt_run(run_dir, parameters, features=describe_features(readers), facts=facts)


def _describe(experiment: Experiment, obtained: ObtainedRun) -> str:
    if obtained.is_new:
        run = read_run(experiment.folders.run_dir)
        return (
            f"{run['num_epochs']} epochs on {run['num_train']} samples; "
            f"kept epoch {run['best_epoch'] + 1}"
        )

    if obtained.name == experiment.name:
        return "nothing that its weights depend on has changed; brought back the finished run"
    return f"its weights are those of {obtained.name}; nothing was trained"
