"""Urbansas: FlowGrad's evaluation frames, any layout, and the Zenodo record.

Transfers of the record break.
"""

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import pytest

from earshot.errors import DataError
from earshot.tables import CLIPS, SAMPLES, write_table
from pipeline.base.http import fetch_large_file
from pipeline.base.project import Project
from pipeline.datasets.listing import list_dataset
from pipeline.datasets.urbansas import dataset
from pipeline.datasets.urbansas import release as urbansas_release
from pipeline.media.reader import ClipReader
from pipeline.media.validate import ValidationParameters, validate_clip
from tests.helpers.downloads.download_helpers import encode
from tests.helpers.downloads.record_server import Zenodo

VIDEO_HEADER = (
    ",frame_id,track_id,x,y,w,h,class_id,visibility,label,"
    "filename,city,location_id,time,night,subset"
)
AUDIO_HEADER = ",filename,class_id,label,non_identifiable_vehicle_sound,start,end"


def tables_of(folder, cache_dir, **parameters):
    parameters = dataset.Parameters(folder=str(folder) if folder else None, **parameters)
    return dataset.build_tables(parameters, cache_dir=cache_dir)


def path_of(url):
    return unquote(urlsplit(url).path)


def test_the_published_copies_give_94_frames(shared, tmp_path):
    clips, samples = tables_of(shared("urbansas_mini"), tmp_path)
    write_table(tmp_path / "clips.parquet", clips, CLIPS)
    write_table(tmp_path / "samples.parquet", samples, SAMPLES)
    assert samples.num_rows == 94
    assert clips.num_rows == 10
    rows = samples.to_pylist()
    assert len({row["sample_id"] for row in rows}) == 94
    assert all(row["boxes"] and 0 <= row["time_seconds"] < 10 for row in rows)
    row = rows[0]
    assert row["sample_id"] == "barcelona161_4901@00000500"
    assert dict(row["attributes"]) == {
        "city": "barcelona",
        "location_id": "barcelona161",
        "night": "1",
        "subset": "tau",
        "frame_at_8_fps": "4",
        "annotated_size": "400x225",
    }
    x1, y1, x2, y2 = row["boxes"][0]
    assert (x1 * 400, y1 * 225, (x2 - x1) * 400, (y2 - y1) * 225) == pytest.approx(
        (160.4, 88.22, 77.12, 42.64)
    )
    # Picture and sound are one file now, the streams as they were.
    path = path_of(clips.column("url")[0].as_py())
    facts = validate_clip(path, wanted_seconds=10.0, parameters=ValidationParameters())
    assert (facts.width, facts.height, facts.video_codec, facts.audio_codec) == (
        400,
        225,
        "h264",
        "pcm_s16le",
    )
    assert packets_of(path, "audio") == packets_of(
        shared("urbansas_mini", "audio", "barcelona161_4901.wav"), "audio"
    )
    # The first sample's sound is that of the beginning, also after the file was looked at.
    with (
        ClipReader(path) as joined,
        ClipReader(shared("urbansas_mini", "audio", "barcelona161_4901.wav")) as original,
    ):
        assert joined.info.duration_seconds == pytest.approx(10.0, abs=0.02)
        early, late = (
            reader.read_audio(0.0, 3.0, sample_rate=None)[0] for reader in (joined, original)
        )
        assert (early == late).all()
    before = path_stat(path)
    again, _ = tables_of(shared("urbansas_mini"), tmp_path)
    assert again == clips
    assert path_stat(path) == before  # not made again


def packets_of(path, kind):
    with av.open(str(path)) as container:
        return b"".join(bytes(packet) for packet in container.demux(**{kind: 0}))


