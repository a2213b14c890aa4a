"""Import from zip files and from WebDataset shards whose names say nothing."""

import json
import zipfile

import pytest

from pipeline.downloads.imports import webdataset
from tests.downloads.imports.test_import_hub import make_tar
from tests.helpers.downloads.download_helpers import clips_table, make_clip
from tests.helpers.downloads.import_runs import run_import


def test_a_zip_of_clips_with_a_damaged_member(tmp_path):
    clips = clips_table(("a", "http://127.0.0.1:9/a"), ("b", "http://127.0.0.1:9/b"))
    contents = {
        name: make_clip(tmp_path / f"{name}.mp4", tone=tone).read_bytes()
        for name, tone in (("a", 300), ("b", 400))
    }
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"videos/{name}.mp4", content)
        archive.writestr("../outside.mp4", b"x")
    data = bytearray(path.read_bytes())
    data[data.index(contents["b"][:200]) + 150] ^= 255  # its checksum is wrong now
    path.write_bytes(data)

    report = run_import(tmp_path, clips, "all.zip")
    assert report.imported == ["a"]
    causes = {name.rpartition("!")[2]: cause for name, cause in report.foreign}
    assert "unsafe name" in causes["../outside.mp4"]
    assert "damaged in its archive: Bad CRC-32" in causes["videos/b.mp4"]


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({"id": "x", "start": 30, "end": 40}, ["x_30_40", "x_30", "x"]),
        ({"youtube_id": "-b", "start_time": "00:01:30.5"}, ["-b_90.5", "-b"]),
        ({"url": "https://youtu.be/abc?t=3"}, ["abc"]),
        ({"url": "https://www.youtube.com/watch?v=abc", "clips": [[3, 13]]}, ["abc_3_13", "abc_3"]),
        ({"filename": "videos/abc.mp4"}, ["abc.mp4", "abc"]),
        ({"id": 12}, ["12"]),
        ({"id": True, "start": "soon", "end": None}, []),
    ],
)
def test_names_that_a_json_file_tells(tmp_path, metadata, names):
    path = tmp_path / "0.tar"
    members = {"part/0001.mp4": b"", "part/0001.json": json.dumps(metadata).encode()}
    path.write_bytes(make_tar(members | {"part/0002.json": b"[1", "part/0003.json": b"[1]"}))
    found = webdataset.read_names(path)
    assert set(found) == {"part/0001"} and found["part/0001"][: len(names)] == names
    assert bool(found["part/0001"]) == bool(names)
