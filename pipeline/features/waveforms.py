"""The feature ``waveforms``: the sound around the sample's time.

RCGrad and FlowGrad compute their spectrogram inside the network, so they read the samples
themselves.
"""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.features.feature import Decoded, Extracted, Feature, Moment
from pipeline.features.sound_window import (
    ATTRIBUTE_UNITS,
    Anchor,
    check_sound_settings,
    describe_window,
    find_sound_needs,
)

VERSION = 3  # 2, 3: damaged and odd files are read otherwise (docs/lab/media.md)
_INT16_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class Settings:
    """All settings of a waveform, none left open. Shards record them.

    They enter the keys of cached arrays. The last five mean nothing for a waveform; they stay
    because keys of existing arrays contain them.
    """

    window_seconds: float
    sample_rate: int | Literal["native"]  # in Hz
    anchor: Anchor = "sample"
    dtype: Literal["int16", "float16", "float32"] = "int16"  # int16: in units of 1/32768
    kind: Literal["waveform"] = "waveform"
    n_fft: int = 512
    hop_length: int = 353
    num_frames: int = 0
    log_offset: float = 1e-7
    log_divisor: float = 1.0


PRESETS = {
    "rcgrad": Settings(window_seconds=5.0, sample_rate=16000),
    "flowgrad_train": Settings(window_seconds=5.0, sample_rate=48000),
    "flowgrad_test": Settings(window_seconds=1.0, sample_rate=22050),
    "soundnet": Settings(window_seconds=10.0, sample_rate=22050),
    "ssltie": Settings(window_seconds=3.0, sample_rate=16000),
}


@dataclass(frozen=True)
class Parameters:
    """Section ``waveform`` of params.yaml: a preset, and settings that replace the preset's."""

    preset: Literal["rcgrad", "flowgrad_train", "flowgrad_test", "soundnet", "ssltie"] = "rcgrad"
    # None keeps the setting of the preset.
    window_seconds: float | None = None
    anchor: Anchor | None = None
    sample_rate: int | Literal["native"] | None = None
    dtype: Literal["int16", "float16", "float32"] | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset is {self.preset!r}, expected one of {', '.join(PRESETS)}")

        # Check what results: a value that replaces the preset's must fit to the rest of it.
        check_sound_settings(self.resolve())

    def resolve(self) -> Settings:
        """Return the settings in force."""
        replaced = {
            name: value
            for name, value in vars(self).items()
            if name != "preset" and value is not None
        }
        return dataclasses.replace(PRESETS[self.preset], **replaced)


def encode_waveform(waveform: np.ndarray, *, dtype: str) -> np.ndarray:
    """Convert float32 samples to the type in which they are stored.

    int16 keeps the 16 bits that clips have; values beyond -1..1 are clipped. float16 would lose
    five of these bits near full scale.

    Args:
        waveform: float32 of any shape, full scale is -1 to 1.
        dtype: ``int16``, ``float16`` or ``float32``.

    Returns:
        The samples in the same shape. As int16, full scale is -32768 to 32767.
    """
    if dtype != "int16":
        return waveform.astype(dtype)
    # A sample of +1.0 would be 32768, one more than int16 holds.
    return np.clip(np.rint(waveform * _INT16_FULL_SCALE), -32768, 32767).astype(np.int16)


def make_feature(parameters: Parameters | Settings) -> Feature:
    """Make the feature; arrays ``(num_samples,)`` in units of the root attribute ``scale``.

    Args:
        parameters: Of params.yaml, or the settings that a shard recorded.

    Returns:
        The feature, which can compute.
    """
    settings = parameters if isinstance(parameters, Settings) else parameters.resolve()
    return Feature(
        name="waveforms",
        kind="sound",
        version=VERSION,
        parameters=settings,
        attributes={
            "layout": "time",
            "units": "amplitude",
            # Readers multiply by `scale`, so both types give the same amplitudes.
            "scale": 1 / _INT16_FULL_SCALE if settings.dtype == "int16" else 1.0,
            **ATTRIBUTE_UNITS,
        },
        needs=functools.partial(find_sound_needs, settings),
        compute=functools.partial(_compute, settings),
    )


def _compute(settings: Settings, moment: Moment, decoded: Decoded) -> Extracted:
    assert decoded.waveform is not None
    array = encode_waveform(decoded.waveform, dtype=settings.dtype)
    return Extracted(array, describe_window(decoded))
