"""Test sets of still pictures: small lists and a folder of media become clips with masks."""

import json
import logging

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.io import wavfile

from earshot.errors import DataError
from earshot.reader import FeatureReader
from eval.results.files import read_results
from pipeline.base.project import Project
from pipeline.datasets.stills.dataset import Parameters, build_tables
from pipeline.datasets.stills.media import IMAGES, MediaFolder
from pipeline.datasets.stills.sets import SETS
from pipeline.lists.masks import decode_mask
from pipeline.media.reader import ClipReader
from tests.helpers.media.clip_factory import make_clip
from tests.helpers.paths import ROOT


def tables_of(tmp_path, lists_dir, *splits, **parameters):
    """Return clips, and samples by their ids, as plain rows."""
    section = Parameters(splits=splits, lists_dir=str(lists_dir), **parameters)
    clips, samples = build_tables(section, cache_dir=tmp_path / "cache")
    return clips.to_pylist(), {row["sample_id"]: row for row in samples.to_pylist()}


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
