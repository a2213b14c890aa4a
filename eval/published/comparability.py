"""Which of our results stand beside a published one, and whether the two may be compared.

Two results are comparable only with the same method, training data, test set and protocol, if
network and loss are those of the method's authors, no sample is missing, no test clip leaks into
the training data, no checkpoint was chosen on the test set, and nothing is known against the
published one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from eval.published.method_forms import METHOD_FORMS
from eval.published.published_rows import PUBLISHED, Published
from eval.published.test_sets import find_test_sets

__all__ = ["PUBLISHED", "Published", "explain_incomparability", "find_counterparts"]

# Kinds that learned nothing, so that no training data can be unknown.
_NOT_TRAINED = ("baseline", "trivial")


def find_counterparts(
    rows: Iterable[Mapping[str, Any]], published: Published
) -> list[Mapping[str, Any]]:
    """Return the rows of the same method with the same training data.

    Args:
        rows: objects of the list ``results``, of one test set and protocol.
        published: one of ``PUBLISHED``.
    """
    if published.own_method is None:
        return []
    return [
        row
        for row in rows
        if row.get("method") == published.own_method and _has_same_training(row, published)
    ]


def _has_same_training(row: Mapping[str, Any], published: Published) -> bool:
    if row.get("kind") == "untrained":
        return False
    # Weights that somebody else trained: unless their entry says on what, it is known of some
    # methods alone.
    if row.get("selection") == "released" and row.get("trained_on") is None:
        return published.is_released
    return row.get("trained_on") == published.train_split


def explain_incomparability(result: Mapping[str, Any], published: Published) -> str:
    """Say why a result may not be compared with a published one.

    Whether method and training data are the same is not looked at: see ``find_counterparts``.

    Args:
        result: an object of the list ``results``; its ``subset`` is the name of a test set or of
            the split that holds it.
        published: one of ``PUBLISHED``.

    Returns:
        The reasons, separated by semicolons; empty if the two may be compared.
    """
    test_set = find_test_sets()[published.test_set]
    # The stage names a test set by its split, ``eval.score`` by its own name.
    is_same_subset = result["subset"] in (test_set.name, test_set.split)
    if result["dataset"] != test_set.dataset or not is_same_subset:
        return f"another test set: {published.test_set}"

    reasons = []
    if result["protocol"] != published.protocol:
        reasons.append(f"another protocol: {published.protocol}")

    # A paper may report on fewer samples than the list has.
    num_published = published.n or test_set.num_published
    if num_published and result["n"] != num_published:
        reasons.append(f"{result['n']:,} samples here, {num_published:,} there")

    reasons += _explain_training(result, published)
    reasons += [f"there: {caveat}" for caveat in published.caveats]
    return "; ".join(reasons)


def _explain_training(result: Mapping[str, Any], published: Published) -> list[str]:
    """Return what is known against the training of a result, and what is not known of it."""
    if result.get("kind") in _NOT_TRAINED:
        # Nothing was trained, so nothing can have leaked.
        return []

    reasons = []
    form = METHOD_FORMS.get(str(result.get("method")))
    if form is not None and form.is_training_ours and result.get("selection") != "released":
        reasons.append("here: a training of ours, as no code of its authors is public")
    if result.get("own_settings"):
        reasons.append(f"here: {result['own_settings']}")
    if result.get("leakage") is None:
        reasons.append("whether test clips are in our training data is not known")
    elif result["leakage"]:
        reasons.append(f"{result['leakage']:,} test clips are in our training data")

    selection = result.get("selection")
    if selection == "test":
        reasons.append("our checkpoint was chosen on the test set")
    elif selection in (None, "released", "not stated"):
        reasons.append("how our checkpoint was chosen is not known")

    num_own, num_published = result.get("num_trained_on"), published.num_trained_on
    # A number that is not known is no reason.
    if num_own is not None and num_published is not None and num_own != num_published:
        reasons.append(f"{num_own:,} training samples here, {num_published:,} there")
    return reasons
