"""``train@RUN``: train one run of params.yaml on the cached features of its dataset."""

from pathlib import Path

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.base.user_files import noted_user_files
from stages.common import find_tables, run_stage
from train.experiment import train_run
from train.runs.settings import read_run_data


def main(project: Project, run: str) -> None:
    """Write ``cache/runs/<run>/`` and its curves in ``reports/training/<run>/``."""
    if not project.datasets:
        raise ParameterError(
            "params: datasets is [], expected at least one to train on, for example [sample]"
        )
    with noted_user_files(project, f"train@{run}"):
        summary = train_run(project, run)
    if summary is not None:  # None in further processes that train together with the first one
        print(f"{run}: {summary}")


def find_inputs(project: Project, run: str) -> list[Path]:
    """Return the tables of the dataset that the run is trained on."""
    if not project.datasets:
        return []
    return find_tables(project, read_run_data(project, run).find_dataset(project))


if __name__ == "__main__":
    run_stage(main, "run", inputs=find_inputs)
