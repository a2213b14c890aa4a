"""Cuts and windows are right to the frame and the sample: a few of ``benchmarks.exactness``."""

import functools
import os

import av
import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.media.cut import cut_clip
from pipeline.media.files.ffmpeg import find_ffmpeg
from pipeline.media.reader import ClipReader
from pipeline.media.validate import ValidationParameters, validate_clip
from tests.helpers.media.clip_factory import H264, make_clip, run_ffmpeg
from tests.helpers.media.coded_media import (
    compare_sounds,
    cut_coded,
    decode_truth,
    find_faults,
    make_coded,
)

CUT = functools.partial(cut_clip, max_height=1000, ffmpeg_path=find_ffmpeg(), limit_seconds=120)
STREAMS = {"video_index": 0, "audio_index": 1}
BETWEEN_KEYFRAMES = (1.62, 3.62)
CASES = [  # container, layout, section
    ("h264_aac.mp4", "uneven", (2.013, 4.0)),
    ("h264_aac.mp4", "late_sound", (0.0, 1.5)),
    ("fragments.mp4", "late_picture", (0.0, 1.5)),
    ("h264_flac.mkv", "late_clock", BETWEEN_KEYFRAMES),
    ("h264_aac.ts", "plain", BETWEEN_KEYFRAMES),
    ("mpeg2_mp2.ts", "late_picture", (0.2, 2.0)),
    ("mpeg2_mp2.mpg", "plain", BETWEEN_KEYFRAMES),
    ("h264_pcm.avi", "plain", (3.3, None)),
    ("h264_aac.flv", "uneven", BETWEEN_KEYFRAMES),
    ("wmv2.wmv", "plain", (0.0, 1.5)),  # picture and sound begin after the file's zero
]


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Return a function that makes a file once and decodes it."""
    folder = tmp_path_factory.mktemp("coded")

    @functools.cache
    def make_once(container, layout):
        path = make_coded(folder, container, layout)
        return path, decode_truth(path)

    return make_once


@pytest.mark.parametrize(("container", "layout", "section"), CASES)
def test_a_cut_shows_and_sounds_as_the_file_does(tmp_path, make, container, layout, section):
    path, truth = make(container, layout)
    cut = tmp_path / "cut.mp4"
    cut_coded(path, cut, section, CUT)
    start, stop = section[0], min(section[1] or np.inf, truth.stop_seconds)
    assert find_faults(truth, cut, start_seconds=start, seconds=stop - start) == []


@pytest.mark.parametrize(
    ("container", "layout"), [("h264_aac.ts", "plain"), ("h264_aac.mp4", "uneven")]
)
def test_windows_of_a_file_are_those_of_a_full_decode(make, container, layout):
    path, truth = make(container, layout)
    assert find_faults(truth, path, start_seconds=0.0, seconds=truth.stop_seconds) == []


def test_a_picture_that_stays_is_there_at_the_start_of_a_cut(tmp_path, make):
    # Slides: a picture every two seconds.
    slow = "testsrc2=size=96x64:rate=1/2:duration={seconds}"
    path = make_clip(tmp_path / "slides.mkv", *H264, picture=slow, seconds=6)
    cut_coded(path, tmp_path / "cut.mp4", (3.0, 5.0), CUT)
    with ClipReader(path) as file, ClipReader(tmp_path / "cut.mp4") as cut:
        for time in (0.0, 0.9, 1.5):
            (expected,), (found,) = file.iter_frames([3.0 + time]), cut.iter_frames([time])
            assert np.abs(expected.gray.astype(int) - found.gray).mean() < 4
            assert found.time_seconds == pytest.approx(0.0 if time < 1 else 1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        ("853x480", "1", (640, 360)),
        ("718x404", "1", (640, 360)),
        ("98x50", "1", (98, 50)),
        ("99x51", "1", (100, 52)),
        ("704x576", "16/11", (640, 360)),
        ("480x854", "1", (360, 640)),
    ],
)
def test_sides_are_rounded_to_the_nearest_even_number(tmp_path, size, aspect, expected):
    picture = f"color=gray:size={size}:rate=5:duration={{seconds}},setsar={aspect}"
    options = ("-c:v", "ffv1", "-c:a", "pcm_s16le")
    path = make_clip(tmp_path / "odd.mkv", *options, picture=picture, seconds=0.6)
    cut_coded(path, tmp_path / "cut.mp4", (0.0, None), functools.partial(CUT, max_height=360))
    with av.open(str(tmp_path / "cut.mp4")) as container:
        (video,) = container.streams.video
        assert (video.codec_context.width, video.codec_context.height) == expected


def test_a_pause_in_the_sound_stays_a_pause(tmp_path):
    # Sound, a second without packets, sound again.
    source = make_clip(tmp_path / "source.mkv", *H264[:6], "-c:a", "pcm_s16le", seconds=4)
    path = tmp_path / "pause.mkv"
    pause = "aselect='not(between(t,1,2))'"
    run_ffmpeg("-i", str(source), "-c:v", "copy", "-af", pause, "-c:a", "pcm_s16le", str(path))
    cut_coded(path, tmp_path / "cut.mp4", (0.5, 3.5), CUT)
    with ClipReader(source) as whole, ClipReader(tmp_path / "cut.mp4") as cut:
        expected, _ = whole.read_audio(2.5, 3.0, sample_rate=16000)
        found, _ = cut.read_audio(2.0, 2.5, sample_rate=16000)
        silence, _ = cut.read_audio(0.7, 1.3, sample_rate=16000)
    assert compare_sounds(found, expected, 16000) == []
    assert np.abs(silence).max() < 0.01


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
@pytest.mark.parametrize("late", ["sound", "picture"])
def test_a_stream_that_begins_beyond_the_probe_is_read_and_cut(tmp_path, suffix, late):
    """FFmpeg looks for streams in the first seconds of a file alone."""
    delays = {"picture": 0, "sound": 0} | {late: 15}
    source, cut = tmp_path / f"late{suffix}", tmp_path / "cut.mp4"
    run_ffmpeg(
        *("-itsoffset", str(delays["picture"]), "-f", "lavfi"),
        *("-i", "testsrc2=size=96x64:rate=25:duration=18"),
        *("-itsoffset", str(delays["sound"]), "-f", "lavfi"),
        *("-i", "sine=frequency=1000:duration=18:sample_rate=44100", "-map", "0:v", "-map", "1:a"),
        *("-c:v", "mpeg2video", "-c:a", "mp2", str(source)),
    )
    facts = validate_clip(source, wanted_seconds=None, parameters=ValidationParameters())
    assert facts.flags == ()

    cut_coded(source, cut, (15.5, 17.0), CUT)
    for path, start in ((source, 15.5), (cut, 0.0)):
        with ClipReader(path) as reader:
            waveform, _ = reader.read_audio(start, start + 1, sample_rate=None)
            assert np.abs(waveform).max() == pytest.approx(0.125, abs=0.02)
            frames = reader.iter_frames([start, start + 1])
            assert not np.array_equal(*(frame.rgb for frame in frames))


def write_halves(path, *halves):
    """Write two recordings of one second whose clock goes on, as MPEG-TS."""
    data = b""
    for number, options in enumerate(halves):
        half = path.with_name(f"half{number}.ts")
        clock = ("-muxdelay", "0", "-output_ts_offset", str(10 + number))
        run_ffmpeg(
            *("-f", "lavfi", "-i", f"testsrc2=size=96x64:rate=25:duration={number + 1}"),
            *("-f", "lavfi", "-i", f"anoisesrc=d={number + 1}:a=0.5:r=48000:seed=1,lowpass=f=2000"),
            *("-ss", str(number), *H264[:6], "-bf", "0", "-c:a", "ac3", *options, *clock),
            str(half),
        )
        data += half.read_bytes()
    path.write_bytes(data)
    return path


ALL_SIX = "pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0"
STEREO = "pan=stereo|c0=c0|c1=c0"


@pytest.mark.parametrize("filters", [(STEREO, ALL_SIX), (ALL_SIX, STEREO)])
def test_a_cut_is_as_loud_as_the_file_where_its_channels_change(tmp_path, filters):
    path = write_halves(tmp_path / "a.ts", *(("-af", one) for one in filters))
    CUT(path, tmp_path / "cut.mp4", start_seconds=0.2, stop_seconds=1.9, **STREAMS)
    with ClipReader(path) as source, ClipReader(tmp_path / "cut.mp4") as cut:
        for start in (0.3, 1.4):
            expected, _ = source.read_audio(start, start + 0.3, sample_rate=16000)
            found, _ = cut.read_audio(start - 0.2, start + 0.1, sample_rate=16000)
            assert found.std() / expected.std() == pytest.approx(1, abs=0.1)


def test_a_cut_keeps_every_frame_where_the_size_changes(tmp_path):
    path = write_halves(tmp_path / "a.ts", ("-s", "96x64"), ("-s", "128x96"))
    CUT(path, tmp_path / "cut.mp4", start_seconds=0.5, stop_seconds=1.5, **STREAMS)
    with av.open(str(tmp_path / "cut.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert np.allclose(np.diff(times[1:]), 0.04, atol=0.002)
    assert len(times) in (25, 26)


def test_a_section_before_the_picture_or_the_sound(tmp_path):
    """Before the first frame the first one is shown; without sound there is no clip."""
    source = make_clip(tmp_path / "a.mp4", *H264, size="96x64", seconds=2)
    for name, delays in (("picture.mkv", ("1", "0")), ("sound.mkv", ("0", "1"))):
        inputs = [f"-itsoffset {delay} -i {source}".split() for delay in delays]
        maps = ("-map", "0:v", "-map", "1:a", "-c", "copy")
        run_ffmpeg(*inputs[0], *inputs[1], *maps, str(tmp_path / name))

    section = {"start_seconds": 0.2, "stop_seconds": 0.8, **STREAMS}
    CUT(tmp_path / "picture.mkv", tmp_path / "cut.mp4", **section)
    with ClipReader(tmp_path / "cut.mp4") as cut, ClipReader(tmp_path / "picture.mkv") as file:
        (found,), (expected,) = cut.iter_frames([0.3]), file.iter_frames([0.0])
        assert np.abs(found.rgb.astype(int) - expected.rgb).mean() < 6
    with pytest.raises(MediaError, match="has no sound in the section"):
        CUT(tmp_path / "sound.mkv", tmp_path / "cut.mp4", **{**section, "start_seconds": 0.0})


def test_names_need_not_be_text(tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    path = make_clip(tmp_path / "a.mp4", *H264, size="96x64", seconds=1)
    path = path.rename(folder / os.fsdecode(b"%03d \xe4\n.mp4"))
    CUT(path, folder / "cut.mp4", start_seconds=0.2, stop_seconds=0.7, **STREAMS)
    with ClipReader(folder / "cut.mp4") as reader:
        assert reader.info.duration_seconds == pytest.approx(0.5, abs=0.05)
