"""``train@RUN``: train one run of params.yaml on the cached features of the first dataset."""

from pathlib import Path

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.base.user_files import noted_user_files
from stages.common import find_tables, run_stage
from train.experiment import train_run


def main(project: Project, run: str) -> None:
    """Write ``cache/runs/<run>/`` and its curves in ``reports/training/<run>/``."""
    if not project.datasets:
        raise ParameterError(
            "params: datasets is [], expected at least one to train on, for example [sample]"
        )
    with noted_user_files(project, f"train@{run}"):
        summary = train_run(project, project.datasets[0], run)
    if summary is not None:  # None in further processes that train together with the first one
        print(f"{run}: {summary}")


def find_inputs(project: Project, _: str) -> list[Path]:
    """Return the tables of the dataset that runs are trained on."""
    return find_tables(project, project.datasets[0]) if project.datasets else []


if __name__ == "__main__":
    run_stage(main, "run", inputs=find_inputs)
