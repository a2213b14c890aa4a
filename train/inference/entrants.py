"""Collect what takes part in the evaluation: baselines, models, foreign maps, the topline."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from earshot.errors import DataError, ParameterError
from earshot.reader import FeatureReader
from earshot.tables import SAMPLES, read_table
from eval.entrants.baselines import make_baseline
from eval.entrants.entrant import (
    CompareSounds,
    EmbedPairs,
    Entrant,
    Kind,
    Predict,
    name_entrants,
    name_untrained,
)
from eval.entrants.external import check_external, find_path, make_external, read_external
from eval.entrants.flowgrad_h import FlowGradHMaps
from eval.entrants.maps import Maps
from eval.entrants.negative_sounds import Sounds
from eval.entrants.training_clips import TrainingClips
from eval.entrants.vision_only import make_vision_only
from eval.results.evaluate import EvaluationParameters
from pipeline.base.local_settings import find_home
from pipeline.base.parameters import as_mapping
from pipeline.base.progress import Progress
from pipeline.base.project import Project
from pipeline.datasets.dataset import load
from train.data.splits import find_split_ids
from train.inference.object_baseline import KINDS as NETWORK_BASELINES
from train.inference.object_baseline import make_object_predictor
from train.inference.predictor import (
    Predictor,
    load_predictor,
    make_part_predictor,
    make_untrained_predictor,
)
from train.inference.published_settings import list_own_settings
from train.inference.retrieval import embed_pairs, has_pooled_features
from train.inference.sound_comparison import compare_sounds
from train.models.training_parameters import TrainingParameters
from train.runs.run_folder import RELEASED, read_run
from train.runs.settings import (
    RunData,
    find_run_of_folder,
    read_run_data,
    read_run_parameters,
)
from train.weights.initialization import hash_first_weights, list_first_files
from train.weights.released import ReleasedWeights


def collect_entrants(project: Project, parameters: EvaluationParameters) -> list[Entrant]:
    """Collect the baselines, the models of all runs, foreign maps, and the vision-only topline.

    A run that was not trained has no model; it is named on standard output and left out.

    Args:
        project: whose runs, weights and tables are read.
        parameters: which baselines take part, and whether untrained networks do.

    Returns:
        The entrants in the order of the tables' rows.

    Raises:
        ParameterError: a baseline or dataset is unknown, or two entrants have one name.
        DataError: a run, a file of weights or of foreign maps cannot be read.
    """
    entrants = [_make_baseline(project, name, parameters) for name in parameters.baselines]
    detected_datasets = _find_detected_datasets(project)
    for model in project.runs:
        entrants += _make_model_entrants(project, model, has_untrained=parameters.has_untrained)

    entrants += _make_external_entrants(project, parameters)

    # A run can have the name of a baseline, and a table needs different names.
    names = [entrant.name for entrant in entrants] + ["vision_only"]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ParameterError(
            f"params: {repeated[0]!r} is evaluated twice, expected each model and baseline once"
        )

    # One for each dataset: datasets differ in how boxes become pixels.
    toplines = [
        make_vision_only([name], box_rule=load(name).box_rule) for name in detected_datasets
    ]
    return [*entrants, *toplines]


def _make_external_entrants(project: Project, parameters: EvaluationParameters) -> list[Entrant]:
    """Return the maps of other systems that params.yaml names."""
    taken = name_entrants(
        project.runs, parameters.baselines, has_untrained=parameters.has_untrained
    )
    check_external(parameters.external, taken=taken, root=find_home(project.root))
    if not parameters.external:
        return []

    ids_of: dict[str, list[str]] = {}
    for dataset in project.datasets:
        samples = read_table(project.samples_table_path(dataset), SAMPLES, columns=["sample_id"])
        ids_of[dataset] = samples["sample_id"].to_pylist()
    return [
        make_external(read_external(find_path(path, find_home(project.root)), name=name), ids_of)
        for name, path in parameters.external.items()
    ]


def _find_detected_datasets(project: Project) -> list[str]:
    """Return the datasets that have detections, so that the topline takes part."""
    chosen = project.section("detections.datasets")
    unknown = [name for name in chosen if name not in project.datasets]
    if unknown:
        raise ParameterError(
            f"params: detections.datasets has {unknown[0]!r}, expected some of `datasets`"
        )
    return chosen


def _make_baseline(project: Project, name: str, parameters: EvaluationParameters) -> Entrant:
    if name not in NETWORK_BASELINES:
        return make_baseline(name)

    weights = parameters.object_guidance_weights
    predictor = make_object_predictor(name, weights=weights, weights_dir=project.weights_dir)
    return _make_entrant(name, "baseline", predictor, method=name)


def _make_model_entrants(project: Project, model: str, *, has_untrained: bool) -> list[Entrant]:
    """Return the model of a run and, if wanted, the same network before training."""
    run = read_run(project.run_dir(model))
    if run["status"] == "untrained":
        print(f"{model}: not evaluated, since it was not trained: {run['reason']}")
        return []

    predictor = load_predictor(project.run_dir(model), weights_dir=project.weights_dir)
    if run["selection"] == RELEASED:
        return [_make_released_entrant(project, model, predictor)]

    parameters = predictor.parameters
    assert parameters is not None, f"{model}: a trained model has parameters"
    data = read_run_data(project, model)
    entrants = [_make_trained_entrant(project, model, predictor, data, run)]

    if has_untrained:
        initial_sha256 = run.get("initial_sha256")
        untrained = _make_untrained_entrant(project, model, parameters, data, initial_sha256)
        entrants.append(untrained)

    # What the network was trained on before that is not known here.
    if run.get("is_initially_trained"):
        entrants = [replace(entrant, training_clips=None) for entrant in entrants]
    return entrants


def _make_released_entrant(project: Project, model: str, predictor: Predictor) -> Entrant:
    weights = project.parameters(ReleasedWeights, f"weights.{model}")
    data = RunData(features=weights.features)
    data.check_features(predictor.reads, where=f"weights.{model}")

    # Its authors say what they trained on, but not with which clips.
    method = predictor.parameters and name_method(predictor.parameters)
    return _make_entrant(
        model,
        "model",
        predictor,
        data=data,
        selection=RELEASED,
        method=method,
        trained_on=weights.trained_on,
    )


def _make_trained_entrant(
    project: Project, model: str, predictor: Predictor, data: RunData, run: Mapping[str, Any]
) -> Entrant:
    parameters = predictor.parameters
    assert parameters is not None, f"{model}: a trained model has parameters"
    dataset = data.find_dataset(project)
    samples = read_table(project.samples_table_path(dataset), SAMPLES)
    # Of the whole split, also samples that were left out because a feature failed.
    train_ids = set(find_split_ids(samples, parameters.train_split))
    ids = zip(samples["sample_id"].to_pylist(), samples["clip_id"].to_pylist(), strict=True)
    clip_ids = {clip_id for sample_id, clip_id in ids if sample_id in train_ids}

    return _make_entrant(
        model,
        "model",
        predictor,
        data=data,
        seed=parameters.seed,
        selection=parameters.select_on,
        method=name_method(parameters),
        recipe=_name_recipe(project, dataset, data, parameters),
        trained_on=f"{dataset}/{parameters.train_split}",
        num_trained_on=run.get("num_train"),
        own_settings=list_own_settings(parameters),
        training_clips=TrainingClips(dataset, clip_ids),
    )


def _make_untrained_entrant(
    project: Project,
    model: str,
    parameters: TrainingParameters,
    data: RunData,
    initial_sha256: str | None,
) -> Entrant:
    """Return the network as the run began.

    Raises:
        DataError: its first weights are not there, or are not those of the run.
    """
    name = name_untrained(model)
    try:
        _require_same_init(parameters, initial_sha256)
        untrained = make_untrained_predictor(parameters, weights_dir=project.weights_dir)
    except DataError as error:
        # What to do differs from training.
        problem = str(error).partition("; ")[0]
        raise DataError(
            f"{name} begins with the first weights of {model}: {problem}; bring them back, or set "
            "evaluate.has_untrained to false"
        ) from None

    # Nothing was trained, so no clip was seen.
    training_clips = TrainingClips(None, ())
    return _make_entrant(
        name,
        "untrained",
        untrained,
        data=data,
        seed=parameters.seed,
        method=name_method(parameters),
        training_clips=training_clips,
    )


def name_method(parameters: TrainingParameters) -> str:
    """Name the method of a network for the results.

    ``ezvsl`` with its objects is another method, and so is ``ezvsl`` with a margin (MarginNCE).
    """
    guidance = getattr(parameters, "object_guidance", "none")
    method = parameters.name_variant()
    return method if guidance == "none" else f"{method}+ogl_{guidance}"


def _name_recipe(
    project: Project, dataset: str, data: RunData, parameters: TrainingParameters
) -> str:
    """Return a text that is equal for runs that differ in the seed alone."""
    settings = {**as_mapping(parameters), "seed": None, "trained_on": dataset}
    settings["features"] = sorted(data.features)
    # A second stage begins with a run of its own seed, and so may what finds neighbours or labels:
    # what that run is counts, not its name.
    for key in ("init", "frame_encoder", "sound_encoder", "label_encoder"):
        first = find_run_of_folder(project, settings.get(key) or "")
        if first is not None:
            begun, own = read_run_data(project, first), read_run_parameters(project, first)
            settings[key] = _name_recipe(project, begun.find_dataset(project), begun, own)
    # Labels that the encoder gives are the same under any name of their file.
    if settings.get("label_encoder"):
        settings["labels"] = None
    return json.dumps(settings, sort_keys=True, default=str)


def _require_same_init(parameters: TrainingParameters, initial_sha256: str | None) -> None:
    """Fail when the file that ``init`` names changed after the training."""
    found = hash_first_weights(parameters)
    # Random first weights come from no file.
    if found is None or initial_sha256 is None:
        return
    if found != initial_sha256:
        changed = ", ".join(map(str, list_first_files(parameters)))
        raise DataError(f"{changed}: SHA-256 is {found[:16]}..., expected {initial_sha256[:16]}...")


def _make_entrant(
    name: str, kind: Kind, predictor: Predictor, *, data: RunData | None = None, **facts: Any
) -> Entrant:
    """Make the entrant of a network; its maps are kept."""
    features = (data or RunData()).find_features(predictor.reads)
    parity = _make_parity(predictor, name)
    return Entrant(
        name,
        kind,
        _read_from(features, _predict_with_progress(predictor, name)),
        reads=tuple(features.values()),
        is_kept=True,
        compare_sounds=_make_compare_sounds(predictor, features),
        embed_pairs=_make_embed_pairs(predictor, features),
        parity={protocol: _read_from(features, predict) for protocol, predict in parity.items()},
        **facts,
    )


def _read_from(features: Mapping[str, str], predict: Predict) -> Predict:
    """Return ``predict`` for readers of variants: the network knows features by their own name."""

    def predict_from(sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /) -> Maps:
        return predict(sample_ids, _rename(features, readers))

    return predict_from


def _rename(
    features: Mapping[str, str], readers: Mapping[str, FeatureReader]
) -> dict[str, FeatureReader]:
    return {feature: readers[name] for feature, name in features.items()}


def _make_compare_sounds(predictor: Predictor, features: Mapping[str, str]) -> CompareSounds | None:
    """Return how a model compares sounds; None where its similarity is none of a place."""
    if not predictor.model.has_similarity:
        return None

    def compare(
        sample_ids: Sequence[str],
        readers: Mapping[str, FeatureReader],
        sounds: Sequence[Sounds],
        /,
    ) -> np.ndarray:
        return compare_sounds(predictor, sample_ids, _rename(features, readers), sounds)

    return compare


def _make_embed_pairs(predictor: Predictor, features: Mapping[str, str]) -> EmbedPairs | None:
    """Return how a model pools features; None where frames and sounds cannot be compared."""
    if not has_pooled_features(predictor):
        return None

    def embed(
        sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /
    ) -> tuple[np.ndarray, np.ndarray]:
        return embed_pairs(predictor, sample_ids, _rename(features, readers))

    return embed


def _make_parity(predictor: Predictor, name: str) -> dict[str, Predict]:
    """Return the maps of FlowGrad-H that its authors score under their protocol."""
    if predictor.parameters is None or predictor.method != "flowgrad_h":
        return {}
    predict_rcgrad = _predict_with_progress(make_part_predictor(predictor), f"{name} (rcgrad)")

    def predict(sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /) -> Maps:
        return FlowGradHMaps(sample_ids, predict_rcgrad(sample_ids, readers), readers["flow"])

    return {"flowgrad": predict}


def _predict_with_progress(predictor: Predictor, name: str) -> Predict:
    """Return the predictor's ``predict`` with a progress bar under the entrant's name."""

    def predict(sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /) -> np.ndarray:
        with Progress(len(sample_ids), f"maps of {name}", unit="sample") as progress:
            return predictor.predict(sample_ids, readers, progress=progress)

    return predict
