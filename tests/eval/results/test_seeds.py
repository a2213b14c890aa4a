"""Seeds of one method: mean and range, and differences that are no larger than they make."""

import pytest

from eval.entrants.entrant import Entrant
from eval.results.files import METRICS
from eval.results.seeds import add_seed_ranges, summarize_seeds

PLACE = {"dataset": "sample", "subset": "test", "protocol": "earshot"}


def make_entrant(name, recipe):
    return Entrant(name, "model", lambda ids, readers: [], recipe=recipe)


def make_result(model, seed, value, subset="test"):
    facts = {"model": model, "method": "htf", "seed": seed, **PLACE, "subset": subset}
    return facts | dict.fromkeys(METRICS, value)


def make_comparison(first, second, difference, low, high):
    numbers = {"difference": difference, "low": low, "high": high, "p_value": 0.01}
    return {"first": first, "second": second, **PLACE, "metric": "adaptive_ciou", **numbers}


ENTRANTS = [
    make_entrant("a0", "recipe a"),
    make_entrant("a1", "recipe a"),
    make_entrant("a2", "recipe a"),
    make_entrant("b", "recipe b"),
    make_entrant("flow", None),
]
RESULTS = [
    make_result("a0", 0, 0.5),
    make_result("a1", 1, 0.6),
    make_result("a2", 2, 0.55),
    make_result("b", 0, 0.62),
    make_result("flow", None, 0.3),
]


def test_seeds_are_summarized_as_mean_and_range():
    (row,) = summarize_seeds(RESULTS, ENTRANTS)
    assert (row["models"], row["num_seeds"], row["method"]) == (["a0", "a1", "a2"], 3, "htf")
    for metric in METRICS:
        assert row[metric] == pytest.approx(0.55)
        assert (row[f"{metric}_min"], row[f"{metric}_max"]) == (0.5, 0.6)


def test_one_seed_says_nothing_about_seeds():
    assert summarize_seeds([make_result("a0", 0, 0.5), make_result("b", 0, 0.6)], ENTRANTS) == []
    # The same seed twice is no second one.
    assert summarize_seeds([make_result("a0", 0, 0.5), make_result("a1", 0, 0.6)], ENTRANTS) == []


def test_a_difference_that_is_smaller_than_what_seeds_do_is_named():
    seeds = summarize_seeds(RESULTS, ENTRANTS)
    comparisons = [
        make_comparison("b", "a0", 0.08, 0.02, 0.1),  # clear, and small
        make_comparison("b", "flow", 0.32, 0.2, 0.4),  # clear, and large
        make_comparison("b", "a1", 0.02, -0.02, 0.1),  # not clear anyway
    ]
    (note,) = add_seed_ranges(comparisons, seeds)
    assert note["text"] == (
        "b minus a0 on test: the difference of 0.080 in adaptive_ciou is clear for these weights, "
        "but smaller than what seeds of htf do (0.100)."
    )
    # `b` has one seed: what seeds of another method do is the best that is known.
    assert [row["seed_range"] for row in comparisons] == pytest.approx([0.1] * 3)

    assert add_seed_ranges(comparisons, []) == []
    assert [row["seed_range"] for row in comparisons] == [None] * 3


def test_two_seeds_of_one_method_are_not_compared_with_what_seeds_do():
    seeds = summarize_seeds(RESULTS, ENTRANTS)
    assert add_seed_ranges([make_comparison("a0", "a2", -0.05, -0.08, -0.02)], seeds) == []


@pytest.mark.parametrize(("num_pairs", "end"), [(6, "1 smaller difference"), (9, "4 smaller diff")])
def test_the_largest_of_many_such_differences_are_named(num_pairs, end):
    seeds = summarize_seeds(RESULTS, ENTRANTS)
    comparisons = [
        make_comparison("b", "a0", number / 1000, 0.0001, 0.1) for number in range(1, num_pairs + 1)
    ]
    texts = [note["text"] for note in add_seed_ranges(comparisons, seeds)]
    assert [text.split("difference of ")[1][:5] for text in texts[:5]] == [
        f"0.{number:03d}" for number in range(num_pairs, num_pairs - 5, -1)
    ]
    assert len(texts) == 6
    assert texts[5].startswith(end)
    assert " on test:" in texts[5]
