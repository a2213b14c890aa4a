"""Sound that changes on the way or has lost packets: mono, at one rate, in its place."""

import av
import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.media.reader import ClipReader
from pipeline.media.sound.audio import Window, read_window
from tests.helpers.media.changing_headers import (
    write_flv_with_two_headers,
    write_mp4_with_two_descriptions,
)
from tests.helpers.media.clip_factory import run_ffmpeg

RATE = 16000
HALF_SECONDS = 2
SPREAD = {
    1: "mono|c0=c0",
    2: "stereo|c0=c0|c1=c0",
    6: "5.1|" + "|".join(f"c{i}=c0" for i in range(6)),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Noise below 2 kHz; each channel of every coded copy has it."""
    path = tmp_path_factory.mktemp("source") / "noise.wav"
    noise = f"anoisesrc=d={2 * HALF_SECONDS}:a=0.8:r=48000:seed=3,lowpass=f=2000,lowpass=f=2000"
    run_ffmpeg("-f", "lavfi", "-i", noise, "-c:a", "pcm_f32le", str(path))
    return path


def encode(path, source, codec, rate, channels, *options, start=0, seconds=2 * HALF_SECONDS):
    """Encode a part of the source; return the file's bytes."""
    run_ffmpeg(
        *("-ss", str(start), "-t", str(seconds), "-i", str(source)),
        *("-af", f"pan={SPREAD[channels]}", "-ar", str(rate), "-c:a", codec, "-b:a", "192k"),
        *options,
        str(path),
    )
    return path.read_bytes()


def encode_half(path, source, number, *options):
    """Encode the first or the second half of the source."""
    return encode(path, source, *options, start=number * HALF_SECONDS, seconds=HALF_SECONDS)


def make_ts(path, source, *settings):
    """Write MPEG-TS whose second half is coded with other settings than the first."""
    clock = ("-muxdelay", "0", "-muxpreload", "0", "-output_ts_offset")
    halves = [
        encode_half(path, source, number, *one, *clock, str(number * HALF_SECONDS))
        for number, one in enumerate(settings)
    ]
    path.write_bytes(b"".join(halves))
    return path


def make_flv(path, source, *settings):
    """Write FLV with a new header in the middle, as a stream that was restarted has."""
    halves = [path.with_name(f"half{number}.flv") for number in range(2)]
    for number, (half, one) in enumerate(zip(halves, settings, strict=True)):
        encode_half(half, source, number, *one, "-flvflags", "no_sequence_end")
    return write_flv_with_two_headers(path, *halves, begin_ms=HALF_SECONDS * 1000)


def make_mp4(path, source, *settings):
    """Write MP4 whose second half has a sample description of its own."""
    halves = [path.with_name(f"half{number}.mp4") for number in range(2)]
    for number, (half, one) in enumerate(zip(halves, settings, strict=True)):
        encode_half(half, source, number, *one)
    return write_mp4_with_two_descriptions(path, *halves)


CHANGES = {
    "stereo to mono": (make_ts, ("aac", 48000, 2), ("aac", 48000, 1)),
    "5.1 to stereo": (make_ts, ("ac3", 48000, 6), ("ac3", 48000, 2)),
    "another rate": (make_ts, ("mp2", 44100, 2), ("mp2", 48000, 1)),
    "header with another rate": (make_flv, ("aac", 44100, 2), ("aac", 48000, 2)),
    "header with another rate and channels": (make_flv, ("aac", 48000, 2), ("aac", 22050, 1)),
    "description with another rate": (make_mp4, ("aac", 48000, 2), ("aac", 44100, 1)),
    "packets with another rate": (make_flv, ("pcm_s16le", 44100, 1), ("pcm_s16le", 22050, 1)),
    "frames with another rate": (make_flv, ("libmp3lame", 44100, 2), ("libmp3lame", 22050, 1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_sound_that_changes_is_continuous_mono_at_one_rate(tmp_path, source, change):
    make, *settings = CHANGES[change]
    path = make(tmp_path / f"a.{make.__name__.removeprefix('make_')}", source, *settings)
    with ClipReader(source) as reader:
        expected, _ = reader.read_audio(0, 4, sample_rate=RATE)
    with ClipReader(path) as reader:
        whole, _ = reader.read_audio(0, 4, sample_rate=RATE)
        _, own_rate = reader.read_audio(3, 3.5, sample_rate=None)
    assert own_rate == settings[0][1], "the rate at the beginning counts for the whole file"

    for start in (0.2, 1.4, 2.2, 3.4):
        with ClipReader(path) as reader:
            alone, _ = reader.read_audio(start, start + 0.4, sample_rate=RATE)
        # Encoders begin with up to 60 ms of priming.
        match_source(alone, expected, start, late_seconds=(0, 0.06))
        match_source(alone, whole, start, late_seconds=(-0.001, 0.001))

    # The sound goes on at the change, but for the priming of the second encoder.
    levels = np.sqrt((whole[RATE // 5 :].reshape(-1, 320) ** 2).mean(axis=1))
    assert np.count_nonzero(levels < 0.3 * np.median(levels)) <= 2


@pytest.mark.parametrize(
    ("suffix", "first", "second"),
    [
        (".ts", ("aac", 48000, 1), ("aac", 44100, 1)),
        (".ts", ("mp3", 44100, 1), ("mp3", 24000, 1)),
        (".mpg", ("mp2", 24000, 1), ("mp2", 48000, 1)),
    ],
)
def test_times_that_are_counted_with_the_old_rate_are_corrected(
    tmp_path, source, suffix, first, second
):
    """The halves lie in one file as each lies in its own: one time counts for several frames."""
    path = tmp_path / f"a{suffix}"
    halves = []
    for number, settings in enumerate((first, second)):
        half = tmp_path / f"half{number}{suffix}"
        clock = ("-b:a", "96k", "-output_ts_offset", str(10 + 2 * number))
        encode_half(half, source, number, *settings, *clock)
        halves.append(half)
    path.write_bytes(b"".join(half.read_bytes() for half in halves))

    with ClipReader(halves[1]) as reader:
        alone = reader.read_whole_sound(sample_rate=RATE)
        late_seconds = reader.origin_seconds
    with ClipReader(path) as reader:
        late_seconds -= reader.origin_seconds
        whole = reader.read_whole_sound(sample_rate=RATE)
    # Behind the change and its fade.
    for start in (0.2, 0.8, 1.4):
        begin = round((start + late_seconds) * RATE)
        part = whole.waveform[begin : begin + RATE // 4]
        match_source(part, alone.waveform, start, late_seconds=(-0.0005, 0.0005))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "aac"), ("a.webm", "libopus"), ("a.mp4", "aac"), ("a.mpg", "mp2")]
)
def test_a_window_before_late_sound_begins_where_the_sound_does(tmp_path, source, name, codec):
    """Not with the priming of the encoder, and also where no index leads to so early a time."""
    picture = {"a.webm": "libvpx", "a.mpg": "mpeg2video"}.get(name, "mpeg4")
    path = tmp_path / name
    run_ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=4", "-itsoffset", "2.5"),
        *("-i", str(source), "-map", "0:v", "-map", "1:a", "-t", "4", "-c:v", picture, "-c:a"),
        *(codec, str(path)),
    )
    with ClipReader(source) as reader:
        expected, _ = reader.read_audio(0, 1.5, sample_rate=RATE)
    with ClipReader(path) as reader:
        window = reader.read_audio_window(1.0, 1.5, sample_rate=RATE)
    # These files do not say how much of it is priming.
    late_seconds = 0.03 if name in ("a.mpg", "a.mp4") else 0.001
    assert window.start_seconds == pytest.approx(2.5, abs=late_seconds)
    begin = round((2.6 - window.start_seconds) * RATE)
    match_source(window.waveform[begin:], expected, 0.1, late_seconds=(-0.001, late_seconds))


@pytest.mark.parametrize("name", ["a.flv", "a.ts"])
def test_a_window_that_begins_just_before_sound_goes_on_keeps_its_place(tmp_path, source, name):
    """The 30 ms of a pause at its beginning are silence, not a shift."""
    path = tmp_path / name
    picture = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=4")
    pause = ("-af", "aselect='not(between(t,1,2))'", "-c:a", "aac", "-ar", "44100")
    run_ffmpeg(*picture, "-i", str(source), *pause, "-c:v", "libx264", "-g", "25", str(path))
    with ClipReader(path) as reader:
        whole = reader.read_whole_sound(sample_rate=RATE)
    level = np.convolve(np.abs(whole.waveform), np.ones(80) / 80, "same")
    resumes = np.flatnonzero(level[RATE * 3 // 2 :] > 0.02)[0] + RATE * 3 // 2
    start = whole.start_seconds + resumes / RATE - 0.03
    with ClipReader(path) as reader:
        window = reader.read_audio_window(start, start + 0.5, sample_rate=RATE)
    assert window.start_seconds == pytest.approx(start, abs=0.001)
    begin = round((start - whole.start_seconds) * RATE)
    # FFmpeg's FLV and MPEG-TS know the time to a millisecond.
    part = window.waveform[RATE // 10 :]
    match_source(part, whole.waveform[begin:], 0.1, late_seconds=(-0.001, 0.001))


def test_sound_behind_a_joint_with_short_frames_keeps_its_place(tmp_path, source):
    """Joined without encoding, MP4 has frames that are shorter than what they decode to."""
    halves = []
    for number in range(2):
        half = tmp_path / f"half{number}.mp4"
        seconds = 1.2
        encode(half, source, "aac", 48000, 1, start=number * seconds, seconds=seconds)
        halves.append(f"file '{half}'\n")
    (tmp_path / "list.txt").write_text("".join(halves))
    path = tmp_path / "a.mp4"
    joint = ("-f", "concat", "-safe", "0", "-i", str(tmp_path / "list.txt"), "-c", "copy")
    run_ffmpeg(*joint, str(path))

    with ClipReader(path) as reader:
        whole = reader.read_whole_sound(sample_rate=RATE).waveform
    for start in (0.2, 1.4, 2.0):
        with ClipReader(path) as reader:
            alone, _ = reader.read_audio(start, start + 0.25, sample_rate=RATE)
        match_source(alone, whole, start, late_seconds=(-0.0005, 0.0005))


@pytest.mark.parametrize(
    "settings",
    [
        (("pcm_s16le", 44100, 1), ("pcm_s16le", 44100, 2)),
        (("pcm_s16le", 44100, 2), ("pcm_s16le", 44100, 1)),
        (("pcm_s16le", 22050, 1), ("pcm_s16le", 44100, 2)),
        (("pcm_alaw", 8000, 1), ("pcm_alaw", 8000, 2)),
        (("pcm_mulaw", 8000, 2), ("pcm_mulaw", 8000, 1)),
        (("adpcm_swf", 44100, 1), ("adpcm_swf", 22050, 1)),
    ],
)
def test_channels_that_change_where_no_decoder_is_told_are_refused(tmp_path, source, settings):
    path = make_flv(tmp_path / "a.flv", source, *settings)
    with ClipReader(path) as reader, pytest.raises(MediaError, match=r"change at 2\.0\d s"):
        reader.read_audio(3.0, 3.5, sample_rate=RATE)


def test_a_change_is_known_when_nothing_before_it_is_decoded(tmp_path, source):
    """MP4 announces the change with one packet, which a read from the beginning passes by."""
    settings = ("aac", 48000, 2), ("aac", 44100, 1)
    path = make_mp4(tmp_path / "a.mp4", source, *settings)
    with ClipReader(path) as reader:
        expected, _ = reader.read_audio(3.0, 3.5, sample_rate=RATE)

    with av.open(str(path)) as container:
        window = Window(3.0, 3.5, origin_seconds=0.0)
        waveform = read_window(
            container, container.streams.audio[0], window, sample_rate=RATE, is_within=True
        ).waveform
    assert np.corrcoef(waveform[: len(expected)], expected)[0, 1] > 0.99


def match_source(waveform, source, start_seconds, *, late_seconds):
    """Check that a waveform is what the source has at a time, or a little earlier."""
    scores = []
    for lag in range(round(late_seconds[0] * RATE), round(late_seconds[1] * RATE) + 1):
        begin = round(start_seconds * RATE) - lag
        part = source[begin : begin + len(waveform)]
        correlation = np.corrcoef(part, waveform[: len(part)])[0, 1]
        scores.append((correlation, np.std(waveform) / np.std(part)))
    correlation, level = max(scores)
    assert correlation > 0.95, f"at {start_seconds} s: {correlation:.2f}"
    # The sixth channel of 5.1 has only the lowest tones.
    assert level == pytest.approx(1, abs=0.15), f"at {start_seconds} s"


def drop_packet(path, number):
    """Return MPEG-TS without one packet of its sound, counted from the middle of the file."""
    data = path.read_bytes()
    with av.open(str(path)) as container:
        pid = container.streams.audio[0].id
    packets = [data[i : i + 188] for i in range(0, len(data), 188)]
    sound = [
        index
        for index, packet in enumerate(packets)
        if int.from_bytes(packet[1:3], "big") & 0x1FFF == pid
    ]
    del packets[sound[len(sound) // 2 + number]]
    return b"".join(packets)


# Without a delay of the multiplexer each frame is a PES packet of its own and can be lost whole.
@pytest.mark.parametrize(
    ("codec", "options"),
    [("aac", ()), ("ac3", ()), ("mp2", ()), ("mp2", ("-muxdelay", "0", "-muxpreload", "0"))],
)
def test_a_lost_packet_takes_only_its_own_sound(tmp_path, source, codec, options):
    whole_path = tmp_path / "a.ts"
    encode(whole_path, source, codec, 48000, 2, *options)
    damaged_path = tmp_path / "b.ts"
    with ClipReader(whole_path) as reader:
        whole, _ = reader.read_audio(0.5, 3.5, sample_rate=RATE)

    # Some of these packets begin a frame, others lie in the middle of one.
    wrong_seconds = []
    for number in range(5):
        damaged_path.write_bytes(drop_packet(whole_path, number))
        with ClipReader(damaged_path) as reader:
            damaged, _ = reader.read_audio(0.5, 3.5, sample_rate=RATE)
        is_wrong = np.abs(damaged - whole).reshape(-1, 160).max(axis=1) > 0.03
        wrong_seconds.append(is_wrong.sum() / 100)

    # Where the header of a PES packet is lost, FFmpeg drops all that it holds.
    assert max(wrong_seconds) < 0.35
    assert np.median(wrong_seconds) < 0.2


def test_sound_that_is_mostly_lost_is_refused(tmp_path, source):
    path = tmp_path / "a.ts"
    data = bytearray(encode(path, source, "aac", 48000, 2))
    # Overwrite what the packets hold in the middle of the file, but not their headers.
    for begin in range(len(data) // 2 // 188 * 188 - 40 * 188, len(data) // 2 + 40 * 188, 188):
        data[begin + 40 : begin + 160] = b"\x55" * 120
    path.write_bytes(data)

    with ClipReader(path) as reader:
        with pytest.raises(MediaError, match=r"a\.ts: .* s of 1\.00 s of its audio cannot be deco"):
            reader.read_audio(1.5, 2.5, sample_rate=RATE)


def test_published_files_with_changes(shared):
    for name in ("aac_stereo_to_mono.ts", "ac3_51_to_stereo.ts", "flvaac_44s_48s.flv"):
        with ClipReader(shared("faults", name)) as reader:
            waveform, _ = reader.read_audio(0, 7.9, sample_rate=RATE)
        levels = np.sqrt((waveform.reshape(-1, 1600) ** 2).mean(axis=1))
        assert levels[1:].min() > 0.07, name
