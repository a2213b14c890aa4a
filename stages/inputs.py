"""``inputs``: what each chosen run reads, in a file for each run.

Each stage ``train@RUN`` depends on its own file. So a change of one dataset, feature or variant
touches only the runs that read it. The evaluation depends on all of them.
"""

import json
from typing import Any

from earshot.files import publish_text
from pipeline.base.parameters import as_mapping
from pipeline.base.project import Project
from pipeline.features.configure import require_datasets
from pipeline.features.registry import is_variant
from pipeline.shards.account import account_path
from stages.common import find_all_tables, hash_output, run_stage
from train.models.registry import features_read
from train.runs.settings import (
    list_first_released,
    list_first_runs,
    read_run_data,
    read_run_parameters,
    takes_over_run,
)


def main(project: Project) -> None:
    """Write ``cache/inputs/<run>.json`` for each run of ``models`` and ``released``."""
    inputs = {}
    for name in project.names("models"):
        inputs[name] = describe_inputs(project, name)
        # DVC sees a change of the run's own section alone.
        if takes_over_run(project, name):
            inputs[name]["parameters"] = as_mapping(read_run_parameters(project, name))
        # What decides the weights that it begins with.
        first = list_first_runs(project, name)
        if first:
            inputs[name]["begins_with"] = {
                other: {
                    "parameters": as_mapping(read_run_parameters(project, other)),
                    **describe_inputs(project, other),
                }
                for other in first
            }
        released = {
            other: {"weights": project.section(f"weights.{other}")}
            for other in list_first_released(project, name)
        }
        if released:
            inputs[name].setdefault("begins_with", {}).update(released)
    # Released weights are not trained, so no table or array decides what they are.
    for name in project.names("released"):
        inputs[name] = {"features": project.section(f"weights.{name}").get("features", [])}

    # DVC expects the folder even when there is no run.
    project.run_inputs_dir.mkdir(parents=True, exist_ok=True)
    for name, content in inputs.items():
        publish_text(project.run_inputs_path(name), json.dumps(content, indent=1) + "\n")
    print(f"what is read by {', '.join(inputs) or 'no run'}")


def describe_inputs(project: Project, name: str) -> dict[str, Any]:
    """Return what a run of ``models`` reads: tables and, by feature, the one in the cache."""
    data = read_run_data(project, name)
    dataset = data.find_dataset(project)
    features = data.find_features(features_read(read_run_parameters(project, name)))
    require_datasets(project, dataset, features.values(), reader=f"run {name}")

    stages_by_table = {
        project.clips_table_path(dataset): f"sources@{dataset}",
        project.samples_table_path(dataset): f"sources@{dataset}",
        project.downloads_table_path(dataset): f"download@{dataset}",
    }
    tables = {path.name: hash_output(path, stage) for path, stage in stages_by_table.items()}

    # An account holds the hash of its feature's index.
    accounts = {}
    for feature, folder in features.items():
        stage = _name_feature_stage(folder, dataset)
        account = hash_output(account_path(project, dataset, folder), stage)
        accounts[feature] = {"name": folder, "account": account}
    return {
        "dataset": dataset,
        "protocol": data.protocol,
        "tables": tables,
        "features": accounts,
    }


def _name_feature_stage(name: str, dataset: str) -> str:
    """Return what DVC calls the stage that computes a feature or a variant of a dataset."""
    return f"variants@{name}-{dataset}" if is_variant(name) else f"{name}@{dataset}"


if __name__ == "__main__":
    run_stage(main, inputs=find_all_tables)
