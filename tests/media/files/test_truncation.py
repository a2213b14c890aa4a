"""A file that is shorter than its container says is refused, whatever share of it is there."""

import pytest

from earshot.errors import MediaError
from pipeline.media.validate import ValidationParameters, validate_clip
from tests.helpers.media.clip_factory import H264, make_clip

FRAGMENTS = ("-movflags", "frag_keyframe+empty_moov", "-g", "10")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus")
CONTAINERS = {  # ffmpeg's options of each
    "index_first.mp4": (*H264, "-movflags", "+faststart"),
    "fragments.mp4": (*H264, *FRAGMENTS),
    "plain.mkv": H264,
    "live.mkv": (*H264, "-live", "1"),
    "plain.webm": VP8,
    "plain.avi": ("-c:v", "mpeg4", "-c:a", "pcm_s16le"),
    "plain.flv": (*H264, "-ar", "44100"),
    "plain.wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "plain.ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
}


def validate(path):
    """Check a whole file."""
    return validate_clip(path, wanted_seconds=None, parameters=ValidationParameters())


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_part_of_a_file_is_corrupt(tmp_path, name):
    path = make_clip(tmp_path / name, *CONTAINERS[name], size="96x64", seconds=3)
    data = path.read_bytes()
    assert validate(path).duration_seconds == pytest.approx(3.0, abs=0.1)

    for share in (0.5, 0.87, 0.95):
        part = tmp_path / f"part_{name}"
        part.write_bytes(data[: int(share * len(data))])
        with pytest.raises(MediaError, match=r"is cut off|cannot be read|decode") as caught:
            validate(part)
        assert caught.value.reason == "corrupt", share


@pytest.mark.parametrize("name", CONTAINERS)
def test_bytes_behind_the_end_do_not_matter(tmp_path, name):
    path = make_clip(tmp_path / name, *CONTAINERS[name], size="96x64", seconds=3)
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert validate(path).duration_seconds == pytest.approx(3.0, abs=0.1)
