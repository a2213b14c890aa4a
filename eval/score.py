"""Score localization maps of any system: ``python -m eval.score MAPS.npz --dataset vggss --protocol lvs``.

The file holds ``sample_ids`` (n,) and ``maps`` (n, h, w), larger = more likely (see ``eval.entrants.maps``). Ground truth comes
from ``--annotations`` (a samples.parquet, or the published ``vggss.json``), from ``manifests/DATASET/samples.parquet``
of this checkout, or from the published lists (``--lists``; without it they are fetched). Clips without a map are
counted and named; they never make n smaller unnoticed.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError, EarshotError, ParameterError, RunError
from eval.entrants.maps import read_maps
from eval.results.files import METRICS, format_coverage, write_results
from eval.results.model_results import ModelMaps, score_model, summarize
from eval.results.test_set_tables import load_test_set
from eval.results.test_sets import count_leakage, find_test_sets, get_test_set, subset_ids
from eval.scoring.bootstrap import NUM_RESAMPLES
from eval.scoring.protocols import PROTOCOLS, get_protocol
from pipeline.base.os_errors import report_error
from pipeline.base.project import Project
from pipeline.datasets.dataset import load
from pipeline.lists.published_lists import read_ids

_ANY_ID = re.compile(r"[^\s,]+")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        score_file(options)
    except BrokenPipeError:  # whoever reads the output (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (EarshotError, OSError) as error:
        return report_error(error)
    return 0


def score_file(options: argparse.Namespace) -> None:
    """Read, score and print; write ``scores.parquet`` and ``results.json`` if ``options.output`` is set."""
    protocols = [get_protocol(name).name for name in options.protocol or ["earshot"]]
    if len(set(protocols)) < len(protocols):
        raise ParameterError(f"--protocol names {', '.join(protocols)}, expected each once")
    if options.resamples < 1:
        raise ParameterError(f"--resamples is {options.resamples}, expected at least 1")
    if options.output is not None:
        make_output_folder(options.output)
    test_set = get_test_set(options.dataset)
    sample_ids, maps = read_maps(options.maps)
    root = Path(options.root).resolve()
    project = Project.load(root) if (root / "params.yaml").exists() else Project(root, {})
    samples = load_test_set(
        test_set,
        annotations_path=options.annotations,
        table_path=project.samples_table_path(test_set.dataset),
        cache_dir=project.dataset_cache_dir(test_set.dataset),
        lists_dir=options.lists,
        source_parameters=_source_parameters(project, test_set.dataset, xml_dir=options.xml),
    )
    ids, subset = subset_ids(samples, test_set.split), options.dataset
    if test_set.num_published and len(ids) != test_set.num_published:
        print(
            f"note: the ground truth at hand holds {len(ids)} of the {test_set.num_published} published ids of {subset}"
        )
    if options.ids is not None:
        known, subset = set(ids), f"{subset}:{options.ids.stem}"
        ids = _read_list(options.ids)
        unknown = [name for name in ids if name not in known]
        if unknown:
            raise DataError(
                f"{options.ids}: {unknown[0]} is not in {options.dataset} ({len(unknown)} such ids)"
            )
    train_clip_ids = None
    if options.train_list is not None:
        # An id in another spelling would match nothing, and read like "no leakage".
        dataset = load(test_set.dataset)
        train_clip_ids = set(
            _read_list(
                options.train_list, pattern=dataset.clip_id_pattern, what=dataset.clip_id_words
            )
        )

    known, wanted = set(samples["sample_id"].to_pylist()), set(ids)
    unknown = [name for name in sample_ids if name not in known]
    if unknown:
        raise DataError(
            f"{options.maps}: sample id {unknown[0]!r} is not in {options.dataset} ({len(unknown)} such ids); "
            f"ids there look like {ids[0]!r}"
        )
    kept = [i for i, name in enumerate(sample_ids) if name in wanted]
    if len(kept) < len(sample_ids):
        print(
            f"note: {len(sample_ids) - len(kept)} maps are of samples outside {subset} and are not scored"
        )
    is_tested = pa.array([name in wanted for name in samples["sample_id"].to_pylist()])
    tested = samples.filter(is_tested)
    model = options.model or options.maps.stem
    model_maps = ModelMaps(
        model,
        test_set.dataset,
        [sample_ids[i] for i in kept],
        maps[kept],
        is_absolute=options.absolute,
        selection=options.selection,
    )
    scores, results = [], []
    for rows in score_model(model_maps, tested, protocols=protocols).values():
        leakage = None
        if train_clip_ids is not None:
            scored = {row["sample_id"] for row in rows if row["status"] == "ok"}
            clips = tested.select(["sample_id", "clip_id"]).to_pydict()
            leakage = count_leakage(
                [clip_id for name, clip_id in zip(*clips.values(), strict=True) if name in scored],
                train_clip_ids,
            )
        result = summarize(
            rows,
            ids,
            subset=subset,
            selection=options.selection,
            leakage=leakage,
            num_resamples=options.resamples,
        )
        scores += rows
        results.append(result)
        print_result(result, rows, num_listed=options.list_missing)
    if options.output is not None:
        write_results(options.output, scores=scores, results=results)
        print(f"wrote {options.output / 'scores.parquet'} and {options.output / 'results.json'}")
    if not any(row["status"] == "ok" for row in scores):
        raise RunError(
            f"{options.maps}: none of the {len(wanted)} samples of {subset} was scored; the reasons are above"
        )


def make_output_folder(path: Path) -> None:
    """Before anything is scored, since scoring takes a while."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(
            f"--output is {str(path)!r}, where no folder can be made: {os.strerror(error.errno)}"
        ) from None


