"""Files of several recordings: in the clip they follow each other, sound with picture."""

import av
import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.datasets.local import probe_duration
from pipeline.media.cut import cut_clip
from pipeline.media.files.ffmpeg import find_ffmpeg
from pipeline.media.reader import ClipReader, probe
from pipeline.media.recordings import find_recordings, write_joined
from pipeline.media.validate import ValidationParameters, validate_clip
from tests.helpers.downloads.download_helpers import clips_table, download
from tests.helpers.media.clip_factory import make_clip, read_frames

MAKE = (
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-bf",
    "2",
    "-g",
    "25",
    "-c:a",
    "aac",
    "-f",
    "mpegts",
)
COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}
TONES = {"red": 300, "lime": 700, "blue": 1500}


def make_recording(path, colour, *, seconds, clock=0.0):
    """A recording of one colour and one tone, whose clock begins near ``clock`` seconds."""
    return make_clip(
        path,
        *(*MAKE[:-2], "-output_ts_offset", str(clock), *MAKE[-2:]),
        seconds=seconds,
        picture=f"color={colour}:size=96x64:rate=25:duration={{seconds}}",
        sound=f"sine=frequency={TONES[colour]}:duration={{seconds}}",
    )


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """The bytes of three recordings, by name."""
    folder = tmp_path_factory.mktemp("recordings")
    return {
        "red": make_recording(folder / "red.ts", "red", seconds=3).read_bytes(),
        "lime": make_recording(folder / "lime.ts", "lime", seconds=5).read_bytes(),
        "late blue": make_recording(folder / "blue.ts", "blue", seconds=2, clock=500).read_bytes(),
    }


JOINS = {  # what follows what, and when each begins
    "the later is longer": (("red", "lime"), (0, 3)),
    "the later is shorter": (("lime", "red"), (0, 5)),
    "the clock seems to wrap around": (("late blue", "red"), (0, 2)),
    "the clock jumps ahead": (("red", "late blue"), (0, 3)),
    "three": (("red", "late blue", "lime"), (0, 3, 5)),
    "one twice": (("red", "red"), (0, 3)),
}


def write_file(path, recordings, names):
    """Write recordings one after the other, as `cat` does."""
    path.write_bytes(b"".join(recordings[name] for name in names))
    return path


def find_colour_and_tone(reader, seconds):
    """Return the names of the colour shown and of the tone heard at a time."""
    picture = read_frames(reader, [seconds])[0].rgb.astype(int).reshape(-1, 3).mean(axis=0)
    waveform, rate = reader.read_audio(seconds - 0.3, seconds + 0.3, sample_rate=None)
    tone = np.abs(np.fft.rfft(waveform)).argmax() * rate / len(waveform)
    return (
        min(COLOURS, key=lambda name: np.abs(picture - COLOURS[name]).sum()),
        min(TONES, key=lambda name: abs(tone - TONES[name])),
    )


@pytest.mark.parametrize("join", JOINS)
def test_recordings_follow_each_other_in_the_clip(tmp_path, recordings, join):
    names, begins = JOINS[join]
    path = write_file(tmp_path / "joined.ts", recordings, names)
    lengths = [{"red": 3, "lime": 5, "late blue": 2}[name] for name in names]

    row = download(tmp_path / "data", clips_table(("joined", path.as_uri())))["joined"]
    assert row["status"] == "ok", row
    clip_path = tmp_path / "data" / "clips" / row["path"]
    assert row["duration_seconds"] == pytest.approx(sum(lengths), abs=0.4)
    assert probe(clip_path).duration_seconds == pytest.approx(sum(lengths), abs=0.4)
    assert probe_duration(path) == pytest.approx(sum(lengths), abs=0.4)
    assert not clip_path.is_symlink() and path.read_bytes() == b"".join(
        recordings[name] for name in names
    )

    with ClipReader(clip_path) as reader:
        for name, begin, length in zip(names, begins, lengths, strict=True):
            for part in (0.25, 0.5, 0.8):
                colour = name.split()[-1]
                assert find_colour_and_tone(reader, begin + part * length) == (colour, colour), (
                    f"{name} at {part}"
                )

    assert find_recordings(clip_path) is None
    again = download(tmp_path / "data", clips_table(("joined", path.as_uri())))["joined"]
    assert again == row, "a source that did not change is not fetched again"


OTHER_FORMATS = {  # encoders of picture and sound
    ".vob": ("-c:v", "mpeg2video", "-bf", "2", "-b:v", "500k", "-c:a", "ac3"),
    ".mpg": ("-c:v", "mpeg1video", "-bf", "2", "-b:v", "500k", "-c:a", "mp2"),
    ".avi": ("-c:v", "mpeg4", "-bf", "2", "-b:v", "500k", "-c:a", "mp3"),
    " h264.avi": ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-c:a", "pcm_s16le"),
    " mjpeg.avi": ("-c:v", "mjpeg", "-c:a", "pcm_s16le"),
    " ac3.avi": ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-c:a", "ac3"),
    " huffyuv.avi": ("-c:v", "huffyuv", "-c:a", "pcm_s16le"),
    " pcm.vob": ("-c:v", "mpeg2video", "-bf", "2", "-q:v", "20", "-c:a", "pcm_s16be", "-ac", "2"),
    " dts.vob": ("-c:v", "mpeg2video", "-q:v", "20", "-c:a", "dca", "-strict", "-2", "-ac", "2"),
}


