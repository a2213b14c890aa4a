"""What a run begins with: fetch the released weights, name the files that its user has to bring."""

import sys
from pathlib import Path

from pipeline.base.locks import hold_lock
from pipeline.base.project import Project
from train.runs.run_folder import MODEL_NAME, read_run
from train.runs.settings import list_first_runs, read_run_parameters
from train.weights.initialization import find_file
from train.weights.released import ReleasedWeights, make_released_run


def obtain_released(project: Project, name: str, *, reader: str) -> None:
    """Make the run of released weights with which another run begins, unless its folder has it.

    Args:
        project: whose params.yaml is read.
        name: of an entry of section ``weights``.
        reader: the run that begins with it, for messages.

    Raises:
        DataError: the file cannot be fetched or read.
    """
    weights = project.parameters(ReleasedWeights, f"weights.{name}")
    run_dir = project.run_dir(name)

    def report_waiting() -> None:
        print(f"{reader}: waits for the process that fetches {name}", file=sys.stderr)

    # Of several processes one makes it, and the others find it whole.
    with hold_lock(project.training_dir / f".lock-{name}", on_wait=report_waiting):
        if (run_dir / MODEL_NAME).is_file():
            run = read_run(run_dir)
            # A folder of `weights import` is the user's own, and has no such key.
            if "has_known_sha256" not in run or run["source"] == weights.url:
                return
        print(f"{reader}: begins with the weights of {name}, which come first", file=sys.stderr)
        words = make_released_run(
            weights, name, run_dir=run_dir, weights_dir=project.weights_dir, root=project.root
        )
        print(f"{name}: {words}", file=sys.stderr)


def find_absent_files(project: Project, name: str) -> list[Path]:
    """Return the files that a run needs, that its user has to bring, and that are not there.

    Folders of runs are none of them: training makes those.

    Args:
        project: whose params.yaml is read.
        name: of a run of section ``train``.
    """
    sections = [project.params.get(section) or {} for section in ("train", "weights")]
    made = {project.run_dir(other).resolve() for section in sections for other in section}

    absent: dict[Path, None] = {}
    for run in (name, *list_first_runs(project, name)):
        for source in read_run_parameters(project, run).list_sources():
            found = find_file(source)
            if found is None:
                continue
            path = project.root / found
            if path.resolve() not in made and not path.exists():
                absent[path] = None
    return list(absent)