def path_stat(path):
    return Path(path).stat().st_mtime_ns


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Two videos of 400x224 pixels without sound, and a sound, 10 s each."""
    folder = tmp_path_factory.mktemp("street")
    for name, fps in (("slow.mp4", 2), ("fast.mp4", 8)):
        picture = f"testsrc2=size=400x224:rate={fps}:duration=10"
        encode(folder / name, "-f", "lavfi", "-i", picture, "-pix_fmt", "yuv420p")
    encode(folder / "tone.wav", "-f", "lavfi", "-i", "sine=frequency=440:duration=10")
    return folder


@pytest.fixture
def release(street, tmp_path):
    """A release with one labelled and one unlabelled clip.

    It has a layout of its own, with spaces and a link in its path.
    """
    root = tmp_path / "my release"
    for source, target in (
        ("slow.mp4", "video/video_2fps/labelled-1.mp4"),
        ("fast.mp4", "video/video_8fps/labelled-1.mp4"),
        ("slow.mp4", "unlabeled/video/other.mp4"),
        ("tone.wav", "unlabeled/audio/other.wav"),
    ):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(street / source, root / target)
    (tmp_path / "sounds").mkdir()
    shutil.copy(street / "tone.wav", tmp_path / "sounds" / "labelled-1.wav")
    (root / "audio").symlink_to(tmp_path / "sounds")
    write_annotations(root)
    return root


def write_annotations(root, video_rows=None, audio_rows=None):
    rows = video_rows or [
        # At the very start of the event: not spanned.
        "0,0,1,10,20,30,40,0,1.0,car,labelled-1,milan,m1,0.0,0,tau",
        "1,1,1,10,20,30,40,0,1.0,car,labelled-1,milan,m1,0.5,0,tau",
        "2,1,2,40,20,80,40,0,1.0,bus,labelled-1,milan,m1,0.5,0,tau",
        "3,1,3,40,20,80,40,0,0.0,bus,labelled-1,milan,m1,0.5,0,tau",  # not visible
        "4,2,1,-1,-1,-1,-1,0,1.0,car,labelled-1,milan,m1,1.0,0,tau",  # no box
        "5,4,1,10,20,30,40,0,1.0,car,labelled-1,milan,m1,2.0,0,tau",  # at the event's very end
        "6,6,1,10,20,30,40,0,1.0,car,labelled-1,milan,m1,3.0,0,tau",  # only offscreen sound
        # Only a sound that nobody identified.
        "7,8,1,10,20,30,40,0,1.0,car,labelled-1,milan,m1,4.0,0,tau",
        "8,0,0,0,0,0,0,-1,0,-1,silent-1,milan,m1,-1,0,tau",
    ]
    sounds = audio_rows or [
        "0,labelled-1,0,car,0,0,2.0",
        "1,labelled-1,0,offscreen,0,2.5,3.5",
        "2,labelled-1,0,car,1,3.5,4.5",
        "3,silent-1,-1,-1,0,-1,-1",
    ]
    folder = root / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "video_annotations.csv").write_text("\n".join([VIDEO_HEADER, *rows]))
    (folder / "audio_annotations.csv").write_bytes(
        "\r\n".join(["\ufeff" + AUDIO_HEADER, *sounds]).encode()
    )


def test_rules_layouts_and_the_unlabelled_part(release, tmp_path):
    clips, samples = tables_of(
        release, tmp_path / "cache", splits=dataset.SPLITS, unlabelled_every_seconds=4.0
    )
    rows = {row["sample_id"]: row for row in samples.to_pylist()}
    assert list(rows) == ["labelled-1@00000500", "other@00002000", "other@00006000"]
    row = rows["labelled-1@00000500"]
    assert row["label"] == "bus+car"
    expected = [[10 / 400, 20 / 224, 40 / 400, 60 / 224], [40 / 400, 20 / 224, 120 / 400, 60 / 224]]
    assert [
        box == pytest.approx(want) for box, want in zip(row["boxes"], expected, strict=True)
    ] == [True, True]
    assert [row["splits"] for row in clips.to_pylist()] == [
        ["urbansas_test"],
        ["urbansas_unlabelled"],
    ]
    joined = path_of(clips.column("url")[0].as_py())
    # Rather than the video at 2 frames a second.
    video = release / "video" / "video_8fps" / "labelled-1.mp4"
    assert packets_of(joined, "video") == packets_of(video, "video")
    _, samples = tables_of(release, tmp_path / "cache", splits=("urbansas_unlabelled",))
    assert samples.column("time_seconds").to_pylist() == [None]


def test_a_file_that_cannot_be_a_clip_is_named(release, tmp_path, caplog):
    video = release / "video" / "video_8fps" / "labelled-1.mp4"
    (video.parent / "my street.mp4").write_bytes(video.read_bytes())
    clips, _ = tables_of(release, tmp_path / "cache", splits=dataset.SPLITS)
    assert "street" not in str(clips["clip_id"])
    assert "left out 1 files whose names are no clip ids" in caplog.text
    assert "video/video_8fps/my street.mp4" in caplog.text


def test_missing_media_stay_accounted_for(release, tmp_path):
    (tmp_path / "sounds" / "labelled-1.wav").unlink()
    clips, _ = tables_of(release, tmp_path / "cache")
    assert path_of(clips.column("url")[0].as_py()).endswith(
        "video_8fps/labelled-1.mp4"
    )  # will end as no_audio
    for path in release.glob("video/*/*"):
        path.unlink()
    clips, samples = tables_of(release, tmp_path / "cache")
    assert (clips.num_rows, samples.num_rows) == (1, 1)


@pytest.mark.parametrize(
    ("video_row", "message"),
    [
        (
            "0,0,1,ten,20,30,40,0,1.0,car,a,milan,m1,0.5,0,tau",
            "line 2: x is 'ten', expected a number",
        ),
        (
            "0,0,1,nan,20,30,40,0,1.0,car,a,milan,m1,0.5,0,tau",
            "line 2: x is nan, expected a finite number",
        ),
        ("0,0,1,10,20", "line 2: has fewer fields"),
        ("0,0,1,10,20,30,40,0,1.0,car,a,milan,m1,0.5,0,tau,x", "line 2: has more fields"),
        ("0,0,1,10,20,30,40,0,1.0,car,../../a,milan,m1,0.5,0,tau", "line 2: filename is '../../a'"),
        ('0,0,1,10,20,30,40,0,1.0,"car', "not readable CSV"),
    ],
)
def test_wrong_annotations_are_refused(release, tmp_path, video_row, message):
    write_annotations(release, video_rows=[video_row])
    with pytest.raises(DataError, match=rf"video_annotations\.csv.*{message}"):
        tables_of(release, tmp_path / "cache")


def test_wrong_releases_are_refused(release, tmp_path):
    path = release / "annotations" / "audio_annotations.csv"
    path.write_text("filename,label\na,car\n")
    with pytest.raises(DataError, match="line 1: has no column non_identifiable_vehicle_sound"):
        tables_of(release, tmp_path / "cache")
    path.write_bytes(AUDIO_HEADER.encode() + b"\n0,a\xff,0,car,0,1,2\n")
    with pytest.raises(DataError, match=r"audio_annotations\.csv, line 2: not UTF-8 text"):
        tables_of(release, tmp_path / "cache")
    path.unlink()
    with pytest.raises(DataError, match=r"holds 0 files named audio_annotations\.csv"):
        tables_of(release, tmp_path / "cache")
    with pytest.raises(DataError, match="found no such folder"):
        tables_of(tmp_path / "nowhere", tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no videos"):
        tables_of(tmp_path / "empty", tmp_path / "cache")


# --- the record


def zip_of(folder, *names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            for path in sorted((folder / name).rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


@pytest.fixture
def zenodo(release, monkeypatch):
    monkeypatch.setattr("pipeline.base.http._PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("pipeline.base.http.time.sleep", lambda _: None)
    site = Zenodo(
        {
            "annotations.zip": zip_of(release, "annotations"),
            "audio.zip": zip_of(release, "audio"),
            "video_8fps.zip": zip_of(release, "video"),
            "README.md": b"about",
        }
    )
    yield site
    site.server.shutdown()
    site.server.server_close()


def test_the_record_is_fetched_through_broken_transfers(zenodo, tmp_path, caplog):
    zenodo.cuts = 5
    cache_dir = tmp_path / "cache"
    record_url = f"{zenodo.url}/api/records/6658386"
    clips, samples = tables_of(None, cache_dir, record_url=record_url)
    assert (clips.num_rows, samples.num_rows) == (1, 1)
    assert len(zenodo.ranges) >= 3
    assert "licence is cc-by-4.0" in caplog.text
    assert (
        "another version" in caplog.text
    )  # other annotations than those of the release known to the project
    assert (cache_dir / "release" / "README.md").read_bytes() == b"about"
    assert not list((cache_dir / "release").glob("*.zip"))
    num_requests = len(zenodo.paths)
    again, _ = tables_of(None, cache_dir, record_url=record_url)
    # What is unpacked needs no network.
    offline, _ = tables_of(None, cache_dir, record_url="http://127.0.0.1:9/api/records/6658386")
    assert offline.equals(again)
    assert again == clips
    assert zenodo.paths[num_requests:] == ["/api/records/6658386"]


def test_without_the_network_no_release_is_fetched(zenodo, tmp_path):
    """What is unpacked is used, and its record is not requested again."""
    section = {"record_url": f"{zenodo.url}/api/records/6658386", "splits": ["urbansas_test"]}
    params = {"sources": {"urbansas": section}, "download": {"network": False}}
    project = Project(tmp_path, params)
    advice = "as sources.urbansas.folder, or set download.network to true"
    with pytest.raises(DataError, match=f"6658386: is not fetched: network is off; .* {advice}"):
        list_dataset(project, "urbansas")
    assert zenodo.paths == []

    params["download"]["network"] = True
    list_dataset(project, "urbansas")
    num_requests = len(zenodo.paths)
    params["download"]["network"] = False
    assert list_dataset(project, "urbansas") == "urbansas: 1 clips, 1 samples"
    assert len(zenodo.paths) == num_requests


def test_an_interrupted_archive_goes_on_and_a_wrong_one_is_removed(zenodo, tmp_path):
    data = zenodo.files["video_8fps.zip"]
    path, md5 = tmp_path / "video_8fps.zip", hashlib.md5(data).hexdigest()
    url = f"{zenodo.url}/files/video_8fps.zip"
    (tmp_path / ".part-video_8fps.zip").write_bytes(data[:1000])
    fetch_large_file(url, path, num_bytes=len(data), md5=md5)
    assert zenodo.ranges == ["bytes=1000-"]
    assert path.read_bytes() == data
    path.unlink()
    zenodo.has_ranges = False  # all of it again, not appended
    (tmp_path / ".part-video_8fps.zip").write_bytes(data[:1000])
    fetch_large_file(url, path, num_bytes=len(data), md5=md5)
    assert path.read_bytes() == data
    path.unlink()
    with pytest.raises(DataError, match=r"has md5 .*, expected 0000"):
        fetch_large_file(url, path, num_bytes=len(data), md5="0" * 32)
    with pytest.raises(DataError, match="the server answered 404"):
        fetch_large_file(f"{url}x", path, num_bytes=len(data), md5=md5)
    with pytest.raises(DataError, match="the server sent"):
        fetch_large_file(url, path, num_bytes=len(data) + 10, md5=md5)
    assert not path.exists()


def test_wrong_records_are_refused(tmp_path):
    path = tmp_path / "record.json"
    fine = {
        "key": "a.zip",
        "size": 1,
        "checksum": "md5:" + "0" * 32,
        "links": {"self": "http://x/"},
    }
    for content, message in (
        ("<html>", "not readable JSON"),
        ("[]", "has no list of files"),
        (
            json.dumps({"files": [fine | {"key": "../a.zip"}]}),
            r"file 0: key is '\.\./a\.zip'|unsafe name",
        ),
        (json.dumps({"files": [fine | {"key": "a/b.zip"}]}), "file 0: key is 'a/b.zip'"),
        (
            json.dumps({"files": [fine, fine | {"checksum": "sha1:00"}]}),
            "file 1 .*checksum is 'sha1:00'",
        ),
        (json.dumps({"files": [{"key": "a"}]}), "file 0: expected key, size, checksum and links"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=message):
            urbansas_release.read_record(path)
