"""Sections of one video are fetched once and cut exactly; own files are linked."""

import os
import urllib.parse

import av
import pytest

from earshot.files import sha256_of
from tests.helpers.downloads.download_helpers import (
    answer,
    clips_table,
    download,
    encode,
    make_clip,
    read_counter,
)


def test_several_sections_of_one_video_are_fetched_once_and_cut_exactly(tmp_path, media, server):
    url = server.add("/counter.mp4", answer(media / "counter.mp4"))
    clips = clips_table(
        ("early", url, 1.0, 3.0),
        ("late", url, 7.32, 9.32),
        ("end", url, 10.0, 14.0),
        ("beyond", url, 20.0, 22.0),
    )
    found = download(tmp_path, clips)

    assert server.num_requests["/counter.mp4"] == 1
    assert found["end"]["reason"] == found["beyond"]["reason"] == "too_short"

    for name, first in (("early", 25), ("late", 183)):
        assert found[name]["status"] == "ok"
        assert found[name]["duration_seconds"] == pytest.approx(2.0, abs=0.1)

        with av.open(str(tmp_path / "clips" / found[name]["path"])) as container:
            pictures = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        assert [read_counter(picture) for picture in pictures] == list(range(first, first + 50))


def test_large_pictures_shrink_and_the_users_own_files_are_linked(tmp_path, media, server):
    big = make_clip(tmp_path / "in" / "h\u00f6he % #1 'x'.mp4", size="640x480", seconds=1.5)
    odd = tmp_path / "in" / os.fsdecode(b"odd \xff\n name.mkv")
    encode(tmp_path / "in" / "plain.mkv", "-i", str(media / "clip1.mp4"), "-c", "copy").rename(odd)
    urls = ["file://" + urllib.parse.quote(os.fsencode(path)) for path in (big, odd)]
    clips = clips_table(
        ("big", urls[0]), ("odd", urls[1]), ("away", "file:///nowhere/at%20all.mp4")
    )
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (big, odd)}
    copied = download(tmp_path / "copied", clips)

    assert (copied["big"]["width"], copied["big"]["height"]) == (480, 360)
    assert copied["odd"]["sha256"] == sha256_of(odd)

    linked = download(tmp_path / "linked", clips, is_linked=True)
    assert (linked["big"]["width"], linked["big"]["height"]) == (640, 480)

    for name, path in (("big", big), ("odd", odd)):
        assert os.path.samefile(tmp_path / "linked" / "clips" / linked[name]["path"], path)
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before[path]
    assert copied["away"]["reason"] == linked["away"]["reason"] == "gone"
