"""Metrics over samples and bootstrap intervals: analytic values and the published arithmetic."""

import numpy as np
import pytest

from earshot.errors import DataError
from eval.scoring import metrics
from eval.scoring.bootstrap import (
    compare_columns,
    compare_paired,
    find_ends,
    intervals,
    resample_means,
)
from eval.scoring.interactive import compute_group_cious
from eval.scoring.retrieval import compute_recalls
from tests.helpers.scoring.score_examples import loop_average_precision


def test_success_rate_counts_the_threshold_itself():
    assert metrics.success_rate(np.array([0.5, 0.49999, 0.6, 0.3])) == 0.5
    assert metrics.success_rate(np.array([0.5, 0.49999, 0.6, 0.3]), at=0.3) == 1


def test_auc_of_all_or_nothing():
    assert metrics.auc(np.ones(7)) == pytest.approx(1)
    assert metrics.auc(np.zeros(7)) == pytest.approx(0.025)  # at threshold 0 everything succeeds
    assert metrics.auc(np.array([0.0, 1.0])) == pytest.approx((1 + 0.025) / 2)


def test_auc_is_the_mean_of_its_contributions():
    cious = np.random.default_rng(0).random(500)
    assert metrics.auc_contributions(cious).mean() == pytest.approx(metrics.auc(cious), abs=1e-12)


def test_both_ends_of_the_auc_count_half():
    cious = np.array([0.0, 0.05, 0.5, 1.0, 1.0])
    assert metrics.auc_contributions(cious) == pytest.approx([0.025, 0.075, 0.525, 1, 1])
    assert metrics.auc_contributions(cious).mean() == pytest.approx(metrics.auc(cious), abs=1e-12)


def test_no_samples_is_an_error_not_a_number():
    with pytest.raises(DataError, match="the subset is empty"):
        metrics.auc(np.array([]))
    with pytest.raises(DataError, match="the subset is empty"):
        resample_means(np.empty((0, 2)))


@pytest.mark.parametrize("num_samples", [10, 150, 450])
def test_average_precision_is_that_of_the_loop(num_samples):
    rng = np.random.default_rng(num_samples)
    cious, is_positive = rng.random(num_samples), rng.random(num_samples) > 0.4
    confidences = np.round(rng.random(num_samples), 2)  # with ties
    expected = loop_average_precision(np.where(is_positive, cious, 0), confidences, is_positive)
    assert metrics.average_precision(cious, confidences, is_positive) == pytest.approx(
        expected, abs=1e-12
    )


def test_perfect_confidence_gives_perfect_precision():
    is_positive = np.array([True] * 5 + [False] * 5)
    cious, confidences = np.full(10, 0.9), np.linspace(1, 0, 10)
    assert metrics.max_f1(cious, confidences, is_positive) == 1
    assert metrics.max_f1(cious, -confidences, is_positive) < 0.7
    assert (
        metrics.localization_accuracy(np.array([0.5, 0.6, 0.9]), np.array([True, True, False]))
        == 0.5
    )


def test_max_f1_is_the_best_of_all_thresholds():
    rng = np.random.default_rng(3)
    cious, is_positive, confidences = (
        rng.random(80),
        rng.random(80) > 0.5,
        np.round(rng.random(80), 1),
    )
    best = 0.0
    for threshold in confidences:
        precision, recall = metrics.precision_recall(
            cious, confidences, is_positive, threshold=threshold
        )
        best = max(
            best, 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        )
    assert metrics.max_f1(cious, confidences, is_positive) == pytest.approx(best)


def test_intervals_agree_with_theory():
    values = np.random.default_rng(0).normal(0.4, 0.2, (1000, 1))
    (interval,) = intervals(values)
    half_width = 1.96 * values.std() / np.sqrt(1000)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.1 * half_width)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.1 * half_width)


def test_intervals_repeat_and_cover():
    values = np.random.default_rng(1).random((40, 3))
    assert intervals(values, num_resamples=500) == intervals(values, num_resamples=500)
    assert intervals(values, num_resamples=500) != intervals(values, num_resamples=500, seed=1)
    rng, num_covered = np.random.default_rng(2), 0
    for _ in range(100):
        (interval,) = intervals(rng.normal(0, 1, (60, 1)), num_resamples=300)
        num_covered += interval.low <= 0 <= interval.high
    assert 86 <= num_covered <= 100