def write_two(folder, suffix, *, seconds=(2.4, 2.0), sizes=("96x64", "96x64")):
    """Write a red and a lime recording one after the other; return the path."""
    content = b""
    for colour, length, size in zip(("red", "lime"), seconds, sizes, strict=True):
        part = make_clip(
            folder / f"{colour}{suffix}",
            *OTHER_FORMATS[suffix],
            seconds=length,
            picture=f"color={colour}:size={size}:rate=25:duration={{seconds}}",
            sound=f"sine=frequency={TONES[colour]}:duration={{seconds}}:sample_rate=48000",
        )
        content += part.read_bytes()
    path = folder / f"both{suffix}"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", OTHER_FORMATS)
def test_recordings_of_other_formats_follow_each_other(tmp_path, suffix):
    path = write_two(tmp_path, suffix)
    row = download(tmp_path / "data", clips_table(("joined", path.as_uri())))["joined"]
    assert row["status"] == "ok", row
    clip_path = tmp_path / "data" / "clips" / row["path"]
    assert row["duration_seconds"] == pytest.approx(4.4, abs=0.25)
    assert probe_duration(path) == pytest.approx(row["duration_seconds"], abs=0.1)
    assert find_recordings(clip_path) is None

    with ClipReader(clip_path) as reader:
        for time, colour in (
            (0.4, "red"),
            (1.2, "red"),
            (2.0, "red"),
            (2.9, "lime"),
            (4.0, "lime"),
        ):
            assert find_colour_and_tone(reader, time) == (colour, colour), time
        times = [index / 10 for index in range(44)]
        together = [frame.rgb for frame in reader.iter_frames(times)]
    for index in (3, 23, 26, 40):
        with ClipReader(clip_path) as reader:
            (alone,) = read_frames(reader, [times[index]])
        np.testing.assert_array_equal(alone.rgb, together[index])

    with av.open(str(clip_path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == pytest.approx(110, abs=1)


def test_the_second_recording_begins_where_the_first_one_ends(tmp_path, recordings):
    """Pictures are decoded before they are shown, and that is no part of a recording."""
    path = write_file(tmp_path / "joined.ts", recordings, ("red", "lime"))
    write_joined(path, tmp_path / "clip.ts", find_recordings(path))
    with ClipReader(tmp_path / "clip.ts") as reader:
        times = [2.9 + index / 100 for index in range(30)]
        greens = [frame.rgb[..., 1].mean() > 128 for frame in reader.iter_frames(times)]
    # In both recordings AAC begins 23 ms before the picture and ends up to 23 ms behind it.
    assert times[greens.index(True)] == pytest.approx(3.05, abs=0.03)


def test_avi_recordings_of_different_kinds_are_refused(tmp_path):
    path = write_two(tmp_path, ".avi", sizes=("96x64", "128x96"))
    row = download(tmp_path / "data", clips_table(("joined", path.as_uri())))["joined"]
    assert (row["status"], row["reason"]) == ("missing", "corrupt")
    assert "2 concatenated recordings of different kinds" in row["detail"]


@pytest.mark.parametrize("name", ["one.webm", "one.mp4", "one.mov", "one.flv"])
def test_a_second_recording_that_ffmpeg_does_not_read_is_a_flag(tmp_path, name):
    options = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")
    if name.endswith("webm"):
        options = ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus")
    path = make_clip(tmp_path / name, *options, size="96x64", seconds=2)
    assert find_flags(path) == ()
    path.write_bytes(2 * path.read_bytes())
    assert find_flags(path) == ("more_recordings",)
    assert probe(path).duration_seconds == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("kind", ["file", "live"])
def test_of_two_matroska_recordings_the_first_is_read_and_cut(tmp_path, kind):
    """FFmpeg reads the packets of both, and its index finds those of the second one first."""
    options = ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus", "-f", "webm")
    path = tmp_path / "both.webm"
    for colour in ("red", "lime"):
        part = make_clip(
            tmp_path / f"{colour}.webm",
            *(*options, *(("-live", "1") if kind == "live" else ())),
            seconds=1.2,
            picture=f"color={colour}:size=96x64:rate=25:duration={{seconds}}",
            sound=f"sine=frequency={TONES[colour]}:duration={{seconds}}:sample_rate=48000",
        )
        path.write_bytes((path.read_bytes() if path.exists() else b"") + part.read_bytes())
    assert find_flags(path) == ("more_recordings", "still")

    cut = tmp_path / "cut.mp4"
    bounds = {"start_seconds": 0.1, "stop_seconds": 1.0, "max_height": 64, "limit_seconds": 60}
    streams = {"video_index": 0, "audio_index": 1, "ffmpeg_path": find_ffmpeg()}
    cut_clip(path, cut, **bounds, **streams)
    for clip in (path, cut):
        with ClipReader(clip) as reader:
            assert reader.info.duration_seconds < 1.3
            for time in (0.35, 0.5, 0.55):
                assert find_colour_and_tone(reader, time) == ("red", "red")


def find_flags(path):
    """Return the flags that the check of a clip gives it."""
    parameters = ValidationParameters()
    return validate_clip(path, wanted_seconds=None, parameters=parameters).flags


def test_the_packets_are_those_of_the_recordings(tmp_path, recordings):
    path = write_file(tmp_path / "joined.ts", recordings, ("red", "lime"))
    write_joined(path, tmp_path / "clip.ts", find_recordings(path))
    pictures = []

    for source in (path, tmp_path / "clip.ts"):
        with av.open(str(source)) as container:
            pictures.append(
                [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
            )

    assert len(pictures[0]) == len(pictures[1]) == 8 * 25
    assert all(np.array_equal(a, b) for a, b in zip(*pictures, strict=True))
    write_joined(path, tmp_path / "again.ts", find_recordings(path))
    assert (tmp_path / "clip.ts").read_bytes() == (tmp_path / "again.ts").read_bytes()


def test_other_files_stay_as_they_are(tmp_path, recordings):
    whole = write_file(tmp_path / "whole.ts", recordings, ("lime",))
    assert find_recordings(whole) is None
    cut = tmp_path / "cut.ts"
    cut.write_bytes(recordings["lime"][: len(recordings["lime"]) * 2 // 3])
    assert find_recordings(cut) is None
    other = make_clip(tmp_path / "clip.mkv", *MAKE[:-2], size="96x64", seconds=1)
    assert find_recordings(other) is None


def test_recordings_that_are_damaged_are_refused(tmp_path, recordings):
    lime = bytearray(recordings["lime"])
    middle = len(lime) // 2 // 188 * 188
    del lime[middle : middle + 20 * 188]
    path = tmp_path / "joined.ts"
    path.write_bytes(bytes(lime) + recordings["red"])

    with pytest.raises(
        MediaError, match=r"joined\.ts: contains 2 concatenated recordings and is also damaged"
    ):
        find_recordings(path)

    row = download(tmp_path / "data", clips_table(("joined", path.as_uri())))["joined"]
    assert (row["status"], row["reason"]) == ("missing", "corrupt")
    assert probe_duration(path) is None


def test_a_gap_of_hours_in_the_sound_takes_no_memory(tmp_path, recordings):
    """Read as it is, such a file seems to be silent for 26 hours: 16 GB of samples."""
    path = write_file(tmp_path / "joined.ts", recordings, ("late blue", "red"))
    with ClipReader(path) as reader:
        waveform, _ = reader.read_audio(1.5, 2.5, sample_rate=16000)
    assert waveform.shape == (16000,)
    assert np.abs(waveform[:6000]).mean() > 0.02
    assert np.abs(waveform[10000:]).max() < 1e-3


@pytest.mark.parametrize("pausing", ["sound", "picture"])
def test_a_stream_that_pauses_is_no_other_recording(tmp_path, pausing):
    """One stream goes on while the other one has nothing for 12 s."""
    kept = "lt(t,2)+gt(t,14)"
    path = make_clip(
        tmp_path / "pause.ts",
        *("-af", f"aselect='{kept}'") if pausing == "sound" else ("-vf", f"select='{kept}'"),
        *("-fps_mode", "passthrough", *MAKE),
        size="96x64",
        fps="5",
        seconds=16,
        sound="sine=frequency=700:duration={seconds}",
    )
    assert find_recordings(path) is None

    row = download(tmp_path / "data", clips_table(("pause", path.as_uri())))["pause"]
    assert row["duration_seconds"] == pytest.approx(16, abs=0.4), row
    with ClipReader(tmp_path / "data" / "clips" / row["path"]) as reader:
        heard = [
            np.abs(reader.read_audio(start, start + 0.5, sample_rate=16000)[0]).max() > 0.01
            for start in (1, 7, 15)
        ]
    assert heard == [True, pausing == "picture", True]


def test_a_recording_that_begins_later_by_a_pause_is_another_one(tmp_path, recordings):
    """All streams jump, by little more than what a pause may last."""
    second = make_recording(tmp_path / "second.ts", "blue", seconds=2, clock=14)
    path = tmp_path / "joined.ts"
    path.write_bytes(recordings["red"] + second.read_bytes())
    assert find_recordings(path).durations_seconds == pytest.approx((3, 2), abs=0.2)
