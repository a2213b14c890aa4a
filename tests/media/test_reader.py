"""Frames of the media layer against full sequential decodes, on clips of many makes."""

import random

import av
import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.media.frame_reader import FrameReader
from pipeline.media.packet_run import count_hevc_layers
from pipeline.media.reader import ClipReader, probe
from tests.helpers.clip_factory import H264, make_clip, run_ffmpeg

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


def decode_all(path, *, last_time):
    """(seconds on the clip's timeline, rgb) of every frame up to a time, by a plain loop over the file."""
    with ClipReader(path) as reader:
        index, origin = reader._video.index, reader.origin_seconds
    frames = []
    with av.open(str(path)) as container:
        try:
            for frame in container.decode(container.streams[index]):
                frames.append((frame.time - origin, frame.to_ndarray(format="rgb24")))
                if frame.time - origin > last_time:
                    break
        except av.FFmpegError:
            assert frames, "nothing decodes"
    return frames


def find_shown(frames, time):
    shown = [rgb for seconds, rgb in frames if seconds <= time + 1e-6]
    return shown[-1] if shown else frames[0][1]


def check_against_full_decode(path, *, last_time, num_times=12, turn=lambda rgb: rgb):
    frames = decode_all(path, last_time=last_time)
    rng = random.Random(path.name)
    times = [rng.uniform(-0.1, last_time) for _ in range(num_times)]
    times += [seconds for seconds, _ in frames[:: max(1, len(frames) // 5)] if seconds <= last_time]
    for time in times:
        with ClipReader(path) as reader:
            wanted = [time, time + 0.125] if time + 0.125 < last_time else [time]
            for at, frame in zip(wanted, reader.read_frames(wanted), strict=True):
                assert np.array_equal(frame.rgb, turn(find_shown(frames, at))), (
                    f"{path.name} at {at}"
                )
    with ClipReader(path) as reader:
        for time, frame in zip(times, reader.read_frames(times), strict=True):
            assert np.array_equal(frame.rgb, turn(find_shown(frames, time))), (
                f"{path.name} at {time}, all in one pass"
            )


@pytest.mark.parametrize("name", MAKES)
def test_frames_equal_a_full_decode(tmp_path, name):
    path = make_clip(tmp_path / name, *MAKES[name], size="96x64", seconds=3)
    check_against_full_decode(path, last_time=3.3)


@pytest.mark.parametrize(("layers", "expected"), [(1, 1), (3, 3)])
def test_hevc_says_its_temporal_layers(tmp_path, layers, expected):
    options = (
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        f"temporal-layers={layers}:log-level=0",
    )
    with av.open(
        str(make_clip(tmp_path / "clip.mp4", *options, seconds=1, sound=None))
    ) as container:
        configuration = container.streams.video[0].codec_context.extradata
    assert count_hevc_layers(configuration) == expected
    for size in range(len(configuration) - 1):
        assert count_hevc_layers(configuration[:size]) in (None, expected), size
    assert count_hevc_layers(b"\0\0\1" + configuration) is None


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
        assert reader.read_frames([0.2])[0].time_seconds == pytest.approx(0.7, abs=0.01)


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
            (frame,) = reader.read_frames([time])
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
        shown = [frame.rgb for frame in reader.read_frames(times)]
    for time, rgb in zip(times, shown, strict=True):
        indexes = [index for index, frame in enumerate(frames) if np.array_equal(frame, rgb)]
        assert min(abs(index - time * 25) for index in indexes) < 1.5, time


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


@pytest.mark.parametrize("name", ["late.mkv", "late.webm", "late.flv"])
def test_the_duration_of_a_file_that_begins_late_is_counted_from_there(tmp_path, name):
    codec = ("-c:v", "libvpx", "-deadline", "realtime") if name.endswith("webm") else H264[:6]
    late = ("-output_ts_offset", "2.5", "-avoid_negative_ts", "disabled")
    path = make_clip(tmp_path / name, *codec, *late, size="64x48", seconds=4, sound=None)
    with ClipReader(path) as reader:
        assert reader.origin_seconds == pytest.approx(2.5, abs=0.1)
        assert reader.info.duration_seconds == pytest.approx(4.0, abs=0.05)


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    make_clip(tmp_path / "12_30.mp4", *H264[:6], size="64x48", seconds=0.4, sound=None).rename(
        tmp_path / "12:30.mp4"
    )
    monkeypatch.chdir(tmp_path)
    assert probe("12:30.mp4").width == 64


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
        expected = turn(reader.read_frames([0.2])[0].rgb)
    with ClipReader(turned) as reader:
        frame = reader.read_frames([0.2])[0]
    assert np.array_equal(frame.rgb, expected)
    assert (frame.height, frame.width) == expected.shape[:2]
    assert (probe(turned).height, probe(turned).width) == expected.shape[:2]


@pytest.mark.parametrize(
    ("matrix", "range_"), [("bt709", "tv"), ("smpte170m", "tv"), ("bt709", "pc"), ("bt470bg", "pc")]
)
def test_colours_follow_the_tagged_matrix_and_range(tmp_path, matrix, range_):
    colour = "color=c=0xC83C28:size=96x64:rate=25:duration=0.2"
    convert = f"scale=out_color_matrix={'bt709' if matrix == 'bt709' else 'bt601'}:out_range={range_},format=yuv444p"
    tags = (
        "-colorspace",
        matrix,
        "-color_range",
        range_,
        "-color_primaries",
        matrix,
        "-color_trc",
        matrix,
    )
    path = tmp_path / "red.mp4"
    make_clip(
        path, "-vf", convert, "-c:v", "libx264", "-qp", "0", *tags, picture=colour, sound=None
    )
    with ClipReader(path) as reader:
        rgb = reader.read_frames([0.0])[0].rgb
    assert np.abs(rgb.reshape(-1, 3).astype(int) - (0xC8, 0x3C, 0x28)).max() <= 3


def test_default_stream_wins_and_cover_art_is_not_video(tmp_path):
    song = make_clip(tmp_path / "song.mp3", "-c:a", "libmp3lame", picture=None, seconds=1)
    cover = tmp_path / "cover.png"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x64:duration=0.1", "-frames:v", "1", str(cover)
    )
    art = tmp_path / "art.mp3"
    inputs = ("-i", str(song), "-i", str(cover))
    run_ffmpeg(
        *inputs, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic", str(art)
    )
    assert not probe(art).has_video
    assert probe(art).has_audio
    small, large = (
        "testsrc2=size=64x64:rate=25:duration=1",
        "testsrc2=size=128x96:rate=25:duration=1",
    )
    two = tmp_path / "two.mkv"
    flags = ("-disposition:v:0", "default", "-disposition:v:1", "0")
    run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        small,
        "-f",
        "lavfi",
        "-i",
        large,
        "-map",
        "0",
        "-map",
        "1",
        *flags,
        str(two),
    )
    assert (probe(two).width, probe(two).height) == (64, 64)


@pytest.mark.parametrize(
    "name", ["b_frames.mp4", "pyramid.mp4", "open_gop.mkv", "hevc.mp4", "vp9.webm"]
)
def test_common_clips_are_not_decoded_from_the_beginning(tmp_path, name, monkeypatch):
    decoded_sequentially = []
    iter_sequentially = FrameReader._iter_sequentially
    monkeypatch.setattr(
        FrameReader,
        "_iter_sequentially",
        lambda reader, times: (
            decoded_sequentially.append(times) or iter_sequentially(reader, times)
        ),
    )
    path = make_clip(tmp_path / name, *MAKES[name], size="96x64", seconds=3)
    for time in (0.0, 0.33, 1.51, 2.2, 2.99):
        with ClipReader(path) as reader:
            assert len(reader.read_frames([time, time + 0.125, time + 0.5])) == 3
    assert decoded_sequentially == []


def test_what_a_broken_stream_gives_before_its_break(shared):
    path = shared("media", "corrupted.mp4")
    check_against_full_decode(path, last_time=2.6, num_times=4)
    with ClipReader(path) as reader:
        with pytest.raises(
            MediaError, match=r"breaks after 2\.700 s, before the wanted 4\.000 s"
        ) as caught:
            reader.read_frames([4.0])
    assert caught.value.reason == "corrupt"
