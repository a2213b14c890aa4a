"""Metrics since 2023 through the command and the stage, against the numbers of their authors."""

import numpy as np
import pytest

from earshot.errors import DataError, ParameterError
from earshot.tables import SAMPLES, write_table
from eval.entrants.external import make_external, read_external
from eval.results.evaluate import EvaluationParameters, evaluate_dataset
from eval.results.files import read_results
from eval.results.further_metrics import METRICS_OF, compute_further, describe_unscored
from eval.results.model_scores import ModelMaps
from eval.results.source_scores import HEARD_ALONE
from eval.score import main
from eval.scoring.ground_truth import ground_truths_of
from eval.scoring.metrics import f1_as_published, max_f1
from pipeline.lists.masks import encode_mask
from tests.helpers.paths import DATA
from tests.helpers.scoring.score_examples import make_row, make_table

GOLDEN = np.load(DATA / "golden_recent_metrics.npz")
CLOSE = {"abs": 1e-6}


def to_fractions(pixel_boxes):
    """Turn boxes in pixels of the grid into shares that become these pixels again."""
    return ((np.asarray(pixel_boxes) + 1e-9) / 224).tolist()


def run(tmp_path, rows, metrics=(), protocol="lvs", **arrays):
    """Score arrays with the command and with the stage's function, which must agree."""
    samples = make_table(rows)
    write_table(tmp_path / "manifests" / "sample" / "samples.parquet", samples, SAMPLES)
    np.savez(tmp_path / "maps.npz", **arrays)

    options = [str(tmp_path / "maps.npz"), "--dataset", "sample", "--root", str(tmp_path)]
    options += ["--protocol", protocol, "--resamples", "50", "--output", str(tmp_path / "out")]
    for metric in metrics:
        options += ["--metric", metric]
    assert main(options) == 0
    by_command = read_results(tmp_path / "out")

    ids = {"sample": samples["sample_id"].to_pylist()}
    by_stage = evaluate_dataset(
        "sample",
        samples,
        {},
        [make_external(read_external(tmp_path / "maps.npz"), ids)],
        parameters=EvaluationParameters(
            subsets={"sample": ["test"]},
            protocols=(protocol,),
            main_protocol=protocol,
            further_metrics=tuple(metrics),
            num_resamples=50,
        ),
        maps_dir=tmp_path / "kept",
    )
    for ours, theirs in zip(by_command["further"], by_stage["further"], strict=True):
        same = {name: value for name, value in theirs.items() if name not in ("kind", "subset")}
        assert same.items() <= ours.items()
    return by_command


@pytest.mark.parametrize(
    ("protocol", "golden", "places"),
    [
        ("sslalignment", "kaist_lvs_is3_summary", (0, 2, 4, 6)),
        ("sslalignment_adaptive", "kaist_lvs_is3_summary", (1, 3, 5, 7)),
        ("sslalignment_adaptive_vggss", "kaist_lvs_vggss_summary", (1, 3, 5, 7)),
    ],
)
def test_interactive_success_is_in_the_results(tmp_path, capsys, protocol, golden, places):
    rows = [
        make_row(
            f"s{i}",
            boxes=to_fractions(boxes),
            splits=["test"],
            attributes=[("picture", f"p{i // 2}")],
        )
        for i, boxes in enumerate(GOLDEN["is3_boxes"])
    ]
    ids = [f"s{i}" for i in range(60)]
    (result,) = run(tmp_path, rows, protocol=protocol, sample_ids=ids, maps=GOLDEN["is3_map"])[
        "results"
    ]
    found = [result[name] for name in ("success_rate", "auc", "iiou", "iauc")]
    assert found == pytest.approx(GOLDEN[golden][list(places)], **CLOSE)
    assert result["num_pictures"] == 30
    assert result["iiou_low"] <= result["iiou"] <= result["iiou_high"]
    assert "of 30 pictures" in capsys.readouterr().out

    # A picture of which a sound has no map is left out, and the number says so.
    fewer = run(tmp_path, rows, protocol=protocol, sample_ids=ids[1:], maps=GOLDEN["is3_map"][1:])
    assert fewer["results"][0]["num_pictures"] == 29

    # So is a picture of which a list has some sounds only.
    (tmp_path / "some.txt").write_text("\n".join(ids[1:]))
    options = [str(tmp_path / "maps.npz"), "--dataset", "sample", "--root", str(tmp_path)]
    options += ["--ids", str(tmp_path / "some.txt"), "--protocol", protocol]
    assert main([*options, "--output", str(tmp_path / "some")]) == 0
    some = read_results(tmp_path / "some")["results"][0]
    assert (some["n"], some["num_pictures"]) == (59, 29)
    assert some["iiou"] == fewer["results"][0]["iiou"]


