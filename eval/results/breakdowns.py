"""Results by number of boxes, object size, class and circumstances.

Groups come only from the samples table, so that the results of any run can be broken down later.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from eval.results.summaries import compute_metrics
from eval.scoring.bootstrap import NUM_RESAMPLES
from eval.scoring.ground_truth import ground_truths_of
from pipeline.datasets.dataset import load

# Limits of the mean box area, in pixels of the grid of 224x224 (SLAVC).
SIZE_LIMITS = ((32**2, "small"), (96**2, "medium"), (144**2, "large"))
LARGEST = "huge"

# Name of a breakdown -> group -> ids of its samples.
Groups = dict[str, dict[str, list[str]]]


def group_samples(samples: pa.Table, *, dataset: str) -> Groups:
    """Group samples by each breakdown.

    The breakdowns are ``num_boxes`` (1, 2, "3 or more"), ``object_size`` (see
    ``name_object_size``), ``class``, and those of the dataset (``Dataset.split_breakdowns`` and
    ``Dataset.attributes``).

    Args:
        samples: table SAMPLES.
        dataset: name of the dataset.

    Returns:
        Name of a breakdown -> group -> ids. A sample is in no group if the fact is not known.
    """
    definition = load(dataset)
    truths = ground_truths_of(samples, box_rule=definition.box_rule)
    groups: Groups = {}

    def add_sample(sample_id: str, breakdown: str, group: str) -> None:
        groups.setdefault(breakdown, {}).setdefault(group, []).append(sample_id)

    columns = samples.select(["sample_id", "label", "splits", "attributes"]).to_pydict()
    for sample_id, label, splits, attributes in zip(*columns.values(), strict=True):
        # Without boxes a sample has no ciou that a group could average.
        if sample_id not in truths:
            continue

        truth = truths[sample_id]
        boxes = truth.pixel_boxes
        # Few samples have more boxes: groups of their own would be too small to compare.
        if truth.mask is None:
            add_sample(sample_id, "num_boxes", str(len(boxes)) if len(boxes) < 3 else "3 or more")
            add_sample(sample_id, "object_size", name_object_size(boxes))
        else:
            # A mask has no boxes, and can be of several objects.
            add_sample(sample_id, "object_size", _name_size(int(truth.mask.sum())))
        if label:
            add_sample(sample_id, "class", label)

        # Circumstances that a dataset publishes as splits, such as heard and unheard classes.
        for split in splits or ():
            for breakdown, group_of_split in definition.split_breakdowns.items():
                if split in group_of_split:
                    add_sample(sample_id, breakdown, group_of_split[split])

        # Only attributes that the dataset declares: others, such as names, make no groups.
        for name, value in dict(attributes or []).items():
            attribute = definition.attributes.get(name)
            if attribute is not None and attribute.breakdown is not None:
                group = attribute.groups.get(str(value).lower(), str(value))
                add_sample(sample_id, attribute.breakdown, group)

    # Sorted, so that the tables do not depend on the order of the samples.
    return {breakdown: dict(sorted(members.items())) for breakdown, members in groups.items()}


def name_object_size(pixel_boxes: np.ndarray) -> str:
    """Name the size of a sample's object by the mean area of its boxes.

    Args:
        pixel_boxes: ``(num_boxes, 4)``, x1 y1 x2 y2 in pixels of the grid.

    Returns:
        ``small``, ``medium``, ``large`` or ``huge``.
    """
    areas = (pixel_boxes[:, 2] - pixel_boxes[:, 0]) * (pixel_boxes[:, 3] - pixel_boxes[:, 1])
    return _name_size(int(np.mean(np.abs(areas))) if len(areas) else 0)


def _name_size(num_pixels: int) -> str:
    return next((name for limit, name in SIZE_LIMITS if num_pixels < limit), LARGEST)


def break_down(
    rows: Iterable[Mapping[str, Any]],
    groups: Mapping[str, Mapping[str, Collection[str]]],
    *,
    subset: str,
    ids: Collection[str],
    group_of: Mapping[str, str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> list[dict[str, Any]]:
    """Compute the metrics of one model and protocol on each group of a test set.

    A breakdown with a single group tells nothing new, so it is left out.

    Args:
        rows: rows of the table SCORES, of one model and one protocol.
        groups: as ``group_samples`` returns them.
        subset: name of the test set in the results.
        ids: the test set.
        group_of: sample id -> what it is resampled with (see ``summaries.find_groups``).
        num_resamples: for the intervals.

    Returns:
        Objects of the list ``breakdowns`` (see ``eval.results.files``): ``n`` samples were scored
        of the ``num_requested`` in the group.
    """
    wanted = set(ids)
    row_of = {row["sample_id"]: row for row in rows if row["sample_id"] in wanted}
    if not row_of:
        return []

    # All rows have the same model, dataset and protocol.
    any_row = next(iter(row_of.values()))
    results = []
    for breakdown, members in groups.items():
        tested = {
            group: [row_of[name] for name in names if name in row_of]
            for group, names in members.items()
        }
        # Leave out the groups that have no sample in this test set.
        tested = {group: group_rows for group, group_rows in tested.items() if group_rows}
        # A single group is the test set once more.
        if len(tested) < 2:
            continue

        for group, group_rows in tested.items():
            # Requested samples include the failed ones, so that each group shows what is missing.
            scored = [row for row in group_rows if row["status"] == "ok" and row["is_positive"]]
            result = {
                "model": any_row["model"],
                "dataset": any_row["dataset"],
                "subset": subset,
                "protocol": any_row["protocol"],
                "by": breakdown,
                "group": group,
                "n": len(scored),
                "num_requested": len(group_rows),
            }
            results.append(
                result | compute_metrics(scored, group_of=group_of, num_resamples=num_resamples)
            )
    return results
