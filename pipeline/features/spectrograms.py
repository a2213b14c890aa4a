"""The feature ``spectrograms``: what the sample sounds like.

Kinds: ``magnitude`` (log of the STFT's magnitude, the cached default), ``psd`` (the published codes' SciPy spectrogram,
log(+1e-7) / 12) and ``waveform`` (the samples themselves, for models that compute their spectrogram inside the net).
"""

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Literal

import librosa
import numpy as np
import scipy.fft
import scipy.signal

from pipeline.features.feature import AudioWindow, Decoded, Extracted, Feature, Moment, Needs
from pipeline.features.float16 import to_float16
from pipeline.media.reader import MediaInfo

VERSION = 1
_NUM_FRAMES_AT_ONCE = 64  # 256 KiB of windowed samples


@dataclass(frozen=True)
class SpectrogramSettings:
    """All settings of one spectrogram, none left open.

    ``window_seconds``: length of the audio. ``anchor``: what the window is laid around: the ``sample``, the
    ``centre`` of the clip, the centre of the clip's whole seconds (``whole_second_centre``, HTF's code), or it begins
    at the ``start`` of the clip. ``sample_rate``: Hz, or ``native``. ``num_frames``: columns kept; 0 keeps what
    comes. ``log_offset`` is added before the natural logarithm, which is divided by ``log_divisor``. ``dtype``: how
    it is stored; ``int16`` only for waveforms, in units of 1/32768.
    """

    kind: Literal["magnitude", "psd", "waveform"]
    window_seconds: float
    anchor: Literal["sample", "centre", "whole_second_centre", "start"]
    sample_rate: int | Literal["native"]
    n_fft: int
    hop_length: int
    num_frames: int
    log_offset: float
    log_divisor: float
    dtype: Literal["float16", "float32", "int16"]


def _psd(window_seconds, anchor, sample_rate) -> SpectrogramSettings:
    # All three codes: nperseg 512, noverlap 274, log(x + 1e-7) / 12.
    return SpectrogramSettings(
        "psd", window_seconds, anchor, sample_rate, 512, 512 - 274, 0, 1e-7, 12.0, "float16"
    )


def _waveform(window_seconds, sample_rate) -> SpectrogramSettings:
    return SpectrogramSettings(
        "waveform", window_seconds, "sample", sample_rate, 512, 353, 0, 1e-7, 1.0, "int16"
    )


PRESETS = {
    "257x300": SpectrogramSettings(
        "magnitude", 3.0, "sample", 16000, 512, 160, 300, 1e-5, 1.0, "float16"
    ),
    "lvs": _psd(10.0, "start", "native"),
    "ezvsl": _psd(3.0, "centre", "native"),
    "htf": _psd(3.0, "whole_second_centre", 22050),
    "rcgrad": _waveform(5.0, 16000),
    "flowgrad_train": _waveform(5.0, 48000),
    "flowgrad_test": _waveform(1.0, 22050),
}


@dataclass(frozen=True)
class SpectrogramParameters:
    """A preset by name; every other field, where it is not None, replaces that setting of the preset."""

    preset: Literal[
        "257x300", "lvs", "ezvsl", "htf", "rcgrad", "flowgrad_train", "flowgrad_test"
    ] = "257x300"
    kind: Literal["magnitude", "psd", "waveform"] | None = None
    window_seconds: float | None = None
    anchor: Literal["sample", "centre", "whole_second_centre", "start"] | None = None
    sample_rate: int | Literal["native"] | None = None
    n_fft: int | None = None
    hop_length: int | None = None
    num_frames: int | None = None
    log_offset: float | None = None
    log_divisor: float | None = None
    dtype: Literal["float16", "float32", "int16"] | None = None

    def __post_init__(self):
        if self.preset not in PRESETS:
            raise ValueError(f"preset is {self.preset!r}, expected one of {', '.join(PRESETS)}")
        settings = self.resolve()
        for name in ("window_seconds", "n_fft", "hop_length", "log_offset", "log_divisor"):
            if not 0 < getattr(settings, name) < math.inf:
                raise ValueError(f"{name} is {getattr(settings, name)}, expected a positive number")
        if settings.sample_rate != "native" and not 1000 <= settings.sample_rate <= 192000:
            raise ValueError(
                f"sample_rate is {settings.sample_rate}, expected 1000 to 192000 or native"
            )
        if settings.num_frames < 0:
            raise ValueError(f"num_frames is {settings.num_frames}, expected 0 or more")
        if settings.dtype == "int16" and settings.kind != "waveform":
            raise ValueError(f"dtype int16 is for waveforms only, and kind is {settings.kind}")

    def resolve(self) -> SpectrogramSettings:
        """The settings in force."""
        overrides = {
            name: value
            for name, value in vars(self).items()
            if name != "preset" and value is not None
        }
        return dataclasses.replace(PRESETS[self.preset], **overrides)


def log_magnitude_spectrogram(
    waveform: np.ndarray,
    *,
    n_fft: int,
    hop_length: int,
    num_frames: int = 0,
    log_offset: float = 1e-5,
    log_divisor: float = 1.0,
) -> np.ndarray:
    """Natural log of the magnitude of a centred Hann STFT: float32 ``(1 + n_fft // 2, num_frames)``.

    ``num_frames`` 0 keeps all ``1 + len(waveform) // hop_length`` columns; a smaller count keeps the first ones.
    """
    padded = waveform if len(waveform) > n_fft else np.resize(waveform, n_fft + 1)
    magnitude = _magnitude(padded, n_fft=n_fft, hop_length=hop_length)
    if num_frames and magnitude.shape[1] < num_frames:
        magnitude = np.pad(magnitude, ((0, 0), (0, num_frames - magnitude.shape[1])), mode="wrap")
    magnitude = magnitude[:, : num_frames or None]
    magnitude = magnitude + np.float32(log_offset)
    np.log(magnitude, out=magnitude)
    return magnitude if log_divisor == 1 else magnitude / np.float32(log_divisor)


