"""Rows of a table that name a sound or a mask in a file of its own."""

import csv
import wave

import numpy as np
import pytest
from PIL import Image

from earshot.errors import DataError
from pipeline.datasets import local
from pipeline.datasets.table import Parameters, build_tables, has_changed
from pipeline.lists.masks import decode_mask
from pipeline.media.reader import ClipReader
from tests.helpers.media.clip_factory import make_clip


@pytest.fixture
def folder(tmp_path):
    """A video with another sound than that beside it, and a picture."""
    (tmp_path / "video").mkdir()
    make_clip(tmp_path / "video" / "a.mp4", seconds=2)
    (tmp_path / "audio").mkdir()
    write_tone(tmp_path / "audio" / "a.wav", seconds=2)
    Image.new("RGB", (64, 48), "teal").save(tmp_path / "b.png")
    return tmp_path


def write_tone(path, *, seconds):
    times = np.arange(16000 * seconds) / 16000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((10000 * np.sin(2 * np.pi * 3000 * times)).astype("<i2").tobytes())


def build(folder, *rows, **parameters):
    with (folder / "birds.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    parameters = Parameters(path=str(folder / "birds.csv"), **parameters)
    clips, samples = build_tables(parameters, cache_dir=folder / "cache")
    return clips.to_pylist(), samples.to_pylist()


def test_a_sound_of_its_own_is_joined_with_video_or_picture(folder):
    clips, _ = build(
        folder,
        {"id": "a", "path": "video/a.mp4", "audio_path": "audio/a.wav"},
        {"id": "b", "path": "b.png", "audio_path": "audio/a.wav"},
        {"id": "c", "path": "video/a.mp4"},
    )
    assert [clip["video_id"] for clip in clips] == [
        *(str(folder / name) for name in ("video/a.mp4", "b.png", "video/a.mp4")),
    ]
    for clip, size in zip(clips, ((160, 120), (64, 48), (160, 120)), strict=True):
        with ClipReader(clip["url"].removeprefix("file://")) as reader:
            assert (reader.info.width, reader.info.height) == size
            sound = reader.read_whole_sound(sample_rate=16000).waveform
        loudest = np.abs(np.fft.rfft(sound)).argmax() * 16000 / len(sound)
        assert (abs(loudest - 3000) < 10) == (clip["clip_id"] != "c")


def test_a_changed_sound_is_noticed_and_joined_again(folder):
    row = {"id": "a", "path": "video/a.mp4", "audio_path": "audio/a.wav"}
    ((before,), _) = build(folder, row)
    parameters = Parameters(path=str(folder / "birds.csv"))
    assert not has_changed(parameters, cache_dir=folder / "cache")
    write_tone(folder / "audio" / "a.wav", seconds=1)
    assert has_changed(parameters, cache_dir=folder / "cache")
    ((after,), _) = build(folder, row)
    assert before["url"] != after["url"]


def test_a_sound_that_cannot_be_read_costs_its_clip_alone(folder, caplog):
    (folder / "broken.wav").write_bytes(b"no sound")
    clips, samples = build(
        folder,
        {"id": "a", "path": "video/a.mp4", "audio_path": "audio/none.wav"},
        {"id": "c", "path": "video/a.mp4", "audio_path": "broken.wav"},
        {"id": "b", "path": "b.png", "audio_path": "audio/a.wav"},
    )
    assert len(samples) == 3
    # The download stage says that these two files are not there.
    assert clips[0]["url"] == f"file://{folder}/audio/none.wav"
    assert clips[1]["url"].endswith("/cache/remote/c.absent") and "broken.wav" in caplog.text
    assert clips[2]["url"].endswith(".mkv")


def test_only_chosen_clips_are_joined(folder):
    rows = [
        {"id": name, "path": "b.png", "audio_path": "audio/a.wav", "split": name}
        for name in ("x", "y")
    ]
    (folder / "mine.txt").write_text("y\n")
    clips, _ = build(folder, *rows, ids=str(folder / "mine.txt"))
    assert [clip["clip_id"] for clip in clips] == ["y"]
    assert [path.name[0] for path in (folder / "cache" / "remote").glob("*.mkv")] == ["y"]


def test_a_mask_is_ground_truth(folder):
    mask = np.zeros((112, 112), np.uint8)
    mask[:56] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    _, (sample,) = build(folder, {"id": "a", "path": "video/a.mp4", "mask_path": "mask.png"})
    attributes = dict(sample["attributes"])
    assert list(attributes) == ["mask"]
    found = decode_mask(attributes["mask"], where="")
    assert found[:112].all() and not found[112:].any()

    parameters = Parameters(path=str(folder / "birds.csv"))
    assert not has_changed(parameters, cache_dir=folder / "cache")
    Image.fromarray(255 - mask).save(folder / "mask.png", compress_level=0)
    assert has_changed(parameters, cache_dir=folder / "cache")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"id": "a", "path": "video/a.mp4", "mask_path": "none.png"},
            "line 2, column mask_path: .*none.png: not found, expected the picture of a mask",
        ),
        (
            {"id": "a", "path": "video/a.mp4", "mask_path": "audio/a.wav"},
            "line 2, column mask_path: .*a.wav: not a readable PNG or JPEG",
        ),
        (
            {"id": "a", "url": "https://example.org/a.mp4", "audio_path": "audio/a.wav"},
            "line 2, column audio_path: is 'audio/a.wav', expected none: only a video or picture",
        ),
    ],
)
def test_wrong_files_are_errors_with_their_line(folder, row, message):
    with pytest.raises(DataError, match=message):
        build(folder, row)


def test_rows_of_one_clip_name_one_sound(folder):
    row = {"id": "a", "path": "b.png", "audio_path": "audio/a.wav", "time": 0.5}
    message = "line 3: clip 'a' has another source, section or split in a row before"
    with pytest.raises(DataError, match=message):
        build(folder, row, row | {"audio_path": "audio/b.wav", "time": 1})


def test_a_table_beside_a_folder_has_no_such_columns(folder):
    (folder / "notes.csv").write_text("path,mask_path\nvideo/a.mp4,b.png\n")
    parameters = local.Parameters(folder=str(folder), annotations=str(folder / "notes.csv"))
    with pytest.raises(DataError, match=r"column mask_path: .*expected no such column"):
        local.build_tables(parameters, cache_dir=folder / "cache")
