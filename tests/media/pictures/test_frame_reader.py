"""Frames against a full decode of the file, on clips of many kinds."""

import struct

import av
import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.media.pictures.sequential_reader import SequentialReader
from pipeline.media.reader import ClipReader, probe
from tests.helpers.media.changing_headers import replace_atoms
from tests.helpers.media.clip_factory import H264, make_clip, read_frames, run_ffmpeg
from tests.helpers.media.full_decode import check_against_full_decode

OPEN_GOP = ("-x264-params", "open-gop=1:keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0")
MAKES = {
    "b_frames.mp4": (*H264, "-bf", "3", "-g", "25"),
    "pyramid.mp4": (*H264, "-x264-params", "b-pyramid=normal:ref=8:b-adapt=0:bframes=8:keyint=60"),
    "open_gop.mp4": (*H264, *OPEN_GOP),
    "open_gop.mkv": (*H264, *OPEN_GOP),
    "open_gop.ts": (*H264, *OPEN_GOP),
    "intra_refresh.mp4": (
        *H264,
        "-preset",
        "ultrafast",
        "-x264-params",
        "intra-refresh=1:keyint=16",
    ),
    "hevc.mp4": (
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "open-gop=1:keyint=20:bframes=4:log-level=0",
    ),
    "hevc_layers.mp4": (
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "temporal-layers=3:log-level=0",
    ),
    "variable_rate.mp4": (
        *H264,
        "-vf",
        "select='not(mod(n,3))+gt(mod(n,40),30)'",
        "-fps_mode",
        "vfr",
    ),
    "variable_rate.mkv": (
        *H264,
        "-vf",
        "select='not(mod(n,3))+gt(mod(n,40),30)'",
        "-fps_mode",
        "vfr",
    ),
    "fragments.mp4": (*H264, "-bf", "2", "-movflags", "frag_keyframe+empty_moov"),
    "interlaced.ts": (
        *H264[:6],
        "-vf",
        "interlace",
        "-x264-params",
        "tff=1:bframes=2",
        "-c:a",
        "mp2",
    ),
    "mpeg4.avi": ("-c:v", "mpeg4", "-bf", "2", "-g", "30", "-c:a", "mp3"),
    "dropped_frames.avi": (
        "-c:v",
        "mjpeg",
        "-vf",
        "select='not(mod(n,3))'",
        "-fps_mode",
        "vfr",
        "-c:a",
        "pcm_s16le",
    ),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-bf", "2", "-g", "15", "-c:a", "mp2"),
    "small_pictures.mpg": ("-c:v", "mpeg2video", "-q:v", "20", "-g", "12", "-c:a", "mp2"),
    "vp8.webm": (
        "-c:v",
        "libvpx",
        "-auto-alt-ref",
        "1",
        "-lag-in-frames",
        "16",
        "-g",
        "40",
        "-deadline",
        "realtime",
    ),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-g", "40", "-deadline", "realtime", "-cpu-used", "8"),
    "ten_bit.mp4": (
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-pix_fmt",
        "yuv420p10le",
        "-c:a",
        "aac",
    ),
    "grey.mp4": ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "gray", "-c:a", "aac"),
    "full_range.mov": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"),
    "lossless.mkv": ("-c:v", "ffv1", "-pix_fmt", "bgr0", "-c:a", "flac"),
}


@pytest.mark.parametrize("name", MAKES)
def test_frames_equal_a_full_decode(tmp_path, name):
    path = make_clip(tmp_path / name, *MAKES[name], size="96x64", seconds=3)
    check_against_full_decode(path, last_time=3.3)


def test_frames_after_an_edit_list_and_of_shifted_streams(tmp_path):
    source = make_clip(
        tmp_path / "source.mp4", *H264, "-bf", "3", "-g", "25", size="96x64", seconds=3
    )
    cut = tmp_path / "cut.mp4"
    run_ffmpeg("-ss", "0.53", "-i", str(source), "-c", "copy", str(cut))
    check_against_full_decode(cut, last_time=2.7)
    late = tmp_path / "late.mp4"
    both = ("-itsoffset", "0.7", "-i", str(source), "-i", str(source))
    run_ffmpeg(*both, "-map", "0:v", "-map", "1:a", "-c", "copy", str(late))
    check_against_full_decode(late, last_time=3.9)

    with ClipReader(late) as reader:
        assert read_frames(reader, [0.2])[0].time_seconds == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("starts", [(0.2, 1.4), (1.4, 0.2), (0.4, 0.4)])
