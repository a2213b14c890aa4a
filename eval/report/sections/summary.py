"""What was found: for each test set, the best model against the best baseline, in one sentence.

``templates/section_summary.html`` shows these views.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.report.data.result_rows import (
    METRIC_TITLES,
    Group,
    best_own_row,
    best_row,
    format_count,
    format_interval,
    format_number,
    interval_of,
    number_of,
)
from eval.report.sections.comparisons import ComparisonRow, view_comparisons
from eval.report.sections.protocol_cards import name_protocol

# What a metric's number means, for readers who see it for the first time.
_MEANINGS = {
    "adaptive_ciou": "1 means that the marked area is the annotated boxes, 0 that it misses them",
    "mean_ciou": "1 means that the marked area is the annotated boxes, 0 that it misses them",
    "pointing_accuracy": "the share of samples whose highest value lies in a box",
}
_FEW_VIDEOS = 5  # p of n videos is 2 / 2^n or more, which is above 0.05 for these
_NO_MODEL = {
    "baseline": "No model was trained. The best baseline is",
    "untrained": "No model was trained. The best untrained network is",
}


@dataclass(frozen=True)
class NamedValue:
    """A model with its value of the main metric and the interval of it."""

    model: str
    value: float
    interval: str


@dataclass(frozen=True)
class SeedsOfBest:
    """What the runs reach that differ from the best model in the seed alone."""

    num_seeds: int
    mean: float
    text: str  # a sentence with the mean and the range


@dataclass(frozen=True)
class Finding:
    """What was found on one test set.

    ``difference``: of the best model and the baseline that it has to beat. ``sentence`` says both
    in words, and ``verdict`` in one or two. ``seeds``: of the best model, if it has several; the
    best of several is better than another seed can be expected to be.
    """

    dataset: str
    subset: str
    n: int | None
    num_requested: int | None
    metric: str
    best: NamedValue
    seeds: SeedsOfBest | None
    baseline: NamedValue | None
    trivial: NamedValue | None
    difference: ComparisonRow | None
    verdict: str
    sentence: str
    meaning: str


@dataclass(frozen=True)
class Summary:
    """The first section: a finding for each test set, and what is worth doing or knowing."""

    findings: tuple[Finding, ...]
    protocol: str = ""
    next_steps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def view_summary(
    groups: Iterable[Group],
    *,
    protocol: str,
    metric: str,
    comparisons: Sequence[Mapping] = (),
    seeds: Sequence[Mapping] = (),
    next_steps: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Summary:
    """Return a finding for each test set that has a row under ``protocol``.

    Args:
        groups: All tables of results.
        protocol: The protocol of the findings.
        metric: The metric of the findings, one of ``METRIC_TITLES``.
        comparisons: The list of that name of results.json.
        seeds: The list of that name of results.json.
        next_steps: Sentences that say what to do next.
        notes: Sentences about what was absent or odd.
    """
    findings = [
        _make_finding(group, metric, comparisons, seeds)
        for group in groups
        if group.protocol == protocol
    ]
    return Summary(
        tuple(finding for finding in findings if finding is not None),
        name_protocol(protocol),
        tuple(next_steps),
        tuple(notes),
    )


def _make_finding(
    group: Group, metric: str, comparisons: Sequence[Mapping], seeds: Sequence[Mapping]
) -> Finding | None:
    row = best_own_row(group.rows, metric)
    if row is None:
        return None

    best = _name_value(row, metric)
    title = METRIC_TITLES.get(metric, metric)
    difference = _find_difference(group, str(row["model"]), metric, comparisons)
    # That of the paired test, so that both numbers of the sentence belong together.
    baseline_row = _find_baseline(group, row, metric, difference)
    baseline = None if baseline_row is None else _name_value(baseline_row, metric)
    trivial = best_row(group.rows, metric, ("trivial",))

    return Finding(
        dataset=group.dataset,
        subset=group.subset,
        n=row.get("n"),
        num_requested=row.get("num_requested"),
        metric=title,
        best=best,
        seeds=_find_seeds(group, best, metric, seeds),
        baseline=baseline,
        trivial=None if trivial is None else _name_value(trivial, metric),
        difference=difference,
        verdict=_judge(row, baseline, difference),
        sentence=" ".join(
            [
                _write_sentence(row, best, baseline, difference, title),
                *_find_cautions(row, baseline_row, difference),
            ]
        ),
        meaning=_MEANINGS.get(metric, ""),
    )


def _find_seeds(
    group: Group, best: NamedValue, metric: str, seeds: Sequence[Mapping]
) -> SeedsOfBest | None:
    """Return what the seeds of the best model reach, or None where it has one seed."""
    place = (group.dataset, group.subset, group.protocol)
    for row in seeds:
        mean = number_of(row, metric)
        is_here = tuple(row.get(name) for name in ("dataset", "subset", "protocol")) == place
        if not is_here or mean is None or best.model not in row["models"]:
            continue

        low, high = number_of(row, f"{metric}_min"), number_of(row, f"{metric}_max")
        text = (
            f"{best.model} is the best of {row['num_seeds']} seeds of {row['method']}: "
            f"{format_number(low)} to {format_number(high)}, {format_number(mean)} on average."
        )
        return SeedsOfBest(row["num_seeds"], mean, text)
    return None


def _find_difference(
    group: Group, model: str, metric: str, comparisons: Sequence[Mapping]
) -> ComparisonRow | None:
    """Return the paired difference of a model and the baseline that it has to beat."""
    place = (group.dataset, group.subset, group.protocol, metric, model)
    for row in comparisons:
        names = ("dataset", "subset", "protocol", "metric", "first")
        if row.get("is_best_baseline") and tuple(row.get(name) for name in names) == place:
            return view_comparisons([row])[0]
    return None


def _find_baseline(
    group: Group, best: Mapping, metric: str, difference: ComparisonRow | None
) -> Mapping | None:
    """Return the row of the baseline of the difference, or else of the best one."""
    # The best row can be a baseline itself.
    rows = [row for row in group.rows if row is not best]
    if difference is not None:
        rows = [row for row in rows if row["model"] == difference.second]
    return best_row(rows, metric, ("baseline", "trivial"))


def _name_value(row: Mapping, metric: str) -> NamedValue:
    value = number_of(row, metric)
    assert value is not None, "best_row returns rows that have the metric"
    return NamedValue(str(row["model"]), value, format_interval(interval_of(row, metric)))


def _judge(row: Mapping, baseline: NamedValue | None, difference: ComparisonRow | None) -> str:
    if row["kind"] in _NO_MODEL:
        return "no model"
    if baseline is None:
        return "no baseline"
    return "not tested" if difference is None else difference.verdict


def _write_sentence(
    row: Mapping,
    best: NamedValue,
    baseline: NamedValue | None,
    difference: ComparisonRow | None,
    metric: str,
) -> str:
    """Say what was found: the model against the baseline, with the paired test of the two."""
    value = f"{metric} {format_number(best.value)}"
    if row["kind"] in _NO_MODEL:
        # Without an interval, a space would stand before the full stop.
        return f"{_NO_MODEL[row['kind']]} {best.model}: {value} {best.interval}.".replace(" .", ".")
    if baseline is None:
        return f"{best.model} has {value} {best.interval}; there is no baseline to compare it with."

    numbers = f"{value} against {format_number(baseline.value)}"
    rival = f"{baseline.model}, the best baseline that needs no training"
    if difference is None:
        side = "above" if best.value > baseline.value else "not above"
        return f"{best.model} is {side} {rival}: {numbers}; no paired test was made."

    if not difference.is_clear:
        found = f"There is no clear difference between {best.model} and {rival}"
    elif (difference.difference or 0) > 0:
        found = f"{best.model} is better than {rival}"
    else:
        found = f"{best.model} is worse than {rival}"

    sentence = f"{found}: {numbers}, a difference of {difference.text} (paired bootstrap)."
    # A paired test is about these weights, not about those of another seed.
    if difference.is_clear and difference.is_within_seeds:
        sentence += (
            " But runs that differ in the seed alone lie "
            f"{format_number(difference.seed_range)} apart, so another seed may turn it round."
        )
    return sentence


def _find_cautions(
    row: Mapping, baseline: Mapping | None, difference: ComparisonRow | None
) -> list[str]:
    """Return sentences on what makes the numbers of the finding less than they seem."""
    cautions = []
    # Without a model, the sentence has one number.
    rival = None if row["kind"] in _NO_MODEL else baseline
    # Means over different samples can contradict their paired difference.
    if rival is not None and row.get("ids_sha256") != rival.get("ids_sha256"):
        cautions.append(
            f"The two were not scored on the same samples ({format_count(row.get('n'))} and "
            f"{format_count(rival.get('n'))})"
            + ("." if difference is None else f"; the difference is of {difference.n:,} of both.")
        )

    num_videos = number_of(row, "num_groups")
    if difference is not None and num_videos is not None and num_videos <= _FEW_VIDEOS:
        cautions.append(
            f"The samples are of {format_count(num_videos)} videos; with {_FEW_VIDEOS} or fewer, "
            "no difference is clear, however large."
        )

    leakage = number_of(row, "leakage") or 0
    if leakage:
        cautions.append(f"{row['model']} was trained on {format_count(leakage)} of the test clips.")
    if row.get("selection") == "test":
        cautions.append(f"The checkpoint of {row['model']} was chosen on the test set.")
    return cautions


def suggest_next_steps(
    groups: Sequence[Group],
    *,
    seeds: Sequence[Mapping],
    num_retryable: int,
) -> tuple[str, ...]:
    """Return what is worth doing next, in the order of what it changes.

    Args:
        groups: All tables of results.
        seeds: The list of that name of results.json.
        num_retryable: Missing clips that another attempt may bring.
    """
    steps = []
    kinds = {row["kind"] for group in groups for row in group.rows}
    if groups and "model" not in kinds:
        steps.append("Train a model: name a run in `models` of params.yaml, then `make repro`.")
    elif groups and not seeds:
        steps.append(
            "Train the best method with a second `seed`: with one seed, nobody knows how large the "
            "differences are that the seed alone makes."
        )

    if num_retryable:
        steps.append(
            f"Run `earshot retry`: another attempt may bring {num_retryable:,} missing "
            f"{'clip' if num_retryable == 1 else 'clips'}."
        )
    return tuple(steps)
