"""Metrics since 2023 against the numbers of the authors' code, and in cases that arithmetic knows.

``tests/data/make_golden_recent_metrics.py`` says where the numbers come from.
"""

import numpy as np
import pytest

from earshot.errors import DataError
from eval.entrants.ceilings import compute_ceilings
from eval.scoring import metrics
from eval.scoring.ground_truth import GroundTruth
from eval.scoring.interactive import compute_group_cious, find_picture
from eval.scoring.masks import (
    compute_iou,
    compute_mask_f,
    compute_mask_iou,
    compute_mean_iou,
    sweep_thresholds,
)
from eval.scoring.negative_audio import find_universal_threshold, score_negative_audio
from eval.scoring.protocols import get_protocol
from eval.scoring.retrieval import compute_recalls
from eval.scoring.score_maps import score_maps
from eval.scoring.several_sources import (
    pixel_average_precision,
    score_duet,
    swapped_average_precision_as_published,
)
from eval.scoring.upsampling import upsample
from tests.helpers.paths import DATA

GOLDEN = np.load(DATA / "golden_recent_metrics.npz")
CLOSE = {"abs": 1e-6}
ONE_PIXEL = 2e-5


def make_truths(boxes):
    """Make the ground truth of rows of pixel boxes; -1 is absent."""
    return [GroundTruth(row[row[:, 0] >= 0].astype(int)) for row in boxes]


def make_masks(boxes):
    """Make bool masks of rows of pixel boxes."""
    return [truth.levels() > 0 for truth in make_truths(boxes)]


def score(protocol, maps="is3_map", boxes="is3_boxes", **options):
    """Score golden maps; ``ScoreMaps.ciou`` and others."""
    truths = make_truths(GOLDEN[boxes])
    return score_maps(list(GOLDEN[maps]), truths, protocol=get_protocol(protocol), **options)


@pytest.mark.parametrize(
    ("name", "protocol", "expected"),
    [
        ("median on VGG-SS", "lvs", "kaist_lvs_vggss_ciou"),
        ("median", "sslalignment", "kaist_lvs_is3_ciou"),
        ("median, EZ-VSL", "sslalignment", "kaist_ezvsl_ciou"),
        ("adaptive on VGG-SS", "sslalignment_adaptive_vggss", "kaist_lvs_vggss_ciou_adap"),
        ("adaptive", "sslalignment_adaptive", "kaist_lvs_is3_ciou_adap"),
        ("adaptive, EZ-VSL", "sslalignment_adaptive", "kaist_ezvsl_ciou_adap"),
        ("half of the range", "sspl", "sspl_ciou"),
        ("SSL-TIE", "lvs", "ssltie_ciou"),
    ],
)
def test_protocols_are_those_of_the_authors(name, protocol, expected):
    assert score(protocol).ciou == pytest.approx(GOLDEN[expected], **CLOSE)


