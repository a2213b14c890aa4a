"""``evaluate``: maps of all models, untrained networks and baselines on all datasets, and their scores."""

import json

from eval.dataset_evaluation import EvaluationParameters, evaluate_dataset
from eval.entrants import Entrant, make_baseline
from eval.results import LISTS, summarize_for_dvc, write_results
from pipeline.files import publish_text
from pipeline.progress import Progress
from pipeline.project import Project
from pipeline.shards import FeatureReader
from pipeline.tables import SAMPLES, read_table
from stages.running import run_stage
from train.dataset_splits import ids_in_split
from train.predict import load_predictor, untrained_predictor
from train.run_files import read_run

FEATURES = ("frames", "spectrograms", "flow", "waveforms")


def main(project: Project) -> None:
    """Write ``cache/maps/``, ``reports/scores.parquet``, ``results.json`` and ``metrics.json``."""
    parameters = project.parameters(EvaluationParameters, "evaluate")
    entrants = [make_baseline(name) for name in parameters.baselines]
    for model in project.section("models"):
        entrants += _model_entrants(project, model, has_untrained=parameters.has_untrained)
    rows: dict[str, list[dict]] = {name: [] for name in ("scores", *LISTS)}
    for dataset in project.datasets:
        found = evaluate_dataset(
            dataset,
            read_table(project.samples_table_path(dataset), SAMPLES),
            {name: FeatureReader(project.feature_dir(dataset, name)) for name in FEATURES},
            entrants,
            parameters=parameters,
            maps_dir=project.maps_path(dataset, "any").parent,
        )
        for name, found_rows in found.items():
            rows[name] += found_rows
    write_results(project.reports_dir, **rows)
    publish_text(project.reports_dir / "metrics.json", json.dumps(summarize_for_dvc(rows["results"]), indent=1) + "\n")


def _model_entrants(project: Project, model: str, *, has_untrained: bool) -> list[Entrant]:
    """The trained model and, beside it, the same network before training."""
    run = read_run(project.run_dir(model))
    if run["status"] == "untrained":
        print(f"{model}: not evaluated, since it was not trained: {run['reason']}")
        return []
    predictor = load_predictor(project.run_dir(model))
    parameters = predictor.parameters
    samples = read_table(project.samples_table_path(project.datasets[0]), SAMPLES)
    clip_of = dict(zip(samples["sample_id"].to_pylist(), samples["clip_id"].to_pylist(), strict=True))
    train_clip_ids = {clip_of[sample_id] for sample_id in ids_in_split(samples, parameters.train_split)}

    def entrant(name, localizer, **about):
        def predict(sample_ids, readers):
            with Progress(len(sample_ids), f"maps of {name}", unit="sample") as progress:
                return localizer.predict(sample_ids, readers, progress=progress)

        return Entrant(name, predict, reads=localizer.reads, is_kept=True, seed=parameters.seed, **about)

    entrants = [entrant(model, predictor, selection=parameters.select_on, train_clip_ids=train_clip_ids)]
    if has_untrained:
        entrants.append(entrant(f"{model}_untrained", untrained_predictor(parameters)))
    return entrants


if __name__ == "__main__":
    run_stage(main)
