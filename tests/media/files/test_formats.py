"""Only containers of their own bytes are opened, by FFmpeg's libraries and by its program."""

import subprocess

import cv2
import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.media.cut import cut_clip
from pipeline.media.files.container import open_container
from pipeline.media.files.ffmpeg import find_ffmpeg
from pipeline.media.files.formats import make_program_options
from pipeline.media.reader import probe
from pipeline.media.validate import ValidationParameters, open_source, validate_clip
from tests.helpers.media.clip_factory import H264, make_clip

TEXTS = {  # texts that FFmpeg would follow to another file
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2.0,\n{name}\n#EXT-X-ENDLIST\n",
    "absolute.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2.0,\nfile://{path}\n#EXT-X-ENDLIST\n",
    "list.mp4": "ffconcat version 1.0\nfile {name}\n",
    "session.mkv": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_names_other_files_is_refused_everywhere(tmp_path, name):
    other = make_clip(tmp_path / "other.ts", *H264, size="64x48", seconds=2)
    path = tmp_path / name
    path.write_text(TEXTS[name].format(name=other.name, path=other))

    for read in (
        probe,
        lambda path: open_source(path).__enter__(),
        lambda path: validate_clip(path, wanted_seconds=None, parameters=ValidationParameters()),
    ):
        with pytest.raises(MediaError, match="a text that names other files") as caught:
            read(path)
        assert caught.value.reason == "corrupt"


@pytest.mark.parametrize("name", TEXTS)
def test_the_ffmpeg_program_follows_no_text(tmp_path, name):
    other = make_clip(tmp_path / "other.ts", *H264, size="64x48", seconds=2)
    path = tmp_path / name
    path.write_text(TEXTS[name].format(name=other.name, path=other))
    with pytest.raises(MediaError, match="a text that names other files"):
        cut_clip(
            path,
            tmp_path / "cut.mp4",
            start_seconds=0.0,
            stop_seconds=1.0,
            max_height=360,
            video_index=0,
            audio_index=1,
            ffmpeg_path=find_ffmpeg(),
            limit_seconds=60,
        )

    # Nor does it by itself.
    options = [
        word for name, value in make_program_options().items() for word in (f"-{name}", value)
    ]
    command = [str(find_ffmpeg()), "-v", "error", "-nostdin", *options, "-i", str(path)]
    result = subprocess.run(
        [*command, "-c", "copy", str(tmp_path / "cut.mkv")], capture_output=True, check=False
    )
    assert result.returncode != 0
    assert not (tmp_path / "cut.mkv").exists()


def test_the_name_of_a_picture_is_no_pattern(tmp_path):
    for name, level in (("a%d.jpg", 0), ("a1.jpg", 250), ("a2.jpg", 250)):
        assert cv2.imwrite(str(tmp_path / name), np.full((48, 64, 3), level, np.uint8))
    with open_container(tmp_path / "a%d.jpg") as container:
        levels = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
    assert levels == [pytest.approx(0, abs=20)]


def test_nine_channels_are_checked_without_reading_beyond_them(tmp_path):
    # Only the last channel has sound.
    sound = "aevalsrc='{silent}|sin(2*PI*400*t)':s=8000:d={{seconds}}".format(
        silent="|".join("0" * 8)
    )
    options = (*H264[:6], "-c:a", "libvorbis", "-ac", "9")
    path = make_clip(tmp_path / "nine.mkv", *options, size="64x48", seconds=2, sound=sound)
    facts = validate_clip(path, wanted_seconds=None, parameters=ValidationParameters())
    assert facts.flags == ()


@pytest.mark.parametrize("name", ["segv_validate_vorbis9.mkv", "segv_validate_aac_f03926.mp4"])
def test_damaged_sound_ends_in_facts_or_a_reason(shared, name):
    path = shared("faults", "fuzz", name)
    if name.endswith(".mkv"):
        facts = validate_clip(path, wanted_seconds=None, parameters=ValidationParameters())
        assert facts.duration_seconds == pytest.approx(2.0, abs=0.05)
        return
    with pytest.raises(MediaError) as caught:
        validate_clip(path, wanted_seconds=None, parameters=ValidationParameters())
    assert caught.value.reason == "corrupt"


def test_a_stream_that_appears_late_is_a_reason(tmp_path):
    # Fifteen seconds of picture alone, then sound that the header does not announce.
    source = make_clip(tmp_path / "source.flv", *H264, "-ar", "44100", size="64x48", seconds=20)
    data = source.read_bytes()
    position, kept = 13, [data[:4] + b"\x01" + data[5:13]]
    while position < len(data):
        size = 15 + int.from_bytes(data[position + 1 : position + 4], "big")
        seconds = int.from_bytes(data[position + 4 : position + 7], "big") / 1000
        is_early_sound = data[position] == 8 and seconds < 15
        is_metadata = data[position] == 18
        if not is_early_sound and not is_metadata:
            kept.append(data[position : position + size])
        position += size
    path = tmp_path / "late.flv"
    path.write_bytes(b"".join(kept))

    for read in (
        probe,
        lambda path: validate_clip(path, wanted_seconds=None, parameters=ValidationParameters()),
    ):
        with pytest.raises(MediaError, match="appears after the beginning"):
            read(path)
