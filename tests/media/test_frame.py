"""Frames come out upright and in their own colours."""

import numpy as np
import pytest

from pipeline.media.reader import ClipReader, probe
from tests.helpers.clip_factory import H264, make_clip, read_frames, run_ffmpeg


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