def _source_parameters(project: Project, dataset: str, *, xml_dir: Path | None) -> dict[str, str]:
    """Where params.yaml says that lists and annotations of a dataset lie."""
    section = (project.params.get("sources") or {}).get(dataset) or {}
    names = load(dataset).path_parameters
    found = {name: section[name] for name in names if section.get(name) is not None}
    if xml_dir is not None and "annotations_dir" in names:
        found["annotations_dir"] = str(xml_dir)
    return found


def _read_list(path: Path, *, pattern: re.Pattern = _ANY_ID, what: str = "an id") -> list[str]:
    if not path.is_file():
        raise DataError(f"{path}: not found, expected a list of ids, one a line")
    return read_ids(path, pattern=pattern, what=what, has_frame_column=True)


def print_result(result: dict, rows: Sequence[dict], *, num_listed: int) -> None:
    """A few plain lines: what was scored, each metric with its interval, and what was not scored."""
    coverage = format_coverage(result["coverage_percent"])
    print(
        f"{result['model']} on {result['subset']}, protocol {result['protocol']}: n {result['n']} of "
        f"{result['num_requested']} ({coverage} %), ids {result['ids_sha256'][:12]}, "
        f"selection {result['selection']}, leakage {'not known' if result['leakage'] is None else result['leakage']}"
    )
    for metric in METRICS:
        if result[metric] is not None:
            print(
                f"  {metric:22s} {result[metric]:.4f}  [{result[metric + '_low']:.4f}, {result[metric + '_high']:.4f}]"
            )
    if result.get("num_negatives") == 0:
        print("  no negative was scored: average precision, max-F1 and LocAcc are not defined")
    for metric in ("average_precision", "max_f1", "localization_accuracy"):
        if result.get(metric) is not None:
            print(f"  {metric:22s} {result[metric]:.4f}")
    for reason, count in result["missing"].items():
        names = [row["sample_id"] for row in rows if row["reason"] == reason]
        more = f", ... ({count - num_listed} more)" if count > num_listed else ""
        print(f"  not scored, {reason}: {count}: {', '.join(names[:num_listed])}{more}")
    if result["n"] == 0:
        print("  no sample was scored: there is no metric to print")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.score", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "maps", type=Path, metavar="MAPS.npz", help="sample_ids (n,) and maps (n, h, w)"
    )
    parser.add_argument(
        "--dataset", required=True, metavar="NAME", help=f"test set: {', '.join(find_test_sets())}"
    )
    parser.add_argument(
        "--protocol",
        action="append",
        metavar="NAME",
        help=f"may be repeated: {', '.join(PROTOCOLS)} (default: earshot)",
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="a samples.parquet, or the published vggss.json",
    )
    parser.add_argument(
        "--lists",
        type=Path,
        metavar="FOLDER",
        help="published lists, with folders ezvsl, htf and slavc",
    )
    parser.add_argument(
        "--xml",
        type=Path,
        metavar="FOLDER",
        help="Flickr annotations, one XML a video (with --lists)",
    )
    parser.add_argument("--ids", type=Path, metavar="FILE", help="score only the ids of this list")
    parser.add_argument(
        "--train-list",
        type=Path,
        metavar="FILE",
        help="training clips, to count test clips among them",
    )
    parser.add_argument(
        "--selection", default="not stated", help="how the checkpoint was chosen, for the result"
    )
    parser.add_argument("--model", metavar="NAME", help="name in the results (default: the file's)")
    parser.add_argument(
        "--absolute",
        action="store_true",
        help="flowgrad: take values as they are, do not normalize",
    )
    parser.add_argument(
        "--resamples",
        type=int,
        default=NUM_RESAMPLES,
        metavar="N",
        help="for the bootstrap intervals",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write scores.parquet and results.json there"
    )
    parser.add_argument(
        "--list-missing", type=int, default=5, metavar="N", help="how many missing ids to name"
    )
    parser.add_argument(
        "--root", type=Path, default=Path(), metavar="FOLDER", help="the checkout (default: here)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
