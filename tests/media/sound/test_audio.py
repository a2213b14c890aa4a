"""Windows of sound against full decodes: to the sample, at any rate, wherever they lie."""

import struct

import av
import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.media.reader import ClipReader
from tests.helpers.media.clip_factory import H264, make_clip, run_ffmpeg


def make_tone(path, *options, frequency=440, rate=44100, seconds=3.0, channels=2, before=()):
    """Make a file with a sine of amplitude 0.5 in the first channel, 0.25 in the others."""
    sound = "|".join(f"0.5*sin(2*PI*{frequency}*t)*{1 if i == 0 else 0.5}" for i in range(channels))
    source = f"aevalsrc='{sound}':s={rate}:d={seconds}"
    run_ffmpeg(*before, "-f", "lavfi", "-i", source, *options, str(path))
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("rate", [44100, 48000, 8000])
def test_resampled_windows_are_sample_exact_and_without_clicks(tmp_path, name, rate):
    path = make_tone(tmp_path / name, rate=rate)

    with ClipReader(path) as reader:
        for start in (0.0, 0.7, 1.2345):
            waveform, sample_rate = reader.read_audio(start, start + 1.5, sample_rate=16000)
            assert (sample_rate, waveform.shape, waveform.dtype) == (16000, (24000,), np.float32)
            begin = round(start * rate) / rate
            expected = 0.375 * np.sin(2 * np.pi * 440 * (begin + np.arange(24000) / 16000))
            settled = slice(800 if start == 0 else 0, None)  # a file begins without a past
            assert np.abs(waveform - expected)[settled].max() < 0.01


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.ts", "b.mp3", "b.ogg"])
def test_windows_equal_a_full_decode(tmp_path, name):
    codec = {"mp3": "libmp3lame", "ogg": "libvorbis"}.get(name.split(".")[1], "aac")
    path = make_tone(tmp_path / name, "-c:a", codec, frequency=330)

    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray() for frame in container.decode(audio=0)]

    whole = np.concatenate(decoded, axis=1).mean(axis=0)
    slack = 25 if name.endswith("mkv") else 1  # Matroska counts milliseconds

    with ClipReader(path) as reader:
        waveform, rate = reader.read_audio(1.5, 2.0, sample_rate=None)

    start = round(1.5 * rate)
    errors = [
        np.abs(waveform - whole[start + k : start + k + len(waveform)]).max()
        for k in range(-slack, slack + 1)
    ]
    assert min(errors) < 1e-3


def test_windows_do_not_depend_on_what_was_read_before(tmp_path):
    path = make_clip(
        tmp_path / "noise.mp4",
        *H264,
        sound="anoisesrc=d={seconds}:a=0.3:r=44100",
        seconds=3,
        size="64x64",
    )

    with ClipReader(path) as reader:
        alone, _ = reader.read_audio(1.0, 2.0, sample_rate=16000)

    # The same window between other windows and frames.
    with ClipReader(path) as reader:
        reader.read_audio(0.0, 1.0, sample_rate=16000)
        frames = reader.iter_frames([0.5, 1.5])
        first = next(frames).rgb
        again, _ = reader.read_audio(1.0, 2.0, sample_rate=16000)
        second = next(frames).rgb
        assert not np.array_equal(first, second)

    assert alone.tobytes() == again.tobytes()


def test_windows_are_shifted_inside_and_short_audio_is_tiled(tmp_path):
    path = make_tone(
        tmp_path / "short.wav", "-ac", "1", frequency=100, rate=16000, seconds=1.0, channels=1
    )

    with ClipReader(path) as reader:
        inside, _ = reader.read_audio(0.5, 1.0, sample_rate=None)
        shifted, _ = reader.read_audio(0.8, 1.3, sample_rate=None)
        before, _ = reader.read_audio(-0.5, 0.5, sample_rate=None)
        whole, _ = reader.read_audio(0.0, 1.0, sample_rate=None)
        tiled, _ = reader.read_audio(0.0, 2.5, sample_rate=None)
        beyond, _ = reader.read_audio(7.0, 7.5, sample_rate=None)

    assert np.array_equal(shifted, inside)
    assert np.array_equal(beyond, inside)
    assert np.array_equal(before, whole)
    assert np.array_equal(tiled, np.concatenate([whole, whole, whole[:8000]]))


@pytest.mark.parametrize(
    "name", ["pause.mkv", "pause.mp4"]
)  # in MP4 the last packet before lasts until after it
@pytest.mark.parametrize("sample_rate", [None, 16000])
def test_a_pause_in_the_sound_is_silence(tmp_path, name, sample_rate):
    pause = ("-af", "aselect='lt(t,1)+gt(t,5)'", "-c:a", "flac")
    path = make_tone(tmp_path / name, *pause, rate=16000, channels=1, seconds=6.0)
    whole = 0.5 * np.sin(2 * np.pi * 440 * np.arange(6 * 16000) / 16000)

    # Where a plain decode has samples.
    with av.open(str(path)) as container:
        heard = np.zeros(len(whole), bool)
        for frame in container.decode(audio=0):
            begin = round(frame.time * 16000)
            heard[begin : begin + frame.samples] = True

    assert 0.6 < 1 - heard.mean() < 0.7

    with ClipReader(path) as reader:
        for start, stop in (
            (0.5, 1.5),
            (1.2, 1.7),
            (2.0, 3.0),
            (2.0, 5.5),
            (4.0, 5.2),
            (4.9, 5.8),
            (5.2, 5.8),
        ):
            waveform, _ = reader.read_audio(start, stop, sample_rate=sample_rate)
            expected = (whole * heard)[round(start * 16000) : round(stop * 16000)]
            assert np.abs(waveform - expected).max() < 1e-3, (start, stop)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_mono_is_the_mean_of_all_channels(tmp_path, channels):
    path = make_tone(tmp_path / "a.wav", rate=16000, channels=channels, seconds=1.0)
    mean = 0.5 * (1 + 0.5 * (channels - 1)) / channels
    with ClipReader(path) as reader:
        waveform, _ = reader.read_audio(0.0, 1.0, sample_rate=None)
    assert np.abs(waveform).max() == pytest.approx(mean, abs=0.01)


def test_sound_keeps_its_offset_to_the_picture(tmp_path):
    tone = make_tone(tmp_path / "tone.m4a", "-c:a", "aac", seconds=2.0)
    picture = make_clip(tmp_path / "picture.mp4", *H264[:6], sound=None, seconds=3, size="64x64")
    path = tmp_path / "late.mp4"
    inputs = ("-i", str(picture), "-itsoffset", "0.5", "-i", str(tone))
    run_ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", "-c", "copy", str(path))

    with ClipReader(path) as reader:
        late, _ = reader.read_audio(1.0, 2.0, sample_rate=None)

    with ClipReader(tone) as reader:
        plain, _ = reader.read_audio(0.5, 1.5, sample_rate=None)

    assert np.abs(late - plain).max() < 0.02


def test_audio_that_is_not_finite_is_refused(tmp_path):
    path = make_tone(tmp_path / "nan.wav", "-c:a", "pcm_f32le", rate=16000, channels=1, seconds=1.0)
    data = path.read_bytes()
    path.write_bytes(data[:-4] + struct.pack("<f", np.nan))
    with ClipReader(path) as reader, pytest.raises(MediaError, match="not finite") as caught:
        reader.read_audio(0.5, 1.0, sample_rate=None)
    assert caught.value.reason == "corrupt"
