"""The one definition of time: streams, zero, duration and the frame shown at a time."""

import av
import pytest

from earshot.errors import MediaError
from pipeline.datasets.local import probe_duration, times_of
from pipeline.media.files.timeline import StreamClock, find_shown_frame
from pipeline.media.reader import ClipReader, probe
from pipeline.media.validate import (
    ValidationParameters,
    open_source,
    read_source_facts,
    validate_clip,
)
from tests.helpers.media.clip_factory import H264, make_clip, run_ffmpeg


@pytest.mark.parametrize("name", ["late.mkv", "late.webm", "late.flv"])
def test_the_duration_of_a_file_that_begins_late_is_counted_from_there(tmp_path, name):
    codec = ("-c:v", "libvpx", "-deadline", "realtime") if name.endswith("webm") else H264[:6]
    late = ("-output_ts_offset", "2.5", "-avoid_negative_ts", "disabled")
    path = make_clip(tmp_path / name, *codec, *late, size="64x48", seconds=4, sound=None)
    with ClipReader(path) as reader:
        assert reader.origin_seconds == pytest.approx(2.5, abs=0.1)
        assert reader.info.duration_seconds == pytest.approx(4.0, abs=0.05)


def make_cover(folder):
    """Make the picture of an album, larger than the videos here."""
    path = folder / "cover.png"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=200x200", "-frames:v", "1", str(path))
    return str(path)


def test_the_cover_of_a_song_is_not_video(tmp_path):
    song = make_clip(tmp_path / "song.mp3", "-c:a", "libmp3lame", picture=None, seconds=1)
    art = tmp_path / "art.mp3"
    maps = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic")
    run_ffmpeg("-i", str(song), "-i", make_cover(tmp_path), *maps, str(art))
    assert not probe(art).has_video
    assert probe(art).has_audio


def test_the_default_stream_is_read_though_another_is_larger(tmp_path):
    inputs = []
    for size in ("64x64", "128x96"):
        inputs += ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration=1"]
    maps = ("-map", "0", "-map", "1", "-disposition:v:0", "default", "-disposition:v:1", "0")
    path = tmp_path / "two.mkv"
    run_ffmpeg(*inputs, *maps, str(path))
    assert (probe(path).width, probe(path).height) == (64, 64)


CASES = {  # how each file is made (see make_case), and how long the clip lasts in seconds
    "cover_after.mp4": 2.0,
    "cover_before.mp4": 2.0,
    "long_sound.mp4": 4.0,
    "long_sound.mkv": 4.0,
    "long_sound.ts": 4.0,
    "late_picture.mp4": 2.7,
    "late_picture.ts": 2.7,
    "late_sound.mkv": 2.7,
    "late_start.mkv": 2.0,
    "late_start.mp4": 2.0,
    "no_duration.h264": 2.0,
}


def make_case(folder, name):
    """Make one of the files of CASES; all but one have a picture and a sound."""
    path = folder / name
    case, suffix = name.split(".")
    if case == "long_sound":
        return make_clip(path, *H264, size="96x64", seconds=2, sound="sine=duration=4")
    if suffix == "h264":
        return make_clip(path, *H264[:6], size="96x64", seconds=2, sound=None)

    clip = str(make_clip(folder / "clip.mp4", *H264, size="96x64", seconds=2))
    copy = ("-c", "copy")
    if case.startswith("cover"):
        cover = make_cover(folder)
        inputs = (clip, cover) if case == "cover_after" else (cover, clip)
        number = inputs.index(cover)
        maps = ("-map", "0", "-map", "1", f"-disposition:v:{number}", "attached_pic")
        run_ffmpeg("-i", inputs[0], "-i", inputs[1], *maps, *copy, str(path))
    elif case == "late_start":
        late = ("-output_ts_offset", "2.5", "-avoid_negative_ts", "disabled")
        run_ffmpeg("-i", clip, *copy, *late, str(path))
    else:
        kinds = ("0:v", "1:a") if case == "late_sound" else ("1:v", "0:a")
        maps = ("-map", kinds[0], "-map", kinds[1])
        run_ffmpeg("-i", clip, "-itsoffset", "0.7", "-i", clip, *maps, *copy, str(path))
    return path


@pytest.mark.parametrize("name", CASES)
def test_reader_validation_and_local_dataset_agree(tmp_path, name):
    path = make_case(tmp_path, name)
    info = probe(path)
    assert info.duration_seconds == pytest.approx(CASES[name], abs=0.2)
    assert (info.width, info.height, info.video_codec) == (96, 64, "h264")
    assert probe_duration(path) == info.duration_seconds

    with open_source(path) as container:
        source = read_source_facts(container)
    assert source.duration_seconds == info.duration_seconds
    assert source.short_side == 64
    if not info.has_audio:
        return
    facts = validate_clip(path, wanted_seconds=None, parameters=ValidationParameters())
    assert facts.duration_seconds == pytest.approx(info.duration_seconds, abs=1e-6)
    assert (facts.width, facts.height, facts.video_codec) == (96, 64, "h264")
    assert facts.sample_rate == info.sample_rate


