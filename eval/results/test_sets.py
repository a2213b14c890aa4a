"""The test sets of the field by name, and where their ids and ground truth come from.

A test set is a split of a dataset's samples table. The datasets name their own (``Dataset.test_sets``); here they are
collected.
"""

import functools
from collections.abc import Collection

import pyarrow as pa

from earshot.errors import DataError, ParameterError
from pipeline.datasets.dataset import TestSet, load
from pipeline.datasets.dataset import names as dataset_names


@functools.cache
def find_test_sets() -> dict[str, TestSet]:
    """The test sets of all datasets by their names."""
    datasets = [load(name) for name in dataset_names()]
    return {test_set.name: test_set for dataset in datasets for test_set in dataset.test_sets}


def get_test_set(name: str) -> TestSet:
    """The test set of this name; an unknown name is an error that lists the known ones."""
    test_sets = find_test_sets()
    if name not in test_sets:
        raise ParameterError(f"unknown test set {name!r}, expected one of {', '.join(test_sets)}")
    return test_sets[name]


def subset_ids(samples: pa.Table, subset: str) -> list[str]:
    """Ids of a subset: the samples with that name among their splits; ``all`` is every sample given."""
    splits = samples.select(["sample_id", "splits"]).to_pydict()
    if subset == "all" and splits["sample_id"]:
        return splits["sample_id"]
    ids = [
        name
        for name, of_sample in zip(*splits.values(), strict=True)
        if subset in (of_sample or ())
    ]
    if not ids:
        known = sorted({name for of_sample in splits["splits"] for name in of_sample or ()})
        raise DataError(
            f"the subset {subset!r} is empty; splits in the samples table: {', '.join(known) or 'none'}"
        )
    return ids


def count_leakage(test_clip_ids: Collection[str], train_clip_ids: Collection[str]) -> int:
    """How many test clips are in the training data, too."""
    train_clip_ids = set(train_clip_ids)
    return sum(name in train_clip_ids for name in set(test_clip_ids))