def test_paired_comparison_sees_what_separate_intervals_do_not():
    rng = np.random.default_rng(0)
    difficulty = rng.random(300)
    first, second = difficulty + 0.02 + 0.01 * rng.standard_normal(300), difficulty
    comparison = compare_paired(first, second, num_resamples=2000)
    assert comparison.low > 0
    assert comparison.p_value < 0.01
    apart = intervals(np.stack([first, second], axis=1), num_resamples=2000)
    assert apart[0].low < apart[1].high  # unpaired, the intervals overlap
    same = compare_paired(first, first, num_resamples=200)
    assert (same.difference, same.p_value) == (0, 1)
    with pytest.raises(DataError, match="expected the same samples"):
        compare_paired(first, second[:-1])


def test_a_p_value_counts_both_sides():
    # 400 differences of mean .05 and deviation .5: the mean lies 2 standard errors above 0, and a
    # normal distribution has .0455 outside of 2 on both sides together.
    differences = np.random.default_rng(0).normal(0, 1, 400)
    differences = 0.05 + 0.5 * (differences - differences.mean()) / differences.std()
    nothing = np.zeros(400)
    assert compare_paired(differences, nothing).p_value == pytest.approx(0.0455, abs=0.008)
    assert compare_paired(nothing, differences).p_value == pytest.approx(0.0455, abs=0.008)


def test_two_models_are_resampled_together():
    second = np.random.default_rng(0).random(50)
    comparison = compare_paired(second + 0.125, second)
    assert (comparison.low, comparison.high) == pytest.approx((0.125, 0.125), abs=1e-12)


def test_groups_are_drawn_as_a_whole():
    """The mean over drawn groups is the sum of their samples over their number."""
    rng = np.random.default_rng(2)
    values, groups = rng.random((9, 2)), list("abacabbcd")
    found = resample_means(values, groups=groups, num_resamples=40, seed=5)
    members = [[i for i, group in enumerate(groups) if group == name] for name in "abcd"]
    drawn = np.random.default_rng([5, 4]).integers(0, 4, size=(40, 4), dtype=np.int32)
    expected = [
        values[[i for number in row for i in members[number]]].mean(axis=0) for row in drawn
    ]
    np.testing.assert_allclose(found, expected)
    comparison = compare_paired(values[:, 0], values[:, 1], groups=groups, num_resamples=40)
    assert (comparison.n, comparison.num_groups) == (9, 4)


def test_groups_of_one_change_no_bit():
    values = np.random.default_rng(2).random((11, 3))
    rng = np.random.default_rng([0, 11])
    drawn = rng.integers(0, 11, size=(30, 11), dtype=np.int32)
    counts = np.stack([np.bincount(row, minlength=11) for row in drawn])
    for groups in (None, [f"clip{10 - i}" for i in range(11)]):
        found = resample_means(values, groups=groups, num_resamples=30)
        np.testing.assert_array_equal(found, counts @ values / 11)


def make_clustered(rng, num_groups):
    """Draw 1 to 20 frames of each clip; frames of one clip are alike."""
    sizes = rng.integers(1, 21, num_groups)
    groups = np.repeat(np.arange(num_groups), sizes)
    clips = rng.normal(0, 0.15, num_groups)
    return 0.4 + clips[groups] + rng.normal(0, 0.1, len(groups)), groups


@pytest.mark.parametrize("num_groups", [20, 60])
def test_intervals_of_clustered_samples_hold_the_truth_as_often_as_they_say(num_groups):
    """Cover the truth in 95 % of 1,000 data sets, within 2 points; by frame it is far less."""
    rng, num_trials = np.random.default_rng(0), 1000
    num_covered, num_covered_by_frame = 0, 0
    for _ in range(num_trials):
        values, groups = make_clustered(rng, num_groups)
        means = resample_means(values[:, None], groups=groups, num_resamples=400)
        low, high = find_ends(means[:, 0], num_groups=num_groups)
        num_covered += low <= 0.4 <= high

        # Frame by frame, by the normal distribution.
        half_width = 1.96 * values.std() / np.sqrt(len(values))
        num_covered_by_frame += abs(values.mean() - 0.4) <= half_width
    assert num_covered / num_trials == pytest.approx(0.95, abs=0.02)
    assert num_covered_by_frame / num_trials < 0.75


def test_intervals_by_clip_are_wider_than_by_frame():
    values, groups = make_clustered(np.random.default_rng(3), 30)
    (by_clip,) = intervals(values[:, None], groups=groups, num_resamples=2000)
    (by_frame,) = intervals(values[:, None], num_resamples=2000)
    assert by_clip.value == by_frame.value
    assert by_clip.high - by_clip.low > 1.5 * (by_frame.high - by_frame.low)


def test_ends_of_many_groups_are_percentiles():
    means = np.random.default_rng(0).random(4000)
    low, high = find_ends(means, num_groups=5000)
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1e-3)


