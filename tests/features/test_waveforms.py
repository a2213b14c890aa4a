"""The feature ``waveforms``: stored samples, their scale, their presets and keys."""

import dataclasses

import numpy as np
import pytest

from earshot.errors import ParameterError
from pipeline.base.parameters import build
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.features.sound_window import find_window
from pipeline.features.waveforms import PRESETS, Parameters, encode_waveform, make_feature
from tests.helpers.media.clip_factory import make_clip


def test_feature_of_real_sound(tmp_path):
    path = make_clip(tmp_path / "a.mp4", "-c:v", "mpeg4", "-c:a", "aac", size="64x64", seconds=2)
    found = {}
    for preset in PRESETS:
        feature = make_feature(Parameters(preset=preset))
        (extracted,) = extract_features(path, [Moment("a", 1.0)], [feature])
        array, attributes = extracted["waveforms"].array, extracted["waveforms"].attributes
        found[preset] = (array.shape, str(array.dtype), attributes["sample_rate"])
    assert found == {
        "rcgrad": ((80000,), "int16", 16000),
        "flowgrad_train": ((240000,), "int16", 48000),
        "flowgrad_test": ((22050,), "int16", 22050),
        "soundnet": ((220500,), "int16", 22050),
        "ssltie": ((48000,), "int16", 16000),
    }


def test_stored_samples_times_their_scale_are_the_waveform():
    waveform = (0.7 * np.sin(2 * np.pi * 440 * np.arange(48000) / 16000)).astype("f4")
    for dtype, tolerance in (("int16", 2e-5), ("float16", 4e-4), ("float32", 1e-8)):
        stored = encode_waveform(waveform, dtype=dtype)
        assert str(stored.dtype) == dtype
        feature = make_feature(Parameters(dtype=dtype))
        restored = stored.astype(np.float32) * feature.attributes["scale"]
        assert np.abs(restored - waveform).max() <= tolerance

    # Half of the full scale is a power of two, as in a WAV file.
    assert encode_waveform(np.array([0.5, -1.0], np.float32), dtype="int16").tolist() == [
        1 << 14,
        -(1 << 15),
    ]
    loud = encode_waveform(waveform * 3, dtype="int16")
    assert (loud.min(), loud.max()) == (-32768, 32767)


def test_the_window_lies_around_the_sample():
    settings = PRESETS["flowgrad_test"]
    assert find_window(Moment("a", 4.0), settings=settings, duration_seconds=10.0) == (3.5, 4.5)


def test_keys_of_cached_waveforms_stay_as_they_are():
    """The mapping enters every key: a field more or less would compute all waveforms again."""
    assert dataclasses.asdict(make_feature(Parameters()).parameters) == {
        "kind": "waveform",
        "window_seconds": 5.0,
        "anchor": "sample",
        "sample_rate": 16000,
        "n_fft": 512,
        "hop_length": 353,
        "num_frames": 0,
        "log_offset": 1e-7,
        "log_divisor": 1.0,
        "dtype": "int16",
    }


def test_parameters_override_a_preset_and_name_what_is_wrong():
    changed = build(
        Parameters, {"window_seconds": 2, "sample_rate": "native"}, "waveform"
    ).resolve()
    assert (changed.window_seconds, changed.sample_rate, changed.dtype) == (2.0, "native", "int16")
    for values, message in [
        ({"preset": "htf"}, "preset is 'htf'"),
        ({"window_seconds": 0}, r"window_seconds is 0, expected 0.01 to 3600"),
        ({"sample_rate": 5}, "sample_rate is 5, expected 1000 to 192000 or native"),
        ({"n_fft": 512}, r"unknown key waveform\.n_fft"),
    ]:
        with pytest.raises(ParameterError, match=message):
            build(Parameters, values, "waveform")
