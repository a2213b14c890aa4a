"""What `probe` says of files, and the reason for what broken and hostile files do not give."""

import struct

import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.media.files.container import iter_packets
from pipeline.media.reader import ClipReader, probe
from tests.helpers.media.clip_factory import H264, make_clip, read_frames


def test_probe_of_real_media(shared):
    info = probe(shared("media", "nasa_13013.mp4"))
    assert (info.width, info.height, info.video_codec, info.audio_codec) == (
        480,
        270,
        "h264",
        "aac",
    )
    assert info.sample_rate == 16000
    assert info.fps == pytest.approx(29.97, abs=0.01)
    assert info.duration_seconds == pytest.approx(13.056, abs=0.001)
    info = probe(shared("media", "video_90.mov"))
    assert (info.width, info.height, info.has_audio) == (320, 568, False)
    assert probe(shared("media", "no_duration.webm")).duration_seconds == pytest.approx(
        4.94, abs=0.05
    )


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    make_clip(tmp_path / "12_30.mp4", *H264[:6], size="64x48", seconds=0.4, sound=None).rename(
        tmp_path / "12:30.mp4"
    )
    monkeypatch.chdir(tmp_path)
    assert probe("12:30.mp4").width == 64


def write(path, data):
    """Write a file and return its path."""
    path.write_bytes(data)
    return path


def test_hostile_files_have_reasons(tmp_path):
    source = make_clip(
        tmp_path / "source.mp4", *H264, "-movflags", "+faststart", size="96x64", seconds=2
    )
    data = source.read_bytes()

    assert_reason(write(tmp_path / "zero.mp4", b""), "corrupt", "is empty")
    assert_reason(write(tmp_path / "text.mp4", b"hello world\n" * 99), "corrupt", "cannot be read")
    assert_reason(write(tmp_path / "head.mp4", data[:500]), "corrupt", "cannot be read")
    assert_reason(tmp_path / "absent.mp4", "no_file", "not found")
    assert_reason(tmp_path, "corrupt", "cannot be read")

    # The first half of a file gives its frames, and a reason for the others.
    with ClipReader(write(tmp_path / "cut.mp4", data[: len(data) * 2 // 5])) as reader:
        with pytest.raises(
            MediaError, match=r"cut\.mp4: the video breaks after .* \(the file is cut off\)"
        ):
            read_frames(reader, [1.5])
        read_frames(reader, [0.1])

    # Random damage ends in a reason or in frames, never in another exception.
    reasons = set()

    for number in range(6):
        rng = np.random.default_rng(number)
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 60):
            damaged[position] = rng.integers(256)
        reasons.add(find_reason(write(tmp_path / f"damaged{number}.mp4", bytes(damaged))))

    assert reasons <= {"ok", "corrupt", "no_video", "no_streams"}
    assert "corrupt" in reasons


def find_reason(path):
    """Return the reason why a file gives no frames, or ``ok``."""
    try:
        with ClipReader(path) as reader:
            read_frames(reader, [0.5, 1.0])
    except MediaError as error:
        return error.reason
    return "ok"


def assert_reason(path, reason, text):
    """Check that a file is refused with a reason and one line that names it."""
    with pytest.raises(MediaError, match=text) as caught:
        probe(path)
    assert caught.value.reason == reason
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_and_lying_matroska(tmp_path):
    source = make_clip(tmp_path / "source.mkv", *H264, size="96x64", seconds=2)
    data = source.read_bytes()

    with ClipReader(write(tmp_path / "cut.mkv", data[: len(data) // 2])) as reader:
        with pytest.raises(MediaError, match="the file is cut off"):
            read_frames(reader, [1.9])
        with pytest.raises(MediaError, match="the file is cut off, its audio ends"):
            reader.read_audio(1.0, 2.0, sample_rate=16000)

    # The header's duration, a float of eight bytes, is replaced by a wrong one.
    where = data.index(b"\x44\x89\x88") + 3
    lying = bytearray(data)
    lying[where : where + 8] = struct.pack(">d", 500_000.0)
    path = write(tmp_path / "lying.mkv", bytes(lying))
    assert probe(path).duration_seconds == pytest.approx(2.0, abs=0.1)


def test_missing_streams_are_named(tmp_path):
    mute = make_clip(tmp_path / "mute.mp4", *H264[:6], sound=None, seconds=0.4, size="64x64")
    blind = make_clip(tmp_path / "blind.m4a", "-c:a", "aac", picture=None, seconds=0.4)
    with ClipReader(mute) as reader, pytest.raises(MediaError, match="has no audio") as caught:
        reader.read_audio(0, 1, sample_rate=None)
    assert caught.value.reason == "no_audio"
    with ClipReader(blind) as reader, pytest.raises(MediaError, match="has no video") as caught:
        read_frames(reader, [0.0])
    assert caught.value.reason == "no_video"


class LateStream:
    """A container like those of PyAV when a stream appears on the way: it fails at the end."""

    def demux(self, *streams):
        yield from streams
        raise IndexError("list index out of range")


def test_a_stream_that_appears_late_does_not_hide_the_others():
    assert list(iter_packets(LateStream(), "first", "second")) == ["first", "second"]


def test_the_given_file_with_a_late_stream_has_a_reason(shared):
    path = shared("faults", "fuzz/indexerror_newstream.flv")
    probe(path)
    with ClipReader(path) as reader, pytest.raises(MediaError) as caught:
        read_frames(reader, [0.1])
    assert caught.value.reason == "corrupt"
