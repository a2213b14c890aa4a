"""What the report is made of, and reading it from a checkout; what is absent becomes a note on the page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from earshot import tables
from earshot.errors import DataError
from earshot.reader import FeatureReader
from eval.results.files import read_results, read_scores
from pipeline.base.project import Project

_FEATURES = (
    "frames",
    "spectrograms",
    "flow",
)  # those that the page shows; others are counted where they are


@dataclass(frozen=True)
class ReportParameters:
    """Section ``report`` of params.yaml."""

    num_gallery_samples: int = 60  # of all datasets together; 500 make a page of about 14 MB
    has_sound: bool = True  # embed three seconds of sound with each of them

    def __post_init__(self):
        if self.num_gallery_samples < 0:
            raise ValueError(f"num_gallery_samples ({self.num_gallery_samples}) must be >= 0")


@dataclass(frozen=True)
class DatasetInputs:
    """One dataset: its tables and, where they are on this machine, its features, maps and clips.

    ``readers``: feature name to ``earshot.reader.FeatureReader`` (or anything with its methods); ``map_paths``: model
    to ``.npz`` with ``sample_ids`` and ``maps``.
    """

    name: str
    clips: pa.Table
    samples: pa.Table
    downloads: pa.Table | None = None
    readers: Mapping[str, object] = field(default_factory=dict)
    map_paths: Mapping[str, Path] = field(default_factory=dict)
    clips_dir: Path | None = None


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the page shows.

    ``results``: the lists of results.json by name (see ``eval.results.files``); ``scores``: its ``SCORES`` table;
    ``training_dirs``: model to its DVCLive folder; ``runs``: model to its run.json; ``parameters``: params.yaml;
    ``audits``: ``title`` and ``text`` about leakage and coverage; ``notes``: one
    sentence about each input that was not there.
    """

    datasets: Sequence[DatasetInputs]
    results: Mapping[str, Sequence[Mapping]] = field(default_factory=dict)
    scores: pa.Table | None = None
    training_dirs: Mapping[str, Path] = field(default_factory=dict)
    runs: Mapping[str, Mapping] = field(default_factory=dict)
    parameters: Mapping = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    audits: Sequence[Mapping] = ()
    notes: Sequence[str] = ()


def load_inputs(
    project: Project, *, datasets: Sequence[str], models: Sequence[str]
) -> ReportInputs:
    """Collect the inputs of the page from a checkout.

    Only the tables of clips and samples must be there; each other absent file is named in ``notes``.
    """
    notes: list[str] = []
    loaded = [_load_dataset(project, name, notes) for name in datasets]
    results, scores = {}, None
    if (project.reports_dir / "results.json").exists():
        results = read_results(project.reports_dir)
    else:
        notes.append(
            "reports/results.json is not there: the stage evaluate has not run, so there are no results."
        )
    if (project.reports_dir / "scores.parquet").exists():
        scores = read_scores(project.reports_dir)
    else:
        notes.append(
            "reports/scores.parquet is not there: no curves, breakdowns or scores in the gallery."
        )
    runs, training_dirs = {}, {}
    for model in models:
        run = _load_json(
            project.run_dir(model) / "run.json",
            notes,
            f"nothing is known about the training of {model}",
        )
        if run is not None:
            runs[model] = run
        training_dir = project.curves_dir(model)
        if training_dir.is_dir():
            training_dirs[model] = training_dir
        elif run is None or run.get("selection") != "released":  # released weights have no curves
            notes.append(f"reports/training/{model} is not there: no training curves of {model}.")
    return ReportInputs(
        datasets=loaded,
        results=results,
        scores=scores,
        training_dirs=training_dirs,
        runs=runs,
        parameters=project.params,
        notes=notes,
    )


def _load_dataset(project: Project, name: str, notes: list[str]) -> DatasetInputs:
    downloads = None
    if project.downloads_table_path(name).exists():
        downloads = tables.read_table(project.downloads_table_path(name), tables.DOWNLOADS)
    else:
        notes.append(
            f"manifests/{name}/downloads.parquet is not there: the download of {name} has not run."
        )
    readers = {}
    others = sorted(
        path.parent.name for path in project.dataset_cache_dir(name).glob("*/index.parquet")
    )
    for feature in dict.fromkeys([*_FEATURES, *others]):
        if (project.feature_dir(name, feature) / "index.parquet").exists():
            readers[feature] = FeatureReader(project.feature_dir(name, feature))
        else:
            notes.append(
                f"cache/{name}/{feature} is not there: no {feature} of {name} on this page."
            )
    maps_dir = project.maps_dir(name)
    return DatasetInputs(
        name=name,
        clips=tables.read_table(project.clips_table_path(name), tables.CLIPS),
        samples=tables.read_table(project.samples_table_path(name), tables.SAMPLES),
        downloads=downloads,
        readers=readers,
        map_paths={
            path.stem: path
            for path in sorted(maps_dir.glob("*.npz"))
            if not path.name.startswith(".")
        },
        clips_dir=project.clips_dir(name),
    )


def _load_json(path: Path, notes: list[str], consequence: str):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        notes.append(f"{path.parent.name}/{path.name} is not there: {consequence}.")
        return None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
