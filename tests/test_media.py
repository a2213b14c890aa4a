"""The media layer against full sequential decodes, on clips of many makes and on broken files."""

import random
import struct

import av
import numpy as np
import pytest
from clip_factory import make_clip, run_ffmpeg

from pipeline.errors import MediaError
from pipeline.media import ClipReader, find_matroska_end, probe
from pipeline.packet_runs import count_hevc_layers
from pipeline.video import FrameReader

H264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac")
OPEN_GOP = ("-x264-params", "open-gop=1:keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0")
MAKES = {
    "b_frames.mp4": (*H264, "-bf", "3", "-g", "25"),
    "pyramid.mp4": (*H264, "-x264-params", "b-pyramid=normal:ref=8:b-adapt=0:bframes=8:keyint=60"),
    "open_gop.mp4": (*H264, *OPEN_GOP),
    "open_gop.mkv": (*H264, *OPEN_GOP),
    "open_gop.ts": (*H264, *OPEN_GOP),
    "intra_refresh.mp4": (*H264, "-x264-params", "intra-refresh=1:keyint=30"),
    "hevc.mp4": (
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "open-gop=1:keyint=20:bframes=4:log-level=0",
    ),
    "hevc_layers.mp4": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "temporal-layers=3:log-level=0"),
    "variable_rate.mp4": (*H264, "-vf", "select='not(mod(n,3))+gt(mod(n,40),30)'", "-fps_mode", "vfr"),
    "variable_rate.mkv": (*H264, "-vf", "select='not(mod(n,3))+gt(mod(n,40),30)'", "-fps_mode", "vfr"),
    "fragments.mp4": (*H264, "-bf", "2", "-movflags", "frag_keyframe+empty_moov"),
    "interlaced.ts": (*H264[:6], "-vf", "interlace", "-x264-params", "tff=1:bframes=2", "-c:a", "mp2"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-bf", "2", "-g", "30", "-c:a", "mp3"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-bf", "2", "-g", "15", "-c:a", "mp2"),
    "vp8.webm": ("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-g", "40", "-deadline", "realtime"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-g", "40", "-deadline", "realtime", "-cpu-used", "8"),
    "ten_bit.mp4": ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p10le", "-c:a", "aac"),
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
                assert np.array_equal(frame.rgb, turn(find_shown(frames, at))), f"{path.name} at {at}"
    with ClipReader(path) as reader:
        for time, frame in zip(times, reader.read_frames(times), strict=True):
            assert np.array_equal(frame.rgb, turn(find_shown(frames, time))), f"{path.name} at {time}, all in one pass"


@pytest.mark.parametrize("name", MAKES)
def test_frames_equal_a_full_decode(tmp_path, name):
    path = make_clip(tmp_path / name, *MAKES[name], size="96x64", seconds=3)
    check_against_full_decode(path, last_time=3.3)


@pytest.mark.parametrize(("layers", "expected"), [(1, 1), (3, 3)])
def test_hevc_says_its_temporal_layers(tmp_path, layers, expected):
    options = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", f"temporal-layers={layers}:log-level=0")
    with av.open(str(make_clip(tmp_path / "clip.mp4", *options, seconds=1, sound=None))) as container:
        configuration = container.streams.video[0].codec_context.extradata
    assert count_hevc_layers(configuration) == expected
    for size in range(len(configuration) - 1):
        assert count_hevc_layers(configuration[:size]) in (None, expected), size
    assert count_hevc_layers(b"\0\0\1" + configuration) is None


def test_frames_after_an_edit_list_and_of_shifted_streams(tmp_path):
    source = make_clip(tmp_path / "source.mp4", *H264, "-bf", "3", "-g", "25", size="96x64", seconds=3)
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
        ("palette.avi", ("-c:v", "rawvideo", "-pix_fmt", "pal8"), 10),  # the palette is in the first packet
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


def test_what_a_broken_stream_gives_before_its_break(shared):
    path = shared("media", "corrupted.mp4")
    check_against_full_decode(path, last_time=2.6, num_times=4)
    with ClipReader(path) as reader:
        with pytest.raises(MediaError, match=r"breaks after 2\.700 s, before the wanted 4\.000 s") as caught:
            reader.read_frames([4.0])
    assert caught.value.reason == "corrupt"


def test_probe_of_real_media(shared):
    info = probe(shared("media", "nasa_13013.mp4"))
    assert (info.width, info.height, info.video_codec, info.audio_codec) == (480, 270, "h264", "aac")
    assert info.sample_rate == 16000
    assert info.fps == pytest.approx(29.97, abs=0.01)
    assert info.duration_seconds == pytest.approx(13.056, abs=0.001)
    info = probe(shared("media", "video_90.mov"))
    assert (info.width, info.height, info.has_audio) == (320, 568, False)
    assert probe(shared("media", "no_duration.webm")).duration_seconds == pytest.approx(4.94, abs=0.05)


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
    tags = ("-colorspace", matrix, "-color_range", range_, "-color_primaries", matrix, "-color_trc", matrix)
    path = tmp_path / "red.mp4"
    make_clip(path, "-vf", convert, "-c:v", "libx264", "-qp", "0", *tags, picture=colour, sound=None)
    with ClipReader(path) as reader:
        rgb = reader.read_frames([0.0])[0].rgb
    assert np.abs(rgb.reshape(-1, 3).astype(int) - (0xC8, 0x3C, 0x28)).max() <= 3


def test_default_stream_wins_and_cover_art_is_not_video(tmp_path):
    song = make_clip(tmp_path / "song.mp3", "-c:a", "libmp3lame", picture=None, seconds=1)
    cover = tmp_path / "cover.png"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:duration=0.1", "-frames:v", "1", str(cover))
    art = tmp_path / "art.mp3"
    inputs = ("-i", str(song), "-i", str(cover))
    run_ffmpeg(*inputs, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic", str(art))
    assert not probe(art).has_video
    assert probe(art).has_audio
    small, large = "testsrc2=size=64x64:rate=25:duration=1", "testsrc2=size=128x96:rate=25:duration=1"
    two = tmp_path / "two.mkv"
    flags = ("-disposition:v:0", "default", "-disposition:v:1", "0")
    run_ffmpeg("-f", "lavfi", "-i", small, "-f", "lavfi", "-i", large, "-map", "0", "-map", "1", *flags, str(two))
    assert (probe(two).width, probe(two).height) == (64, 64)


def make_tone(path, *options, frequency=440, rate=44100, seconds=3.0, channels=2, before=()):
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
    errors = [np.abs(waveform - whole[start + k : start + k + len(waveform)]).max() for k in range(-slack, slack + 1)]
    assert min(errors) < 1e-3


def test_windows_do_not_depend_on_what_was_read_before(tmp_path):
    path = make_clip(
        tmp_path / "noise.mp4", *H264, sound="anoisesrc=d={seconds}:a=0.3:r=44100", seconds=3, size="64x64"
    )
    with ClipReader(path) as reader:
        alone, _ = reader.read_audio(1.0, 2.0, sample_rate=16000)
    with ClipReader(path) as reader:
        reader.read_audio(0.0, 1.0, sample_rate=16000)
        frames = reader.iter_frames([0.5, 1.5])
        first = next(frames).rgb
        again, _ = reader.read_audio(1.0, 2.0, sample_rate=16000)
        second = next(frames).rgb
        assert not np.array_equal(first, second)
    assert alone.tobytes() == again.tobytes()


def test_windows_are_shifted_inside_and_short_audio_is_tiled(tmp_path):
    path = make_tone(tmp_path / "short.wav", "-ac", "1", frequency=100, rate=16000, seconds=1.0, channels=1)
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


def write(path, data):
    path.write_bytes(data)
    return path


def test_hostile_files_have_reasons(tmp_path):
    source = make_clip(tmp_path / "source.mp4", *H264, "-movflags", "+faststart", size="96x64", seconds=2)
    data = source.read_bytes()
    assert_reason(write(tmp_path / "zero.mp4", b""), "corrupt", "is empty")
    assert_reason(write(tmp_path / "text.mp4", b"hello world\n" * 99), "corrupt", "cannot be read")
    assert_reason(write(tmp_path / "head.mp4", data[:500]), "corrupt", "cannot be read")
    assert_reason(tmp_path / "absent.mp4", "no_file", "not found")
    assert_reason(tmp_path, "corrupt", "cannot be read")
    with ClipReader(write(tmp_path / "cut.mp4", data[: len(data) * 2 // 5])) as reader:
        with pytest.raises(MediaError, match=r"cut\.mp4: the video breaks after .* \(the file is cut off\)"):
            reader.read_frames([1.5])
        reader.read_frames([0.1])
    reasons = set()
    for number in range(6):
        rng = np.random.default_rng(number)
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 60):
            damaged[position] = rng.integers(256)
        reasons.add(find_reason(write(tmp_path / f"damaged{number}.mp4", bytes(damaged))))
    assert reasons <= {"ok", "corrupt", "no_video", "no_streams"}
    assert "corrupt" in reasons


def find_reason(path):
    try:
        with ClipReader(path) as reader:
            reader.read_frames([0.5, 1.0])
    except MediaError as error:
        return error.reason
    return "ok"


def assert_reason(path, reason, text):
    with pytest.raises(MediaError, match=text) as caught:
        probe(path)
    assert caught.value.reason == reason
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_and_lying_matroska(tmp_path):
    source = make_clip(tmp_path / "source.mkv", *H264, size="96x64", seconds=2)
    data = source.read_bytes()
    assert find_matroska_end(data[:4096]) == len(data)
    with ClipReader(write(tmp_path / "cut.mkv", data[: len(data) // 2])) as reader:
        with pytest.raises(MediaError, match="the file is cut off"):
            reader.read_frames([1.9])
        with pytest.raises(MediaError, match="the file is cut off, its audio ends"):
            reader.read_audio(1.0, 2.0, sample_rate=16000)
    where = data.index(b"\x44\x89\x88") + 3
    lying = bytearray(data)
    lying[where : where + 8] = struct.pack(">d", 500_000.0)
    assert probe(write(tmp_path / "lying.mkv", bytes(lying))).duration_seconds == pytest.approx(2.0, abs=0.1)


def test_audio_that_is_not_finite_is_refused(tmp_path):
    path = make_tone(tmp_path / "nan.wav", "-c:a", "pcm_f32le", rate=16000, channels=1, seconds=1.0)
    data = path.read_bytes()
    path.write_bytes(data[:-4] + struct.pack("<f", np.nan))
    with ClipReader(path) as reader, pytest.raises(MediaError, match="not finite") as caught:
        reader.read_audio(0.5, 1.0, sample_rate=None)
    assert caught.value.reason == "corrupt"


def test_missing_streams_are_named(tmp_path):
    mute = make_clip(tmp_path / "mute.mp4", *H264[:6], sound=None, seconds=0.4, size="64x64")
    blind = make_clip(tmp_path / "blind.m4a", "-c:a", "aac", picture=None, seconds=0.4)
    with ClipReader(mute) as reader, pytest.raises(MediaError, match="has no audio") as caught:
        reader.read_audio(0, 1, sample_rate=None)
    assert caught.value.reason == "no_audio"
    with ClipReader(blind) as reader, pytest.raises(MediaError, match="has no video") as caught:
        reader.read_frames([0.0])
    assert caught.value.reason == "no_video"


@pytest.mark.parametrize("name", ["b_frames.mp4", "pyramid.mp4", "open_gop.mkv", "hevc.mp4", "vp9.webm"])
def test_common_clips_are_not_decoded_from_the_beginning(tmp_path, name, monkeypatch):
    decoded_sequentially = []
    iter_sequentially = FrameReader._iter_sequentially
    monkeypatch.setattr(
        FrameReader,
        "_iter_sequentially",
        lambda reader, times: decoded_sequentially.append(times) or iter_sequentially(reader, times),
    )
    path = make_clip(tmp_path / name, *MAKES[name], size="96x64", seconds=3)
    for time in (0.0, 0.33, 1.51, 2.2, 2.99):
        with ClipReader(path) as reader:
            assert len(reader.read_frames([time, time + 0.125, time + 0.5])) == 3
    assert decoded_sequentially == []
