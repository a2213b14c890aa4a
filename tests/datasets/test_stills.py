"""Test sets of still pictures: published lists to ground truth, and a folder of media to clips."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.io import wavfile

from earshot.errors import DataError
from earshot.reader import FeatureReader
from eval.entrants.training_clips import SeenClips, TrainingClips
from eval.published.test_set_tables import load_test_set
from eval.published.test_sets import (
    count_leakage,
    find_origin_note,
    find_subset_ids,
    find_test_sets,
    get_test_set,
)
from eval.results.files import read_results
from eval.results.summaries import find_groups
from eval.scoring.ground_truth import ground_truths_of
from pipeline.base.project import Project
from pipeline.datasets.dataset import load
from pipeline.datasets.stills.dataset import Parameters, build_tables, find_published_test_sets
from pipeline.datasets.stills.entries import to_fraction
from pipeline.datasets.stills.media import IMAGES, MediaFolder
from pipeline.datasets.stills.sets import SETS
from pipeline.datasets.vggsound import CLIP_ID
from pipeline.lists.masks import decode_mask, encode_mask, read_mask
from pipeline.lists.published_lists import Lists, read_ids
from pipeline.lists.vggsound_lists import ID_LISTS
from pipeline.media.reader import ClipReader
from tests.helpers.media.clip_factory import make_clip
from tests.helpers.paths import ROOT, shared_path

NAMES = [one.name for one in SETS.values()]


def tables_of(tmp_path, lists_dir, *splits, **parameters):
    """Return clips, and samples by their ids, as plain rows."""
    section = Parameters(splits=splits, lists_dir=str(lists_dir), **parameters)
    clips, samples = build_tables(section, cache_dir=tmp_path / "cache")
    return clips.to_pylist(), {row["sample_id"]: row for row in samples.to_pylist()}


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


def write_media(folder, name, *, size=(40, 30), colour=(200, 10, 10), suffix=".jpg"):
    """Write a picture and two seconds of a tone."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(folder / f"{name}{suffix}")
    tone = np.sin(np.arange(32000) * 0.1).astype(np.float32)
    wavfile.write(folder / f"{name}.wav", 16000, tone)


@pytest.fixture
def lists(tmp_path):
    """A folder with a small list in each published form."""
    folder = tmp_path / "lists"
    folder.mkdir()
    boxes = [
        {
            "image": f"/mnt/x/visual_frames/dog_cat_7_{part}.jpg",
            "audio": f"/mnt/x/audio_wav/dog_cat_7_{part}.wav",
            "gt_box": [1.0, 2.0, 61.0, 122.0],
        }
        for part in ("dog", "cat")
    ]
    (folder / "synthetic3240_bbox.json").write_text(json.dumps(boxes))
    frames = [
        {
            "image": f"/mnt/y/s4_data/visual_frames/test/dog/v_1/v_1_{i}.png",
            "audio": "/mnt/y/s4_data/audio_wav/test/dog/v_1.wav",
            "gt_box": [0.0, 0.0, 9.0, 9.0],
        }
        for i in (1, 2)
    ]
    (folder / "s4_box.json").write_text(json.dumps(frames))
    (folder / "vgginstruments_test.csv").write_text("sample0000,accordion\n")
    pair = "-cdefghijkl_000030,dog,defghijklmn_000007,cat\n"
    (folder / "vggsound_duet_test.csv").write_text(pair)
    truths = [
        {"file": name, "class": "x", "bbox": [[0.1, 0.2, 0.3, 0.4]]}
        for name in ("-cdefghijkl_000030", "defghijklmn_000007")
    ]
    (folder / "vggss.json").write_text(json.dumps(truths))
    return folder


def test_a_folder_of_media_becomes_clips_with_masks(lists, tmp_path, caplog):
    media = tmp_path / "media"
    write_media(media / "is3" / "frames", "dog_cat_7_dog")
    write_media(media / "is3" / "frames", "dog_cat_7_cat", colour=(10, 200, 10))
    mask = np.zeros((224, 224), np.uint8)
    mask[10:20, 30:50] = 255
    (media / "is3" / "gt_masks").mkdir()
    Image.fromarray(mask).save(media / "is3" / "gt_masks" / "dog_cat_7_dog.png")
    write_media(media / "avs_s4" / "dog", "v_1_1", suffix=".png")
    (media / "avs_s4" / "dog" / "v_1_1.wav").rename(media / "avs_s4" / "dog" / "v_1.wav")
    write_media(media / "vgginstruments", "sample0000")

    with caplog.at_level(logging.WARNING):
        clips, samples = tables_of(
            tmp_path,
            lists,
            *("is3_test", "avs_s4_test", "vgginstruments_test"),
            media_dir=str(media),
        )
    assert "avs_s4_test: 1 of 2 samples lack picture or sound: v_1_2" in caplog.text
    paths = {row["clip_id"]: row["url"].removeprefix("file://") for row in clips}
    assert paths["v_1_2"].endswith("v_1_2.absent")
    with ClipReader(paths["dog_cat_7_dog"]) as reader:
        assert (reader.info.width, reader.info.height) == (40, 30)
        assert reader.info.duration_seconds == pytest.approx(2, abs=0.15)

    found = decode_mask(dict(samples["dog_cat_7_dog"]["attributes"])["mask"], where="x")
    assert np.array_equal(found, mask > 0)
    assert "mask" not in dict(samples["dog_cat_7_cat"]["attributes"])
    assert dict(samples["dog_cat_7_cat"]["attributes"])["picture"] == "dog_cat_7"

    # Two sounds of one picture, and frames of one sound, are resampled together.
    videos = {row["clip_id"]: row["video_id"] for row in clips}
    assert videos == {
        "dog_cat_7_dog": "dog_cat_7",
        "dog_cat_7_cat": "dog_cat_7",
        "v_1_1": "v_1",
        "v_1_2": "v_1",
        "sample0000": "sample0000",
    }

    # Nothing changed: the same files.
    again, _ = tables_of(tmp_path, lists, "is3_test", media_dir=str(media))
    assert [row["url"] for row in again] == [row["url"] for row in clips[:2]]


