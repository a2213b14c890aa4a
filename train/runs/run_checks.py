"""Check before anything is downloaded that the chosen runs will find what they read."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from earshot.errors import ParameterError
from eval.results.evaluate import EvaluationParameters
from eval.scoring.protocols import PROTOCOLS
from pipeline.base.parameters import suggest
from pipeline.base.project import Project
from pipeline.datasets.dataset import find_known_splits, load
from pipeline.features.configure import require_datasets
from pipeline.features.registry import FEATURES
from train.models.registry import features_read
from train.models.training_parameters import TrainingParameters
from train.runs.setting_values import check_values
from train.runs.settings import (
    RunData,
    find_run_of_folder,
    list_first_runs,
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
    check_values(read_run_parameters(project, name), where=f"train.{name}")
    data = read_run_data(project, name)
    if data.dataset == "":
        raise ParameterError(
            f"params: train.{name}.dataset is '', expected the name of a dataset; without the key "
            "it is the first of `datasets`"
        )
    _require_known(data.features, project.params.get("feature_variants") or {}, name, "features")
    if data.protocol is not None:
        _require_known([data.protocol], PROTOCOLS, name, "protocol")


def check_chosen_run(project: Project, name: str, *, reader: str | None = None) -> None:
    """Check that a run of ``models`` finds its dataset, its splits and its features.

    Args:
        project: whose params.yaml is read.
        name: of a run that ``models`` names, or with which one of them begins.
        reader: the run that begins with it; None: ``models`` names it. A run that only comes first
            is trained and not evaluated.

    Raises:
        ParameterError: it does not find one of them, or its protocol is not evaluated.
    """
    data = read_run_data(project, name)
    dataset = data.find_dataset(project)
    if dataset not in project.datasets:
        raise ParameterError(
            f"params: train.{name}.dataset is {dataset!r}{suggest(dataset, project.datasets)}; "
            f"expected one of `datasets` ({', '.join(project.datasets)}): add it there, or take "
            f"{reader or name} out of models"
        )

    # The run is evaluated on all datasets, and reads the same features there.
    features = data.find_features(features_read(read_run_parameters(project, name)))
    words = f"run {name}" if reader is None else f"run {name}, with which {reader} begins,"
    for other in project.datasets if reader is None else (dataset,):
        require_datasets(project, other, features.values(), reader=words)

    _check_sound_encoder(project, name, features)
    _check_splits(project, name, data, dataset)
    if reader is None:
        _check_protocol(project, name, data)


def check_labels(project: Project) -> None:
    """Check that trained runs which share a file of labels agree on what it holds.

    Two of them that are trained at the same time would else replace each other's labels.

    Args:
        project: whose params.yaml is read. Its runs are those of ``models``, and those with which
            they begin.

    Raises:
        ParameterError: two runs write another content to one file, or one reads as its user's own
            what another one writes.
    """
    # Runs come after those with which they begin, each once.
    names: dict[str, None] = {}
    for name in project.names("models"):
        names |= dict.fromkeys((*list_first_runs(project, name), name))

    seen: dict[Path, tuple[str, dict[str, str]]] = {}
    for name in names:
        parameters = read_run_parameters(project, name)
        labels = getattr(parameters, "labels", "imagenet")
        encoder = getattr(parameters, "label_encoder", None)
        if labels == "imagenet" or encoder is None:
            continue

        # What decides the content of the file.
        selects = parameters.test_split if parameters.select_on == "test" else parameters.val_split
        facts = {
            "label_encoder": encoder,
            "dataset": read_run_data(project, name).find_dataset(project),
            "train_split": parameters.train_split,
            "the split that selects": selects,
        }
        path = project.root / Path(labels).expanduser()
        other, others = seen.setdefault(path.resolve(), (name, facts))

        # Files of one's own are only read.
        if not (encoder or others["label_encoder"]):
            continue
        for key, value in facts.items():
            if value != others[key]:
                raise ParameterError(
                    f"params: train.{other} and train.{name} have one file of labels ({labels}), "
                    f"but {key} is {others[key]!r} and {value!r}, so each would replace the labels "
                    "of the other; name another path in one of them"
                )


def check_same_runs(project: Project) -> None:
    """Check that no two runs of ``models`` are the same training.

    Args:
        project: whose params.yaml is read.

    Raises:
        ParameterError: two are, as where a copied section keeps its seed.
    """
    seen: dict[object, str] = {}
    for name in project.names("models"):
        data = read_run_data(project, name)
        data = replace(data, dataset=data.find_dataset(project))
        facts = (read_run_parameters(project, name), data)
        other = seen.setdefault(facts, name)
        if other != name:
            raise ParameterError(
                f"params: models has {other} and {name}, whose settings are all the same, so they "
                "would be one model in two rows; change the seed of one, or take it out"
            )


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
    # Videos of the user's own are only evaluated, unless a run says that it trains on them.
    if load(dataset).is_linked and data.dataset is None:
        return
    section, splits = f"sources.{dataset}", find_known_splits(project, dataset)
    if splits is None:
        return

    parameters = read_run_parameters(project, name)
    wanted = {"train_split": parameters.train_split}
    # A dataset may lack the splits of the usual names: some of its training samples become those of
    # validation, and few runs need a test set. A name of one's own that it lacks is a mistake.
    is_own_test_split = parameters.test_split != TrainingParameters.test_split
    if parameters.select_on == "test" or is_own_test_split:
        wanted["test_split"] = parameters.test_split
    if parameters.select_on != "test" and parameters.val_split != TrainingParameters.val_split:
        wanted["val_split"] = parameters.val_split

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


def _require_known(names: Collection[str], known: Collection[str], run: str, key: str) -> None:
    for name in names:
        if name not in known:
            raise ParameterError(
                f"params: train.{run}.{key} has {name!r}{suggest(name, known)}; expected some of "
                f"{', '.join(sorted(known)) or 'feature_variants, which has none'}"
            )
