"""Which MP4 files are opened without decoding, and that they give what they give when FFmpeg decodes."""

import struct

import numpy as np
import pytest

from pipeline.media.mp4_tracks import find_tracks, is_plain
from pipeline.media.reader import ClipReader
from tests.helpers.clip_factory import make_clip, run_ffmpeg

H264 = (
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-pix_fmt",
    "yuv444p",
    "-bf",
    "3",
    "-g",
    "25",
    "-c:a",
    "aac",
)


def box(kind, payload):
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def track(handler, codec):
    description = box(b"stsd", struct.pack(">II", 0, 1) + box(codec, bytes(8)))
    media = box(b"hdlr", bytes(8) + handler + bytes(12)) + box(b"minf", box(b"stbl", description))
    return box(b"trak", box(b"tkhd", bytes(84)) + box(b"mdia", media))


def test_tracks_of_an_index():
    both = track(b"vide", b"avc1") + track(b"soun", b"mp4a")
    assert find_tracks(box(b"mvhd", bytes(100)) + both) == [("vide", "avc1"), ("soun", "mp4a")]
    assert find_tracks(both + box(b"mvex", b"")) is None
    with pytest.raises(struct.error):
        find_tracks(both[:-4])


def test_which_files_are_plain(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", *H264, seconds=2)
    assert is_plain(clip)
    variants = {
        "fragments.mp4": ("-c", "copy", "-movflags", "frag_keyframe+empty_moov"),
        "two.mp4": ("-map", "0:v", "-map", "0:v", "-c", "copy"),
        "clip.mkv": ("-c", "copy"),
        "sound.m4a": ("-map", "0:a", "-c", "copy"),
        "pcm.mov": ("-c:v", "copy", "-c:a", "pcm_s16le"),
    }
    for name, options in variants.items():
        run_ffmpeg("-i", clip, *options, tmp_path / name)
        assert not is_plain(tmp_path / name), name
    run_ffmpeg("-i", clip, "-map", "0:v", "-c", "copy", tmp_path / "mute.mov")
    assert is_plain(tmp_path / "mute.mov")
    data = clip.read_bytes()
    for name, content in {
        "empty.mp4": b"",
        "cut.mp4": data[:-200],
        "noise.mp4": bytes(range(256)) * 40,
    }.items():
        (tmp_path / name).write_bytes(content)
        assert not is_plain(tmp_path / name), name
    assert not is_plain(tmp_path / "absent.mp4")


def test_opened_without_decoding_the_same_arrays(tmp_path):
    """Also where only the decoder knows the shape of a pixel, and where the picture begins after the sound."""
    clip = make_clip(tmp_path / "clip.mp4", *H264, seconds=3)
    wide = ("-bsf:v", "h264_metadata=sample_aspect_ratio=4/3")
    run_ffmpeg("-i", clip, "-c", "copy", *wide, tmp_path / "marked.mp4")
    run_ffmpeg(
        "-itsoffset",
        "0.6",
        "-i",
        clip,
        "-i",
        clip,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c",
        "copy",
        tmp_path / "late.mp4",
    )
    (tmp_path / "wide.mp4").write_bytes(
        (tmp_path / "marked.mp4").read_bytes().replace(b"pasp", b"free")
    )
    for name, aspect in {"clip.mp4": 1, "wide.mp4": 4 / 3, "late.mp4": 1}.items():
        path = tmp_path / name
        assert is_plain(path), name
        with ClipReader(path) as probed, ClipReader(path, is_probed=False) as plain:
            assert plain.origin_seconds == probed.origin_seconds
            assert plain.info.duration_seconds == probed.info.duration_seconds
            for start in (0.0, 1.2):
                window = {"sample_rate": 16000, "start_seconds": start, "stop_seconds": start + 1}
                np.testing.assert_array_equal(
                    plain.read_audio(**window)[0], probed.read_audio(**window)[0]
                )
            times = [0.0, 0.3, 1.5, 2.9]
            for ours, theirs in zip(
                plain.read_frames(times), probed.read_frames(times), strict=True
            ):
                assert ours.time_seconds == theirs.time_seconds
                assert (
                    float(ours.pixel_aspect) == float(theirs.pixel_aspect) == pytest.approx(aspect)
                )
                np.testing.assert_array_equal(ours.rgb, theirs.rgb)
