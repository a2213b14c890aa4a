"""Make ``reports/summary.json``: about ten numbers, for ``dvc metrics`` and ``dvc exp show``.

Everything else is in ``results.json``. DVC makes a column of each number, and eight columns fit a
terminal of 100 characters only if their names are short: ``ezv.fs`` is the model ``ezvsl`` on the
test set ``final_single``. A short name depends only on its long name, so that `dvc metrics diff`
still finds it when the run gets another model or test set.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_MODEL_LETTERS, _TEST_SET_LETTERS = 3, 2


def summarize_for_dvc(
    results: Iterable[Mapping[str, Any]], *, protocol: str, metric: str
) -> dict[str, dict[str, float | None]]:
    """Choose one number for each model and test set.

    Args:
        results: the list ``results`` of results.json.
        protocol: the main protocol.
        metric: the comparison metric, one of ``eval.results.files.METRICS``.

    Returns:
        By short name of the model (trained, released or external; no baseline), then by short name
        of the test set: the metric with four digits; null where no sample was scored.
    """
    rows = _choose_rows(results, protocol)
    models, test_sets = _shorten_names(rows)
    name_of = _name_test_sets(rows)

    summary: dict[str, dict[str, float | None]] = {}
    for row in rows:
        # Few digits, because `dvc exp show` has a column for each number.
        value = None if row[metric] is None else round(row[metric], 4)
        short_name = test_sets[name_of[row["dataset"], row["subset"]]]
        summary.setdefault(models[row["model"]], {})[short_name] = value
    return summary


def describe_summary(results: Iterable[Mapping[str, Any]], *, protocol: str, metric: str) -> str:
    """Return the sentence that explains the keys of ``summary.json`` on the terminal.

    Args:
        results: the list ``results`` of results.json.
        protocol: the main protocol: only rows under it are in the summary.
        metric: the comparison metric, whose values the summary holds.
    """
    models, test_sets = _shorten_names(_choose_rows(results, protocol))
    keys = ", ".join(f"{short} = {name}" for name, short in (models | test_sets).items())
    return f"reports/summary.json: {metric} under {protocol}; {keys or 'no model was scored'}"


def shorten(names: Iterable[str], *, num_letters: int) -> dict[str, str]:
    """Return a short name for each name.

    A name of one word is cut (``ezvsl``: ``ezv``). A name of several words becomes their first
    letters (``final_single``: ``fs``). The word ``test`` at the end does not count. Names that
    would become equal to another one stay whole.

    Args:
        names: words joined by ``_``.
        num_letters: how long one word may be.
    """
    names = list(dict.fromkeys(names))
    short_names = {name: _shorten_one(name, num_letters) for name in names}
    # A name that stays whole can be the short name of another: `a_b_c` is `abc`.
    while True:
        counts = Counter(short_names.values())
        equal = [name for name, short in short_names.items() if counts[short] > 1 and short != name]
        if not equal:
            return short_names
        short_names |= {name: name for name in equal}


def _shorten_one(name: str, num_letters: int) -> str:
    words = [word for word in name.split("_") if word] or [name]
    # Most names of test splits end in this word, so it tells nothing apart.
    if len(words) > 1 and words[-1] == "test":
        words.pop()
    return words[0][:num_letters] if len(words) == 1 else "".join(word[0] for word in words)


def _choose_rows(results: Iterable[Mapping[str, Any]], protocol: str) -> list[Mapping[str, Any]]:
    kinds = ("model", "external")
    return [row for row in results if row["kind"] in kinds and row["protocol"] == protocol]


def _shorten_names(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the short names of the models and those of the test sets."""
    rows = list(rows)
    return (
        shorten((row["model"] for row in rows), num_letters=_MODEL_LETTERS),
        shorten(_name_test_sets(rows).values(), num_letters=_TEST_SET_LETTERS),
    )


def _name_test_sets(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return (dataset, subset) -> name; it begins with the dataset if two datasets share it."""
    test_sets = list(dict.fromkeys((row["dataset"], row["subset"]) for row in rows))
    counts = Counter(subset for _, subset in test_sets)
    # `test` alone does not say of which dataset, even if it is the only one.
    return {
        (dataset, subset): f"{dataset}_{subset}"
        if counts[subset] > 1 or subset == "test"
        else subset
        for dataset, subset in test_sets
    }