@pytest.mark.slow
def test_a_folder_of_media_ends_in_results(lists, tmp_path):
    from stages import download, evaluate, feature, sources

    mask = np.zeros((224, 224), np.uint8)
    mask[2:122, 1:61] = 255  # the box of the list
    folder = tmp_path / "media" / "is3"
    (folder / "gt_masks").mkdir(parents=True)
    names = ["dog_cat_7_dog", "dog_cat_7_cat"]
    for i, name in enumerate(names):
        write_media(folder / "frames", name, colour=(200 * i, 10, 10))
        Image.fromarray(mask).save(folder / "gt_masks" / f"{name}.png")

    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"datasets": ["stills"], "models": []}
    params["cluster"]["workers"] = 0
    params["sources"]["stills"] = {
        "media_dir": str(tmp_path / "media"),
        "lists_dir": str(lists),
        "splits": ["is3_test"],
    }
    np.savez(tmp_path / "maps.npz", sample_ids=names, maps=np.stack([mask / 255.0] * 2))
    params["evaluate"] |= {
        "subsets": {"stills": ["is3_test"]},
        "external": {"perfect": str(tmp_path / "maps.npz")},
        "further_metrics": ["acl_sweep", "masks"],
        "baselines": ["centre"],
        "negative_audio": {"subsets": {}},
        "num_resamples": 50,
    }
    (tmp_path / "checkout").mkdir()
    project = Project(tmp_path / "checkout", params)
    sources.main(project, "stills")
    download.main(project, "stills")
    for name in ("frames", "spectrograms"):
        feature.main(project, name, "stills")
        with FeatureReader(project.feature_dir("stills", name)) as reader:
            assert all(sample_id in reader for sample_id in names)
    evaluate.main(project)

    results = read_results(project.reports_dir)
    of_perfect = [row for row in results["results"] if row["model"] == "perfect"]
    assert {row["n"] for row in of_perfect} == {2}
    assert {row["num_groups"] for row in of_perfect} == {1}  # one picture
    earshot = next(row for row in of_perfect if row["protocol"] == "earshot")
    assert (earshot["iiou"], earshot["num_pictures"], earshot["leakage"]) == (1, 1, None)
    further = {(row["model"], row["metric"]): row for row in results["further"]}
    assert further["perfect", "masks"]["mean_iou"] == 1
    assert further["centre", "masks"]["mean_iou"] < 0.2


