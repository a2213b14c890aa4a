"""One pass over a clip for several features and moments."""

import gc
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from av.codec.context import CodecContext

from earshot.errors import MediaError
from pipeline.features import extract, flow, frames, spectrograms
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.media import reader
from pipeline.media.pictures.frame_reader import FrameReader
from pipeline.media.pictures.whole_decode import WholeDecode
from tests.helpers.media.clip_factory import make_clip, run_ffmpeg


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(
        path, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-g", "30", seconds=4
    )


def make_features(**flow_parameters):
    return [
        frames.make_feature(frames.Parameters()),
        spectrograms.make_feature(spectrograms.Parameters()),
        flow.make_feature(flow.Parameters(**flow_parameters)),
    ]


def test_all_at_once_equals_one_by_one_in_any_order(clip):
    moments = [
        Moment("c", 3.1),
        Moment("a", 0.0),
        Moment("m", None),
        Moment("a2", 0.04),
        Moment("end", 3.99),
    ]
    together = list(extract_features(clip, moments, make_features()))
    assert len(together) == len(moments)
    for moment, extracted in zip(moments, together, strict=True):
        for feature in make_features():
            (alone,) = extract_features(clip, [moment], [feature])
            assert alone[feature.name].array.tobytes() == extracted[feature.name].array.tobytes()
            assert dict(alone[feature.name].attributes) == dict(extracted[feature.name].attributes)


def test_a_clip_leaves_no_decoder_behind(clip):
    gc.collect()
    gc.disable()
    try:
        list(extract_features(clip, [Moment("c", None)], make_features()))
        left = [
            one
            for one in gc.get_objects()
            if issubclass(type(one), reader.ClipReader | FrameReader | CodecContext)
        ]
    finally:
        gc.enable()
    assert not left


def test_a_missing_stream_is_the_reason_of_its_features_only(clip, tmp_path):
    mute, blind = tmp_path / "mute.mp4", tmp_path / "blind.m4a"
    run_ffmpeg("-i", str(clip), "-an", "-c", "copy", str(mute))
    run_ffmpeg("-i", str(clip), "-vn", "-c", "copy", str(blind))
    (extracted,) = extract_features(mute, [Moment("a", None)], make_features())
    assert {name: one.reason for name, one in extracted.items()} == {
        "frames": None,
        "spectrograms": "no_audio",
        "flow": None,
    }
    (extracted,) = extract_features(blind, [Moment("a", None)], make_features())
    assert {name: one.reason for name, one in extracted.items()} == {
        "frames": "no_video",
        "spectrograms": None,
        "flow": "no_video",
    }
    assert str(blind) in extracted["frames"].detail


def test_an_unreadable_file_accounts_for_every_moment(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("not a video")
    results = list(extract_features(path, [Moment("a", 0.0), Moment("b", 1.0)], make_features()))
    assert [{one.reason for one in extracted.values()} for extracted in results] == [
        {"corrupt"},
        {"corrupt"},
    ]


def test_what_comes_before_a_break_is_kept(shared):
    moments = [Moment("before", 1.0), Moment("after", 4.5)]
    before, after = extract_features(shared("media", "corrupted.mp4"), moments, make_features())
    assert before["frames"].reason is None
    assert before["flow"].reason is None
    assert after["frames"].reason == after["flow"].reason == "corrupt"


def damage(clip, path, *, begin, end):
    """A copy of ``clip`` with noise from one fraction of its bytes to another."""
    content = bytearray(clip.read_bytes())
    first, last = int(len(content) * begin), int(len(content) * end)
    content[first:last] = np.random.default_rng(0).bytes(last - first)
    path.write_bytes(content)
    return path


def test_damage_in_the_middle_takes_the_moments_it_hits_and_gives_each_one_outcome(tmp_path):
    options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25")
    whole = make_clip(tmp_path / "whole.mp4", *options, seconds=6, sound=None)
    path = damage(whole, tmp_path / "damaged.mp4", begin=0.5, end=0.52)
    moments = [Moment(str(number), number / 2 + 0.3) for number in range(11)]
    features = [make_features()[0], make_features()[2]]
    together = list(extract_features(path, moments, features))
    assert len(together) == len(moments)
    reasons = [extracted["frames"].reason for extracted in together]
    assert reasons[:5] == [None] * 5
    assert "corrupt" in reasons[5:7]
    assert reasons[-1] is None  # a keyframe comes after the damage
    # What else is asked for in the same pass does not matter, nor the order.
    backwards = list(extract_features(path, moments[::-1], features))[::-1]
    for moment, extracted, other in zip(moments, together, backwards, strict=True):
        (alone,) = extract_features(path, [moment], features)
        for name in ("frames", "flow"):
            assert alone[name].reason == extracted[name].reason == other[name].reason
            if alone[name].reason is None:
                assert (
                    alone[name].array.tobytes()
                    == extracted[name].array.tobytes()
                    == other[name].array.tobytes()
                )
            else:
                assert str(path) in extracted[name].detail


def test_after_a_break_without_a_later_keyframe_all_is_missing_and_the_file_is_not_read_again(
    tmp_path, monkeypatch
):
    options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "1000", "-sc_threshold", "0")
    whole = make_clip(tmp_path / "whole.mp4", *options, seconds=6, sound=None)
    path = damage(whole, tmp_path / "damaged.mp4", begin=0.5, end=0.6)
    num_passes = []
    iter_all = WholeDecode.__iter__
    monkeypatch.setattr(
        WholeDecode, "__iter__", lambda decode: num_passes.append(1) or iter_all(decode)
    )
    moments = [Moment(str(number), number / 4 + 0.1) for number in range(23)]
    extracted = list(extract_features(path, moments, make_features()[:1]))
    reasons = [one["frames"].reason for one in extracted]
    first_missing = reasons.index("corrupt")
    assert 8 <= first_missing <= 14
    assert reasons == [None] * first_missing + ["corrupt"] * (23 - first_missing)
    assert "the video breaks after" in extracted[-1]["frames"].detail
    assert len(num_passes) == 1