def test_slavcs_own_max_f1_stands_beside_the_true_one(tmp_path):
    rows = [
        make_row(
            f"s{i}",
            boxes=to_fractions(boxes[boxes[:, 0] >= 0]),
            splits=["test"],
            attributes=[] if (boxes[:, 0] >= 0).any() else [("negative", "true")],
        )
        for i, boxes in enumerate(GOLDEN["ext_boxes"])
    ]
    ids = [f"s{i}" for i in range(60)]
    (result,) = run(tmp_path, rows, protocol="slavc", sample_ids=ids, maps=GOLDEN["ext_map"])[
        "results"
    ]
    stats = GOLDEN["ext_rel_av_stats"]
    assert result["average_precision"] == pytest.approx(stats[0], **CLOSE)
    assert result["max_f1_as_published"] == pytest.approx(stats[1], **CLOSE)
    assert result["localization_accuracy"] == pytest.approx(stats[2], **CLOSE)
    cious = np.nan_to_num(GOLDEN["ext_rel_av_ciou"])
    facts = cious, GOLDEN["ext_rel_av_conf"], np.arange(60) % 3 > 0
    assert result["max_f1"] == pytest.approx(max_f1(*facts), **CLOSE)
    assert result["max_f1"] >= f1_as_published(*facts).max()


def make_heat():
    """Return the golden probability maps and the ids, boxes and masks of their samples."""
    heat = 1 / (1 + np.exp(-10 * (GOLDEN["is3_map"][:20] - np.float32(0.35))))
    masks = np.zeros((20, 224, 224), bool)
    for mask, (box,) in zip(masks, GOLDEN["is3_boxes"][:20].astype(int), strict=True):
        mask[box[1] : box[3], box[0] : box[2]] = True
    return heat.astype(np.float32), masks


def test_a_sweep_says_that_the_test_set_chose_its_threshold(tmp_path, capsys):
    heat, _ = make_heat()
    chosen = [i for i in range(20) if i != 7]
    rows = [
        make_row(f"s{i}", boxes=to_fractions(GOLDEN["is3_boxes"][i]), splits=["test"])
        for i in chosen
    ]
    ids = [f"s{i}" for i in chosen]
    (row,) = run(tmp_path, rows, ["acl_sweep"], sample_ids=ids, maps=heat[chosen])["further"]
    found = np.stack([row["success_rates"], row["aucs"]], axis=1)
    assert found == pytest.approx(GOLDEN["acl_sweep"], **CLOSE)
    assert row["auc"] == pytest.approx(GOLDEN["acl_sweep"][:, 1].max(), **CLOSE)
    assert (row["map_scale"], row["n"]) == ("as it is", 19)
    assert "(threshold chosen on the test set)" in capsys.readouterr().out

    # A map that cannot be scored counts nowhere, and decides nothing for the others.
    maps = heat[chosen]
    maps[0, 0, 0] = 3e38
    results = run(tmp_path, rows, ["acl_sweep"], sample_ids=ids, maps=maps)
    assert results["results"][0]["n"] == results["further"][0]["n"] == 18
    assert results["further"][0]["map_scale"] == "as it is"

    # Cosines have no such threshold: each map is normalized, and the row says so.
    maps = GOLDEN["is3_map"][chosen]
    (row,) = run(tmp_path, rows, ["acl_sweep"], sample_ids=ids, maps=maps)["further"]
    assert row["map_scale"] == "each map normalized to 0..1"


def test_masks_in_the_table_are_scored_as_avsbench_does(tmp_path):
    heat, masks = make_heat()
    masks[7] = False
    rows = [
        make_row(f"s{i}", boxes=[], splits=["test"], attributes=[("mask", encode_mask(mask))])
        for i, mask in enumerate(masks)
    ]
    ids = [f"s{i}" for i in range(20)]
    results = run(tmp_path, rows, ["masks"], sample_ids=ids, maps=heat)
    (row,) = results["further"]
    expected = GOLDEN["acl_avs_miou_f"][1]
    assert [row["mean_iou"], row["f"]] == pytest.approx(expected, **CLOSE)
    assert row["best_mean_iou"] >= row["mean_iou"]
    assert "chosen on the test set" in row["note"]
    # Without boxes, the mask is the ground truth of the other metrics.
    assert results["results"][0]["n"] == 20

    rows[3]["attributes"] = [("mask", "5 7")]
    with pytest.raises(DataError, match="sample s3: the attribute mask holds no run lengths"):
        ground_truths_of(make_table(rows), box_rule="union")


