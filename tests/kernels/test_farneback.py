"""Our Farneback is OpenCV's bit for bit, or OpenCV's itself."""

import inspect
import platform
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.features import flow
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.features.flow import Parameters
from pipeline.kernels import farneback, farneback_loops
from pipeline.kernels.farneback import compute_farneback, load_refine_level
from pipeline.media.reader import ClipReader
from tests.helpers.media.clip_factory import make_clip

# Farneback's own among the parameters, in OpenCV's order.
NAMES = [
    name
    for name in inspect.signature(compute_farneback).parameters
    if name not in ("previous", "following")
]


def settings_of(**changes):
    parameters = Parameters(**changes)
    return {name: getattr(parameters, name) for name in NAMES}


def assert_same_bits(previous, following, **changes):
    settings = settings_of(**changes)
    computed = compute_farneback(previous, following, **settings)
    expected = cv2.calcOpticalFlowFarneback(previous, following, None, *settings.values())
    assert computed.dtype == np.float32
    assert computed.shape == expected.shape
    assert computed.tobytes() == expected.tobytes(), (
        f"differs by up to {np.abs(computed - expected).max()}"
    )
    return computed


def make_pair(height, width, *, seed=0, blur=2.0):
    """Make a texture, and the same turned and shifted in its lower part.

    The upper third stands still.
    """
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    before = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), blur), None, 0, 255, cv2.NORM_MINMAX)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 2, 1.02) + np.float64(
        [[0, 0, 1.3], [0, 0, -2.1]]
    )
    after = cv2.warpAffine(before, turn, (width, height))
    after[: height // 3] = before[: height // 3]
    return before, after


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="elsewhere OpenCV may round otherwise and is used itself"
)
def test_the_fast_one_is_used_here():
    assert load_refine_level() is not None


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (240, 426),
        (225, 401),
        (97, 131),
        (64, 64),
        (63, 65),
        (16, 16),
        (9, 200),
        (200, 7),
        (3, 3),
        (2, 5),
        (5, 1),
        (1, 1),
    ],
)
def test_any_size(height, width):
    flow = assert_same_bits(*make_pair(height, width))
    assert min(height, width) < 97 or np.abs(flow).max() > 1


def test_pictures_that_stand_still_or_are_noise():
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, (120, 161), dtype=np.uint8) for _ in range(2)]
    flat = np.full_like(noise[0], 77)
    checks = np.uint8(255) * (np.indices(flat.shape).sum(axis=0) % 2).astype(np.uint8)
    assert not assert_same_bits(flat, flat).any()
    assert_same_bits(noise[0], noise[0])
    assert_same_bits(*noise)
    assert_same_bits(flat, noise[0])
    assert_same_bits(flat, flat + 1)
    assert_same_bits(checks, 255 - checks)
    half = noise[0].copy()
    half[:, 80:] = noise[1][:, 80:]
    assert_same_bits(noise[0], half)
    assert_same_bits(noise[0][:, ::2], noise[1][:, ::2])  # not contiguous


@pytest.mark.parametrize(
    "changes",
    [
        {"window_size": 1},
        {"window_size": 2},
        {"window_size": 8},
        {"window_size": 61},
        {"window_size": 301},
        {"num_levels": 1},
        {"num_levels": 6},
        {"num_iterations": 1},
        {"num_iterations": 7},
        {"pyramid_scale": 0.8},
        {"pyramid_scale": 0.37},
        {"poly_sigma": 0.6},
        {"poly_sigma": 0.001},
        {"poly_n": 7, "poly_sigma": 1.5},
        {"flags": cv2.OPTFLOW_FARNEBACK_GAUSSIAN},
    ],
)
def test_other_parameters(changes):
    assert_same_bits(*make_pair(150, 170), **changes)


def test_pictures_of_unequal_size_are_refused_as_by_opencv():
    picture = np.zeros((40, 50), np.uint8)
    with pytest.raises(cv2.error):
        compute_farneback(picture, picture[:, 1:], **settings_of())


@pytest.mark.parametrize("folder", ["media", "urbansas_mini/video_24fps"])
def test_decoded_frames(shared, folder):
    num_compared = 0
    for path in sorted(shared(folder).iterdir()):
        try:
            with ClipReader(path) as reader:
                time = reader.info.duration_seconds / 2
                grays = [frame.gray for frame in reader.iter_frames([time, time + 0.125])]
        except MediaError:
            continue
        assert_same_bits(*grays)
        num_compared += 1
    assert num_compared >= 7


def test_one_compilation_serves_all_sizes():
    for height, width in ((50, 60), (16, 100), (99, 33)):
        compute_farneback(*make_pair(height, width), **settings_of())
    refine_level = load_refine_level()
    assert refine_level is None or len(refine_level.signatures) == 1


@pytest.fixture
def fresh():
    load_refine_level.cache_clear()
    yield
    load_refine_level.cache_clear()


def test_a_single_wrong_bit_is_noticed(fresh, monkeypatch):
    refine_level = farneback_loops.compile_refine_level()

    def refine_nearly(previous, following, flow, *others):
        refine_level(previous, following, flow, *others)
        flow[5, 6, 1] = np.nextafter(flow[5, 6, 1], np.float32(9))

    monkeypatch.setattr(farneback_loops, "compile_refine_level", lambda: refine_nearly)
    assert load_refine_level() is None
    assert_same_bits(*make_pair(60, 70))


def test_the_switch_turns_the_fast_code_off(fresh, monkeypatch):
    monkeypatch.setenv("EARSHOT_KERNELS", "0")
    assert load_refine_level() is None
    assert_same_bits(*make_pair(60, 70))


@pytest.mark.parametrize("name", ["farneback_loops", "farneback_simd", "checked"])
def test_without_the_fast_modules_opencv_computes(fresh, monkeypatch, name):
    for loaded in [key for key in sys.modules if key.startswith("pipeline.kernels.farneback_")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, f"pipeline.kernels.{name}", None)  # as if its file were gone
    assert load_refine_level() is None
    assert_same_bits(*make_pair(60, 70))


def test_features_have_the_same_bytes_with_and_without_the_fast_code(fresh, monkeypatch, tmp_path):
    path = make_clip(tmp_path / "clip.mp4", "-c:v", "mpeg4", size="160x120", seconds=2, sound=None)
    moments = [Moment("a", 0.5), Moment("b", None), Moment("c", 1.99)]
    feature = flow.make_feature(Parameters(context_seconds=0.25))
    fast = [one["flow"].array for one in extract_features(path, moments, [feature])]
    load_refine_level.cache_clear()
    monkeypatch.setenv("EARSHOT_KERNELS", "0")
    plain = [one["flow"].array for one in extract_features(path, moments, [feature])]
    assert [array.tobytes() for array in fast] == [array.tobytes() for array in plain]


def test_importing_does_not_import_numba():
    code = "import sys, pipeline.features.flow; sys.exit('numba' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=Path(farneback.__file__).parents[2]
    )
    assert done.returncode == 0
