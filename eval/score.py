"""Score localization maps of any system: ``python -m eval.score MAPS.npz --dataset vggss --protocol lvs``.

The file holds ``sample_ids`` (n,) and ``maps`` (n, h, w), larger = more likely (see ``eval.maps``). Ground truth comes
from ``manifests/<dataset>/samples.parquet`` of this checkout, or from ``--annotations``: another samples.parquet or the
published ``vggss.json``. Clips without a map are counted and named; they never make n smaller unnoticed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from eval.bootstrap import NUM_RESAMPLES
from eval.evaluation import ModelMaps, score_model, summarize
from eval.maps import read_maps
from eval.protocols import PROTOCOLS, get_protocol
from eval.results import METRICS, write_results
from eval.test_sets import (
    TEST_SETS,
    TestSet,
    count_leakage,
    get_test_set,
    load_vggss,
    read_ids,
    read_negatives,
    select_test_set,
)
from pipeline.errors import DataError, EarshotError, ParameterError
from pipeline.project import Project
from pipeline.tables import SAMPLES, read_table


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        score_file(options)
    except EarshotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def score_file(options: argparse.Namespace) -> None:
    """Read, score and print; write ``scores.parquet`` and ``results.json`` if ``options.output`` is set."""
    protocols = [get_protocol(name).name for name in options.protocol or ["earshot"]]
    if len(set(protocols)) < len(protocols):
        raise ParameterError(f"--protocol names {', '.join(protocols)}, expected each once")
    if options.resamples < 1:
        raise ParameterError(f"--resamples is {options.resamples}, expected at least 1")
    test_set = get_test_set(options.dataset)
    sample_ids, maps = read_maps(options.maps)
    samples = load_samples(test_set, annotations_path=options.annotations, lists_dir=options.lists, root=options.root)
    if options.ids is not None:
        ids, known = read_ids(options.ids), set(samples["sample_id"].to_pylist())
        unknown = [name for name in ids if name not in known]
        if unknown:
            raise DataError(f"{options.ids}: {unknown[0]} is not in {options.dataset} ({len(unknown)} such ids)")
        subset = f"{options.dataset}:{options.ids.stem}"
    else:
        ids, subset = select_ids(samples, test_set, lists_dir=options.lists), options.dataset
    leakage = None
    if options.train_list is not None:
        train_clip_ids = set(read_ids(options.train_list))

    known, wanted = set(samples["sample_id"].to_pylist()), set(ids)
    unknown = [name for name in sample_ids if name not in known]
    if unknown:
        raise DataError(
            f"{options.maps}: sample id {unknown[0]!r} is not in {options.dataset} ({len(unknown)} such ids); "
            f"ids there look like {ids[0]!r}"
        )
    kept = [i for i, name in enumerate(sample_ids) if name in wanted]
    if len(kept) < len(sample_ids):
        print(f"note: {len(sample_ids) - len(kept)} maps are of samples outside {subset} and are not scored")
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
    for protocol in protocols:
        rows = score_model(model_maps, tested, protocol=protocol)
        if options.train_list is not None:
            scored = {row["sample_id"] for row in rows if row["status"] == "ok"}
            clips = [
                c
                for name, c in zip(*tested.select(["sample_id", "clip_id"]).to_pydict().values(), strict=True)
                if name in scored
            ]
            leakage = count_leakage(clips, train_clip_ids)
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


def load_samples(test_set: TestSet, *, annotations_path: Path | None, lists_dir: Path | None, root: Path) -> pa.Table:
    """The samples table with the ground truth of ``test_set``."""
    if annotations_path is not None:
        if annotations_path.suffix == ".parquet":
            return read_table(annotations_path, SAMPLES)
        if test_set.dataset != "vggsound":
            raise DataError(
                f"{annotations_path}: expected a samples.parquet for {test_set.name} (vggss.json is for VGG-SS)"
            )
        return _load_vggss(annotations_path, test_set, lists_dir)
    table_path = Project(Path(root).resolve(), {}).samples_table_path(test_set.dataset)
    if table_path.exists():
        return read_table(table_path, SAMPLES)
    if lists_dir is not None and test_set.dataset == "vggsound":
        return _load_vggss(lists_dir / "ezvsl" / "vggss.json", test_set, lists_dir)
    raise DataError(
        f"no ground truth for {test_set.name}: {table_path} does not exist; run "
        f"`dvc repro sources@{test_set.dataset}`, or give --annotations (a samples.parquet"
        + (", or the published vggss.json)" if test_set.dataset == "vggsound" else ")")
    )


def _load_vggss(path: Path, test_set: TestSet, lists_dir: Path | None) -> pa.Table:
    negatives = []
    if test_set.negatives_path is not None and lists_dir is not None:
        negatives = read_negatives(lists_dir / test_set.negatives_path)
    return load_vggss(path, negatives=negatives)


def select_ids(samples: pa.Table, test_set: TestSet, *, lists_dir: Path | None) -> list[str]:
    """Ids of the test set; a bare vggss.json is the whole of VGG-SS and needs no list."""
    has_splits = any(splits for splits in samples["splits"].to_pylist())
    if test_set.name == "vggss" and not has_splits:
        columns = samples.select(["sample_id", "audio_clip_id"]).to_pydict()
        return [name for name, audio in zip(*columns.values(), strict=True) if audio is None]
    return select_test_set(samples, test_set, lists_dir=lists_dir)


def print_result(result: dict, rows: Sequence[dict], *, num_listed: int) -> None:
    """A few plain lines: what was scored, each metric with its interval, and what was not scored."""
    print(
        f"{result['model']} on {result['subset']}, protocol {result['protocol']}: n {result['n']} of "
        f"{result['num_requested']} ({result['coverage_percent']:.1f} %), ids {result['ids_sha256'][:12]}, "
        f"selection {result['selection']}, leakage {'not known' if result['leakage'] is None else result['leakage']}"
    )
    for metric in METRICS:
        if result[metric] is not None:
            print(
                f"  {metric:22s} {result[metric]:.4f}  [{result[metric + '_low']:.4f}, {result[metric + '_high']:.4f}]"
            )
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
    parser = argparse.ArgumentParser(prog="python -m eval.score", description=__doc__.splitlines()[0])
    parser.add_argument("maps", type=Path, metavar="MAPS.npz", help="sample_ids (n,) and maps (n, h, w)")
    parser.add_argument("--dataset", required=True, metavar="NAME", help=f"test set: {', '.join(TEST_SETS)}")
    parser.add_argument(
        "--protocol",
        action="append",
        metavar="NAME",
        help=f"may be repeated: {', '.join(PROTOCOLS)} (default: earshot)",
    )
    parser.add_argument(
        "--annotations", type=Path, metavar="FILE", help="a samples.parquet, or the published vggss.json"
    )
    parser.add_argument(
        "--lists", type=Path, metavar="FOLDER", help="published lists, with folders ezvsl, htf and slavc"
    )
    parser.add_argument("--ids", type=Path, metavar="FILE", help="score only the ids of this list")
    parser.add_argument(
        "--train-list", type=Path, metavar="FILE", help="training clips, to count test clips among them"
    )
    parser.add_argument("--selection", default="not stated", help="how the checkpoint was chosen, for the result")
    parser.add_argument("--model", metavar="NAME", help="name in the results (default: the file's)")
    parser.add_argument("--absolute", action="store_true", help="flowgrad: take values as they are, do not normalize")
    parser.add_argument("--resamples", type=int, default=NUM_RESAMPLES, metavar="N", help="for the bootstrap intervals")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write scores.parquet and results.json there")
    parser.add_argument("--list-missing", type=int, default=5, metavar="N", help="how many missing ids to name")
    parser.add_argument("--root", type=Path, default=Path(), metavar="FOLDER", help="the checkout (default: here)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
