"""Import from zip files and from WebDataset shards whose names say nothing."""

import json
import lzma
import zipfile

import pytest

from earshot.errors import DataError
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
    found = webdataset.read_names(path)
    assert set(found) == {"part/0001"} and found["part/0001"][: len(names)] == names
    assert bool(found["part/0001"]) == bool(names)


def test_a_damaged_shard_is_one_sentence(tmp_path):
    path = tmp_path / "0.tar.xz"
    content = json.dumps({"id": "".join(map(chr, range(32, 3000)))}).encode()
    data = bytearray(lzma.compress(make_tar({"1.json": content, "2.json": content})))
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"0\.tar\.xz: not a readable tar file"):
        webdataset.read_names(path)
