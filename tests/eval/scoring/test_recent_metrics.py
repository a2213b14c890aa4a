"""Metrics since 2023 against the numbers of the authors' code, and in cases that arithmetic knows.

``tests/data/make_golden_recent_metrics.py`` says where the numbers come from.
"""

import re
from pathlib import Path

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
from eval.scoring.protocols import get_protocol, move_to_scores
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


def scores_of_slavc():
    """Return SLAVC's scores on the grid by name: of sound, of objects, and of both."""
    how = "torch_bicubic_corners"
    sound = [move_to_scores(upsample(one, how=how), tau=0.03) for one in GOLDEN["ext_map"]]
    objects = [upsample(one, how=how) / np.float32(2.5) for one in GOLDEN["ext_obj"]]
    mixed = {
        f"avobj{int(10 * alpha)}": [
            np.float32(alpha) * a + np.float32(1 - alpha) * o
            for a, o in zip(sound, objects, strict=True)
        ]
        for alpha in (0.4, 0.9)
    }
    return {"av": sound, "obj": objects} | mixed


@pytest.mark.parametrize("kind", ["av", "obj", "avobj4", "avobj9"])
@pytest.mark.parametrize("rule", ["rel", "abs"])
def test_slavc_on_extended_test_sets(kind, rule):
    masks = make_masks(GOLDEN["ext_boxes"])
    is_positive = np.array([mask.any() for mask in masks])
    maps = scores_of_slavc()[kind]
    limits = [np.sort(one, axis=None)[224 * 112] if rule == "rel" else 0.5 for one in maps]
    marked = [one >= np.float32(limit) for one, limit in zip(maps, limits, strict=True)]
    cious = np.array([compute_iou(*pair) for pair in zip(marked, masks, strict=True)])
    assert cious == pytest.approx(np.nan_to_num(GOLDEN[f"ext_{rule}_{kind}_ciou"]), **CLOSE)

    tops = [np.sort(one, axis=None)[-(224 * 224 // 4) :] for one in maps]
    confidences = np.array([top.mean() for top in tops])
    assert confidences == pytest.approx(GOLDEN[f"ext_{rule}_{kind}_conf"], **CLOSE)

    f1s = metrics.f1_as_published(cious, confidences, is_positive)
    assert f1s == pytest.approx(GOLDEN[f"ext_{rule}_{kind}_f1"], **CLOSE)
    found = [
        metrics.average_precision(cious, confidences, is_positive),
        round(f1s.max(), 3),
        metrics.localization_accuracy(cious, is_positive),
        metrics.auc(cious[is_positive]),
        metrics.average_precision(
            cious[is_positive], confidences[is_positive], is_positive[is_positive]
        ),
        metrics.precision_recall(cious, confidences, is_positive, threshold=-1)[0],
    ]
    assert found == pytest.approx(GOLDEN[f"ext_{rule}_{kind}_stats"], **CLOSE)
    assert metrics.max_f1(cious, confidences, is_positive) >= f1s.max()


def test_the_protocol_slavc_rounds_as_its_authors_do():
    scores = score("slavc", "ext_map", "ext_boxes", with_confidence=True)
    # Two values at the median become one when they are moved to 0..1: a pixel more is marked.
    assert scores.ciou == pytest.approx(np.nan_to_num(GOLDEN["ext_rel_av_ciou"]), **CLOSE)
    confidences = (scores.confidence * 0.03 + 1) / 2
    assert confidences == pytest.approx(GOLDEN["ext_rel_av_conf"], **CLOSE)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("kaist_lvs_vggss", "cv2_linear"),
        ("kaist_lvs_is3", "torch_bilinear_corners"),
        ("kaist_ezvsl", "torch_bilinear_corners"),
    ],
)
def test_maps_mixed_with_objects_are_those_of_sslalignment(name, how):
    def to_range(one):
        grid_map = upsample(one, how=how)
        return (grid_map - grid_map.min()) / (grid_map.max() - grid_map.min())

    pairs = zip(GOLDEN["is3_map"], GOLDEN["is3_obj"], strict=True)
    mixed = [
        np.float32(0.4) * to_range(one) + np.float32(0.6) * to_range(thing) for one, thing in pairs
    ]
    truths = make_truths(GOLDEN["is3_boxes"])
    protocols = ("sslalignment", "sslalignment_adaptive")  # the grid is not upsampled again
    cious = [score_maps(mixed, truths, protocol=get_protocol(one)).ciou for one in protocols]
    found = [*map(metrics.success_rate, cious), *map(metrics.auc, cious)]
    assert found == pytest.approx(GOLDEN[f"{name}_ogl_summary"], **CLOSE)


def test_every_golden_array_is_compared():
    source = Path(__file__).read_text()
    parts = "|".join(("av", "obj", "avobj4", "avobj9"))
    for name in GOLDEN:
        whole = re.sub(rf"^ext_(rel|abs)_({parts})_", "ext_{rule}_{kind}_", name)
        whole = re.sub(
            r"^kaist_(lvs_vggss|lvs_is3|ezvsl)_(ogl_)?summary", r"{name}_\2summary", whole
        )
        assert whole in source or name in source, name


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
