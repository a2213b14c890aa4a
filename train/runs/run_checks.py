"""Check before anything is downloaded that the chosen runs will find what they read."""

from collections.abc import Collection, Mapping
from dataclasses import fields

from earshot.errors import ParameterError
from eval.results.evaluate import EvaluationParameters
from eval.scoring.protocols import PROTOCOLS
from pipeline.base.parameters import suggest
from pipeline.base.project import Project
from pipeline.datasets.dataset import load
from pipeline.features.configure import require_datasets
from pipeline.features.registry import FEATURES
from train.models.registry import features_read
from train.models.training_parameters import TrainingParameters
from train.runs.settings import (
    RunData,
    find_run_of_folder,
    read_run_data,
    read_run_parameters,
)


def check_run(project: Project, name: str) -> None:
    """Check the section of a run, whether or not the run is chosen.

    Args:
        project: whose params.yaml is read.
        name: of a run of section ``train``.

    Raises:
        ParameterError: a key or a value is wrong.
    """
    read_run_parameters(project, name)
    data = read_run_data(project, name)
    _require_known(data.features, project.params.get("feature_variants") or {}, name, "features")
    if data.protocol is not None:
        _require_known([data.protocol], PROTOCOLS, name, "protocol")


def check_chosen_run(project: Project, name: str) -> None:
    """Check that a run of ``models`` finds its dataset, its splits and its features.

    Args:
        project: whose params.yaml is read.
        name: of a run that ``models`` names.

    Raises:
        ParameterError: it does not find one of them, or its protocol is not evaluated.
    """
    data = read_run_data(project, name)
    dataset = data.find_dataset(project)
    if dataset not in project.datasets:
        raise ParameterError(
            f"params: train.{name}.dataset is {dataset!r}{suggest(dataset, project.datasets)}; "
            f"expected one of `datasets` ({', '.join(project.datasets)}): add it there, or take "
            f"{name} out of models"
        )

    # The run is evaluated on all datasets, and reads the same features there.
    features = data.find_features(features_read(read_run_parameters(project, name)))
    for other in project.datasets:
        require_datasets(project, other, features.values(), reader=f"run {name}")

    _check_sound_encoder(project, name, features)
    _check_splits(project, name, data, dataset)
    _check_protocol(project, name, data)


def list_idle_settings(project: Project, name: str) -> list[str]:
    """Return the settings of a run about spectrograms where its method reads none.

    Args:
        project: whose params.yaml is read.
        name: of a run of section ``train``.
    """
    parameters = read_run_parameters(project, name)
    if "spectrograms" in features_read(parameters):
        return []
    return [
        field.name
        for field in fields(TrainingParameters)
        if field.name.startswith("spectrogram_")
        and getattr(parameters, field.name) != field.default
    ]


def _check_sound_encoder(project: Project, name: str, features: Mapping[str, str]) -> None:
    """Check that a run which finds neighbours by sound was trained on the same sounds."""
    source = getattr(read_run_parameters(project, name), "sound_encoder", None)
    encoder = None if source is None else find_run_of_folder(project, source)
    if encoder is None:
        return

    read = features_read(read_run_parameters(project, encoder))
    for feature, variant in read_run_data(project, encoder).find_features(read).items():
        if FEATURES[feature].is_sound and variant != features.get(feature):
            raise ParameterError(
                f"params: train.{name}.sound_encoder is the run {encoder}, which reads {variant}, "
                f"but {name} reads {features.get(feature, f'no {feature}')}; name a run that "
                f"reads the same, or set the same `features`"
            )


def _check_splits(project: Project, name: str, data: RunData, dataset: str) -> None:
    about = load(dataset)
    if about.find_splits is None or not _has_section(project, dataset):
        return
    # Videos of the user's own are only evaluated, unless a run says that it trains on them.
    if about.is_linked and data.dataset is None:
        return

    section = f"sources.{dataset}"
    splits = about.find_splits(project.parameters(about.parameters, section))
    if splits is None:
        return

    parameters = read_run_parameters(project, name)
    wanted = {"train_split": parameters.train_split}
    if parameters.select_on == "test":
        wanted["test_split"] = parameters.test_split

    for key, split in wanted.items():
        if split not in splits:
            raise ParameterError(
                f"params: train.{name}.{key} is {split!r}{suggest(split, splits)}; {section} "
                f"gives the splits {', '.join(sorted(splits))}: change one of them, or take {name} "
                "out of models"
            )


def _check_protocol(project: Project, name: str, data: RunData) -> None:
    if data.protocol is None or "evaluate" not in project.params:
        return
    protocols = project.parameters(EvaluationParameters, "evaluate").protocols
    if data.protocol not in protocols:
        raise ParameterError(
            f"params: train.{name}.protocol is {data.protocol!r}, which evaluate.protocols "
            f"({', '.join(protocols)}) lacks: add it there"
        )


def _has_section(project: Project, dataset: str) -> bool:
    sources = project.params.get("sources")
    return isinstance(sources, Mapping) and dataset in sources


def _require_known(names: Collection[str], known: Collection[str], run: str, key: str) -> None:
    for name in names:
        if name not in known:
            raise ParameterError(
                f"params: train.{run}.{key} has {name!r}{suggest(name, known)}; expected some of "
                f"{', '.join(sorted(known)) or 'feature_variants, which has none'}"
            )
