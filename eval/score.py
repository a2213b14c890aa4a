"""Score localization maps of any system.

    earshot score MAPS.npz --dataset vggss --protocol lvs

The file holds ``sample_ids`` (n,) and ``maps`` (n, h, w), larger = more likely (see
``eval.entrants.maps``); or it is a folder of ``<sample id>.npy`` or ``.png``. Ground truth comes
from ``--annotations`` (a samples.parquet, or the published ``vggss.json``), from
``manifests/DATASET/samples.parquet`` of this checkout (the only source for a dataset of one's own),
or from the published lists (``--lists``; without it they are fetched). Samples without a map are
counted and named, so that n never becomes smaller unnoticed.
"""

import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from earshot.errors import DataError, ParameterError, RunError
from eval.entrants.external import read_external
from eval.entrants.training_clips import SeenClips, TrainingClips
from eval.published.test_set_tables import find_own_test_set, load_test_set
from eval.published.test_sets import find_subset_ids, get_test_set
from eval.results.files import METRICS, format_coverage, write_results
from eval.results.further_metrics import (
    check_metrics,
    compute_further,
    describe_further,
)
from eval.results.model_results import evaluate_model
from eval.results.model_scores import ModelMaps
from eval.score_options import ScoreOptions, score_options
from eval.scoring.protocols import get_protocol
from pipeline.base.project import Project
from pipeline.commands import command_line
from pipeline.commands.options import find_root
from pipeline.datasets.dataset import TestSet, find_own_tables, load, names
from pipeline.lists.box_checks import check_boxes
from pipeline.lists.published_lists import read_ids

# What a metric takes.
_NEEDED = {
    "acl_sweep": "no sample has boxes and a map",
    "masks": "no sample has a mask (a samples.parquet of a release with masks has them)",
    "sources": "the test set has one source a sample, expected a duet",
    "retrieval": "the maps have no frame_features and sound_features",
}
_ANY_ID = re.compile(r"[^\s,]+")
_METRICS_WITH_NEGATIVES = (
    "average_precision",
    "max_f1",
    "max_f1_as_published",
    "localization_accuracy",
)


def score_file(options: ScoreOptions) -> None:
    """Score a file of maps, print the results, and write them if ``options.output`` is set.

    Raises:
        DataError: a file cannot be read, or its ids are not those of the test set.
        ParameterError: an option has a wrong value.
        RunError: no sample was scored.
    """
    protocols = _check_options(options)
    if options.output is not None:
        # Before anything is scored, since scoring takes a while.
        _make_output_folder(options.output)

    project = _load_project(options.root)
    test_set = _choose_test_set(options, project)
    external = read_external(options.maps)
    samples = _load_samples(options, project, test_set)

    # Check all that the user gave before anything is scored.
    subset, ids = _choose_ids(options, samples, test_set)
    _check_map_ids(options, external.sample_ids, samples=samples, subset=subset, ids=ids)

    # Without a list of training clips, leakage is not known.
    seen = None
    if options.train_list is not None:
        seen = _read_train_list(options.train_list, test_set.dataset, samples)

    model_maps = ModelMaps(
        options.model or external.name,
        test_set.dataset,
        external.sample_ids,
        external.maps,
        is_absolute=options.is_absolute,
        selection=options.selection,
        train_clip_ids=None if seen is None else seen.clip_ids,
        unknown_clip_ids=() if seen is None else seen.unknown_ids,
        source_maps=external.source_maps,
        embed_pairs=None if external.features is None else external.select_features,
    )
    scores, results = evaluate_model(
        model_maps,
        samples,
        test_sets={subset: ids},
        protocols=protocols,
        num_resamples=options.num_resamples,
    )

    for result in results:
        rows = [row for row in scores if row["protocol"] == result["protocol"]]
        print_result(result, rows, num_listed=options.num_listed)

    further = _compute_further(options, model_maps, samples, {subset: ids})
    if options.output is not None:
        write_results(options.output, scores=scores, results=results, further=further)
        print(f"wrote {options.output / 'scores.parquet'} and {options.output / 'results.json'}")

    # The reasons are printed and written before this error.
    if not any(row["status"] == "ok" for row in scores):
        raise RunError(
            f"{options.maps}: none of the {len(set(ids))} samples of {subset} was scored; "
            "the reasons are above"
        )