SUBTITLES = "1\n00:00:00,500 --> 00:00:01,000\na\n\n2\n00:00:09,000 --> 00:00:12,500\nb\n"
LATE = ("-output_ts_offset", "30", "-avoid_negative_ts", "disabled")
EPOCH = ("-output_ts_offset", "1700000000.25", "-avoid_negative_ts", "disabled")
LENGTHS = {  # files of two seconds: the container, and ffmpeg's options of another stream or clock
    "subtitles.mkv": ("-c:s", "srt"),
    "subtitles_late.mkv": ("-c:s", "srt", *LATE),
    "subtitles.mp4": ("-c:s", "mov_text"),
    "subtitles.mov": ("-c:s", "mov_text"),
    "late.mkv": LATE,
    "late.flv": ("-ar", "44100", *LATE),
    "late.ts": LATE,
    "late.mpg": ("-c:v", "mpeg2video", "-c:a", "mp2", *LATE),
    "late_fragments.mp4": ("-movflags", "frag_keyframe+empty_moov", *LATE),
    "late.wmv": ("-c:v", "wmv2", "-c:a", "wmav2", *LATE),
    "late.nut": LATE,
    "epoch.mkv": EPOCH,
    "second_sound.mkv": (),
    "second_sound.mp4": (),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_a_clip_lasts_from_the_start_to_the_end_of_picture_and_sound(tmp_path, name):
    path = tmp_path / name
    (tmp_path / "text.srt").write_text(SUBTITLES)
    source = make_clip(tmp_path / "source.mkv", *H264, size="96x64", seconds=2)
    inputs, maps = ["-i", str(source)], ["-map", "0:v", "-map", "0:a"]
    if name.startswith("subtitles"):
        inputs += ["-i", str(tmp_path / "text.srt")]
        maps += ["-map", "1:s"]
    elif name.startswith("second_sound"):
        inputs += ["-f", "lavfi", "-i", "sine=duration=9"]
        maps += ["-map", "1:a", "-disposition:a:0", "default", "-disposition:a:1", "0"]
    run_ffmpeg(*inputs, *maps, *H264, *LENGTHS[name], str(path))

    facts = validate_clip(path, wanted_seconds=2.0, parameters=ValidationParameters())
    # A header may count the priming of an encoder.
    assert facts.duration_seconds == pytest.approx(2.0, abs=0.1)
    assert probe_duration(path) == pytest.approx(facts.duration_seconds, abs=1e-6)
    assert times_of(probe_duration(path), 0.5) == [0.25, 0.75, 1.25, 1.75]

    # The picture of the centre is the same as in the file that it was made from.
    shown = []
    for file in (source, path):
        with ClipReader(file) as reader:
            assert reader.info.duration_seconds == pytest.approx(2.0, abs=0.1)
            (frame,) = reader.iter_frames([1.02])
            shown.append(frame.time_seconds)
    # Where a container does not tell priming from sound, zero is up to 25 ms earlier.
    assert shown == [pytest.approx(1.0, abs=0.002), pytest.approx(1.0, abs=0.03)]


@pytest.mark.parametrize("suffix", [".ts", ".mpg", ".mkv", ".flv"])
@pytest.mark.parametrize("num_b_pictures", ["0", "2"])
def test_the_picture_ends_with_the_frame_that_is_shown_last(tmp_path, suffix, num_b_pictures):
    """The last frame can be stored before others, and a seek can end within a frame."""
    codec = ("-c:v", "mpeg2video", "-q:v", "20", "-g", "12", "-bf", num_b_pictures, "-c:a", "mp2")
    if suffix == ".flv":
        codec = (*H264, "-bf", num_b_pictures)
    path = make_clip(tmp_path / f"a{suffix}", *codec, size="96x64", seconds=1.36)
    with av.open(str(path)) as container:
        last_seconds = max(frame.time for frame in container.decode(video=0))
    with ClipReader(path) as reader:
        expected = last_seconds - reader.origin_seconds + 1 / 25
        assert reader.info.picture_seconds == pytest.approx(expected, abs=0.002)


def test_a_header_that_announces_more_than_there_is_does_not_count(tmp_path):
    source = make_clip(tmp_path / "source.mp4", *H264, size="96x64", seconds=2)
    data = source.read_bytes()
    # Version, flags, two dates and the unit come before the duration of the whole film.
    where = data.index(b"mvhd") + 20
    unit = int.from_bytes(data[where - 4 : where], "big")
    lying = tmp_path / "lying.mp4"
    lying.write_bytes(data[:where] + (50 * unit).to_bytes(4, "big") + data[where + 4 :])
    assert probe(lying).duration_seconds == pytest.approx(2.0, abs=0.06)


def test_a_cover_without_a_video_is_no_video_for_anybody(tmp_path):
    path = tmp_path / "song.mp4"
    clip = str(make_clip(tmp_path / "clip.mp4", *H264, size="96x64", seconds=2))
    cover = make_cover(tmp_path)
    maps = ("-map", "0:a", "-map", "1", "-disposition:v", "attached_pic", "-c", "copy")
    run_ffmpeg("-i", clip, "-i", cover, *maps, str(path))

    assert not probe(path).has_video
    with open_source(path) as container:
        assert read_source_facts(container).video_index is None
    assert probe_duration(path) is None

    with pytest.raises(MediaError, match="has no video stream") as caught:
        validate_clip(path, wanted_seconds=None, parameters=ValidationParameters())

    assert caught.value.reason == "no_video"


@pytest.mark.parametrize(
    ("limit", "shown"),
    [(-5, 0), (0, 0), (39, 0), (40, 40), (79, 40), (80, 80), (10_000, 120)],
)
def test_the_frame_shown_is_the_last_one_that_is_not_later(limit, shown):
    assert find_shown_frame([80, 0, 120, 40], limit) == shown


def test_a_clock_translates_there_and_back():
    clock = StreamClock(origin_seconds=1.4, numerator=1, denominator=90_000)
    for timestamp in (126_000, 129_600, 133_200, 9_000_001):
        seconds = clock.find_seconds(timestamp)
        assert seconds == pytest.approx(timestamp / 90_000 - 1.4)
        assert clock.find_limit(seconds) == timestamp
        # Less than the tolerance before a frame still means that frame, a millisecond does not.
        assert clock.find_limit(seconds - 9e-7) == timestamp
        assert clock.find_limit(seconds - 1e-3) < timestamp
