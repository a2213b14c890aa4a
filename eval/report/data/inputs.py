"""What the report is made from, and how to collect it from a checkout.

What is absent becomes a note on the page; what is damaged is an error.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from earshot import tables
from earshot.errors import DataError
from earshot.reader import FeatureReader
from eval.report.data.software import describe_software
from eval.results.files import read_results, read_scores
from pipeline.base.project import Project
from pipeline.features.registry import FEATURES

# The page draws features that have a title; the others are only counted, where they are.
_DRAWN_FEATURES = tuple(name for name, feature in FEATURES.items() if feature.title is not None)
# Sections of params.yaml that say how this machine works. They decide no result.
_NOT_PRINTED = ("download", "cluster", "hardware")


@dataclass(frozen=True)
class ReportParameters:
    """Section ``report`` of params.yaml."""

    num_gallery_samples: int = 60  # of all datasets together; 500 make a page of about 14 MB
    has_sound: bool = True  # embed three seconds of sound with each of them

    def __post_init__(self) -> None:
        if self.num_gallery_samples < 0:
            raise ValueError(f"num_gallery_samples ({self.num_gallery_samples}) must be >= 0")


class FeatureArrays(Protocol):
    """The part of ``earshot.reader.FeatureReader`` that the report needs."""

    index: pa.Table

    @property
    def sample_ids(self) -> Sequence[str]: ...

    @property
    def attributes(self) -> Mapping[str, Any]: ...

    def __contains__(self, sample_id: str) -> bool: ...

    def read(self, sample_id: str) -> np.ndarray: ...

    def reason(self, sample_id: str) -> str | None: ...


@dataclass(frozen=True)
class DatasetInputs:
    """The tables of one dataset and, where they are on this machine, its features and files."""

    name: str
    clips: pa.Table  # earshot.tables.CLIPS
    samples: pa.Table  # earshot.tables.SAMPLES
    downloads: pa.Table | None = None  # earshot.tables.DOWNLOADS
    readers: Mapping[str, FeatureArrays] = field(default_factory=dict)  # by feature
    map_paths: Mapping[str, Path] = field(default_factory=dict)  # by model: its .npz file
    clips_dir: Path | None = None


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the page shows."""

    datasets: Sequence[DatasetInputs]
    # The lists of results.json by name (see eval.results.files).
    results: Mapping[str, Sequence[Mapping]] = field(default_factory=dict)
    scores: pa.Table | None = None  # eval.results.files.SCORES
    training_dirs: Mapping[str, Path] = field(default_factory=dict)  # by model: DVCLive's folder
    runs: Mapping[str, Mapping] = field(default_factory=dict)  # by model: its run.json
    parameters: Mapping = field(default_factory=dict)  # of params.yaml, what decides results
    software: Mapping[str, str] = field(default_factory=dict)  # what identifies the code
    audits: Sequence[Mapping] = ()  # of leakage and coverage, each with `title` and `text`
    notes: Sequence[str] = ()  # one sentence for each input that was absent


def load_inputs(
    project: Project, *, datasets: Sequence[str], models: Sequence[str]
) -> ReportInputs:
    """Collect the inputs of the page from a checkout.

    Args:
        project: The checkout.
        datasets: Names of the datasets; their tables of clips and samples must exist.
        models: Names of the trained models.

    Returns:
        The inputs; each absent file is named in ``notes``.

    Raises:
        DataError: A file is damaged.
    """
    notes: list[str] = []
    loaded = [load_dataset(project, name, notes) for name in datasets]

    # Both files are of the stage `evaluate`.
    results: dict[str, list[dict]] = {}
    scores = None
    if (project.reports_dir / "results.json").exists():
        results = read_results(project.reports_dir)
    else:
        notes.append(
            "reports/results.json is not there: the stage evaluate has not run, so there are no "
            "results."
        )

    if (project.reports_dir / "scores.parquet").exists():
        scores = read_scores(project.reports_dir)
    else:
        notes.append(
            "reports/scores.parquet is not there: no curves, breakdowns or scores in the gallery."
        )

    runs, training_dirs = _load_runs(project, models, notes)
    return ReportInputs(
        datasets=loaded,
        results=results,
        scores=scores,
        training_dirs=training_dirs,
        runs=runs,
        parameters={
            # How a machine downloads and computes changes no result.
            name: section
            for name, section in project.params.items()
            if name not in _NOT_PRINTED
        },
        software=describe_software(project.root),
        notes=notes,
    )


def _load_runs(
    project: Project, models: Sequence[str], notes: list[str]
) -> tuple[dict[str, dict], dict[str, Path]]:
    """Return the run.json and the folder of curves of each model that has them."""
    runs: dict[str, dict] = {}
    training_dirs: dict[str, Path] = {}
    for model in models:
        # facts of the training
        path = project.run_dir(model) / "run.json"
        run = _read_json(path)
        if run is None:
            notes.append(
                f"{model}/run.json is not there: nothing is known about the training of {model}."
            )
        else:
            runs[model] = run

        # its curves
        training_dir = project.curves_dir(model)
        if training_dir.is_dir():
            training_dirs[model] = training_dir
        elif run is None or run.get("selection") != "released":  # released weights have no curves
            notes.append(f"reports/training/{model} is not there: no training curves of {model}.")
    return runs, training_dirs


def _read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None


def load_dataset(project: Project, name: str, notes: list[str]) -> DatasetInputs:
    """Load the tables, features and maps of one dataset.

    Args:
        project: The checkout.
        name: The dataset; its tables of clips and samples must exist.
        notes: A sentence is added for each absent input: the table of downloads, or a feature that
            the gallery shows.

    Returns:
        What is there. Arrays and maps are read later, when they are needed.

    Raises:
        DataError: A table or an index is absent or damaged.
    """
    # Tables that stages before this one wrote, if they have run.
    downloads = None
    if project.downloads_table_path(name).exists():
        downloads = tables.read_table(project.downloads_table_path(name), tables.DOWNLOADS)
    else:
        notes.append(
            f"manifests/{name}/downloads.parquet is not there: the download of {name} has not run."
        )

    # Features that the gallery shows come first, then whatever else is cached.
    index_paths = sorted(project.dataset_cache_dir(name).glob("*/index.parquet"))
    features = dict.fromkeys([*_DRAWN_FEATURES, *(path.parent.name for path in index_paths)])
    readers: dict[str, FeatureArrays] = {}
    for feature in features:
        if (project.feature_dir(name, feature) / "index.parquet").exists():
            readers[feature] = FeatureReader(project.feature_dir(name, feature))
        else:
            notes.append(
                f"cache/{name}/{feature} is not there: no {feature} of {name} on this page."
            )

    maps_dir = project.maps_dir(name)
    map_paths = {
        path.stem: path
        for path in sorted(maps_dir.glob("*.npz"))
        if not path.name.startswith(".")  # a temporary name
    }

    return DatasetInputs(
        name=name,
        clips=tables.read_table(project.clips_table_path(name), tables.CLIPS),
        samples=tables.read_table(project.samples_table_path(name), tables.SAMPLES),
        downloads=downloads,
        readers=readers,
        map_paths=map_paths,
        clips_dir=project.clips_dir(name),
    )
