"""The test sets of the field by name, and the ids that they hold.

A test set is a split of a dataset's samples table. Each dataset names its own
(``Dataset.test_sets``); this module collects them.
"""

import functools
from collections.abc import Collection
from typing import Any

import pyarrow as pa

from earshot.errors import DataError, ParameterError
from pipeline.datasets.dataset import TestSet, load
from pipeline.datasets.dataset import names as dataset_names
from pipeline.lists.masks import ATTRIBUTE as MASK


@functools.cache
def find_test_sets() -> dict[str, TestSet]:
    """Return the test sets of all datasets by their names."""
    datasets = [load(name) for name in dataset_names()]
    return {test_set.name: test_set for dataset in datasets for test_set in dataset.test_sets}


def get_test_set(name: str) -> TestSet:
    """Return the test set of this name.

    Args:
        name: such as ``vggss``.

    Raises:
        ParameterError: there is none; the message lists the known names.
    """
    test_sets = find_test_sets()
    if name not in test_sets:
        raise ParameterError(f"unknown test set {name!r}, expected one of {', '.join(test_sets)}")
    return test_sets[name]


def find_subset_ids(samples: pa.Table, subset: str) -> list[str]:
    """Return the ids of the samples of a subset.

    Args:
        samples: a table SAMPLES.
        subset: name of a split, or ``all`` for every sample of the table.

    Returns:
        The ids in the order of the table.

    Raises:
        DataError: no sample is in the subset; the message lists the splits.
    """
    columns = samples.select(["sample_id", "splits"]).to_pydict()
    all_ids, splits_of_samples = columns["sample_id"], columns["splits"]
    # An empty table is an error, also for `all`.
    if subset == "all" and all_ids:
        return all_ids

    pairs = zip(all_ids, splits_of_samples, strict=True)
    ids = [sample_id for sample_id, splits in pairs if subset in (splits or ())]
    if not ids:
        known = sorted({name for splits in splits_of_samples for name in splits or ()})
        raise DataError(
            f"the subset {subset!r} is empty; splits in the samples table: "
            f"{', '.join(known) or 'none'}"
        )
    return ids


def find_unscored(dataset: str, samples: pa.Table) -> list[dict[str, Any]]:
    """Say that a dataset has ground truth, for a dataset of which no split is a test set.

    Args:
        dataset: its name.
        samples: its table SAMPLES.

    Returns:
        One object of the list ``notes`` (see ``eval.results.files``), or none without ground truth.
    """
    columns = samples.select(["splits", "boxes", "attributes"]).to_pydict()
    splits_of_scored = [
        splits or ()
        for splits, boxes, attributes in zip(*columns.values(), strict=True)
        if boxes or MASK in dict(attributes or ())
    ]
    if not splits_of_scored:
        return []

    names = sorted({name for splits in splits_of_scored for name in splits})
    return [
        {
            "dataset": dataset,
            "problem": "unscored",
            "num_samples": len(splits_of_scored),
            "text": f"{dataset}: {len(splits_of_scored)} samples with boxes or masks are not "
            f"scored, since evaluate.subsets of params.yaml has no entry for {dataset}; splits of "
            f"these samples: {', '.join(names)}.",
        }
    ]


def count_leakage(
    test_clip_ids: Collection[str],
    train_clip_ids: Collection[str],
    unknown_ids: Collection[str] = (),
) -> int | None:
    """Count the test clips that are also in the training data.

    Args:
        test_clip_ids: clips of the test set; one that appears several times counts once.
        train_clip_ids: clips of the training set.
        unknown_ids: clips of which nobody knows whether they are in it.

    Returns:
        The number of clips that are in both; None if it is not known of one of them.
    """
    tested = set(test_clip_ids)
    # A count without these would be a lower bound that looks like the number.
    if not tested.isdisjoint(unknown_ids):
        return None
    return len(tested & set(train_clip_ids))


def find_origin_note(dataset: str, subset: str) -> str:
    """Return why nobody knows which videos a test set is made from; empty if they are known.

    Args:
        dataset: name of the dataset.
        subset: name of the test set or of its split.
    """
    notes = [
        one.origin_note
        for one in find_test_sets().values()
        if one.dataset == dataset and subset in (one.name, one.split)
    ]
    return notes[0] if notes else ""
