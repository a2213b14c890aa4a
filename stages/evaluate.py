"""``evaluate``: maps of all models, untrained networks, baselines and other systems, scored."""

import json

from earshot.files import publish_text
from earshot.reader import FeatureReader
from earshot.tables import CLIPS, SAMPLES, read_table
from eval.results.dvc_summary import describe_summary, summarize_for_dvc
from eval.results.evaluate import EvaluationParameters, evaluate_dataset
from eval.results.files import LISTS, write_results
from pipeline.base.project import Project
from pipeline.base.user_files import noted_user_files
from pipeline.datasets.dataset import check_test_splits, find_own_tables
from pipeline.features.configure import require_datasets
from pipeline.lists.box_checks import check_boxes
from stages.common import find_all_tables, run_stage
from train.inference.entrants import collect_entrants


def main(project: Project) -> None:
    """Write ``cache/maps/`` and, in ``reports/``, the scores, the results and ``summary.json``."""
    parameters = project.parameters(EvaluationParameters, "evaluate")
    check_test_splits(parameters.subsets, own_tables=find_own_tables(project.params))
    entrants = collect_entrants(project, parameters)

    # DVC expects the folder even when no maps are kept.
    project.maps_root_dir.mkdir(parents=True, exist_ok=True)

    rows: dict[str, list[dict]] = {name: [] for name in ("scores", *LISTS)}
    for dataset in project.datasets:
        chosen = [entrant for entrant in entrants if entrant.is_for(dataset)]
        for entrant in chosen:
            require_datasets(project, dataset, entrant.reads, reader=entrant.name)

        # Open only what the models of this dataset read: other features need not be cached.
        features = {name for entrant in chosen for name in entrant.reads}
        samples = read_table(project.samples_table_path(dataset), SAMPLES)
        note = check_boxes(samples, name=dataset)
        if note:
            print(note)

        clips = read_table(
            project.clips_table_path(dataset), CLIPS, columns=["clip_id", "video_id"]
        )
        dataset_rows = evaluate_dataset(
            dataset,
            samples,
            {name: FeatureReader(project.feature_dir(dataset, name)) for name in sorted(features)},
            chosen,
            parameters=parameters,
            maps_dir=project.maps_dir(dataset),
            video_of=dict(zip(*clips.to_pydict().values(), strict=True)),
        )
        for name, new_rows in dataset_rows.items():
            rows[name] += new_rows

    for row in rows["notes"]:
        print(row["text"])
    write_results(project.reports_dir, **rows)
    _write_summary(project, rows["results"], parameters)


def _write_summary(project: Project, results: list[dict], parameters: EvaluationParameters) -> None:
    """Write the few numbers that ``dvc metrics show`` and ``dvc exp show`` print."""
    protocol, metric = parameters.main_protocol, parameters.comparison_metric
    summary = summarize_for_dvc(results, protocol=protocol, metric=metric)
    publish_text(project.reports_dir / "summary.json", json.dumps(summary, indent=1) + "\n")
    print(describe_summary(results, protocol=protocol, metric=metric))


def evaluate(project: Project) -> None:
    """Run ``main`` and note the user's files that it reads: weights and foreign maps."""
    with noted_user_files(project, "evaluate"):
        main(project)


if __name__ == "__main__":
    run_stage(evaluate, inputs=find_all_tables)
