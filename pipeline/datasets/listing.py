"""Make the two tables of a dataset: which clips and samples it has."""

import contextlib
import functools
import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from earshot.files import publish_text
from earshot.tables import CLIPS, SAMPLES, write_table
from pipeline.base.http import refuse_requests
from pipeline.base.locks import hold_lock
from pipeline.base.parameters import find_section
from pipeline.base.project import Project
from pipeline.base.user_files import noted_user_files
from pipeline.datasets.dataset import find_user_paths, load
from pipeline.lists.box_checks import check_boxes
from pipeline.lists.selection import read_left_out


def list_dataset(project: Project, dataset: str) -> str:
    """Write ``clips.parquet`` and ``samples.parquet`` of a dataset.

    Args:
        project: The checkout; its params.yaml has section ``sources.<dataset>``.
        dataset: Name of the dataset.

    Returns:
        One line with the counts, and how many clips which key left out.

    Raises:
        DataError: The lists or files of the dataset are not right.
    """
    about = load(dataset)
    parameters = project.parameters(about.parameters, f"sources.{dataset}")
    paths = find_user_paths(about, parameters)
    # Experiments share the folder of sources, and a run that was killed can leave a stage behind.
    lock_path = project.sources_dir(dataset) / ".sources-lock"
    with (
        hold_lock(lock_path, on_wait=functools.partial(_report_waiting, dataset)),
        noted_user_files(project, f"sources@{dataset}", paths),
    ):
        with _refuse_release(project, dataset):
            clips, samples = about.build_tables(parameters, cache_dir=project.sources_dir(dataset))

        # Boxes in another unit would give every method a score of 0.
        note = check_boxes(samples, name=dataset)
        if note:
            print(note, file=sys.stderr)

        left_out = read_left_out(clips)
        publish_text(_left_out_path(project, dataset), json.dumps(left_out) + "\n")
        write_table(project.clips_table_path(dataset), clips, CLIPS)
        write_table(project.samples_table_path(dataset), samples, SAMPLES)

    words = f" ({describe_left_out(left_out)})" if left_out else ""
    return f"{dataset}: {len(clips)} clips, {len(samples)} samples{words}"


def _refuse_release(project: Project, dataset: str) -> AbstractContextManager[None]:
    """Refuse requests for a dataset's release where the network is off."""
    about, download = load(dataset), find_section(project.params, "download")
    # A release is the clips themselves. Lists of clips are fetched all the same.
    if about.release_gigabytes == 0 or download.get("network") is not False:
        return contextlib.nullcontext()
    return refuse_requests(
        f"network is off; name a release that you have as sources.{dataset}."
        f"{about.release_parameters[0]}, or set download.network to true"
    )


def _report_waiting(dataset: str) -> None:
    print(
        f"{dataset}: another run is making its list; this one waits for it to end",
        file=sys.stderr,
        flush=True,
    )


def find_left_out(project: Project, dataset: str) -> dict[str, int]:
    """Return how many clips of a dataset's list are not used, by the key that leaves them out.

    Args:
        project: The checkout.
        dataset: Name of the dataset. Without a list the result is empty.
    """
    try:
        return json.loads(_left_out_path(project, dataset).read_text())
    except FileNotFoundError:
        return {}


def describe_left_out(left_out: dict[str, int]) -> str:
    """Return the counts of ``find_left_out`` in words."""
    numbers = ", ".join(f"{number} by {name}" for name, number in left_out.items())
    return f"left out: {numbers}"


def _left_out_path(project: Project, dataset: str) -> Path:
    return project.dataset_cache_dir(dataset) / "left_out.json"