def test_a_duet_is_joined_of_two_clips(lists, tmp_path):
    folder = tmp_path / "media" / "vggsound_duet"
    folder.mkdir(parents=True)
    video = make_clip(folder / "-cdefghijkl_000030.mp4", seconds=6)
    (folder / "defghijklmn_000007.mp4").write_bytes(video.read_bytes())
    (clip,), samples = tables_of(
        tmp_path, lists, "vggsound_duet_test", media_dir=str(tmp_path / "media")
    )
    assert list(samples) == ["-cdefghijkl_000030+defghijklmn_000007"]
    with ClipReader(clip["url"].removeprefix("file://").replace("%2B", "+")) as reader:
        assert (reader.info.width, reader.info.height) == (224, 448)
        (frame,) = reader.iter_frames([0.5])
        assert np.array_equal(frame.rgb[:224], frame.rgb[224:])
        mixed = reader.read_whole_sound(sample_rate=16000).waveform
    with ClipReader(video) as reader:
        alone = reader.read_whole_sound(sample_rate=16000).waveform
    assert np.allclose(mixed[: len(alone)], 2 * alone, atol=1e-4)

    # Of the same folder: the same picture, and the sound of one clip.
    clips, samples = tables_of(
        tmp_path, lists, "vggsound_duet_apart_test", media_dir=str(tmp_path / "media")
    )
    assert [dict(one["attributes"])["heard_source"] for one in samples.values()] == ["0", "1"]
    for one in clips:
        with ClipReader(one["url"].removeprefix("file://").replace("%2B", "+")) as reader:
            (picture,) = reader.iter_frames([0.5])
            heard = reader.read_whole_sound(sample_rate=16000).waveform
        assert np.array_equal(picture.rgb, frame.rgb)
        assert np.allclose(heard[: len(alone)], alone, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("synthetic3240_bbox.json", "[]", "expected a list of objects"),
        ("synthetic3240_bbox.json", "{", "not readable JSON"),
        (
            "synthetic3240_bbox.json",
            '[{"image": "a_b.jpg", "audio": "a_b.wav", "gt_box": [0, 0, 9, 300]}]',
            r"entry 1: box has '300', expected pixels, 0 to 224",
        ),
        (
            "synthetic3240_bbox.json",
            '[{"image": "", "audio": "a_b.wav", "gt_box": [0, 0, 9, 9]}]',
            r"entry 1: file is '', expected the name of a file",
        ),
        (
            "synthetic3240_bbox.json",
            f'[{{"image": "a_b.jpg", "audio": "a_b.wav", "gt_box": [0, 0, {10**400}, 9]}}]',
            r"entry 1: box has '1000",
        ),
        ("synthetic3240_bbox.json", "[" * 99_999, "not readable JSON"),
        ("vgginstruments_test.csv", "sample0000", "line 1: found 'sample0000', expected a name"),
        ("vgginstruments_test.csv", "a,b\na,c", r"a appears twice \(rows 1 and 2\)"),
        ("vggsound_duet_test.csv", "a,b,c", "line 1: found 'a,b,c', expected clip, class, clip"),
        ("vggsound_duet_test.csv", "a,b,c,d", r"clip 'a' has no boxes in vggss\.json"),
        (
            "music_solo.json",
            '[{"file": "a", "class": "x", "bbox": [0.5, 0.5, 0.6, 0.1]}]',
            "entry 1: box is .*expected x, y, width and height",
        ),
        (
            "music_solo.json",
            '[{"file": "a", "class": "x", "bbox": [NaN, 0, 0.5, 0.5]}]',
            "entry 1: box is .*expected x, y, width and height",
        ),
    ],
)
def test_wrong_lists_are_refused(lists, tmp_path, name, text, message):
    (lists / name).write_text(text)
    split = next(one.split for one in SETS.values() if one.lists[0].name == name)
    with pytest.raises(DataError, match=message):
        tables_of(tmp_path, lists, split)


def test_media_that_are_not_there_are_named(lists, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        tables_of(tmp_path, lists, "is3_test")
    assert "its 2 samples have ground truth and no media: set sources.stills.media_dir" in (
        caplog.text
    )
    with pytest.raises(DataError, match=r"found no folder .*is3, expected the media of is3"):
        tables_of(tmp_path, lists, "is3_test", media_dir=str(tmp_path))

    for folder in ("a", "b"):
        write_media(tmp_path / "is3" / folder, "dog_cat_7_dog")
    with pytest.raises(DataError, match=r"dog\.jpg and .* both fit dog_cat_7_dog\.jpg"):
        tables_of(tmp_path, lists, "is3_test", media_dir=str(tmp_path))


def test_masks_come_back_from_their_run_lengths(tmp_path):
    rng = np.random.default_rng(0)
    for mask in (
        rng.random((224, 224)) > 0.5,
        np.zeros((224, 224), bool),
        np.ones((224, 224), bool),
    ):
        assert np.array_equal(decode_mask(encode_mask(mask), where="x"), mask)

    Image.fromarray(np.eye(448, dtype=np.uint8)).save(tmp_path / "mask.png")  # values 0 and 1
    assert np.array_equal(read_mask(tmp_path / "mask.png"), np.eye(224, dtype=bool))
    (tmp_path / "mask.png").write_text("x")
    with pytest.raises(DataError, match=r"mask\.png: not a readable PNG or JPEG"):
        read_mask(tmp_path / "mask.png")


def test_the_opacity_of_a_mask_is_no_colour(tmp_path):
    expected = np.zeros((224, 224), bool)
    expected[:10, :20] = True
    white = np.where(expected, 255, 0).astype(np.uint8)
    opaque = np.full_like(white, 255)
    for name, channels in {
        "black ground": (white, white, white, opaque),
        "grey and opaque": (white, opaque),
        "transparent ground": (opaque, opaque, opaque, white),
    }.items():
        Image.fromarray(np.stack(channels, axis=2)).save(tmp_path / "mask.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), expected, name)

    palette = Image.fromarray(white).convert("P")
    palette.save(tmp_path / "mask.png", transparency=palette.getpixel((100, 100)))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), expected)


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


def test_media_below_a_link_are_found_and_hidden_files_are_not(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("a.jpg", ".b.jpg"):
        (disk / name).write_bytes(b"")
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "frames").symlink_to(disk)
    (disk / "back").symlink_to(folder)
    media = MediaFolder(folder)
    assert media.find("frames/a", IMAGES) == folder / "frames" / "a.jpg"
    assert media.find("frames/.b", IMAGES) is None
