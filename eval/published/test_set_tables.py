"""Samples tables of the test sets, for scoring maps without having run the pipeline.

A table comes from a samples.parquet, from published annotations, or from published lists.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError, ParameterError
from earshot.tables import SAMPLES, read_table
from pipeline.datasets.dataset import TestSet, load


def load_test_set(
    test_set: TestSet,
    *,
    annotations_path: Path | None = None,
    table_path: Path,
    cache_dir: Path,
    lists_dir: Path | None = None,
    source_parameters: Mapping[str, str] | None = None,
) -> pa.Table:
    """Load a samples table that holds a test set in its split.

    The first of these that applies is used: ``annotations_path``; ``table_path``, if it holds the
    test set and no ``lists_dir`` is given; the published lists, in ``lists_dir`` or fetched.

    Args:
        test_set: one of ``eval.published.test_sets.find_test_sets()``.
        annotations_path: a samples.parquet, or the dataset's published annotation file (such as
            vggss.json of VGG-SS).
        table_path: the dataset's own samples table, which need not exist.
        cache_dir: the folder ``cache/<dataset>``, for lists that are fetched.
        lists_dir: published lists on this machine.
        source_parameters: further fields of the dataset's ``Parameters``.

    Returns:
        A table SAMPLES.

    Raises:
        DataError: there is no ground truth, or a file cannot be read.
    """
    # Any other file is a list in the format of the dataset's authors.
    if annotations_path is not None and annotations_path.suffix != ".parquet":
        return read_annotation_file(annotations_path, test_set)
    if annotations_path is not None:
        return read_table(annotations_path, SAMPLES)

    if lists_dir is None and table_path.exists():
        # A checkout may have other splits only; then the published lists are read.
        samples = read_table(table_path, SAMPLES)
        if any(test_set.split in (splits or ()) for splits in samples["splits"].to_pylist()):
            return samples

    dataset = load(test_set.dataset)
    # Some datasets (Urbansas, sample) have no list that could be fetched.
    if "lists_dir" not in dataset.path_parameters:
        raise DataError(
            f"no ground truth for {test_set.name}: {table_path} does not hold it; "
            f"run `dvc repro sources@{test_set.dataset}`, or give --annotations (a samples.parquet)"
        )

    fields = dict(source_parameters or {})
    # A folder of the command line goes before that of params.yaml.
    if lists_dir is not None:
        fields["lists_dir"] = str(lists_dir)
    # Read the whole set beside a smaller one: an id outside of the smaller set is then known.
    splits = tuple(dict.fromkeys((test_set.split, dataset.whole_test_split or test_set.split)))
    _, samples = dataset.build_tables(
        dataset.parameters(splits=splits, **fields), cache_dir=cache_dir
    )
    return samples


def find_own_test_set(name: str, *, table_path: Path, split: str | None) -> TestSet:
    """Return the test set of a dataset of the user's own.

    Args:
        name: of the dataset.
        table_path: its samples table.
        split: which split to score; None is the only one with ``test`` in its name, or the only
            one of all.

    Raises:
        DataError: there is no such table.
        ParameterError: the split does not exist, or several could be meant.
    """
    if not table_path.exists():
        raise DataError(f"{table_path}: not found; run `dvc repro sources@{name}`")
    columns = read_table(table_path, SAMPLES)["splits"].to_pylist()
    splits = sorted({split for names in columns for split in names or ()})
    if split is None:
        candidates = [one for one in splits if "test" in one.split("_")] or splits
        if len(candidates) != 1:
            raise ParameterError(
                f"{name} has the splits {', '.join(splits)}; say with --split which one to score"
            )
        split = candidates[0]
    elif split not in splits:
        raise ParameterError(f"--split is {split!r}, expected one of {', '.join(splits)}")
    return TestSet(f"{name}_{split}", name, split, 0, "")


def read_annotation_file(path: Path, test_set: TestSet) -> pa.Table:
    """Read the published annotation file of a test set.

    Args:
        path: of the file.
        test_set: the test set to score.

    Returns:
        A table SAMPLES.

    Raises:
        DataError: the file does not exist, or the dataset has none for this test set.
    """
    file = load(test_set.dataset).annotation_file
    expected = "a samples.parquet"
    if file is not None:
        expected += f" or the published {file.name}"

    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected {expected} (a folder of lists: --lists)")
    if file is None:
        raise DataError(f"{path}: expected a samples.parquet for {test_set.name} (or give --lists)")
    # vggss.json, for example, does not say which clips are heard and which are unheard.
    if test_set.name != file.test_set:
        raise DataError(
            f"{path}: expected a samples.parquet for {test_set.name}; {file.name} gives the ground "
            f"truth of {file.test_set} alone, not of other test sets (give --lists)"
        )
    if not path.is_file():
        raise DataError(f"{path}: not found, expected {expected}")
    return file.read(path)
