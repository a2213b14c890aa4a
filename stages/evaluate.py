"""``evaluate``: maps of all models, untrained networks and baselines on all datasets, and their scores."""

import json
from collections.abc import Callable

from earshot.errors import ParameterError
from earshot.files import publish_text
from earshot.reader import FeatureReader
from earshot.tables import SAMPLES, read_table
from eval.entrants.entrant import Entrant, make_baseline, make_vision_only
from eval.results.evaluate import EvaluationParameters, evaluate_dataset
from eval.results.files import LISTS, summarize_for_dvc, write_results
from pipeline.base.progress import Progress
from pipeline.base.project import Project
from pipeline.features.registry import STANDARD_FEATURES
from stages.common import run_stage
from train.data.splits import find_split_ids
from train.inference.object_baseline import KINDS, make_object_predictor
from train.inference.predictor import Predictor, load_predictor, make_untrained_predictor
from train.runs.run_folder import RELEASED, read_run


def main(project: Project) -> None:
    """Write ``cache/maps/``, ``reports/scores.parquet``, ``results.json`` and ``metrics.json``."""
    parameters = project.parameters(EvaluationParameters, "evaluate")
    entrants = [_baseline(project, name, parameters) for name in parameters.baselines]
    detected = _datasets_with_detections(project)
    for model in project.runs:
        entrants += _model_entrants(project, model, has_untrained=parameters.has_untrained)
    names = [entrant.name for entrant in (*entrants, make_vision_only())]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ParameterError(
            f"params: {twice[0]!r} is evaluated twice, expected each model and baseline once"
        )
    # DVC expects the folder even when no maps are kept.
    project.maps_root_dir.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict]] = {name: [] for name in ("scores", *LISTS)}
    for dataset in project.datasets:
        features, topline = (*STANDARD_FEATURES, "detections"), [make_vision_only()]
        if dataset not in detected:
            features, topline = STANDARD_FEATURES, []
        found = evaluate_dataset(
            dataset,
            read_table(project.samples_table_path(dataset), SAMPLES),
            {name: FeatureReader(project.feature_dir(dataset, name)) for name in features},
            [*entrants, *topline],
            parameters=parameters,
            maps_dir=project.maps_dir(dataset),
        )
        for name, found_rows in found.items():
            rows[name] += found_rows
    write_results(project.reports_dir, **rows)
    publish_text(
        project.reports_dir / "metrics.json",
        json.dumps(summarize_for_dvc(rows["results"]), indent=1) + "\n",
    )


def _datasets_with_detections(project: Project) -> list[str]:
    """``detections.datasets``: those on which the topline takes part."""
    chosen = project.section("detections.datasets")
    unknown = [name for name in chosen if name not in project.datasets]
    if unknown:
        raise ParameterError(
            f"params: detections.datasets has {unknown[0]!r}, expected some of `datasets`"
        )
    return chosen


def _baseline(project: Project, name: str, parameters: EvaluationParameters) -> Entrant:
    """One of ``evaluate.baselines``."""
    if name not in KINDS:
        return make_baseline(name)
    weights, weights_dir = parameters.object_guidance_weights, project.weights_dir
    predictor = make_object_predictor(name, weights=weights, weights_dir=weights_dir)
    return Entrant(
        name, "baseline", _predict_with(predictor, name), reads=predictor.reads, is_kept=True
    )


def _predict_with(predictor: Predictor, name: str) -> Callable:
    """``Entrant.predict`` with a progress bar that says whose maps are made."""

    def predict(sample_ids, readers):
        with Progress(len(sample_ids), f"maps of {name}", unit="sample") as progress:
            return predictor.predict(sample_ids, readers, progress=progress)

    return predict


def _model_entrants(project: Project, model: str, *, has_untrained: bool) -> list[Entrant]:
    """The trained model and, beside it, the same network before training; released weights by themselves."""
    run = read_run(project.run_dir(model))
    if run["status"] == "untrained":
        print(f"{model}: not evaluated, since it was not trained: {run['reason']}")
        return []
    weights_dir = project.weights_dir
    predictor = load_predictor(project.run_dir(model), weights_dir=weights_dir)
    parameters = predictor.parameters
    dataset = project.datasets[0]
    samples = read_table(project.samples_table_path(dataset), SAMPLES)
    clip_of = dict(
        zip(samples["sample_id"].to_pylist(), samples["clip_id"].to_pylist(), strict=True)
    )

    def entrant(name, kind, localizer, **about):
        seed = parameters.seed
        return Entrant(
            name,
            kind,
            _predict_with(localizer, name),
            reads=localizer.reads,
            is_kept=True,
            seed=seed,
            train_dataset=dataset,
            **about,
        )

    if run["selection"] == RELEASED:  # what their authors trained on is not known here
        return [
            Entrant(
                model,
                "model",
                _predict_with(predictor, model),
                reads=predictor.reads,
                is_kept=True,
                selection=RELEASED,
            )
        ]
    train_clip_ids = {
        clip_of[sample_id] for sample_id in find_split_ids(samples, parameters.train_split)
    }
    entrants = [
        entrant(
            model,
            "model",
            predictor,
            selection=parameters.select_on,
            train_clip_ids=train_clip_ids,
        )
    ]
    if has_untrained:
        entrants.append(
            entrant(
                f"{model}_untrained",
                "untrained",
                make_untrained_predictor(parameters, weights_dir=weights_dir),
                train_clip_ids=(),
            )
        )
    return entrants


if __name__ == "__main__":
    run_stage(main)
