"""Samples tables of the test sets, for whoever scores maps without having run the pipeline.

From a samples.parquet, from the published annotations, or from the published lists.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError
from earshot.tables import SAMPLES, read_table
from eval.results.test_sets import TestSet
from pipeline.datasets import load
from pipeline.lists.annotations import read_vggss
from pipeline.lists.rows import Membership, make_samples

# Read from the lists beside any smaller set, so that an id outside of it is known, not an error.
_WHOLE_TEST_SETS = {"vggsound": "vggss_test", "flickr": "flickr_test_250"}


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

    From ``annotations_path`` (a samples.parquet, or the published vggss.json for the whole of VGG-SS); else from
    ``table_path``, the dataset's own samples table; else from the published lists: in ``lists_dir``, or fetched into
    ``cache_dir`` (``cache/<dataset>``). ``source_parameters`` go to the dataset's own ``Parameters``.
    """
    if annotations_path is not None and annotations_path.suffix != ".parquet":
        return load_vggss(annotations_path, test_set)
    if annotations_path is not None:
        return read_table(annotations_path, SAMPLES)
    if lists_dir is None and table_path.exists():
        samples = read_table(table_path, SAMPLES)
        if any(test_set.split in (splits or ()) for splits in samples["splits"].to_pylist()):
            return samples
    if test_set.dataset not in _WHOLE_TEST_SETS:
        raise DataError(
            f"no ground truth for {test_set.name}: {table_path} does not hold it; "
            f"run `dvc repro sources@{test_set.dataset}`, or give --annotations (a samples.parquet)"
        )
    module = load(test_set.dataset)
    source_parameters = dict(source_parameters or {})
    if lists_dir is not None:
        source_parameters["lists_dir"] = str(lists_dir)
    splits = tuple(dict.fromkeys((test_set.split, _WHOLE_TEST_SETS[test_set.dataset])))
    parameters = module.Parameters(splits=splits, **source_parameters)
    return module.build_tables(parameters, cache_dir=cache_dir)[1]


def load_vggss(path: Path, test_set: TestSet) -> pa.Table:
    """The whole of VGG-SS as a samples table, from the published ``vggss.json``."""
    if path.is_dir():
        raise DataError(
            f"{path}: is a folder, expected a samples.parquet or the published vggss.json (a folder of lists: --lists)"
        )
    if test_set.name != "vggss":
        raise DataError(
            f"{path}: expected a samples.parquet for {test_set.name}; a vggss.json serves for vggss alone, since it "
            "does not say what is in other test sets (give --lists)"
        )
    if not path.is_file():
        raise DataError(
            f"{path}: not found, expected a samples.parquet or the published vggss.json"
        )
    module = load("vggsound")
    truths = read_vggss(path, pattern=module.CLIP_ID)
    members = Membership()
    members.add(test_set.split, truths)
    return make_samples(
        members, time_of=lambda _: module.SAMPLE_SECONDS, truths=truths, attributes={}
    )
