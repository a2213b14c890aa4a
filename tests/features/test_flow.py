"""The feature ``flow``: known motion, OpenCV's own numbers, contexts and encodings."""

import cv2
import numpy as np
import pytest

from earshot.errors import ParameterError
from pipeline.base.parameters import build
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.features.flow import (
    Parameters,
    aggregate,
    compute_flow,
    encode_jpeg8,
    find_pair_times,
    make_feature,
)
from pipeline.media.reader import ClipReader, probe
from tests.helpers.media.clip_factory import make_clip


def make_texture(height=160, width=200, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize("shift", [(2, 0), (-2, 0), (0, 3), (0, -3), (1, -2)])
def test_known_motion_is_found_with_its_sign(shift):
    before = make_texture()
    flow = compute_flow(
        before, np.roll(before, (shift[1], shift[0]), axis=(0, 1)), parameters=Parameters()
    )
    inner = flow[30:-30, 30:-30].reshape(-1, 2)
    assert np.median(inner, axis=0) == pytest.approx(shift, abs=0.1)


def test_the_defaults_are_the_published_settings():
    before, after = make_texture(), make_texture(seed=1)
    published = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    flow = compute_flow(before, after, parameters=Parameters())
    np.testing.assert_allclose(flow, published, atol=1e-3)


def extract_flow(path, *times, **parameters):
    feature = make_feature(Parameters(**parameters))
    return [
        one["flow"]
        for one in extract_features(path, [Moment("a", time) for time in times], [feature])
    ]


def opencv_flow(path, first, second):
    with ClipReader(path) as reader:
        grays = [
            cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
            for frame in reader.iter_frames([first, second])
        ]
    return cv2.calcOpticalFlowFarneback(*grays, None, 0.5, 3, 15, 3, 5, 1.2, 0)


@pytest.mark.parametrize(
    "name", ["flipping_a_pancake.mkv", "nasa_13013.mp4", "video_90.mov", "h265_10bits.mp4"]
)
def test_native_flow_equals_opencv_within_float16(shared, name):
    path = shared("media", name)
    time = 0.0 if name == "video_90.mov" else min(3.0, probe(path).duration_seconds / 3)
    (flow,) = extract_flow(path, time, short_side=0)
    expected = opencv_flow(path, time, time + 0.125).transpose(2, 0, 1)
    assert flow.array.dtype == np.float16
    assert flow.array.shape == expected.shape
    assert np.array_equal(flow.array, expected.astype(np.float16))
    assert (expected < -0.05).any(), "signed flow is what this is about"


def test_stored_flow_is_the_native_one_made_small(shared):
    path = shared("media", "flipping_a_pancake.mkv")
    (flow,) = extract_flow(path, 3.0)
    expected = cv2.resize(opencv_flow(path, 3.0, 3.125), (218, 123), interpolation=cv2.INTER_AREA)
    assert flow.array.shape == (2, 123, 218)
    assert np.abs(flow.array.transpose(1, 2, 0) - expected).max() < 0.02
    assert (flow.attributes["native_height"], flow.attributes["native_width"]) == (240, 426)


@pytest.fixture(scope="module")
def panning(tmp_path_factory):
    """A texture that moves 1 px a frame to the left, 24 fps, 3 s: 3 px per pair at 8 fps."""
    folder = tmp_path_factory.mktemp("panning")
    cv2.imwrite(str(folder / "texture.png"), make_texture(96, 300))
    picture = f"movie={folder}/texture.png,loop=-1:1,setpts=N/24/TB,crop=128:96:x='n':y=0"
    options = ("-t", "3", "-r", "24", "-c:v", "ffv1", "-pix_fmt", "gray")
    return make_clip(folder / "panning.mkv", *options, picture=picture, sound=None)


def test_partner_is_an_eighth_of_a_second_later(panning):
    for fps, expected in ((8.0, -3.0), (12.0, -2.0), (4.0, -6.0)):
        (flow,) = extract_flow(panning, 1.0, fps=fps, context_seconds=1 / fps, short_side=0)
        assert np.median(flow.array[0, 20:-20, 20:-20]) == pytest.approx(expected, abs=0.15)
        assert np.median(flow.array[1, 20:-20, 20:-20]) == pytest.approx(0, abs=0.1)
        assert make_feature(Parameters(fps=fps)).attributes["seconds_per_pair"] == 1 / fps


def test_at_the_end_the_pair_before_stands_in(panning):
    flows = extract_flow(panning, 2.96, 2.99, 10.0, short_side=0)
    for flow in flows[:2]:
        assert np.median(flow.array[0, 20:-20, 20:-20]) == pytest.approx(-3.0, abs=0.2)
        assert flow.attributes["start_seconds"] < 2.9
    assert flows[2].array is not None


def test_in_the_last_eighth_of_a_second_the_pair_ends_at_the_sample(panning):
    """The last frame follows sooner than 1 / fps: its motion would seem slow, down to a third."""
    wanted = (2.8, 2.875, 2.88, 2.9, 2.92)
    for time, flow in zip(wanted, extract_flow(panning, *wanted, short_side=0), strict=True):
        assert np.median(flow.array[0, 20:-20, 20:-20]) == pytest.approx(-3.0, abs=1.1), time
        is_before = flow.attributes["start_seconds"] < time - 0.1
        assert is_before == (time > 2.875), time


@pytest.fixture(scope="module", params=["mkv", "mp4", "ts", "avi"])
def panning_with_long_sound(request, tmp_path_factory):
    """As ``panning``, 2 s, with 6 s of sound."""
    folder = tmp_path_factory.mktemp("long_sound")
    cv2.imwrite(str(folder / "texture.png"), make_texture(96, 300))
    picture = f"movie={folder}/texture.png,loop=-1:1,setpts=N/24/TB,crop=128:96:x='n':y=0,trim=0:2"
    options = ("-t", "6", "-r", "24", "-c:v", "mpeg4", "-q:v", "1", "-c:a", "mp2")
    sound = "aevalsrc=0.3*sin(2*PI*300*t):s=44100:d=6"
    return make_clip(folder / f"clip.{request.param}", *options, picture=picture, sound=sound)


def test_flow_behind_the_picture_is_that_of_its_end(panning_with_long_sound):
    """Sound that is longer than the picture moved the centre, and every later sample, there."""
    assert probe(panning_with_long_sound).duration_seconds > 5.5
    for flow in extract_flow(panning_with_long_sound, 1.97, 2.1, None, 4.0, 5.9, short_side=0):
        assert np.median(flow.array[0, 20:-20, 20:-20]) == pytest.approx(-3.0, abs=0.3)
        assert 1.6 < flow.attributes["start_seconds"] < 2.0
    (context,) = extract_flow(panning_with_long_sound, None, context_seconds=1.0, short_side=0)
    assert np.median(context.array[0, 20:-20, 20:-20]) == pytest.approx(-3.0, abs=0.3)
    assert context.attributes["start_seconds"] == pytest.approx(1.0, abs=0.13)


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_flow_before_the_picture_is_that_of_its_beginning(tmp_path, suffix):
    """Sound that begins before the picture: its first frame is shown until it moves."""
    cv2.imwrite(str(tmp_path / "texture.png"), make_texture(96, 300))
    picture = (
        f"movie={tmp_path}/texture.png,loop=-1:1,setpts=N/24/TB,crop=128:96:x='n':y=0,trim=0:2"
    )
    options = ("-t", "4", "-c:v", "mpeg2video", "-q:v", "1", "-c:a", "mp2")
    sound = "aevalsrc=0.3*sin(2*PI*300*t):s=44100:d=4"
    before = ("-itsoffset", "2")
    path = make_clip(
        tmp_path / f"late.{suffix}", *options, picture=picture, sound=sound, before=before
    )
    for flow in extract_flow(path, 0.0, 1.0, 1.95, 2.5, short_side=0):
        assert np.median(flow.array[0, 20:-20, 20:-20]) == pytest.approx(-3.0, abs=0.3)
        assert flow.attributes["start_seconds"] > 1.9


def test_start_seconds_is_the_time_of_the_first_frame(panning):
    wanted = (0.51, 1.0, 1.04)
    for time, flow in zip(wanted, extract_flow(panning, *wanted, short_side=0), strict=True):
        assert flow.attributes["start_seconds"] == pytest.approx(
            int(time * 24 + 1e-6) / 24, abs=1e-3
        )


def test_a_clip_of_one_frame_has_no_flow(tmp_path):
    path = make_clip(tmp_path / "one.mp4", "-frames:v", "1", "-c:v", "mpeg4", sound=None, seconds=1)
    (flow,) = extract_flow(path, None)
    assert flow.reason == "too_short"
    assert "one.mp4" in flow.detail


def test_longer_contexts_aggregate_pairs(panning):
    pairs = [
        extract_flow(panning, 1.5 + k / 8, encoding="float32", short_side=48)[0].array
        for k in (-1, 0, 1, 2)
    ]
    half = {"context_seconds": 0.5, "encoding": "float32", "short_side": 48}
    (mean,) = extract_flow(panning, 1.5, **half)
    (longest,) = extract_flow(panning, 1.5, aggregation="max", **half)
    (stack,) = extract_flow(panning, 1.5, aggregation="stack", **half)
    assert mean.attributes["num_pairs"] == 4
    assert np.allclose(mean.array, np.mean(pairs, axis=0), atol=1e-5)
    assert np.array_equal(stack.array, np.concatenate(pairs))
    lengths = np.stack([np.hypot(*pair) for pair in pairs])
    assert np.allclose(np.hypot(*longest.array), lengths.max(axis=0), atol=1e-5)
    (whole,) = extract_flow(panning, 0.1, context_seconds=5.0, aggregation="stack", short_side=16)
    assert whole.array.shape[0] == 80
    assert whole.attributes["num_pairs"] == 24


def test_overlapping_contexts_share_their_pairs_and_change_nothing(panning):
    times = (0.5, 1.0, 1.5, 2.0)
    together = extract_flow(panning, *times, context_seconds=1.0)
    for time, flow in zip(times, together, strict=True):
        assert (
            extract_flow(panning, time, context_seconds=1.0)[0].array.tobytes()
            == flow.array.tobytes()
        )


@pytest.mark.parametrize(
    ("time", "num_pairs", "first", "last"), [(5, 8, 4.625, 5.625), (0, 8, 0, 1), (10, 8, 9, 10)]
)
def test_pair_times_surround_the_sample_inside_the_clip(time, num_pairs, first, last):
    times = find_pair_times(
        time, parameters=Parameters(context_seconds=num_pairs / 8), duration_seconds=10
    )
    assert len(times) == num_pairs + 1
    assert (times[0], times[-1]) == pytest.approx((first, last))
    assert np.diff(times) == pytest.approx([0.125] * num_pairs)


def test_aggregate_keeps_signs():
    flows = np.zeros((2, 2, 1, 1), np.float32)
    flows[:, :, 0, 0] = [[-3, 1], [2, 0]]
    assert aggregate(flows, aggregation="max").ravel().tolist() == [-3, 1]
    assert aggregate(flows, aggregation="mean").ravel().tolist() == [-0.5, 0.5]
    assert aggregate(flows, aggregation="stack").ravel().tolist() == [-3, 1, 2, 0]


def test_published_encodings_lose_what_they_lost(panning):
    plane = np.full((64, 64), -4.0, np.float32)
    assert not encode_jpeg8(plane).any()
    assert (encode_jpeg8(-plane) == 4).all()
    assert (encode_jpeg8(plane * -100) == 255).all()
    assert (
        encode_jpeg8(np.full((64, 64), 2.5, np.float32)) == 2
    ).all()  # OpenCV rounds halves to even
    (htf,) = extract_flow(panning, 1.0, encoding="jpeg8", short_side=0)
    assert htf.array.dtype == np.uint8
    assert np.median(htf.array[0]) == 0, "leftward motion vanishes"
    (flowgrad,) = extract_flow(panning, 1.0, encoding="jpeg8", components="magnitude", short_side=0)
    assert flowgrad.array.shape == (1, 96, 128)
    assert np.median(flowgrad.array) == 3


@pytest.mark.parametrize("aggregation", ["mean", "max", "stack"])
def test_a_single_pair_is_aggregated_like_several(aggregation):
    pair = np.float32(
        [[[0.0, -0.0, 1.5], [-2.0, 3e-9, -0.0]], [[1.0, 0.5, -0.0], [-0.0, 0.0, 2.0]]]
    )
    alone, twice = (
        aggregate(np.stack([pair] * count), aggregation=aggregation) for count in (1, 2)
    )
    assert alone.dtype == np.float32
    assert alone.tobytes() == twice[:2].tobytes()  # bit for bit, the signs of zeros included


def test_computing_at_a_smaller_size_keeps_native_pixels(panning):
    (flow,) = extract_flow(panning, 1.0, computed_short_side=48, short_side=0)
    assert flow.array.shape[1:] == (48, 64) or flow.array.shape[1:] == (96, 128)
    assert np.median(flow.array[0]) == pytest.approx(-3.0, abs=0.4)


def test_parameters_name_what_is_wrong():
    assert build(Parameters, {}, "flow").num_pairs == 1
    assert build(Parameters, {"context_seconds": 5}, "flow").num_pairs == 40
    for values, message in [
        ({"fps": 0}, "fps is 0.0, expected 0.1 to 240"),
        ({"aggregation": "median"}, "aggregation is 'median'"),
        ({"encoding": "png"}, "encoding is 'png'"),
        ({"short_side": 5}, "short_side is 5, expected 16 to 4096, or 0"),
        ({"context_seconds": 0}, "context_seconds is 0.0"),
        ({"poly_sigma": float("nan")}, "poly_sigma is nan, expected a finite number"),
        ({"flags": 4}, "flags is 4, expected 0, or 256"),
        ({"levels": 3}, r"unknown key flow\.levels"),
    ]:
        with pytest.raises(ParameterError, match=message):
            build(Parameters, values, "flow")
