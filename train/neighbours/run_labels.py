"""The pseudo-labels of a run for which another run's features are clustered.

They are written to the path that the parameters name, which several runs may share. So that path is
no output of DVC: an output has one stage that writes it. What DVC keeps, pushes and pulls is the
copy in the folder of each run that was trained with them.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.base.project import Project
from train.models.registry import features_read
from train.models.training_parameters import TrainingParameters
from train.neighbours.label_clusters import copy_labels, obtain_labels
from train.runs.run_folder import LABELS_NAME, read_model
from train.runs.settings import RunData, find_run_of_folder, read_run_data


def find_written_labels(parameters: TrainingParameters) -> Path | None:
    """Return the file of labels that a training writes before it begins; most have none."""
    if not getattr(parameters, "label_encoder", ""):
        return None
    return Path(parameters.labels).expanduser()  # type: ignore[attr-defined]


def write_run_labels(
    project: Project,
    dataset: str,
    parameters: TrainingParameters,
    train_ids: Sequence[str],
    other_ids: Sequence[str],
    *,
    device: torch.device,
) -> None:
    """Write the labels of a run unless they are there; nothing where it reads none of these.

    Args:
        project: whose runs and features are read.
        dataset: on which the run is trained.
        parameters: of the run.
        train_ids: samples that are clustered.
        other_ids: samples that only get labels.
        device: where to compute.

    Raises:
        ParameterError: there are too few samples.
        DataError: as ``obtain_labels``.
    """
    path = find_written_labels(parameters)
    if path is None:
        return

    encoder = parameters.label_encoder  # type: ignore[attr-defined]
    # That run reads features of its own, perhaps others than this one.
    run = find_run_of_folder(project, encoder)
    inputs = RunData() if run is None else read_run_data(project, run)
    features = inputs.find_features(features_read(read_model(Path(encoder).expanduser())[1]))
    obtain_labels(
        path,
        encoder,
        train_ids,
        other_ids,
        {feature: project.feature_dir(dataset, folder) for feature, folder in features.items()},
        # Whichever of them was trained with these labels, here or on another machine.
        copies=[project.run_dir(name) / LABELS_NAME for name in project.section("train")],
        weights_dir=project.weights_dir,
        device=device,
    )


def keep_run_labels(parameters: TrainingParameters, run_dir: Path) -> None:
    """Put the labels that a run was trained with into its folder; most have none."""
    path = find_written_labels(parameters)
    if path is not None:
        copy_labels(path, run_dir / LABELS_NAME)