def _magnitude(waveform: np.ndarray, *, n_fft: int, hop_length: int) -> np.ndarray:
    """Magnitude of ``librosa.stft`` (Hann window, centred, reflected ends), bit for bit: float32 ``(frequency, time)``.

    Its frames of float32, its window and transforms of float64 and its rounding to complex64, without its checks and
    blocks that leave the cache.
    """
    half = n_fft // 2
    if (
        n_fft % 2 or hop_length >= half or waveform.dtype != np.float32
    ):  # librosa reflects the end in pieces then
        return np.abs(
            librosa.stft(
                waveform, n_fft=n_fft, hop_length=hop_length, center=True, pad_mode="reflect"
            )
        )
    reflected = np.concatenate([waveform[half:0:-1], waveform, waveform[-2 : -half - 2 : -1]])
    frames = np.lib.stride_tricks.sliding_window_view(reflected, n_fft)[::hop_length]
    spectrum = np.empty((len(frames), half + 1), np.complex64)
    windowed = np.empty((_NUM_FRAMES_AT_ONCE, n_fft))
    for start in range(0, len(frames), _NUM_FRAMES_AT_ONCE):
        some = frames[start : start + _NUM_FRAMES_AT_ONCE]
        product = np.multiply(some, _hann(n_fft), out=windowed[: len(some)])
        spectrum[start : start + len(some)] = scipy.fft.rfft(product)
    return np.abs(spectrum).T


@functools.lru_cache(maxsize=16)
def _hann(n_fft: int) -> np.ndarray:
    return scipy.signal.get_window("hann", n_fft, fftbins=True)


def log_psd_spectrogram(
    waveform: np.ndarray,
    *,
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    num_frames: int = 0,
    log_offset: float = 1e-7,
    log_divisor: float = 12.0,
) -> np.ndarray:
    """Log power spectral density as LVS, EZ-VSL and HTF compute it (Tukey window, mean removed, no padding).

    float32 ``(1 + n_fft // 2, (len(waveform) - n_fft) // hop_length + 1)``.
    """
    padded = waveform if len(waveform) >= n_fft else np.resize(waveform, n_fft)
    _, _, density = scipy.signal.spectrogram(
        padded, sample_rate, nperseg=n_fft, noverlap=n_fft - hop_length
    )
    if num_frames and density.shape[1] < num_frames:
        density = np.pad(density, ((0, 0), (0, num_frames - density.shape[1])), mode="wrap")
    return (np.log(density[:, : num_frames or None] + log_offset) / log_divisor).astype(np.float32)


def compute_spectrogram(
    waveform: np.ndarray, *, sample_rate: int, settings: SpectrogramSettings
) -> np.ndarray:
    """The array of one sample in its stored dtype: ``(1 + n_fft // 2, num_frames)``, or ``(num_samples,)`` of a
    waveform.
    """
    if settings.kind == "waveform":
        if settings.dtype == "int16":
            return np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)
        return waveform.astype(settings.dtype)
    scaling = {
        "n_fft": settings.n_fft,
        "hop_length": settings.hop_length,
        "num_frames": settings.num_frames,
        "log_offset": settings.log_offset,
        "log_divisor": settings.log_divisor,
    }
    if settings.kind == "magnitude":
        array = log_magnitude_spectrogram(waveform, **scaling)
    else:
        array = log_psd_spectrogram(waveform, sample_rate=sample_rate, **scaling)
    return to_float16(array) if settings.dtype == "float16" else array.astype(settings.dtype)


def make_feature(parameters: SpectrogramParameters) -> Feature:
    """The feature for ``pipeline.features.extract``; its parameters (and so its keys) are the settings in force."""
    settings = parameters.resolve()
    is_waveform = settings.kind == "waveform"
    return Feature(
        name="spectrograms",
        version=VERSION,
        parameters=settings,
        attributes={
            "layout": "time" if is_waveform else "frequency, time",
            "units": "amplitude"
            if is_waveform
            else f"natural log of {settings.kind} / {settings.log_divisor:g}",
            "scale": 1 / 32768 if settings.dtype == "int16" else 1.0,
            "attribute_sample_rate": "Hz",
        },
        needs=functools.partial(_find_needs, settings),
        compute=functools.partial(_compute, settings),
    )


def find_window(
    moment: Moment, *, settings: SpectrogramSettings, duration_seconds: float
) -> tuple[float, float]:
    """The audio window [start, stop) in seconds of the clip, shifted inside the clip where it can be."""
    length = settings.window_seconds
    if settings.anchor == "start":
        return 0.0, length
    if settings.anchor == "sample":
        centre = moment.time_in(duration_seconds)
    elif settings.anchor == "centre":
        centre = duration_seconds / 2
    else:
        centre = int(duration_seconds) / 2 if duration_seconds >= 1 else duration_seconds / 2
    start = max(min(centre - length / 2, duration_seconds - length), 0.0)
    return start, start + length


def _find_needs(settings: SpectrogramSettings, moment: Moment, info: MediaInfo) -> Needs:
    start, stop = find_window(moment, settings=settings, duration_seconds=info.duration_seconds)
    rate = None if settings.sample_rate == "native" else settings.sample_rate
    return Needs(audio=AudioWindow(start, stop, rate))


def _compute(settings: SpectrogramSettings, moment: Moment, decoded: Decoded) -> Extracted:
    array = compute_spectrogram(
        decoded.waveform, sample_rate=decoded.sample_rate, settings=settings
    )
    return Extracted(array, {"sample_rate": decoded.sample_rate})
