"""Test sets of still pictures: published lists become ground truth, and leakage is counted."""

from pathlib import Path

import pytest

from eval.entrants.training_clips import SeenClips, TrainingClips
from eval.published.test_set_tables import load_test_set
from eval.published.test_sets import (
    count_leakage,
    find_origin_note,
    find_subset_ids,
    find_test_sets,
    get_test_set,
)
from eval.results.summaries import find_groups
from eval.scoring.ground_truth import ground_truths_of
from pipeline.datasets.dataset import load
from pipeline.datasets.stills.dataset import Parameters, build_tables, find_published_test_sets
from pipeline.datasets.stills.entries import to_fraction
from pipeline.datasets.stills.sets import SETS
from pipeline.datasets.vggsound import CLIP_ID
from pipeline.lists.published_lists import Lists, read_ids
from pipeline.lists.vggsound_lists import ID_LISTS
from tests.helpers.paths import shared_path

NAMES = [one.name for one in SETS.values()]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The table of all sets, from the published lists."""
    section = Parameters(splits=tuple(SETS), lists_dir=str(shared_path("lists")))
    return build_tables(section, cache_dir=tmp_path_factory.mktemp("cache"))


def test_published_sets_have_their_sizes(published, shared, tmp_path):
    _, samples = published
    assert {name: get_test_set(name).num_published for name in NAMES} == {
        "is3": 6480,
        "vpo_ss": 890,
        "vpo_ms": 2157,
        "avs_s4": 3700,
        "avs_ms3": 320,
        "music_solo": 2124,
        "music_duet": 1020,
        "vggsound_duet": 5158,
        "vggsound_duet_apart": 0,  # nobody published it
        "vgginstruments": 446,
    }
    for name in NAMES:
        expected = get_test_set(name).num_published or 2 * 5158
        assert len(find_subset_ids(samples, f"{name}_test")) == expected
    ids = samples["sample_id"].to_pylist()
    assert len(ids) == len(set(ids))
    assert {
        row.num_clips
        for row in find_published_test_sets(
            Parameters(splits=("is3_test",), lists_dir=str(shared("lists"))), cache_dir=tmp_path
        )
    } == {6480}

    table = load_test_set(
        get_test_set("vpo_ms"),
        table_path=tmp_path / "none.parquet",
        cache_dir=tmp_path,
        lists_dir=shared("lists"),
    )
    assert len(table) == 2157
    truths = ground_truths_of(table, box_rule="union").values()
    assert sum(not truth.levels().any() for truth in truths) == 2


def test_boxes_are_the_published_pixels(published):
    _, samples = published
    truths = ground_truths_of(samples, box_rule=load("stills").box_rule)
    assert truths["accordion_female_10438_accordion"].pixel_boxes.tolist() == [[47, 99, 154, 185]]
    assert truths["rq5RDUm2Hnk_1.mp4_1"].pixel_boxes.tolist() == [[0, 0, 0, 0]]  # nothing sounds
    assert all(int(to_fraction(pixel) * 224) == pixel for pixel in range(225))

    rows = {row["sample_id"]: row for row in samples.to_pylist()}
    pictures = [dict(row["attributes"]).get("picture") for row in rows.values()]
    of_is3 = [
        picture
        for picture, row in zip(pictures, rows.values(), strict=True)
        if "is3_test" in row["splits"]
    ]
    assert len(set(of_is3)) == 3240
    assert all(of_is3.count(picture) == 2 for picture in set(of_is3[:50]))
    groups = find_groups(samples)
    assert groups["cat_whale_1864_whale"] == groups["cat_whale_1864_cat"] == "cat_whale_1864"
    assert rows["cat_whale_1864_whale"]["label"] == "whale"
    assert rows["0d9u2CymIxc_1"]["label"] == "helicopter"


def test_boxes_of_music_are_corner_and_size(published):
    _, samples = published
    truths = ground_truths_of(samples, box_rule="union")
    rows = {row["sample_id"]: row for row in samples.to_pylist()}
    duets = [name for name, row in rows.items() if "music_duet_test" in row["splits"]]
    solos = [name for name, row in rows.items() if "music_solo_test" in row["splits"]]
    # AVGN reads two corners: 1,027 of 2,040 and 1,647 of 2,124 boxes are then empty.
    assert all(truths[name].levels().any() for name in duets + solos)
    assert sum(len(rows[name]["boxes"]) for name in duets) == 2040
    x1, y1, x2, y2 = rows["HnUOaSfTA6c_000_00000"]["boxes"][0]
    assert (x2 - x1, y2 - y1) == pytest.approx((0.2056, 0.5833), abs=1e-4)
    assert dict(rows[duets[0]]["attributes"])["box_sources"] == "0 1"


def test_duets_of_vggsound_are_two_pictures_one_above_the_other(published, shared):
    _, samples = published
    rows = {row["sample_id"]: row for row in samples.to_pylist()}
    duets = [row for row in rows.values() if "vggsound_duet_test" in row["splits"]]
    assert sum(dict(row["attributes"]).get("one_class") == "true" for row in duets) == 22
    row = rows["zpWuikVorYg_000032+Rtg1SUrxOPY_000130"]
    assert row["label"] == "elk_bugling+people_coughing"
    assert row["boxes"][0] == [0.403125, 0.253125 / 2, 0.6, 0.75 / 2]
    assert dict(row["attributes"])["layout"] == "stacked"
    assert all(box[1] >= 0.5 for box in row["boxes"][1:])

    # The same pair, each sound alone: two samples of one picture share its boxes out.
    apart = [rows[f"{row['sample_id']}-{number}"] for number in (0, 1)]
    assert [one["label"] for one in apart] == ["elk_bugling", "people_coughing"]
    assert apart[0]["boxes"] + apart[1]["boxes"] == row["boxes"]
    facts = [dict(one["attributes"]) for one in apart]
    assert [one["heard_source"] for one in facts] == ["0", "1"]
    assert {one["picture"] for one in facts} == {row["sample_id"]}
    assert "box_sources" not in facts[0]


def count_seen(samples, split, training):
    """How many samples of a split are in the training data; None: not known."""
    seen = training.find_in("stills", samples)
    ids = find_subset_ids(samples, split)  # each sample is a clip of its own
    return None if seen is None else count_leakage(ids, seen.clip_ids, seen.unknown_ids)


def test_leakage_is_counted_where_a_list_names_its_videos(published):
    _, samples = published
    # A clip of a duet, and another part of a video of AVSBench.
    training = TrainingClips("vggsound", {"zpWuikVorYg_000032", "0d9u2CymIxc_000400"})
    rows = [row for row in samples.to_pylist() if "zpWuikVorYg_000032" in row["sample_id"]]
    splits = [row["splits"][0] for row in rows]
    for split in ("vggsound_duet_test", "vggsound_duet_apart_test"):
        assert count_seen(samples, split, training) == splits.count(split) > 0
    assert count_seen(samples, "avs_s4_test", training) == 5  # its five frames
    for split in ("avs_ms3_test", "music_solo_test", "music_duet_test"):
        assert count_seen(samples, split, training) == 0

    # The same video at other seconds is another clip.
    other = TrainingClips("vggsound", {"zpWuikVorYg_000099"})
    assert count_seen(samples, "vggsound_duet_test", other) == 0
    # Videos of Flickr are none of YouTube. What a folder of one's own holds nobody knows.
    for dataset, leakage in (("flickr", 0), ("local", None), ("table", None), (None, 0)):
        clip_ids = {"zpWuikVorYg_000032"} if dataset else ()
        found = count_seen(samples, "vggsound_duet_test", TrainingClips(dataset, clip_ids))
        assert found == leakage, dataset


def test_leakage_is_not_known_where_a_list_names_no_videos(published):
    _, samples = published
    training = TrainingClips("vggsound", {"zpWuikVorYg_000032"})
    for name in NAMES:
        is_unknown = name in ("is3", "vpo_ss", "vpo_ms", "vgginstruments")
        assert (count_seen(samples, f"{name}_test", training) is None) == is_unknown, name
        # One sentence says why.
        assert (find_origin_note("stills", f"{name}_test") != "") == is_unknown, name
    assert TrainingClips("vggsound", {"a"}).find_in("flickr", samples) == SeenClips(())


def test_overlap_with_the_training_lists_of_each_repository(published, shared):
    _, samples = published
    counts = {}
    for name in ("vggss_10k", "vggss_144k", "htf_vgg_144k", "fnac_vgg_144k", "ssltie_vgg_144k"):
        lists = Lists({}, lists_dir=str(shared("lists")), cache_dir=Path(), parameter="x")
        ids = read_ids(lists.find(ID_LISTS[name]), pattern=CLIP_ID, what="a clip")
        training = TrainingClips("vggsound", set(ids))
        counts[name] = tuple(
            count_seen(samples, split, training)
            for split in ("vggsound_duet_test", "avs_s4_test", "avs_ms3_test", "music_duet_test")
        )
    # Counted once more from the lists by an independent script.
    assert counts == {
        "vggss_10k": (466, 190, 0, 0),
        "vggss_144k": (4728, 2820, 0, 0),
        "htf_vgg_144k": (0, 3070, 0, 0),
        "fnac_vgg_144k": (4704, 3045, 0, 0),
        "ssltie_vgg_144k": (0, 2835, 0, 0),
    }


def test_frames_of_one_video_are_resampled_together(published):
    clips, samples = published
    video_of = dict(zip(clips["clip_id"].to_pylist(), clips["video_id"].to_pylist(), strict=True))
    groups = find_groups(samples, video_of)
    # MS3 has 64 clips of 54 videos.
    ids = find_subset_ids(samples, "avs_ms3_test")
    assert len({groups[name] for name in ids}) == 54


def test_each_test_set_says_who_reports_on_it():
    for name in NAMES:
        assert ":" in find_test_sets()[name].note
