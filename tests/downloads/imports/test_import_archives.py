"""Import from zip files and from WebDataset shards whose names say nothing."""

import json
import lzma
import zipfile

import pyarrow as pa
import pytest

from earshot.tables import CLIPS
from pipeline.downloads.imports import webdataset
from tests.downloads.imports.test_import_hub import make_tar
from tests.helpers.downloads.download_helpers import clips_table, make_clip
from tests.helpers.downloads.import_runs import run_import


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (zipfile.ZIP_STORED, "Bad CRC-32"),
        (zipfile.ZIP_DEFLATED, ""),
        (zipfile.ZIP_BZIP2, "Invalid data stream"),
        (zipfile.ZIP_LZMA, "Corrupt input data"),
    ],
)
def test_a_zip_of_clips_with_a_damaged_member(tmp_path, method, words):
    clips = clips_table(("a", "http://127.0.0.1:9/a"), ("b", "http://127.0.0.1:9/b"))
    contents = {
        name: make_clip(tmp_path / f"{name}.mp4", tone=tone).read_bytes()
        for name, tone in (("a", 300), ("b", 400))
    }
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(f"videos/{name}.mp4", content)
        archive.writestr("../outside.mp4", b"x")
        damaged = archive.getinfo("videos/b.mp4")
    data = bytearray(path.read_bytes())
    middle = damaged.header_offset + damaged.compress_size // 2
    data[middle : middle + 20] = bytes(byte ^ 255 for byte in data[middle : middle + 20])
    path.write_bytes(data)

    report = run_import(tmp_path, clips, "all.zip")
    assert report.imported == ["a"]
    causes = {name.rpartition("!")[2]: cause for name, cause in report.foreign}
    assert "unsafe name" in causes["../outside.mp4"]
    assert f"damaged in its archive: {words}" in causes["videos/b.mp4"]


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({"id": "x", "start": 30, "end": 40}, ["x_30_40", "x_30", "x"]),
        ({"youtube_id": "-b", "start_time": "00:01:30.5"}, ["-b_90.5", "-b"]),
        ({"id": "x", "start": 1234.567, "end": 1244567}, ["x_1234.567_1244567", "x_1234.567"]),
        ({"url": "https://youtu.be/abc?t=3"}, ["abc"]),
        ({"url": "https://www.youtube.com/watch?v=abc", "clips": [[3, 13]]}, ["abc_3_13", "abc_3"]),
        ({"filename": "videos/abc.mp4"}, ["abc.mp4", "abc"]),
        ({"id": 12}, ["12"]),
        ({"id": True, "start": "soon", "end": None, "url": "http://[::1"}, []),
    ],
)
def test_names_that_a_json_file_tells(tmp_path, metadata, names):
    path = tmp_path / "0.tar"
    members = {"part/0001.mp4": b"", "part/0001.json": json.dumps(metadata).encode()}
    path.write_bytes(make_tar(members | {"part/0002.json": b"[1", "part/0003.json": b"[1]"}))
    found = webdataset.read_descriptions(path)
    assert set(found) == {"part/0001"}
    assert list(found["part/0001"].names[: len(names)]) == names
    assert bool(found["part/0001"].names) == bool(names)
    assert found["part/0001"].has_start == any("_" in name for name in names)


def test_another_section_of_a_video_is_not_taken_for_the_one_in_the_list(tmp_path):
    """In the list are one section of the video v, two of w and x, and a clip 0004."""
    rows = [("v_000030", "v", 30.0), ("w_000010", "w", 10.0), ("w_000050", "w", 50.0)]
    rows += [("x_000010", "x", 10.0), ("x_000050", "x", 50.0)]
    clips = pa.Table.from_pylist(
        [
            {
                "clip_id": clip_id,
                "video_id": video_id,
                "url": f"http://127.0.0.1:9/{clip_id}",
                "start_seconds": start,
                "end_seconds": None if start is None else start + 2.0,
                "splits": [],
            }
            for clip_id, video_id, start in [*rows, ("0004", "0004", None)]
        ],
        schema=CLIPS.columns,
    )
    content = make_clip(tmp_path / "clip.mp4").read_bytes()
    samples = {
        "0001": {"youtube_id": "v", "start": 70, "end": 72},  # not in the list
        "v": {"id": 3, "start": 70.0},  # nor this one, whatever its name
        "w": {"start": "0:50", "youtube_id": "w"},  # its name alone fits two clips
        "0004": {"youtube_id": "v", "start": 30},  # its name counts samples, and is an id, too
        "0005": {"youtube_id": "w", "start": 10},
        "x": {"youtube_id": "x"},  # either section
        "x_50": {"youtube_id": "x"},  # its name says which
        "x_10": {"youtube_id": "w"},
    }
    members: dict[str, bytes] = {}
    for key, metadata in samples.items():
        members |= {f"{key}.json": json.dumps(metadata).encode(), f"{key}.mp4": content}
    (tmp_path / "0.tar").write_bytes(make_tar(members))

    report = run_import(tmp_path, clips, "0.tar")
    assert report.imported == ["w_000050", "w_000010", "x_000050"]
    causes = {name.rpartition("!")[2]: cause for name, cause in report.foreign}
    assert causes["0001.mp4"] == causes["v.mp4"] == "the list has no clip of this name"
    assert causes["x.mp4"] == "fits 2 clips of the list (x_000010, x_000050)"
    assert causes["x_10.mp4"] == (
        "its name means x_000010, but its JSON file describes w_000010, w_000050"
    )
    assert causes["0004.mp4"] == "its name means 0004, but its JSON file describes v_000030"


@pytest.mark.parametrize("suffix", [".tar", ".tar.xz", ".zip"])
def test_damage_of_one_archive_does_not_cost_the_clips_of_the_others(tmp_path, suffix):
    clips = clips_table(*((name, f"http://127.0.0.1:9/{name}") for name in "abc"))
    content = {
        name: make_clip(tmp_path / f"{name}.mp4", tone=300 + 50 * number).read_bytes()
        for number, name in enumerate("abc")
    }
    members = {"1.json": b'{"id": "a"}', "1.mp4": content["a"], "2.json": b'{"id": "b"}'}
    torn = make_tar(members | {"2.mp4": content["b"]})
    # The clips resemble each other, so the second one takes little room when it is compressed.
    num_lost = len(content["b"]) // 2 + 1024
    if suffix == ".tar.xz":
        torn, num_lost = lzma.compress(torn), 200
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / f"0{suffix}").write_bytes(torn[:-num_lost])
    (folder / "1.tar").write_bytes(make_tar({"c.mp4": content["c"]}))

    report = run_import(tmp_path, clips, "in")
    # What comes before the damage is taken; a zip has its list of members at its end.
    assert report.imported == (["c"] if suffix == ".zip" else ["a", "c"])
    ((name, why),) = report.damaged
    assert name.endswith(f"0{suffix}") and "not a readable" in why