@pytest.mark.parametrize("num_groups", [2, 3, 5, 7])
def test_intervals_of_very_few_videos_hold_the_truth_as_often_as_they_say(num_groups):
    """Percentiles of two hold it in half of the cases: they lie between the two."""
    rng, num_trials, num_covered = np.random.default_rng(0), 1000, 0
    for _ in range(num_trials):
        (interval,) = intervals(rng.normal(0.5, 0.1, (num_groups, 1)), num_resamples=400)
        num_covered += interval.low <= 0.5 <= interval.high
    assert num_covered / num_trials == pytest.approx(0.95, abs=0.025)


def test_one_video_has_no_interval_and_no_clear_difference():
    frames = 0.6 + 0.01 * np.arange(20)
    (interval,) = intervals(frames[:, None], groups=["v"] * 20)
    assert interval.value == pytest.approx(frames.mean())
    assert np.isnan([interval.low, interval.high]).all()
    found = compare_paired(frames, np.zeros(20), groups=["v"] * 20)
    assert (found.p_value, found.num_groups) == (1.0, 1)
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("num_groups", [2, 3, 5, 9])
def test_a_p_value_of_few_videos_is_no_smaller_than_their_number_can_tell(num_groups):
    """Without any difference, all n signs agree in 2 of 2^n cases."""
    ones = np.ones(num_groups)
    assert compare_paired(ones, 0 * ones).p_value == 2 * 0.5**num_groups
    assert compare_paired(ones, ones).p_value == 1


@pytest.mark.parametrize("num_groups", [7, 8, 12, 20])
def test_p_values_of_few_videos_find_a_difference_by_chance_as_seldom_as_they_say(num_groups):
    """Without any difference, p < .05 in 5 % of 2,000 data sets, where the interval lacks 0."""
    differences = np.random.default_rng(0).normal(0, 1, (num_groups, 2000))
    found = compare_columns(differences)
    is_clear = np.array([one.p_value < 0.05 for one in found])
    assert is_clear.mean() == pytest.approx(0.05, abs=0.015)
    lacks_zero = np.array([not one.low <= 0 <= one.high for one in found])
    assert np.mean(is_clear != lacks_zero) < 0.005


def test_an_interval_stays_within_what_a_metric_can_be():
    (interval,) = intervals(np.array([[0.0], [1.0]]), limits=(0.0, 1.0))
    assert (interval.low, interval.high) == (0, 1)


def test_a_test_set_whose_samples_all_miss_can_still_have_a_hit():
    """None of 20: the rate is at most .168 (Clopper and Pearson, 95 %, two-sided)."""
    (interval,) = intervals(np.zeros((20, 1)), limits=(0.0, 1.0))
    assert (interval.low, interval.high) == pytest.approx((0, 0.1684), abs=1e-4)
    (interval,) = intervals(np.ones((20, 1)), limits=(0.0, 1.0))
    assert (interval.low, interval.high) == pytest.approx((0.8316, 1), abs=1e-4)
    (interval,) = intervals(np.full((5000, 1), 0.25), limits=(0.0, 1.0))
    assert interval.high - interval.low < 0.001


def test_two_models_that_agree_on_a_few_videos_may_still_differ():
    """One is right in 5 % more videos: ten videos often show no difference at all."""
    differences = (np.random.default_rng(0).random((10, 300)) < 0.05).astype(float)
    found = compare_columns(differences, num_resamples=500, limits=(-1.0, 1.0))
    assert np.mean([one.low <= 0.05 <= one.high for one in found]) > 0.94
    same = compare_paired(np.zeros(20), np.zeros(20), limits=(-1.0, 1.0))
    assert (same.low, same.high) == pytest.approx((-0.1684, 0.1684), abs=1e-4)
    assert same.p_value == 1


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda nan, ok: metrics.success_rate(nan), "1 of 3 cious are NaN"),
        (lambda nan, ok: metrics.auc(nan), "1 of 3 cious are NaN"),
        (lambda nan, ok: metrics.max_f1(ok, nan, ok > 0), "1 of 3 confidences are NaN"),
        (lambda nan, ok: metrics.average_precision(nan, ok, ok > 0), "1 of 3 cious are NaN"),
        (lambda nan, ok: compute_group_cious(nan, "aab"), "1 of 3 cious are NaN"),
        (lambda nan, ok: intervals(ok[:, None], groups="ab"), "2 groups for 3 samples"),
        (lambda nan, ok: compute_recalls(np.eye(3), recordings="ab"), "2 recordings for 3 items"),
    ],
)
def test_what_is_no_number_or_has_no_group_is_refused(compute, message):
    """NaN counted as a miss, and as the smallest of a group or not, depending on the order."""
    with pytest.raises(DataError, match=message):
        compute(np.array([0.7, np.nan, 0.2]), np.array([0.7, 0.6, 0.2]))
