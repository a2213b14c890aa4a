"""``train@MODEL``: fit one model on the cached features of the first dataset."""

import functools
import os
import sys
from pathlib import Path

import train
from earshot.errors import ParameterError
from earshot.tables import CLIPS, SAMPLES, read_table
from eval.scoring.selection import has_ground_truth, mean_adaptive_ciou
from pipeline.audit.leakage import AuditParameters, check_leakage, find_overlaps
from pipeline.base.project import Project
from pipeline.datasets.dataset import load
from pipeline.features.registry import STANDARD_FEATURES
from stages.common import run_stage
from train.data.feature_readers import describe_features, open_readers
from train.data.splits import find_boxes, find_split_ids, find_videos, hold_out
from train.fitting.distributed import is_first_process
from train.fitting.fit import fit
from train.models.registry import build_parameters, features_read, parameters_of_training
from train.models.training_parameters import HardwareParameters
from train.runs.finished_runs import compute_run_key, obtain_run
from train.runs.run_folder import adopt_run, read_run, write_untrained_run


def main(project: Project, model: str) -> None:
    """Write ``cache/runs/<model>/`` and its curves in ``reports/training/<model>/``."""
    if not project.datasets:
        raise ParameterError(
            "params: datasets is [], expected at least one to train on, for example [sample]"
        )
    dataset = project.datasets[0]
    parameters = build_parameters(project.section(f"train.{model}"), f"train.{model}")
    hardware = project.parameters(HardwareParameters, "hardware")
    audit = project.parameters(AuditParameters, "audit")
    samples = read_table(project.samples_table_path(dataset), SAMPLES)
    clips = read_table(project.clips_table_path(dataset), CLIPS)
    test_splits = project.section("evaluate.subsets").get(dataset, [])
    check_leakage(
        find_overlaps(
            clips, dataset=dataset, train_splits=[parameters.train_split], test_splits=test_splits
        ),
        audit,
    )
    split_ids = {
        name: find_split_ids(samples, split)
        for name, split in (
            ("train", parameters.train_split),
            ("val", parameters.val_split),
            ("test", parameters.test_split),
        )
    }
    folders = {"run": project.run_dir(model), "curves": project.curves_dir(model)}
    if not split_ids["train"]:
        reason = f"dataset {dataset} has no samples in split {parameters.train_split!r}"
        write_untrained_run(folders["run"], parameters, log_dir=folders["curves"], reason=reason)
        print(f"{model}: not trained, since {reason}")
        return
    video_of = find_videos(samples, clips)
    if parameters.select_on == "val" and not split_ids["val"]:
        split_ids["train"], split_ids["val"] = hold_out(
            split_ids["train"], video_of, num_samples=parameters.num_held_out
        )
    features_dirs = {name: project.feature_dir(dataset, name) for name in STANDARD_FEATURES}
    trained = parameters_of_training(parameters)
    key = compute_run_key(
        trained,
        hardware=hardware,
        features_dirs=features_dirs,
        reads=features_read(trained),
        split_ids=split_ids,
        selection_truth=find_boxes(samples, [*split_ids["val"], *split_ids["test"]]),
        # The method is loaded by its name, and what scores the maps is handed to `fit`.
        modules=("train.fitting.fit", f"train.models.{trained.method}", "eval.scoring.selection"),
        source_dir=Path(train.__file__).parents[1],
    )
    # Outside of DVC's outputs, which are removed before a stage runs: a killed training goes on from here.
    training_dir = project.training_dir
    box_rule = load(dataset).box_rule
    is_scored = has_ground_truth(split_ids["val"], samples, box_rule=box_rule)

    def train_model() -> bool:
        result = fit(
            trained,
            features_dirs=features_dirs,
            train_ids=split_ids["train"],
            val_ids=split_ids["val"],
            test_ids=split_ids["test"],
            video_of=video_of,
            is_leakage_allowed=audit.allow_leakage,
            score_maps=functools.partial(mean_adaptive_ciou, samples=samples, box_rule=box_rule)
            if is_scored
            else None,
            run_dir=folders["run"],
            log_dir=folders["curves"],
            state_dir=training_dir / model,
            state_key=key,
            weights_dir=project.weights_dir,
            hardware=hardware,
        )
        return result.is_first_process

    obtained = obtain_run(
        training_dir,
        model,
        key,
        folders,
        train_model,
        on_wait=lambda: print(
            f"{model}: waits for the run that trains the same weights", file=sys.stderr
        ),
        is_first_process=is_first_process(os.environ),
    )
    if obtained is None:
        return
    if obtained.name != model or trained != parameters:
        features = describe_features(open_readers(features_dirs, features_read(parameters)))
        facts = {"weights_from_run": obtained.name, "weights_trained_as": trained.method}
        adopt_run(folders["run"], parameters, features=features, facts=facts)
    if obtained.is_new:
        run = read_run(folders["run"])
        print(
            f"{model}: {run['num_epochs']} epochs on {run['num_train']} samples; kept epoch {run['best_epoch']}"
        )
    elif obtained.name == model:
        print(
            f"{model}: nothing that its weights depend on has changed; brought back the finished run"
        )
    else:
        print(f"{model}: its weights are those of {obtained.name}; nothing was trained")


if __name__ == "__main__":
    run_stage(main, "model")
