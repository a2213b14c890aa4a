"""Samples tables of the test sets, for whoever scores maps without having run the pipeline.

From a samples.parquet, from the published annotations, or from the published lists.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError
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
    """A samples table (SAMPLES) that holds ``test_set`` in its split.

    From ``annotations_path`` (a samples.parquet, or the dataset's published annotation file, such as VGG-SS's vggss.json); else from
    ``table_path``, the dataset's own samples table; else from the published lists: in ``lists_dir``, or fetched into
    ``cache_dir`` (``cache/<dataset>``). ``source_parameters`` go to the dataset's own ``Parameters``.
    """
    if annotations_path is not None and annotations_path.suffix != ".parquet":
        return read_annotation_file(annotations_path, test_set)
    if annotations_path is not None:
        return read_table(annotations_path, SAMPLES)
    if lists_dir is None and table_path.exists():
        samples = read_table(table_path, SAMPLES)
        if any(test_set.split in (splits or ()) for splits in samples["splits"].to_pylist()):
            return samples
    dataset = load(test_set.dataset)
    if dataset.whole_test_split is None:
        raise DataError(
            f"no ground truth for {test_set.name}: {table_path} does not hold it; "
            f"run `dvc repro sources@{test_set.dataset}`, or give --annotations (a samples.parquet)"
        )
    source_parameters = dict(source_parameters or {})
    if lists_dir is not None:
        source_parameters["lists_dir"] = str(lists_dir)
    # The whole set is read beside any smaller one, so that an id outside of the smaller one is known, not an error.
    splits = tuple(dict.fromkeys((test_set.split, dataset.whole_test_split)))
    parameters = dataset.parameters(splits=splits, **source_parameters)
    return dataset.build_tables(parameters, cache_dir=cache_dir)[1]


def read_annotation_file(path: Path, test_set: TestSet) -> pa.Table:
    """A samples table from a published annotation file, where the dataset has one for this test set."""
    file = load(test_set.dataset).annotation_file
    words = (
        "a samples.parquet" if file is None else f"a samples.parquet or the published {file.name}"
    )
    if path.is_dir():
        raise DataError(f"{path}: is a folder, expected {words} (a folder of lists: --lists)")
    if file is None:
        raise DataError(f"{path}: expected a samples.parquet for {test_set.name} (or give --lists)")
    if test_set.name != file.test_set:
        raise DataError(
            f"{path}: expected a samples.parquet for {test_set.name}; a {file.name} serves for {file.test_set} alone, "
            "since it does not say what is in other test sets (give --lists)"
        )
    if not path.is_file():
        raise DataError(f"{path}: not found, expected {words}")
    return file.read(path)
