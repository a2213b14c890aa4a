"""Where a method is good and where it is not: results by number of boxes, object size, class and circumstances.

Groups come from the samples table alone, so any run of any dataset can be broken down after the fact.
"""

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pyarrow as pa

from eval.results.model_results import metric_values
from eval.scoring.bootstrap import NUM_RESAMPLES
from eval.scoring.ground_truth import ground_truths_of
from pipeline.datasets.dataset import load

SIZE_LIMITS = (
    (32**2, "small"),
    (96**2, "medium"),
    (144**2, "large"),
)  # mean box area in pixels of the grid (SLAVC)
LARGEST = "huge"


def group_samples(samples: pa.Table, *, dataset: str) -> dict[str, dict[str, list[str]]]:
    """Breakdown to group to sample ids; a sample without the fact is in no group.

    ``num_boxes`` 1, 2, 3 or more; ``object_size`` by the mean area of the boxes on the 224 grid (SLAVC's limits 32, 96
    and 144 squared); ``class``; and those of the dataset (``Dataset.split_breakdowns`` and ``Dataset.attributes``).
    """
    about = load(dataset)
    truths = ground_truths_of(samples, box_rule=about.box_rule)
    groups: dict[str, dict[str, list[str]]] = {}

    def add(by: str, group: str, sample_id: str) -> None:
        groups.setdefault(by, {}).setdefault(group, []).append(sample_id)

    columns = samples.select(["sample_id", "label", "splits", "attributes"]).to_pydict()
    for sample_id, label, splits, attributes in zip(*columns.values(), strict=True):
        if sample_id not in truths:
            continue
        boxes = truths[sample_id].pixel_boxes
        add("num_boxes", str(len(boxes)) if len(boxes) < 3 else "3 or more", sample_id)
        add("object_size", name_size(boxes), sample_id)
        if label:
            add("class", label, sample_id)
        for split in splits or ():
            for by, group_of_split in about.split_breakdowns.items():
                if split in group_of_split:
                    add(by, group_of_split[split], sample_id)
        for name, value in dict(attributes or []).items():
            attribute = about.attributes.get(name)
            if attribute is not None and attribute.breakdown is not None:
                group = attribute.groups.get(str(value).lower(), str(value))
                add(attribute.breakdown, group, sample_id)
    return {by: dict(sorted(members.items())) for by, members in groups.items()}


def name_size(pixel_boxes: np.ndarray) -> str:
    """Size group of a sample by the mean area of its boxes ``(num_boxes, 4)`` in pixels."""
    areas = (pixel_boxes[:, 2] - pixel_boxes[:, 0]) * (pixel_boxes[:, 3] - pixel_boxes[:, 1])
    mean_area = int(np.mean(np.abs(areas))) if len(areas) else 0
    return next((name for limit, name in SIZE_LIMITS if mean_area < limit), LARGEST)


def break_down(
    rows: Iterable[Mapping],
    groups: Mapping[str, Mapping[str, Collection[str]]],
    *,
    subset: str,
    ids: Collection[str],
    num_resamples: int = NUM_RESAMPLES,
) -> list[dict]:
    """Rows for ``breakdowns`` of ``results.json``: metrics of one model and protocol on each group within ``ids``.

    ``n`` is what was scored, ``num_requested`` what the group holds. A breakdown with one group says nothing and is
    left out.
    """
    wanted = set(ids)
    by_id = {row["sample_id"]: row for row in rows if row["sample_id"] in wanted}
    if not by_id:
        return []
    model, dataset, protocol = (
        next(iter(by_id.values()))[name] for name in ("model", "dataset", "protocol")
    )
    broken_down = []
    for by, members in groups.items():
        present = {
            group: [name for name in names if name in by_id] for group, names in members.items()
        }
        present = {group: names for group, names in present.items() if names}
        if len(present) < 2:
            continue
        for group, names in present.items():
            scored = [
                by_id[name]
                for name in names
                if by_id[name]["status"] == "ok" and by_id[name]["is_positive"]
            ]
            row = {
                "model": model,
                "dataset": dataset,
                "subset": subset,
                "protocol": protocol,
                "by": by,
                "group": group,
            }
            row |= {"n": len(scored), "num_requested": len(names)}
            broken_down.append(row | metric_values(scored, num_resamples=num_resamples))
    return broken_down