def test_duets_take_a_map_for_each_source(tmp_path):
    maps = GOLDEN["mix_map"].copy()
    maps[5, 1] = np.nan  # this mixture has one map
    rows = []
    for i, (first, second) in enumerate(GOLDEN["mix_boxes"]):
        halves = [first * [1, 0.5, 1, 0.5], second * [1, 0.5, 1, 0.5] + [0, 0.5, 0, 0.5]]
        attributes = [("box_sources", "0 1"), ("layout", "stacked")]
        boxes = [half.tolist() for half in halves]
        rows.append(make_row(f"s{i}", boxes=boxes, splits=["test"], attributes=attributes))
    ids = [f"s{i}" for i in range(12)]
    (row,) = run(tmp_path, rows, ["sources"], sample_ids=ids, maps=maps)["further"]
    found = [row[name] for name in ("iou_at_30", "iou_at_50", "cap", "piap")]
    assert found == pytest.approx(GOLDEN["noprior_summary"], **CLOSE)
    assert (row["num_sources"], row["has_source_maps"]) == (24, True)

    # With one map a duet, the second source is missed.
    single = np.nansum(maps, axis=1)
    (row,) = run(tmp_path, rows, ["sources"], sample_ids=ids, maps=single)["further"]
    assert row["iou_at_30"] <= 0.5
    assert row["has_source_maps"] is False


def test_two_sources_of_one_picture(tmp_path):
    attributes = [("box_sources", "0 1")]
    boxes = to_fractions([[0, 0, 100, 224], [124, 0, 224, 224]])
    rows = [make_row("s0", boxes=boxes, splits=["test"], attributes=attributes)]
    maps = np.zeros((1, 2, 224, 224), np.float32)
    maps[0, 0, :, 124:] = maps[0, 1, :, :100] = 1  # the second source first
    (row,) = run(tmp_path, rows, ["sources"], sample_ids=["s0"], maps=maps)["further"]
    assert (row["cap"], row["iou_at_50"]) == (1, 1)
    # AVGN's form has the truth and the prediction swapped: where they are equal, it is right.
    assert row["piap_swapped_as_published"] == 1


def test_retrieval_needs_features_of_frames_and_sounds(tmp_path, capsys):
    rows = [make_row(f"s{i}", boxes=[[0, 0, 1, 1]], splits=["test"]) for i in range(20)]
    arrays = {"sample_ids": [f"s{i}" for i in range(20)], "maps": np.eye(20 * 4).reshape(20, -1, 4)}
    features = np.eye(20, dtype=np.float32)
    found = run(
        tmp_path,
        rows,
        ["retrieval"],
        frame_features=features,
        sound_features=3 * features,
        **arrays,
    )
    (row,) = found["further"]
    assert {name: row[name] for name in row if "_at_" in name} == {
        f"{way}_at_{k}": 1.0 for way in ("sound_to_frame", "frame_to_sound") for k in (1, 5, 10)
    }
    # Equal features find nothing: 20 frames fit each sound alike.
    same = np.ones_like(features)
    found = run(tmp_path, rows, ["retrieval"], frame_features=same, sound_features=same, **arrays)
    assert found["further"][0]["sound_to_frame_at_10"] == 0

    assert run(tmp_path, rows, ["retrieval"], **arrays)["further"] == []
    assert "retrieval has nothing to score" in capsys.readouterr().out
    np.savez(tmp_path / "maps.npz", frame_features=features, **arrays)
    with pytest.raises(DataError, match="has frame_features alone, expected frame_features and"):
        read_external(tmp_path / "maps.npz")


def test_unknown_metrics_are_refused():
    with pytest.raises(ParameterError, match=r"further_metrics has 'miou', expected some of acl_"):
        EvaluationParameters(further_metrics=("miou",))
    with pytest.raises(ParameterError, match="names masks, masks, expected each once"):
        EvaluationParameters(further_metrics=("masks", "masks"))
    assert set(METRICS_OF) == {"acl_sweep", "masks", "sources", "retrieval"}


