"""``evaluate``: maps of all models, untrained networks, baselines and other systems, scored."""

import json

from earshot.files import publish_text
from earshot.reader import FeatureReader
from earshot.tables import CLIPS, SAMPLES, read_table
from eval.results.dvc_summary import describe_summary, summarize_for_dvc
from eval.results.evaluate import EvaluationParameters, evaluate_dataset
from eval.results.files import LISTS, write_results
from eval.results.further_metrics import describe_further, describe_unscored
from eval.results.negative_audio import SoundData, describe, evaluate_negative_audio
from eval.results.summaries import find_groups
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
    sound_data: list[SoundData] = []
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

        video_of = _read_videos(project, dataset)
        readers = {
            name: FeatureReader(project.feature_dir(dataset, name)) for name in sorted(features)
        }

        dataset_rows = evaluate_dataset(
            dataset,
            samples,
            readers,
            chosen,
            parameters=parameters,
            maps_dir=project.maps_dir(dataset),
            video_of=video_of,
        )
        groups = find_groups(samples, video_of)
        subsets = parameters.subsets.get(dataset, ())
        # Kept until the end: a threshold of negative audio can come from another dataset.
        sound_data.append(SoundData(dataset, samples, readers, groups, subsets))

        for name, new_rows in dataset_rows.items():
            rows[name] += new_rows

    rows["negative_audio"], notes = evaluate_negative_audio(
        entrants,
        sound_data,
        parameters=parameters.negative_audio,
        num_resamples=parameters.num_resamples,
        maps_root_dir=project.maps_root_dir,
    )
    rows["notes"] += notes

    for row in rows["negative_audio"]:
        print(describe(row))
    for row in rows["further"]:
        print(describe_further(row))
    for sentence in describe_unscored(parameters.further_metrics, rows["further"]):
        print(sentence)
    for found in rows["notes"]:
        print(found["text"])

    write_results(project.reports_dir, **rows)
    _write_summary(project, rows["results"], parameters)


def _read_videos(project: Project, dataset: str) -> dict[str, str]:
    """Return the video of each clip: intervals draw the samples of one video together."""
    columns = ["clip_id", "video_id"]
    clips = read_table(project.clips_table_path(dataset), CLIPS, columns=columns)
    return dict(zip(*clips.to_pydict().values(), strict=True))


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
