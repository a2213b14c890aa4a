"""Joined files: what two files have at one time comes at that time, whatever their clocks say."""

import av
import numpy as np
import pytest

from pipeline.media.mux import mux, mux_still
from pipeline.media.reader import ClipReader
from tests.helpers.media.clip_factory import run_ffmpeg
from tests.helpers.media.coded_media import decode_truth, find_join_faults, make_coded

EVENT_SECONDS = 1.2
FLASH = (
    "color=black:size=96x64:rate=25:duration=2,"
    f"drawbox=c=white:t=fill:enable='gte(t,{EVENT_SECONDS - 0.001})'"
)
BEEP = f"aevalsrc='0.8*sin(2*PI*1000*t)*gte(t,{EVENT_SECONDS})':s=44100:d=2"
PICTURES = {
    "a.mp4": ("-c:v", "libx264"),
    "late.ts": ("-c:v", "libx264", "-bf", "2"),  # FFmpeg's clock of MPEG-TS begins at 1.4 s
    "late.mkv": ("-c:v", "libx264", "-output_ts_offset", "5"),
}
SOUNDS = {
    "a.wav": (),
    "a.mp3": ("-c:a", "libmp3lame"),  # 25 ms of delay, which its header tells
    "a.m4a": ("-c:a", "aac"),
    "a.opus": ("-c:a", "libopus"),
    "late.mka": ("-c:a", "flac", "-output_ts_offset", "7"),
}


def find_beep(reader):
    waveform, rate = reader.read_audio(1.0, 1.6, sample_rate=None)
    return 1.0 + np.flatnonzero(np.abs(waveform) > 0.2)[0] / rate


def find_flash(reader):
    times = np.arange(1.0, 1.6, 0.01)
    levels = [frame.rgb.mean() for frame in reader.iter_frames(list(times))]
    return times[np.flatnonzero(np.array(levels) > 128)[0]]


@pytest.mark.parametrize(
    ("picture", "sound"),
    [
        ("a.mp4", "a.mp3"),
        ("a.mp4", "a.m4a"),
        ("a.mp4", "a.opus"),
        ("late.ts", "a.wav"),
        ("late.mkv", "late.mka"),
    ],
)
def test_a_flash_and_a_beep_stay_at_their_time(tmp_path, picture, sound):
    run_ffmpeg("-f", "lavfi", "-i", FLASH, *PICTURES[picture], str(tmp_path / picture))
    run_ffmpeg("-f", "lavfi", "-i", BEEP, *SOUNDS[sound], str(tmp_path / sound))

    mux(tmp_path / picture, tmp_path / sound, tmp_path / "joined.mkv")
    with ClipReader(tmp_path / "joined.mkv") as reader:
        assert find_flash(reader) == pytest.approx(EVENT_SECONDS, abs=0.0101)
        assert find_beep(reader) == pytest.approx(EVENT_SECONDS, abs=0.002)


@pytest.mark.parametrize("sound", ["a.mp3", "late.mka"])
def test_the_sound_of_a_still_begins_with_it(tmp_path, sound):
    run_ffmpeg("-f", "lavfi", "-i", FLASH, "-frames:v", "1", str(tmp_path / "a.jpg"))
    run_ffmpeg("-f", "lavfi", "-i", BEEP, *SOUNDS[sound], str(tmp_path / sound))

    mux_still(tmp_path / "a.jpg", tmp_path / sound, tmp_path / "joined.mkv")
    with av.open(str(tmp_path / "joined.mkv")) as container:
        assert next(container.demux(video=0)).pts == 0
    with ClipReader(tmp_path / "joined.mkv") as reader:
        assert find_beep(reader) == pytest.approx(EVENT_SECONDS, abs=0.002)


# An AVI stores frames in another order than it shows them. AV1 has a decoder that is no encoder.
@pytest.mark.parametrize("container", ["h264_pcm.avi", "av1_opus.mkv"])
def test_a_join_shows_and_sounds_as_its_files_do(tmp_path, container):
    path = make_coded(tmp_path, container, "plain")
    mux(path, tmp_path / "noise.wav", tmp_path / "joined.mkv")
    assert find_join_faults(decode_truth(path), tmp_path / "joined.mkv") == []