def test_an_error_in_the_middle_of_a_pass_leaves_one_outcome_a_moment(clip, monkeypatch):
    """Whatever still escapes: what was given before it counts, and nothing is given twice."""
    extract_moment = extract._Pass._extract_moment

    def fail_at_third(self, index):
        if index == 2:
            raise MediaError("corrupt", "here")
        return extract_moment(self, index)

    monkeypatch.setattr(extract._Pass, "_extract_moment", fail_at_third)
    moments = [Moment(str(number), number / 2) for number in range(5)]
    extracted = list(extract_features(clip, moments, make_features()[:1]))
    assert [one["frames"].reason for one in extracted] == [
        None,
        None,
        "corrupt",
        "corrupt",
        "corrupt",
    ]


def test_frames_are_not_held_longer_than_needed(clip, monkeypatch):
    alive = {"now": 0, "most": 0}

    class Counted(reader.VideoFrame):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            alive["now"] += 1
            alive["most"] = max(alive["most"], alive["now"])

        def __del__(self):
            alive["now"] -= 1

    monkeypatch.setattr("pipeline.media.pictures.frame.VideoFrame", Counted)
    moments = [Moment(str(number), number / 5) for number in range(19)]
    for extracted in extract_features(clip, moments, make_features()):
        assert extracted["flow"].array is not None
    assert 2 <= alive["most"] <= 8


def test_bytes_do_not_depend_on_process_or_threads(clip):
    program = (
        "import sys, json, hashlib, cv2; cv2.setNumThreads(int(sys.argv[2]));"
        "sys.path.insert(0, '.');"
        "from pipeline.features import flow, frames, spectrograms;"
        "from pipeline.features.extract import extract_features;"
        "from pipeline.features.feature import Moment;"
        "fs = [frames.make_feature(frames.Parameters()), flow.make_feature(flow.Parameters()),"
        " spectrograms.make_feature(spectrograms.Parameters())];"
        "r = next(extract_features(sys.argv[1], [Moment('a', 1.7)], fs));"
        "print(json.dumps({k: hashlib.sha256(v.array.tobytes()).hexdigest() "
        "for k, v in r.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(clip), "3"], capture_output=True, text=True, check=True
    )
    (extracted,) = extract_features(clip, [Moment("a", 1.7)], make_features())
    here = {
        name: hashlib.sha256(one.array.tobytes()).hexdigest() for name, one in extracted.items()
    }
    assert json.loads(done.stdout) == here


def test_three_features_stay_below_the_disk_budget():
    frame = np.prod((*frames.fit_short_side(720, 1280, short_side=246), 3))
    small = flow.fit_short_side(720, 1280, short_side=flow.Parameters().short_side)
    assert frame + 257 * 300 * 2 + 2 * np.prod(small) * 2 < 600_000
