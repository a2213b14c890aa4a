"""Find a sample by its id, or say which ids are near."""

import difflib
from pathlib import Path
from typing import Any

from earshot import tables
from earshot.errors import DataError
from pipeline.base.project import Project

_MAX_IDS = 5  # in a message


def find_sample(
    project: Project, sample_id: str, dataset: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Find a sample in the tables.

    Args:
        project: The checkout.
        sample_id: The sample's id, or the id of a clip with one sample.
        dataset: Where to look; None: in all datasets of params.yaml.

    Returns:
        The sample's dataset, and its row of the samples table.

    Raises:
        DataError: No dataset has the sample (the message names similar ids), or several have it.
    """
    # An id can exist in several datasets, so all of them are searched.
    if dataset is not None:
        _check_listed(project, dataset)
    names = [dataset] if dataset is not None else project.datasets
    listed = [name for name in names if project.samples_table_path(name).exists()]

    found, known_ids = [], []
    for name in listed:
        # Two columns are enough to find a row: a table can have hundreds of thousands of samples.
        ids = tables.read_table(
            project.samples_table_path(name), tables.SAMPLES, columns=["sample_id", "clip_id"]
        )
        sample_ids = ids["sample_id"].to_pylist()
        row = _find_row(name, sample_id, sample_ids, ids["clip_id"].to_pylist())
        found += [(name, row)] if row is not None else []
        known_ids += sample_ids

    if len(found) > 1:
        places = " and ".join(name for name, _ in found)
        raise DataError(f"sample {sample_id} is in {places}: choose with --dataset")
    if not found:
        where = " and ".join(listed) or "any dataset of params.yaml"
        others = [name for name in _find_listed(project) if name not in names]
        hint = f"; --dataset can name {', '.join(others)}, too" if others else ""
        suggestion = _suggest_ids(sample_id, known_ids)
        raise DataError(f"no sample {sample_id!r} in {where}; {suggestion}{hint}")

    # Only now read the whole row.
    name, row = found[0]
    table = tables.read_table(project.samples_table_path(name), tables.SAMPLES)
    return name, table.slice(row, 1).to_pylist()[0]


def _check_listed(project: Project, dataset: str) -> None:
    if project.samples_table_path(dataset).exists():
        return
    known = ", ".join(_find_listed(project))
    remedy = f"there are {known}" if known else "no dataset has been listed: run `dvc repro` first"
    raise DataError(
        f"dataset {dataset}: manifests/{dataset}/samples.parquet is not there; {remedy}"
    )


def _find_listed(project: Project) -> list[str]:
    """Return the datasets with a table of samples, also those that params.yaml does not choose."""
    paths = (project.root / "manifests").glob("*/samples.parquet")
    return sorted(path.parent.name for path in paths)


def _find_row(
    dataset: str, wanted_id: str, sample_ids: list[str], clip_ids: list[str]
) -> int | None:
    """Return the row of a sample, or of the only sample of a clip with this id."""
    if wanted_id in sample_ids:
        return sample_ids.index(wanted_id)

    rows = [row for row, clip_id in enumerate(clip_ids) if clip_id == wanted_id]
    if len(rows) > 1:
        raise DataError(
            f"{wanted_id} is a clip of {dataset} with {len(rows)} samples, expected a sample: "
            f"{_join_some([sample_ids[row] for row in rows])}"
        )
    return rows[0] if rows else None


def _suggest_ids(sample_id: str, known_ids: list[str]) -> str:
    if not known_ids:
        return "no sample has been listed: run `dvc repro` first"
    near = difflib.get_close_matches(sample_id, known_ids, n=_MAX_IDS, cutoff=0.6)
    # The ids of files in folders hold the file's name, which is what people know.
    words = Path(sample_id).stem.lower()
    near = near or [known for known in known_ids if words and words in known.lower()][:_MAX_IDS]
    if near:
        return f"near matches: {', '.join(near)}"
    return f"there are {len(known_ids)} samples, {_join_some(known_ids)}"


def _join_some(ids: list[str]) -> str:
    first = ", ".join(ids[:_MAX_IDS])
    return f"for example {first}" if len(ids) > _MAX_IDS else first
