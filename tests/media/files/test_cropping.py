"""Which part of a picture its container shows."""

import struct

import av
import numpy as np
import pytest

from pipeline.media.files.cropping import Cropping, read_cropping
from pipeline.media.reader import ClipReader, probe
from tests.helpers.media.changing_headers import read_description, replace_atoms
from tests.helpers.media.clip_factory import H264, make_clip, read_frames, run_ffmpeg

TIMES = [0.0, 0.5, 0.9]
SIZE = (64, 96)  # height and width


def write_clap(path, source, *, left, top, width, height):
    """Copy an MP4 with an aperture: its size, and its centre measured from the picture's."""
    right_by, down_by = 2 * left + width - SIZE[1], 2 * top + height - SIZE[0]
    numbers = (width, 1, height, 1, right_by, 2, down_by, 2)
    entry = read_description(source) + struct.pack(">I4sIIIIiIiI", 40, b"clap", *numbers)
    entry = struct.pack(">I", len(entry)) + entry[4:]

    data = source.read_bytes()
    moov = data.index(b"moov") - 4
    payload = struct.pack(">II", 0, 1) + entry
    path.write_bytes(data[:moov] + replace_atoms(data[moov:], {b"stsd": payload}))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A clip of one second that is shown wholly."""
    path = tmp_path_factory.mktemp("cropping") / "whole.mp4"
    return make_clip(path, *H264[:6], "-bf", "2", size="96x64", seconds=1, sound=None)


@pytest.fixture(params=["mp4", "mkv"])
def cropped(request, tmp_path, source):
    """The same clip in a container that shows 48x56 of it, from column 24 and row 8 on."""
    path = tmp_path / "cropped.mp4"
    write_clap(path, source, left=24, top=8, width=48, height=56)
    if request.param == "mp4":
        return path
    run_ffmpeg("-i", str(path), "-c", "copy", str(path.with_suffix(".mkv")))
    return path.with_suffix(".mkv")


def read_cropped_size(path):
    """Return width and height as `validate_clip` reads them."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        context = video.codec_context
        return read_cropping(container, video).find_size(context.height, context.width)[::-1]


def read_images(path):
    """Return the RGB and the grey of the frames at `TIMES`."""
    with ClipReader(path) as reader:
        return [(frame.rgb, frame.gray) for frame in read_frames(reader, TIMES)]


def test_what_the_container_cuts_away_is_not_shown(source, cropped):
    for whole, part in zip(read_images(source), read_images(cropped), strict=True):
        for expected, found in zip(whole, part, strict=True):
            np.testing.assert_array_equal(found, expected[8:64, 24:72])

    info = probe(cropped)
    assert (info.width, info.height) == (48, 56)
    assert read_cropped_size(cropped) == (48, 56)
    with ClipReader(cropped) as reader:
        (frame,) = read_frames(reader, [0.5])
    assert (frame.width, frame.height, frame.pixel_aspect) == (48, 56, 1)


def test_the_stored_picture_is_cut_before_it_is_turned(tmp_path, source):
    path, turned = tmp_path / "cropped.mp4", tmp_path / "turned.mp4"
    write_clap(path, source, left=10, top=4, width=80, height=50)
    # A quarter turn, as phones write it: the matrix of the track's header.
    data = path.read_bytes()
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    begin = data.index(upright, data.index(b"tkhd"))
    turned.write_bytes(data[:begin] + quarter + data[begin + len(quarter) :])

    for (whole, _), (part, _) in zip(read_images(source), read_images(turned), strict=True):
        np.testing.assert_array_equal(part, np.rot90(whole[4:54, 10:90], -1))


@pytest.mark.parametrize(
    "aperture",
    [
        {"left": 0, "top": 0, "width": 96, "height": 64},
        {"left": 0, "top": 0, "width": 200, "height": 64},  # more than there is
        {"left": 60, "top": 0, "width": 48, "height": 64},  # outside
    ],
)
def test_apertures_that_cannot_be_change_nothing(tmp_path, source, aperture):
    path = tmp_path / "cropped.mp4"
    write_clap(path, source, **aperture)
    for (expected, _), (found, _) in zip(read_images(source), read_images(path), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_picture_of_which_nothing_is_left_is_shown_wholly():
    image = np.zeros((10, 20, 3), np.uint8)
    assert Cropping(top=6, bottom=4).apply(image) is image
    assert Cropping(left=5, right=3).find_size(10, 20) == (10, 12)


def test_the_given_file(shared):
    assert (
        probe(shared("faults", "crop.mkv")).width,
        probe(shared("faults", "crop.mkv")).height,
    ) == (48, 56)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_what_the_stream_itself_cuts_away_is_not_shown(tmp_path, source, codec):
    encode = H264[:6] if codec == "h264" else ("-c:v", "libx265", "-preset", "ultrafast")
    whole, path = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    run_ffmpeg("-i", str(source), *encode, "-x265-params", "log-level=error", str(whole))
    sides = "crop_left=8:crop_right=16:crop_top=4:crop_bottom=8"
    run_ffmpeg("-i", str(whole), "-c", "copy", "-bsf:v", f"{codec}_metadata={sides}", str(path))

    assert (probe(path).width, probe(path).height) == (72, 52)
    for (rgb, gray), (whole_rgb, _) in zip(read_images(path), read_images(whole), strict=True):
        assert gray.shape == (52, 72)
        # Colours are sampled at half the resolution, so rounding at the sides may differ.
        assert np.abs(rgb.astype(int) - whole_rgb[4:-8, 8:-16]).max() <= 8
