"""Summarize runs that differ only in the seed, and compare differences with their range."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eval.entrants.entrant import Entrant
from eval.results.comparisons import is_clear
from eval.results.files import METRICS

_MOST_NAMED = 5  # differences of a test set with a sentence of their own


def summarize_seeds(
    results: Iterable[Mapping[str, Any]], entrants: Iterable[Entrant]
) -> list[dict[str, Any]]:
    """Summarize the runs of one recipe as mean and range.

    Args:
        results: objects of the list ``results``, of one dataset.
        entrants: those of the evaluation; runs with the same ``recipe`` differ only in the seed.

    Returns:
        Objects of the list ``seeds`` (see ``eval.results.files``), for each recipe that has
        results with several seeds.
    """
    # Runs of one recipe differ in the seed alone.
    recipe_of = {one.name: one.recipe for one in entrants if one.recipe is not None}
    rows_of: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in results:
        recipe = recipe_of.get(row["model"])
        if recipe is not None and row["mean_ciou"] is not None:
            key = (row["dataset"], row["subset"], row["protocol"], recipe)
            rows_of.setdefault(key, []).append(row)

    # One seed twice tells nothing about seeds.
    return [
        _summarize(key, rows)
        for key, rows in rows_of.items()
        if len({row["seed"] for row in rows}) > 1
    ]


def _summarize(key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = dict(zip(("dataset", "subset", "protocol"), key[:3], strict=True))
    found["method"] = rows[0]["method"]
    found["models"] = [row["model"] for row in rows]
    found["num_seeds"] = len({row["seed"] for row in rows})
    for metric in METRICS:
        values = [row[metric] for row in rows]
        found[metric] = sum(values) / len(values)
        found[f"{metric}_min"], found[f"{metric}_max"] = min(values), max(values)
    return found


def add_seed_ranges(
    comparisons: Iterable[dict[str, Any]], seeds: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Add the range of seeds to each comparison, and say which differences are smaller.

    ``seed_range`` is the largest range over the seeds of the compared methods. If these have one
    seed each, it is the largest range of any method of the test set. If no method has several
    seeds, it is null.

    Args:
        comparisons: of the list ``comparisons``; each gets ``seed_range`` and ``seed_range_of``.
        seeds: of the list ``seeds``.

    Returns:
        Objects of the list ``notes``: differences that are clear for these weights, but smaller
        than the range of seeds. The largest of a test set have a sentence each, the others one
        together.
    """
    smaller: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in comparisons:
        place = ("dataset", "subset", "protocol")
        metric = row["metric"]
        here = [one for one in seeds if all(one[name] == row[name] for name in place)]

        # What seeds do to one of these two models counts more than what they do to others.
        pair = {row["first"], row["second"]}
        own = [one for one in here if pair & set(one["models"])]
        ranges = {one["method"]: one[f"{metric}_max"] - one[f"{metric}_min"] for one in own or here}
        widest = max(ranges, key=lambda method: ranges[method], default=None)
        row["seed_range_of"] = widest
        row["seed_range"] = None if widest is None else ranges[widest]

        if widest is None or any(pair <= set(one["models"]) for one in own):
            continue
        # Another seed could turn such a difference round.
        if is_clear(row) and abs(row["difference"]) < ranges[widest]:
            smaller.setdefault((row["dataset"], row["subset"]), []).append(row)
    return [note for rows in smaller.values() for note in _name_differences(rows)]


def _name_differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return notes on differences of one test set that are smaller than what seeds do."""
    rows = sorted(rows, key=lambda row: -abs(row["difference"]))
    subset = rows[0]["subset"]

    # A file with many models has thousands of pairs.
    texts = [
        f"{row['first']} minus {row['second']} on {subset}: the difference of "
        f"{row['difference']:.3f} in {row['metric']} is clear for these weights, but smaller than "
        f"what seeds of {row['seed_range_of']} do ({row['seed_range']:.3f})."
        for row in rows[:_MOST_NAMED]
    ]
    if rest := rows[_MOST_NAMED:]:
        is_one = len(rest) == 1
        texts.append(
            f"{len(rest)} smaller {'difference' if is_one else 'differences'} on {subset}: clear "
            "for these weights, too, but smaller than what seeds do."
        )

    # Each sentence belongs to the model of its first difference.
    return [
        {
            "model": row["first"],
            "dataset": row["dataset"],
            "problem": "seeds",
            "num_samples": None,
            "text": text,
        }
        for row, text in zip(rows, texts, strict=False)
    ]