def test_frames_of_several_edits(tmp_path, starts):
    """Packets that are not shown lie between two edits of an MP4, with times of what follows."""
    source = make_clip(
        tmp_path / "source.mp4", *H264[:6], "-bf", "2", "-g", "20", seconds=2.4, sound=None
    )
    data = source.read_bytes()
    moov = data.index(b"moov") - 4
    # The units of the film and of the track: behind version, flags and two dates.
    film, track = (
        int.from_bytes(data[data.index(name) + 16 :][:4], "big") for name in (b"mvhd", b"mdhd")
    )
    edits = [struct.pack(">III", film * 6 // 10, round(start * track), 1 << 16) for start in starts]
    payload = struct.pack(">II", 0, len(edits)) + b"".join(edits)
    path = tmp_path / "edited.mp4"
    path.write_bytes(data[:moov] + replace_atoms(data[moov:], {b"elst": payload}))
    check_against_full_decode(path, last_time=1.15)


def test_matroska_frames_before_zero_end_where_the_first_timestamp_is(tmp_path):
    """FFmpeg gives them no timestamp. The sound begins at zero, so half a second is before it."""
    source = make_clip(tmp_path / "source.mp4", *H264, "-bf", "2", size="96x64", seconds=2)
    path = tmp_path / "early.mkv"
    both = ("-itsoffset", "-0.5", "-i", str(source), "-i", str(source), "-map", "0:v", "-map")
    run_ffmpeg(*both, "1:a", "-c", "copy", "-avoid_negative_ts", "disabled", str(path))

    times = [0.01, 0.13, 0.31, 0.61]
    with ClipReader(source) as reader:
        expected = [frame.rgb for frame in reader.iter_frames([time + 0.5 for time in times])]
    with ClipReader(path) as reader:
        assert reader.origin_seconds == 0
        for rgb, frame in zip(expected, reader.iter_frames(times), strict=True):
            assert np.array_equal(frame.rgb, rgb)


@pytest.mark.parametrize(
    "name",
    [
        "big_buck_bunny_0_30.webm",
        "flipping_a_pancake.mkv",
        "h265_10bits.mp4",
        "nasa_13013.mp4",
        "no_duration.webm",
        "unordered.mov",
        "video_90.mov",
    ],
)
def test_real_media_equal_a_full_decode(shared, name):
    path = shared("media", name)
    last_time = min(probe(path).duration_seconds + 0.2, 2.5 if name.startswith("big") else 9.0)
    turn = (lambda rgb: np.rot90(rgb, -1)) if name == "video_90.mov" else (lambda rgb: rgb)
    check_against_full_decode(path, last_time=last_time, num_times=3, turn=turn)


def decode_in_order(path):
    """RGB of all frames as the decoder shows them, whatever timestamps they have."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("name", "options", "rate"),
    [
        ("reordered.avi", (*H264[:6], "-bf", "3", "-g", "25"), 25),  # AVI has no presentation times
        (
            "palette.avi",
            ("-c:v", "rawvideo", "-pix_fmt", "pal8"),
            10,
        ),  # the palette is in the first packet
        ("raw.h264", (*H264[:6], "-bf", "3", "-g", "25"), 25),
    ],
)
def test_frames_of_files_that_cannot_be_entered_in_the_middle(tmp_path, name, options, rate):
    path = make_clip(tmp_path / name, *options, size="64x48", fps=str(rate), seconds=2, sound=None)
    frames = decode_in_order(path)
    assert len(frames) == 2 * rate
    assert probe(path).duration_seconds == pytest.approx(2.0, abs=0.05)
    for time in (0.0, 0.43, 1.0, 1.71):
        with ClipReader(path) as reader:
            (frame,) = read_frames(reader, [time])
        np.testing.assert_array_equal(frame.rgb, frames[int(time * rate + 1e-6)])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", H264[:6]),
        ("hevc.mp4", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0")),
        ("mpeg4.mp4", ("-c:v", "mpeg4")),
    ],
)
def test_frames_of_files_that_call_every_frame_a_keyframe(tmp_path, name, options):
    path = make_clip(tmp_path / name, *options, "-g", "300", size="64x48", seconds=2, sound=None)
    data = path.read_bytes()
    assert data.count(b"stss") == 1  # the table of keyframes
    path.write_bytes(data.replace(b"stss", b"free"))
    check_against_full_decode(path, last_time=2.0, num_times=4)


def test_frames_before_zero_of_matroska_keep_their_place(tmp_path):
    """They have no timestamps there: counted from the file's start, good to a frame."""
    early = ("-output_ts_offset", "-0.5", "-avoid_negative_ts", "disabled")
    path = make_clip(tmp_path / "early.mkv", *H264, "-bf", "2", *early, size="64x48", seconds=3)
    frames = decode_in_order(path)

    with ClipReader(path) as reader:
        assert reader.origin_seconds == pytest.approx(-0.5, abs=0.03)
        times = [number * 0.1 for number in range(29)]
        shown = [frame.rgb for frame in read_frames(reader, times)]

    for time, rgb in zip(times, shown, strict=True):
        indexes = [index for index, frame in enumerate(frames) if np.array_equal(frame, rgb)]
        assert min(abs(index - time * 25) for index in indexes) < 1.5, time


@pytest.mark.parametrize(
    "name", ["b_frames.mp4", "pyramid.mp4", "open_gop.mkv", "hevc.mp4", "vp9.webm"]
)
def test_common_clips_are_not_decoded_from_the_beginning(tmp_path, name, monkeypatch):
    decoded_sequentially = []
    iter_sequentially = SequentialReader.iter_frames
    monkeypatch.setattr(
        SequentialReader,
        "iter_frames",
        lambda reader, times: (
            decoded_sequentially.append(times) or iter_sequentially(reader, times)
        ),
    )
    path = make_clip(tmp_path / name, *MAKES[name], size="96x64", seconds=3)

    for time in (0.0, 0.33, 1.51, 2.2, 2.99):
        with ClipReader(path) as reader:
            assert len(read_frames(reader, [time, time + 0.125, time + 0.5])) == 3

    assert decoded_sequentially == []


def test_what_a_broken_stream_gives_before_its_break(shared):
    path = shared("media", "corrupted.mp4")
    check_against_full_decode(path, last_time=2.8, num_times=4)
    with ClipReader(path) as reader:
        with pytest.raises(
            MediaError, match=r"breaks after 2\.800 s, before the wanted 4\.000 s"
        ) as caught:
            read_frames(reader, [4.0])
    assert caught.value.reason == "corrupt"