def _compute_further(
    options: ScoreOptions,
    model_maps: ModelMaps,
    samples: pa.Table,
    test_sets: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Compute and print the metrics of ``--metric``."""
    names = options.metrics
    rows = compute_further(model_maps, samples, test_sets=test_sets, metrics=names)
    for row in rows:
        print(describe_further(row))
    for name in sorted(set(names) - {row["metric"] for row in rows}):
        print(f"note: {name} has nothing to score: {_NEEDED[name]}")
    return rows


def _check_options(options: ScoreOptions) -> list[str]:
    """Check the options that need no file; return the names of the protocols."""
    # By their real names, because one protocol can have two.
    protocols = [get_protocol(name).name for name in options.protocols or ["earshot"]]
    if len(set(protocols)) < len(protocols):
        raise ParameterError(f"--protocol names {', '.join(protocols)}, expected each once")
    check_metrics(options.metrics, parameter="--metric")
    if options.num_resamples < 1:
        raise ParameterError(f"--resamples is {options.num_resamples}, expected at least 1")
    return protocols


def _make_output_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ParameterError(
            f"--output is {str(path)!r}, where no folder can be made: {reason}"
        ) from None


def _load_project(root: Path) -> Project:
    """Return the project of a checkout; a folder without params.yaml is one without parameters."""
    root = root.resolve()
    return Project.load(root) if (root / "params.yaml").exists() else Project(root, {})


def _choose_test_set(options: ScoreOptions, project: Project) -> TestSet:
    """Return the test set of this name, or that of a dataset of the user's own."""
    name = options.dataset
    # A dataset of this folder without published test sets is made of the user's own files.
    is_own = name in find_own_tables(project.params) or (
        name in names() and not load(name).test_sets
    )
    if is_own:
        # Given annotations are scored whatever the checkout has.
        table_path = options.annotations or project.samples_table_path(name)
        return find_own_test_set(name, table_path=table_path, split=options.split)
    if options.split is not None:
        raise ParameterError(
            f"--split is {options.split!r}, expected none: {name} is no dataset of your own"
        )
    return get_test_set(name)


def _load_samples(options: ScoreOptions, project: Project, test_set: TestSet) -> pa.Table:
    """Load the ground truth; note where it holds other samples than were published."""
    samples = load_test_set(
        test_set,
        annotations_path=options.annotations,
        table_path=project.samples_table_path(test_set.dataset),
        cache_dir=project.sources_dir(test_set.dataset),
        lists_dir=options.lists,
        source_parameters=_find_source_paths(project, test_set.dataset, xml_dir=options.xml),
    )

    note = check_boxes(samples, name=str(options.annotations or test_set.name))
    if note:
        print(f"note: {note}")

    # With fewer samples, n and the metrics are not those of the papers.
    num_samples = len(find_subset_ids(samples, test_set.split))
    if test_set.num_published and num_samples != test_set.num_published:
        print(
            f"note: the ground truth at hand holds {num_samples} of the {test_set.num_published} "
            f"published ids of {test_set.name}"
        )
    return samples


def _find_source_paths(project: Project, dataset: str, *, xml_dir: Path | None) -> dict[str, str]:
    """Return where params.yaml says that lists and annotations of a dataset lie."""
    section = (project.params.get("sources") or {}).get(dataset) or {}
    names = load(dataset).path_parameters
    # Only the paths: a limit in params.yaml must not shrink a published test set.
    paths = {name: section[name] for name in names if section.get(name) is not None}
    if xml_dir is not None and "annotations_dir" in names:
        paths["annotations_dir"] = str(xml_dir)
    return paths


def _choose_ids(
    options: ScoreOptions, samples: pa.Table, test_set: TestSet
) -> tuple[str, list[str]]:
    """Return the name of the subset to score, and its ids: the test set, or ``--ids`` of it."""
    ids = find_subset_ids(samples, test_set.split)
    if options.ids is None:
        return test_set.name, ids

    chosen = _read_list(options.ids)
    known = set(ids)
    # A mistyped id would only make n smaller.
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise DataError(
            f"{options.ids}: {unknown[0]} is not in {options.dataset} ({len(unknown)} such ids)"
        )

    # This is no longer the published test set, so its name says which list it is.
    return f"{test_set.name}:{options.ids.stem}", chosen


def _check_map_ids(
    options: ScoreOptions,
    sample_ids: Sequence[str],
    *,
    samples: pa.Table,
    subset: str,
    ids: Sequence[str],
) -> None:
    """Refuse ids that the dataset does not know; note maps that are outside of the subset."""
    # Compare with the whole table: maps of other test sets of the dataset are allowed.
    known = set(samples["sample_id"].to_pylist())
    unknown = [name for name in sample_ids if name not in known]
    if unknown:
        raise DataError(
            f"{options.maps}: sample id {unknown[0]!r} is not in {options.dataset} "
            f"({len(unknown)} such ids); ids there look like {ids[0]!r}"
        )

    num_outside = len(set(sample_ids) - set(ids))
    if num_outside:
        print(f"note: {num_outside} maps are of samples outside {subset} and are not scored")


def _read_train_list(path: Path, dataset_name: str, samples: pa.Table) -> SeenClips | None:
    """Read the training clips, and find those of the dataset among them.

    The pattern matters: an id in another spelling would match no clip and look like "no leakage".
    """
    # Still pictures are made from clips of another dataset, so that a list has ids of that.
    name = load(dataset_name).made_from or dataset_name
    dataset = load(name)
    ids = _read_list(path, pattern=dataset.clip_id_pattern, what=dataset.clip_id_words)
    return TrainingClips(name, set(ids)).find_in(dataset_name, samples)


def _read_list(path: Path, *, pattern: re.Pattern[str] = _ANY_ID, what: str = "an id") -> list[str]:
    if not path.is_file():
        raise DataError(f"{path}: not found, expected a list of ids, one a line")
    return read_ids(path, pattern=pattern, what=what, has_frame_column=True)


def print_result(
    result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, num_listed: int
) -> None:
    """Print what was scored, each metric with its interval, and what was not scored.

    Args:
        result: an object of the list ``results`` (see ``eval.results.files``).
        rows: its rows of the table SCORES.
        num_listed: how many sample ids to name for each reason.
    """
    coverage = format_coverage(result["coverage_percent"])
    leakage = "not known" if result["leakage"] is None else result["leakage"]
    if result.get("leakage_note"):
        leakage = f"{leakage} ({result['leakage_note']})"
    print(
        f"{result['model']} on {result['subset']}, protocol {result['protocol']}: "
        f"n {result['n']} of {result['num_requested']} ({coverage} %), "
        f"ids {result['ids_sha256'][:12]}, selection {result['selection']}, leakage {leakage}"
    )

    # A metric is null where no positive was scored.
    for metric in METRICS:
        if result[metric] is not None:
            print(f"  {metric:22s} {result[metric]:.4f}  {_format_interval(result, metric)}")

    # Only test sets with several sounds a picture have these fields.
    for metric in ("iiou", "iauc"):
        if result.get(metric) is not None:
            print(
                f"  {metric:22s} {result[metric]:.4f}  {_format_interval(result, metric)} "
                f"of {result['num_pictures']} pictures"
            )

    # Only test sets with negatives have these fields.
    if result.get("num_negatives") == 0:
        print("  no negative was scored: average precision, max-F1 and LocAcc are not defined")
    for metric in _METRICS_WITH_NEGATIVES:
        if result.get(metric) is not None:
            print(f"  {metric:22s} {result[metric]:.4f}")

    for reason, count in result["missing"].items():
        names = [row["sample_id"] for row in rows if row["reason"] == reason]
        more = f", ... ({count - num_listed} more)" if count > num_listed else ""
        print(f"  not scored, {reason}: {count}: {', '.join(names[:num_listed])}{more}")

    if result["n"] == 0:
        print("  no sample was scored: there is no metric to print")


def _format_interval(result: Mapping[str, Any], metric: str) -> str:
    low, high = result[f"{metric}_low"], result[f"{metric}_high"]
    # One video says nothing about others.
    return "[one video: no interval]" if math.isnan(low) else f"[{low:.4f}, {high:.4f}]"


@click.command()
@score_options
@click.pass_context
def run(context: click.Context, root: Path | None, **values: Any) -> int:
    """Score MAPS.

    They are an .npz with sample_ids (n,) and maps (n, h, w), or a folder of <sample id>.npy or
    .png.
    """
    score_file(ScoreOptions(root=root or find_root(context), **values))
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Run ``earshot score`` and return its exit code."""
    return command_line.main(["score", *(sys.argv[1:] if words is None else words)])


if __name__ == "__main__":
    sys.exit(main())
