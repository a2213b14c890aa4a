"""Frames come out upright and in their own colours."""

from fractions import Fraction

import numpy as np
import pytest

from pipeline.features import frames
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.media.reader import ClipReader, probe
from tests.helpers.media.changing_headers import (
    write_flv_with_two_headers,
    write_mp4_with_two_descriptions,
)
from tests.helpers.media.clip_factory import H264, make_clip, read_frames, run_ffmpeg


@pytest.mark.parametrize(
    ("options", "turn"),
    [
        (("-display_rotation", "90"), lambda rgb: np.rot90(rgb, 1)),
        (("-display_rotation", "180"), lambda rgb: np.rot90(rgb, 2)),
        (("-display_rotation", "270"), lambda rgb: np.rot90(rgb, 3)),
        (("-display_rotation", "0", "-display_hflip"), lambda rgb: rgb[:, ::-1]),
        (("-display_rotation", "0", "-display_vflip"), lambda rgb: rgb[::-1]),
    ],
)
def test_pictures_come_out_upright(tmp_path, options, turn):
    plain = make_clip(tmp_path / "plain.mp4", *H264[:6], size="96x64", seconds=0.4, sound=None)
    turned = tmp_path / "turned.mp4"
    run_ffmpeg(*options, "-i", str(plain), "-c", "copy", str(turned))

    with ClipReader(plain) as reader:
        expected = turn(read_frames(reader, [0.2])[0].rgb)

    with ClipReader(turned) as reader:
        frame = read_frames(reader, [0.2])[0]

    assert np.array_equal(frame.rgb, expected)
    assert (frame.height, frame.width) == expected.shape[:2]
    assert (probe(turned).height, probe(turned).width) == expected.shape[:2]


@pytest.mark.parametrize(
    ("matrix", "range_"), [("bt709", "tv"), ("smpte170m", "tv"), ("bt709", "pc"), ("bt470bg", "pc")]
)
def test_colours_follow_the_tagged_matrix_and_range(tmp_path, matrix, range_):
    colour = "color=c=0xC83C28:size=96x64:rate=25:duration=0.2"
    out_matrix = "bt709" if matrix == "bt709" else "bt601"
    convert = f"scale=out_color_matrix={out_matrix}:out_range={range_},format=yuv444p"
    tags = ("-colorspace", matrix, "-color_primaries", matrix, "-color_trc", matrix)
    codec = ("-c:v", "libx264", "-qp", "0", "-color_range", range_)
    path = tmp_path / "red.mp4"
    make_clip(path, "-vf", convert, *codec, *tags, picture=colour, sound=None)

    with ClipReader(path) as reader:
        rgb = read_frames(reader, [0.0])[0].rgb

    assert np.abs(rgb.reshape(-1, 3).astype(int) - (0xC8, 0x3C, 0x28)).max() <= 3


def test_the_shape_of_a_pixel_is_known_where_only_the_video_stream_says_it(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", *H264[:6], size="96x64", seconds=0.4, sound=None)
    marked = tmp_path / "marked.mp4"
    wide = ("-bsf:v", "h264_metadata=sample_aspect_ratio=4/3")
    run_ffmpeg("-i", str(clip), "-c", "copy", *wide, str(marked))
    # The container still says 1, and wins. Without its word only the H.264 stream has the aspect.
    bare = tmp_path / "bare.mp4"
    bare.write_bytes(marked.read_bytes().replace(b"pasp", b"free"))

    for path, aspect in ((clip, 1), (marked, 1), (bare, 4 / 3)):
        with ClipReader(path) as reader:
            (frame,) = reader.iter_frames([0.2])
        assert float(frame.pixel_aspect) == pytest.approx(aspect), path.name


ASPECTS = (Fraction(8, 9), Fraction(32, 27))


def make_two_aspects(folder, suffix, *options):
    """Write a clip of 2.4 s; the pixels of its second half have another shape."""
    parts = []
    for number, aspect in enumerate(ASPECTS):
        clock = ("-muxdelay", "0", "-muxpreload", "0", "-output_ts_offset", str(1.2 * number))
        part = make_clip(
            folder / f"part{number}{suffix}",
            *("-vf", f"setsar={aspect}", *options),
            *(clock if suffix == ".ts" else ()),
            size="96x64",
            seconds=1.2,
            sound=None,
        )
        parts.append(part)

    path = folder / f"clip{suffix}"
    if suffix == ".flv":
        return write_flv_with_two_headers(path, *parts, begin_ms=1200)
    if suffix == ".mp4":
        write_mp4_with_two_descriptions(path, *parts)
        # Else the container gives one aspect to all pictures.
        path.write_bytes(path.read_bytes().replace(b"pasp", b"free"))
    else:
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".ts", ("-c:v", "mpeg2video", "-bf", "2", "-g", "10")),
        (".ts", (*H264[:6], "-bf", "2", "-g", "10")),
        (".flv", (*H264[:6], "-bf", "0", "-g", "10")),
        (".mp4", (*H264[:6], "-bf", "2", "-g", "10")),
    ],
)
def test_each_frame_has_its_own_pixel_aspect(tmp_path, suffix, options):
    path = make_two_aspects(tmp_path, suffix, *options)
    times = [0.1, 0.9, 1.1, 1.35, 1.5, 2.3]
    expected = [ASPECTS[0]] * 3 + [ASPECTS[1]] * 3
    with ClipReader(path) as reader:
        assert [frame.pixel_aspect for frame in read_frames(reader, times)] == expected
    for time, aspect in zip(times, expected, strict=True):
        with ClipReader(path) as reader:
            assert read_frames(reader, [time])[0].pixel_aspect == aspect, time
    # The same file, later and earlier moments in turn.
    with ClipReader(path) as reader:
        found = [read_frames(reader, [time])[0].pixel_aspect for time in (2.3, 0.1, 1.5)]
    assert found == [ASPECTS[1], ASPECTS[0], ASPECTS[1]]


def test_an_aspect_of_the_container_counts_for_all_frames(tmp_path):
    options = ("-vf", "setsar=8/9", *H264[:6])
    path = make_clip(tmp_path / "clip.mkv", *options, size="96x64", seconds=0.4, sound=None)
    other = tmp_path / "other.mkv"
    wide = ("-bsf:v", "h264_metadata=sample_aspect_ratio=4/3")
    run_ffmpeg("-i", str(path), "-c", "copy", *wide, str(other))
    with ClipReader(other) as reader:
        (frame,) = reader.iter_frames([0.2])
    assert frame.pixel_aspect == ASPECTS[0]


def test_colours_that_cannot_be_converted_are_a_reason(tmp_path):
    """A damaged header names a matrix of colours that FFmpeg does not know."""
    make_clip(tmp_path / "in.mp4", seconds=1.0)
    path = tmp_path / "clip.mp4"
    options = ["-c", "copy", "-bsf:v", "h264_metadata=matrix_coefficients=12"]
    run_ffmpeg("-i", str(tmp_path / "in.mp4"), *options, str(path))
    feature = frames.make_feature(frames.Parameters())
    (found,) = extract_features(path, [Moment("a", None)], [feature])
    assert found["frames"].reason == "corrupt"
    assert f"{path}: its picture at 0." in found["frames"].detail
    assert "no colours that can be converted" in found["frames"].detail
