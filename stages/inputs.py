"""``inputs``: what each chosen run reads, in a file for each run.

Each stage ``train@RUN`` depends on its own file. So a change of one dataset, feature or variant
touches only the runs that read it. The evaluation depends on all of them.
"""

import json
from typing import Any

from earshot.files import publish_text, sha256_of
from pipeline.base.parameters import as_mapping
from pipeline.base.project import Project
from pipeline.features.configure import require_datasets
from pipeline.shards.account import account_path
from stages.common import find_all_tables, run_stage
from train.models.registry import features_read
from train.runs.settings import list_first_runs, read_run_data, read_run_parameters


def main(project: Project) -> None:
    """Write ``cache/inputs/<run>.json`` for each run of ``models`` and ``released``."""
    inputs = {}
    for name in project.names("models"):
        inputs[name] = describe_inputs(project, name)
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

    tables = [
        project.clips_table_path(dataset),
        project.samples_table_path(dataset),
        project.downloads_table_path(dataset),
    ]
    # An account holds the hash of its feature's index.
    accounts = {
        feature: {"name": folder, "account": sha256_of(account_path(project, dataset, folder))}
        for feature, folder in features.items()
    }
    return {
        "dataset": dataset,
        "protocol": data.protocol,
        "tables": {path.name: sha256_of(path) for path in tables},
        "features": accounts,
    }


if __name__ == "__main__":
    run_stage(main, inputs=find_all_tables)
