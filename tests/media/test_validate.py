"""The usual check of a clip says what decoding every picture says, and decodes few of them."""

import random
from dataclasses import replace

import pytest

from benchmarks.fuzz.mutator import mutate
from benchmarks.fuzz.seeds import make_seeds
from earshot.errors import MediaError
from pipeline.media.content import Enough, read_content
from pipeline.media.files.container import open_container
from pipeline.media.files.timeline import choose_stream, find_duration
from pipeline.media.validate import ValidationParameters, validate_clip
from tests.helpers.media.clip_factory import H264, make_clip
from tests.helpers.media.hidden_damage import make_damaged_clip

NEEDED = ValidationParameters()
ALL = replace(NEEDED, decode="all")
GRAY = "color=gray:size={size}:rate={fps}:duration={seconds}"
MOVES_LATE = GRAY + ",drawbox=c=red:t=fill:enable='gte(t,3)'"
QUIET = "aevalsrc='if(gt(t,3),0.4*sin(2*PI*700*t),0)':s=44100:d={seconds}"


def check(path, parameters):
    """Return the facts of a clip, or why it is refused."""
    try:
        return validate_clip(path, wanted_seconds=None, parameters=parameters, needs_sound=False)
    except MediaError as error:
        return error.reason, str(error)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A moving clip of 4 s with one keyframe."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, *H264, "-g", "250", "-sc_threshold", "0")


CLIPS = {
    "still": {"picture": GRAY},
    "moves late": {"picture": MOVES_LATE},
    "silent": {"sound": "anullsrc=r=44100:d={seconds}"},
    "sound comes late": {"sound": QUIET},
    "no sound": {"sound": None},
    "longer than a minute": {"seconds": 70, "size": "64x48", "fps": "10"},
}
FLAGS = {"still": ("still",), "silent": ("silent",), "no sound": ("no_audio",)}


@pytest.mark.parametrize("kind", CLIPS)
def test_flags_and_facts_are_those_of_a_full_decode(tmp_path, kind):
    path = make_clip(tmp_path / "clip.mp4", *H264, **CLIPS[kind])
    found = check(path, NEEDED)
    assert found == check(path, ALL)
    assert found.flags == FLAGS.get(kind, ())


def test_size_and_rate_are_those_of_the_beginning(tmp_path):
    """MPEG-TS can change them on the way, and the usual check need not see where."""
    path = tmp_path / "a.ts"
    data = b""
    for number, (size, rate) in enumerate((("96x64", "48000"), ("64x96", "32000"))):
        half = tmp_path / f"{number}.ts"
        options = (*H264[:6], "-c:a", "mp2", "-ar", rate, "-output_ts_offset", str(10 + number))
        data += make_clip(half, *options, size=size, seconds=1).read_bytes()
    path.write_bytes(data)
    for parameters in (NEEDED, ALL):
        facts = check(path, parameters)
        assert (facts.width, facts.height, facts.sample_rate) == (96, 64, 48000)


def test_few_pictures_of_a_moving_clip_are_decoded(clip):
    counts = {}
    for enough in (Enough(NEEDED.still_difference, NEEDED.silence_level), None):
        with open_container(clip) as container:
            video, audio = choose_stream(container, "video"), choose_stream(container, "audio")
            contents, has_seen_end = read_content(
                container, video, audio, find_duration(container), enough=enough
            )
            assert has_seen_end
            counts[enough is None] = contents[video.index]
            assert contents[audio.index].num_frames > 100

    assert counts[True].num_frames == counts[True].num_packets == 100
    assert counts[False].num_packets == 100
    assert 4 <= counts[False].num_frames < 20


@pytest.mark.parametrize("codec", [("libx264", "-b_strategy", "0"), ("mpeg4",)])
def test_pictures_that_are_not_compared_change_no_flag(tmp_path, codec):
    """A flash counts in a picture that is compared, and in no other."""
    options = ("-c:v", *codec, "-bf", "3", "-pix_fmt", "yuv420p", "-c:a", "aac")
    flags = []
    for number in (3, 6, 7, 8):
        flash = f"{GRAY},drawbox=c=red:t=fill:enable='eq(n,{number})'"
        path = make_clip(tmp_path / "clip.mp4", *options, picture=flash, seconds=2)
        found = check(path, NEEDED)
        assert found == check(path, ALL)
        flags.append(found.flags)
    # At 25 frames a second, the first picture a quarter of a second later is the eighth.
    assert flags == [("still",), ("still",), (), ("still",)]


def test_pictures_that_no_other_needs_are_left_out(tmp_path):
    options = ("-c:v", "libx264", "-bf", "3", "-b_strategy", "0", "-pix_fmt", "yuv420p")
    path = make_clip(tmp_path / "clip.mp4", *options, picture=GRAY, sound=None)
    with open_container(path) as container:
        video = choose_stream(container, "video")
        enough = Enough(NEEDED.still_difference, NEEDED.silence_level)
        (content,) = read_content(container, video, None, 4.0, enough=enough)[0].values()
    # Of four pictures, two are B pictures to which nothing refers.
    assert 45 <= content.num_frames < 75


def test_damage_between_keyframes_is_refused(tmp_path):
    path = make_damaged_clip(tmp_path / "clip.flv", spared_seconds=())
    found = check(path, NEEDED)
    assert found == check(path, ALL)
    assert found[0] == "corrupt"
    assert "video packets cannot be decoded" in found[1]


def test_damaged_files_get_the_same_answer(tmp_path):
    seeds = [path.read_bytes() for path in make_seeds(tmp_path / "seeds", seconds=1.2)]
    rng = random.Random(16)
    path, num_ok = tmp_path / "file", 0
    for _ in range(60):
        path.write_bytes(mutate(seeds, rng)[2])
        found = check(path, NEEDED)
        assert found == check(path, ALL)
        num_ok += not isinstance(found, tuple)
    assert 10 < num_ok < 50
