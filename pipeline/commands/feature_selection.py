"""Which datasets and features a command is about, and how params.yaml makes each feature."""

import dataclasses
import importlib
import os
from collections.abc import Callable

from earshot.errors import ParameterError
from earshot.shard_format import INDEX_NAME
from pipeline.base.project import Project
from pipeline.features import flow, frames, spectrograms
from pipeline.features.feature import Feature
from pipeline.shards.account import account_path
from pipeline.shards.cluster import ClusterParameters


def _waveforms(project: Project) -> Feature:
    feature = spectrograms.make_feature(
        project.parameters(spectrograms.SpectrogramParameters, "waveform")
    )
    return dataclasses.replace(feature, name="waveforms")


def _detections(project: Project) -> Feature:
    """The detector is a network: `train` has it, which is imported only when detections are made again."""
    detector = importlib.import_module("train.inference.detector")
    parameters = project.parameters(detector.DetectorParameters, "detections.detector")
    return detector.make_feature(parameters, weights_dir=project.weights_dir)


FEATURES: dict[str, Callable[[Project], Feature]] = {
    "frames": lambda project: frames.make_feature(
        project.parameters(frames.FrameParameters, "frames")
    ),
    "spectrograms": lambda project: spectrograms.make_feature(
        project.parameters(spectrograms.SpectrogramParameters, "spectrogram")
    ),
    "flow": lambda project: flow.make_feature(project.parameters(flow.FlowParameters, "flow")),
    "waveforms": _waveforms,
    "detections": _detections,
}
_ON_REQUEST = {
    "detections": " for the datasets in `detections.datasets`"
}  # not made of every dataset


def add_selection(parser) -> None:
    """Arguments ``--dataset`` and ``--feature``, both repeatable."""
    parser.add_argument(
        "--dataset", action="append", help="only this dataset (default: those of params.yaml)"
    )
    parser.add_argument(
        "--feature",
        action="append",
        choices=sorted(FEATURES),
        help="only this feature (default: all)",
    )


def selected_folders(arguments, project: Project) -> list[tuple[str, str]]:
    """(dataset, feature) of every selected folder that has been built; the others are named on stdout."""
    found = []
    known = sorted(
        path.name for path in (project.root / "cache").glob("*") if (path / "store").is_dir()
    )
    for dataset in arguments.dataset or project.datasets:
        if dataset not in project.datasets and not project.dataset_cache_dir(dataset).is_dir():
            names = ", ".join(sorted({*project.datasets, *known}))
            raise ParameterError(f"--dataset {dataset}: not known here; known: {names}")
        features = list(arguments.feature or FEATURES)
        built = [feature for feature in features if _is_built(project, dataset, feature)]
        for feature in features:
            if feature in built:
                continue
            if arguments.feature or project.feature_dir(dataset, feature).exists():
                print(
                    f"{dataset}/{feature}: not cached yet; `dvc repro` does that{_ON_REQUEST.get(feature, '')}"
                )
        if not built and not arguments.feature:
            print(f"{dataset}: no features cached yet; `dvc repro` does that")
        found += [(dataset, feature) for feature in built]
    return found


def _is_built(project: Project, dataset: str, feature: str) -> bool:
    """Also without its index or folder, where shards or an account (both of which DVC removes before a run) tell."""
    folder = project.feature_dir(dataset, feature)
    return (
        (folder / INDEX_NAME).exists()
        or any(folder.glob("*.h5"))
        or account_path(project, dataset, feature).exists()
    )


def read_cluster_parameters(project: Project) -> ClusterParameters:
    """Read section ``cluster``; a variable of the environment can name the scheduler."""
    return project.parameters(ClusterParameters, "cluster").fill_from(os.environ)