def test_two_rows_of_one_picture_are_no_rivals_in_retrieval(tmp_path):
    """Two sounds of IS3 have one picture: its features are equal, and both frames are right."""
    rows = [
        make_row(
            f"s{i}",
            boxes=[[0, 0, 1, 1]],
            splits=["test"],
            attributes=[("picture", f"p{i // 2}"), ("recording", "one")],
        )
        for i in range(20)
    ]
    frames = np.repeat(np.eye(10, dtype=np.float32), 2, axis=0)
    sounds = frames + 0.1 * np.random.default_rng(0).random((20, 10), np.float32)
    arrays = {"sample_ids": [f"s{i}" for i in range(20)], "maps": np.eye(20 * 4).reshape(20, -1, 4)}
    found = run(
        tmp_path, rows, ["retrieval"], frame_features=frames, sound_features=sounds, **arrays
    )
    (row,) = found["further"]
    assert (row["sound_to_frame_at_1"], row["frame_to_sound_at_1"]) == (1, 1)
    assert (row["n"], row["num_recordings"]) == (20, 10)

    # A wrong picture still counts against the model.
    found = run(
        tmp_path,
        rows,
        ["retrieval"],
        frame_features=frames,
        sound_features=np.roll(sounds, 2, axis=0),
        **arrays,
    )
    assert found["further"][0]["sound_to_frame_at_1"] == 0


@pytest.mark.parametrize(
    ("sources", "maps", "message"),
    [
        ("0 x", np.ones((1, 7, 7)), "sample s0: box_sources is '0 x', expected the number"),
        ("0", np.ones((1, 7, 7)), "s0: box_sources is '0', .* for each of its 2 boxes"),
        ("0 1", np.ones((1, 3, 7, 7)), "s0 has 3 maps of sources, expected at most 2"),
    ],
)
def test_sources_that_do_not_fit_are_refused(tmp_path, sources, maps, message):
    row = make_row(
        "s0",
        boxes=[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]],
        splits=["test"],
        attributes=[("box_sources", sources)],
    )
    np.savez(tmp_path / "maps.npz", sample_ids=["s0"], maps=maps)
    external = read_external(tmp_path / "maps.npz")
    model_maps = ModelMaps("m", "sample", ["s0"], external.maps, source_maps=external.source_maps)
    with pytest.raises(DataError, match=message):
        compute_further(
            model_maps, make_table([row]), test_sets={"test": ["s0"]}, metrics=["sources"]
        )


def test_sources_that_are_heard_alone_have_the_numbers_of_a_map_a_source(tmp_path):
    """The golden mixtures, as two samples of a picture: the same maps give the same numbers."""
    ids, rows, maps = [], [], []
    for i, (of_pair, boxes) in enumerate(zip(GOLDEN["mix_map"], GOLDEN["mix_boxes"], strict=True)):
        for source, (lowres_map, box) in enumerate(zip(of_pair, boxes, strict=True)):
            half = (box * [1, 0.5, 1, 0.5] + [0, source / 2, 0, source / 2]).tolist()
            attributes = [("picture", f"p{i}"), ("heard_source", str(source))]
            attributes.append(("layout", "stacked"))
            name = f"s{i}-{source}"
            rows.append(make_row(name, boxes=[half], splits=["test"], attributes=attributes))
            # Mixture 5 has its first map alone.
            if (i, source) != (5, 1):
                ids.append(name)
                maps.append(lowres_map)

    found = run(tmp_path, rows, ["sources"], sample_ids=ids, maps=np.array(maps))
    (row,) = found["further"]
    numbers = [row[name] for name in ("iou_at_30", "iou_at_50", "cap", "piap")]
    assert numbers == pytest.approx(GOLDEN["noprior_summary"], **CLOSE)
    assert (row["n"], row["num_requested"], row["num_scenes"], row["num_sources"]) == (
        *(23, 24),
        *(12, 24),
    )
    assert row["note"] == HEARD_ALONE
    # And they are a test set of pictures with several sounds.
    assert found["results"][0]["num_pictures"] == 11


def test_one_map_a_duet_says_so(tmp_path, capsys):
    attributes = [("box_sources", "0 1")]
    boxes = [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]
    rows = [make_row("s0", boxes=boxes, splits=["test"], attributes=attributes)]
    run(tmp_path, rows, ["sources"], sample_ids=["s0"], maps=np.eye(7)[None])
    assert "one map a sample: of two sources, one at most can be found" in capsys.readouterr().out


def test_a_metric_that_scored_nothing_is_told():
    (found,) = describe_unscored(("masks", "acl_sweep"), [{"metric": "acl_sweep"}])
    assert found.startswith("evaluate.further_metrics: masks scored nothing, since no test set")