@pytest.mark.parametrize(
    ("name", "plain", "adaptive"),
    [
        ("kaist_lvs_vggss", "lvs", "sslalignment_adaptive_vggss"),
        ("kaist_lvs_is3", "sslalignment", "sslalignment_adaptive"),
        ("kaist_ezvsl", "sslalignment", "sslalignment_adaptive"),
    ],
)
def test_interactive_success_asks_for_every_sound_of_a_picture(name, plain, adaptive):
    cious = [score(plain).ciou, score(adaptive).ciou]
    pictures = [row // 2 for row in range(60)]
    grouped = [compute_group_cious(values, pictures) for values in cious]
    found = [
        *map(metrics.success_rate, cious),
        *map(metrics.auc, cious),
        metrics.success_rate(grouped[0]),
        metrics.success_rate(grouped[1]),
        metrics.auc(grouped[0]),
        metrics.auc(grouped[1]),
    ]
    assert found == pytest.approx(GOLDEN[f"{name}_summary"], **CLOSE)


def test_groups_of_any_order_and_size():
    cious = compute_group_cious([0.9, 0.2, 0.6, 0.5], ["a", "b", "a", "a"])
    assert cious.tolist() == [0.5, 0.2]
    assert find_picture("dog_cat_dog") == "dog_cat"
    with pytest.raises(DataError, match="'dog' has no part after '_'"):
        find_picture("dog")
    with pytest.raises(DataError, match="1 cious for 2 groups"):
        compute_group_cious([0.1], ["a", "b"])


def test_the_strict_threshold_marks_one_pixel_less():
    truth = GroundTruth(np.array([[0, 0, 10, 10]]))
    best = np.zeros((224, 224), np.float32)
    best[:10, :10] = 1 + np.arange(100).reshape(10, 10)
    protocol = get_protocol("sslalignment_adaptive")
    scores = score_maps([best, np.ones((224, 224), np.float32)], [truth] * 2, protocol=protocol)
    assert scores.ciou.tolist() == [0.99, 0]  # nothing is above a plateau
    assert compute_ceilings([truth], protocol=protocol).tolist() == [0.99]


def test_slavc_on_extended_test_sets():
    scores = score("slavc", "ext_map", "ext_boxes")
    truths = make_truths(GOLDEN["ext_boxes"])
    is_positive = np.array([bool(truth.levels().any()) for truth in truths])
    expected = np.nan_to_num(GOLDEN["ext_rel_av_ciou"])
    errors = np.abs(scores.ciou - expected)
    # The last bit of the upsampled value at the median decides over one pixel of 50,176.
    assert errors.max() < ONE_PIXEL
    assert np.count_nonzero(errors > 1e-6) <= 3

    # The confidence of SLAVC is that of the map, times tau, moved to 0..1.
    maps = [
        (upsample(one, how="torch_bicubic_corners") * np.float32(0.03) + 1) / 2
        for one in GOLDEN["ext_map"]
    ]
    tops = [np.sort(one, axis=None)[-(224 * 224 // 4) :] for one in maps]
    confidences = np.array([top.mean() for top in tops])
    assert confidences == pytest.approx(GOLDEN["ext_rel_av_conf"], **CLOSE)
    own = score("slavc", "ext_map", "ext_boxes", with_confidence=True).confidence
    assert (own * 0.03 + 1) / 2 == pytest.approx(confidences, **CLOSE)

    masks = make_masks(GOLDEN["ext_boxes"])
    cious = {
        "rel": scores.ciou,
        "abs": np.array([compute_iou(one >= 0.5, m) for one, m in zip(maps, masks, strict=True)]),
    }
    assert cious["abs"] == pytest.approx(np.nan_to_num(GOLDEN["ext_abs_av_ciou"]), **CLOSE)
    for rule, values in cious.items():
        f1s = metrics.f1_as_published(values, confidences, is_positive)
        assert f1s == pytest.approx(GOLDEN[f"ext_{rule}_av_f1"], **CLOSE)
        found = [
            metrics.average_precision(values, confidences, is_positive),
            round(f1s.max(), 3),
            metrics.localization_accuracy(values, is_positive),
            metrics.auc(values[is_positive]),
            metrics.average_precision(
                values[is_positive], confidences[is_positive], is_positive[is_positive]
            ),
            metrics.precision_recall(values, confidences, is_positive, threshold=-1)[0],
        ]
        assert found == pytest.approx(GOLDEN[f"ext_{rule}_av_stats"], **CLOSE)
        assert metrics.max_f1(values, confidences, is_positive) >= f1s.max()


def test_acl_on_extended_test_sets():
    masks = make_masks(GOLDEN["ext_boxes"])
    probabilities = 1 / (1 + np.exp(-(GOLDEN["ext_map"] - 3)))
    cious = np.array(
        [
            compute_iou(upsample(one, how="cv2_linear") >= 0.5, mask)
            for one, mask in zip(probabilities, masks, strict=True)
        ]
    )
    assert cious == pytest.approx(np.nan_to_num(GOLDEN["acl_ext_ciou"]), **CLOSE)
    is_positive = np.array([mask.any() for mask in masks])
    found = [
        metrics.average_precision(cious, GOLDEN["acl_ext_conf"], is_positive),
        metrics.f1_as_published(cious, GOLDEN["acl_ext_conf"], is_positive).max(),
    ]
    assert found == pytest.approx(GOLDEN["acl_ext_stats"], **CLOSE)


def make_heat():
    """Make the probability maps of the golden set and their masks."""
    heat = 1 / (1 + np.exp(-10 * (GOLDEN["is3_map"][:20] - np.float32(0.35))))
    return [upsample(one, how="cv2_linear") for one in heat], make_masks(GOLDEN["is3_boxes"][:20])


def test_a_swept_threshold_says_that_the_test_set_chose_it():
    maps, masks = make_heat()
    del maps[7], masks[7]
    sweep = sweep_thresholds(maps, masks)
    found = np.stack([sweep.success_rates, sweep.aucs], axis=1)
    assert found == pytest.approx(GOLDEN["acl_sweep"], **CLOSE)
    assert sweep.best_threshold == sweep.thresholds[np.argmax(GOLDEN["acl_sweep"][:, 1])]
    assert sweep.note == "threshold chosen on the test set"


def test_masks_are_scored_as_avsbench_does():
    maps, masks = make_heat()
    masks[7] = np.zeros_like(masks[7])
    for threshold, expected in zip((0.3, 0.5, 0.7), GOLDEN["acl_avs_miou_f"], strict=True):
        found = [compute_mean_iou(maps, masks, threshold=threshold), compute_mask_f(maps, masks)]
        assert found == pytest.approx(expected, **CLOSE)
    # Nothing marked where nothing is to be found is right.
    assert compute_mask_iou(masks[7], masks[7]) == 1
    assert compute_mask_f([masks[0].astype(float)], [masks[0]]) == pytest.approx(1)
    assert np.isnan(compute_mask_f([maps[7]], [masks[7]]))


def test_duets_are_scored_as_noprior_does():
    ious, precisions, piaps = [], [], []
    for number, (maps, boxes) in enumerate(
        zip(GOLDEN["mix_map"], GOLDEN["mix_boxes"], strict=True)
    ):
        pixels = (np.clip(boxes, 0, 1) * 224).astype(int)
        truths = np.stack(make_masks(pixels[:, None]))
        scores = score_duet(maps[:1] if number == 5 else maps, truths)
        ious += scores.ious.tolist()
        precisions += scores.average_precisions.tolist()
        piaps.append(scores.piap)
    assert ious == pytest.approx(GOLDEN["noprior_iou"], **CLOSE)
    assert precisions == pytest.approx(GOLDEN["noprior_cap"], **CLOSE)
    assert piaps == pytest.approx(GOLDEN["noprior_piap"], **CLOSE)
    found = [
        metrics.success_rate(np.array(ious), at=0.3),
        metrics.success_rate(np.array(ious)),
        np.mean(precisions),
        np.mean(piaps),
    ]
    assert found == pytest.approx(GOLDEN["noprior_summary"], **CLOSE)
    with pytest.raises(DataError, match="a duet has 0 maps"):
        score_duet([], truths)


def test_the_swapped_precision_is_avgns_and_not_the_right_one():
    maps = [upsample(one, how="cv2_linear") for one in GOLDEN["is3_map"]]
    masks = make_masks(GOLDEN["is3_boxes"])
    marked = [one >= np.sort(one, axis=None)[224 * 112] for one in maps]
    pairs = list(zip(masks, marked, strict=True))
    swapped = [swapped_average_precision_as_published(*pair) for pair in pairs]
    assert swapped == pytest.approx(GOLDEN["avgn_piap"], **CLOSE)
    assert not np.allclose(swapped, [pixel_average_precision(*pair) for pair in pairs], atol=0.1)
    ious = np.array([compute_iou(*pair) for pair in pairs])
    assert np.mean(ious > 0.3) == pytest.approx(float(GOLDEN["avgn_precision30"]), **CLOSE)
    # A truth that is marked exactly is right both ways.
    assert pixel_average_precision(masks[0], masks[0]) == 1
    assert pixel_average_precision(np.zeros(4, bool), np.arange(4)) == 0
    assert pixel_average_precision([1, 0, 1], [3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("name", "how", "adaptive"),
    [
        ("juanola_vggss", "cv2_linear", "sslalignment_adaptive_vggss"),
        ("juanola_is3", "torch_bilinear_corners", "sslalignment_adaptive"),
    ],
)
def test_negative_audio_is_scored_as_its_authors_do(name, how, adaptive):
    positives = np.stack([upsample(one, how=how) for one in GOLDEN["neg_map"][0]])
    kinds = dict(zip(("silence", "noise", "offscreen"), GOLDEN["neg_map"][1:], strict=True))
    negatives = {
        kind: [upsample(one, how="cv2_linear") for one in maps] for kind, maps in kinds.items()
    }
    masks = make_masks(GOLDEN["is3_boxes"][:8])
    scores = score_negative_audio(positives, negatives, masks, threshold=0.3175)

    at_half = np.array([compute_iou(one > 0.5, m) for one, m in zip(positives, masks, strict=True)])
    truths = make_truths(GOLDEN["is3_boxes"][:8])
    cious = score_maps(list(GOLDEN["neg_map"][0]), truths, protocol=get_protocol(adaptive)).ciou
    grouped = compute_group_cious(cious, [row // 2 for row in range(8)])
    shares = [
        scores.ciou_u,
        scores.auc_u,
        *scores.pia.values(),
        *scores.auc_n.values(),
        1 - np.mean(list(scores.pia.values())),
        scores.f_loc,
        np.mean(list(scores.auc_n.values())),
        scores.f_auc,
        *scores.f_loc_of.values(),
        at_half.mean(),
        metrics.auc(at_half),
        metrics.success_rate(cious),
        metrics.auc(cious),
        metrics.success_rate(grouped),
        metrics.auc(grouped),
        *scores.agreement.values(),
    ]
    maxima = [np.median(maps.max(axis=(1, 2))) for maps in GOLDEN["neg_map"][:2]]
    # The golden percentages are float32: 1e-6 of a share is 1e-4 percent.
    assert shares == pytest.approx(GOLDEN[name][:24] / 100, **CLOSE)
    assert maxima == pytest.approx(GOLDEN[name][24:], **CLOSE)


def test_negative_audio_of_a_deaf_and_of_a_perfect_model():
    mask = np.zeros((224, 224), bool)
    mask[:112] = True
    heard, silent = mask.astype(np.float32), np.zeros((224, 224), np.float32)

    # Deaf: it marks the same half whatever it hears.
    kinds = {"silence": [heard], "noise": [heard], "offscreen": [heard]}
    silences = {kind: [silent] for kind in kinds}
    deaf = score_negative_audio([heard], kinds, [mask], threshold=0.5)
    assert (deaf.ciou_u, deaf.auc_u) == (1, 1)
    assert deaf.pia == dict.fromkeys(kinds, 0.5)
    assert deaf.agreement == dict.fromkeys(kinds, 1.0)
    assert deaf.f_loc == pytest.approx(2 * 0.5 / 1.5)
    # Half of the picture is at most t for t from .5 on; the trapezoid begins at .45.
    assert deaf.auc_n["noise"] == pytest.approx(0.525)

    # Perfect: it marks nothing when there is nothing.
    perfect = score_negative_audio([heard], silences, [mask], threshold=0.5)
    assert (perfect.f_loc, perfect.f_auc) == (1, 1)
    assert perfect.agreement == dict.fromkeys(kinds, 0.0)

    # A model that never marks anything is silent, but finds nothing.
    mute = score_negative_audio([silent], silences, [mask], threshold=0.5)
    assert (mute.ciou_u, mute.f_loc, mute.pia["noise"]) == (0, 0, 0)
    assert mute.agreement["noise"] == 1


def test_the_universal_threshold_is_the_largest_third_quartile():
    threshold, quartiles = find_universal_threshold(
        {"silence": np.arange(5.0), "noise": np.arange(9.0)}
    )
    assert (threshold, quartiles) == (6, {"silence": 3, "noise": 6})
    with pytest.raises(DataError, match="maxima of noise are empty or not finite"):
        find_universal_threshold({"noise": np.array([np.nan])})


def test_recalls_count_ties_against_the_model():
    similarities = np.eye(12)
    assert compute_recalls(similarities) == {1: 1, 5: 1, 10: 1}
    assert compute_recalls(np.zeros((12, 12))) == {1: 0, 5: 0, 10: 0}
    similarities[0, 1] = 2
    assert compute_recalls(similarities, at=(1, 2)) == {1: pytest.approx(11 / 12), 2: 1}
    assert compute_recalls(similarities.T, at=(1,)) == {1: pytest.approx(11 / 12)}
    with pytest.raises(DataError, match="expected"):
        compute_recalls(np.zeros((2, 3)))
