"""``weights@NAME``: fetch weights that authors released and make a run beside the trained ones."""

from pipeline.base.project import Project
from pipeline.base.user_files import noted_user_files
from stages.common import run_stage
from train.weights.released import ReleasedWeights, make_released_run


def main(project: Project, name: str) -> None:
    """Write ``cache/runs/<name>/``.

    The fetched file stays in ``cache/weights``, where a broken transfer goes on.
    """
    weights = project.parameters(ReleasedWeights, f"weights.{name}")
    weights_dir = project.weights_dir
    with noted_user_files(project, f"weights@{name}"):
        words = make_released_run(
            weights, name, run_dir=project.run_dir(name), weights_dir=weights_dir, root=project.root
        )
    print(f"{name}: {words}")


if __name__ == "__main__":
    run_stage(main, "name")
