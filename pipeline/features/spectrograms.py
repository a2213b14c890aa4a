"""The feature ``spectrograms``: a log spectrogram of the sound around the sample's time.

There are two kinds. ``magnitude``: natural logarithm of the STFT's magnitude, the default. ``psd``:
logarithm of SciPy's power spectral density, as the code of LVS, EZ-VSL, HTF and SSLalignment
computes it.
"""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Literal, cast

import librosa
import numpy as np

from pipeline.features.feature import Decoded, Extracted, Feature, Moment
from pipeline.features.float16 import to_float16
from pipeline.features.sound_window import (
    ATTRIBUTE_UNITS,
    Anchor,
    check_sound_settings,
    describe_window,
    find_sound_needs,
)

VERSION = 3  # 2, 3: damaged and odd files are read otherwise (docs/lab/media.md)
_USUAL_SAMPLE_RATE = 44100  # in Hz, of files; where it is not known before they are there
_SMALLEST_TRANSFORM = 16  # samples; fewer tell no frequencies apart
_LOG_RANGES = {"log_offset": (1e-30, 1e3), "log_divisor": (1e-3, 1e3)}


@dataclass(frozen=True)
class Settings:
    """All settings of one spectrogram, none left open. Shards record them; they enter the keys."""

    kind: Literal["magnitude", "psd"]
    window_seconds: float  # length of the sound
    anchor: Anchor
    sample_rate: int | Literal["native"]  # in Hz
    n_fft: int  # samples per transform
    hop_length: int  # samples from one column to the next
    num_frames: int  # columns; 0: as many as the transform gives
    log_offset: float  # is added before the natural logarithm
    log_divisor: float  # divides the logarithm
    dtype: Literal["float16", "float32"]  # as stored


def _make_psd(
    window_seconds: float, anchor: Anchor, sample_rate: int | Literal["native"]
) -> Settings:
    # All three published codes: nperseg 512, noverlap 274, log(x + 1e-7) / 12.
    return Settings(
        "psd", window_seconds, anchor, sample_rate, 512, 512 - 274, 0, 1e-7, 12.0, "float16"
    )


PRESETS = {
    "257x300": Settings("magnitude", 3.0, "sample", 16000, 512, 160, 300, 1e-5, 1.0, "float16"),
    "lvs": _make_psd(10.0, "start", "native"),
    "ezvsl": _make_psd(3.0, "centre", "native"),
    "htf": _make_psd(3.0, "whole_second_centre", 22050),
    # noverlap 353. Its code takes 3.5 s to 6.5 s of clips of 10 s.
    "sslalignment": dataclasses.replace(_make_psd(3.0, "centre", 16000), hop_length=512 - 353),
}


@dataclass(frozen=True)
class Parameters:
    """Section ``spectrogram`` of params.yaml: a preset, and settings that replace the preset's.

    The number of columns follows from the other settings.
    """

    preset: Literal["257x300", "lvs", "ezvsl", "htf", "sslalignment"] = "257x300"
    # None keeps the setting of the preset.
    kind: Literal["magnitude", "psd"] | None = None
    window_seconds: float | None = None
    anchor: Anchor | None = None
    sample_rate: int | Literal["native"] | None = None
    n_fft: int | None = None
    hop_length: int | None = None
    num_frames: int | None = None
    log_offset: float | None = None
    log_divisor: float | None = None
    dtype: Literal["float16", "float32"] | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset is {self.preset!r}, expected one of {', '.join(PRESETS)}")

        # Check the preset and what replaces it together.
        settings = self._replace_preset()
        for name in ("n_fft", "hop_length"):
            if not getattr(settings, name) > 0:
                raise ValueError(f"{name} is {getattr(settings, name)}, expected a positive number")
        # Outside of these, float16 holds infinity, or one number for all sounds.
        for name, (least, most) in _LOG_RANGES.items():
            if not least <= getattr(settings, name) <= most:
                raise ValueError(
                    f"{name} is {getattr(settings, name):g}, expected {least:g} to {most:g}"
                )

        check_sound_settings(settings)
        _check_transform(settings)
        _check_columns(self.resolve())

    def resolve(self) -> Settings:
        """Return the settings in force."""
        settings = self._replace_preset()
        # A preset's number of columns holds for its own window and hop only.
        if self.num_frames is None and settings.num_frames:
            settings = dataclasses.replace(settings, num_frames=_find_num_frames(settings))
        return settings

    def _replace_preset(self) -> Settings:
        replaced = {
            name: value
            for name, value in vars(self).items()
            if name != "preset" and value is not None
        }
        return dataclasses.replace(PRESETS[self.preset], **replaced)


def _find_num_frames(settings: Settings) -> int:
    """Return how many columns show the window once, all of it; 0: that depends on the file."""
    if settings.sample_rate == "native":
        return 0
    num_samples = round(settings.window_seconds * settings.sample_rate)
    if settings.kind == "psd":
        # SciPy pads nothing: each segment lies inside the window.
        return max(num_samples - settings.n_fft, 0) // settings.hop_length + 1
    # Columns are centred. One at the very end would show what the one before it shows.
    return -(-num_samples // settings.hop_length)


def _check_transform(settings: Settings) -> None:
    """Raise ``ValueError`` where a transform is longer than the window: sound would be repeated."""
    rate = _USUAL_SAMPLE_RATE if settings.sample_rate == "native" else settings.sample_rate
    num_samples = round(settings.window_seconds * rate)
    if not _SMALLEST_TRANSFORM <= settings.n_fft <= num_samples:
        raise ValueError(
            f"n_fft is {settings.n_fft}, expected {_SMALLEST_TRANSFORM} to the {num_samples} "
            f"samples of window_seconds ({settings.window_seconds:g})"
        )


def _check_columns(settings: Settings) -> None:
    """Raise ``ValueError`` where columns would leave out or repeat a part of the window."""
    if settings.hop_length > settings.n_fft:
        raise ValueError(
            f"hop_length is {settings.hop_length}, expected n_fft ({settings.n_fft}) or less: the "
            "samples between two columns would be in none"
        )
    if settings.num_frames == 0:
        return

    expected = {_find_num_frames(settings)}
    if settings.kind == "magnitude" and 0 not in expected:
        # librosa's own number has one more where the hop divides the window.
        num_samples = round(settings.window_seconds * cast(int, settings.sample_rate))
        expected.add(1 + num_samples // settings.hop_length)
    if settings.num_frames not in expected:
        found = " or ".join(str(number) for number in sorted(expected))
        raise ValueError(
            f"num_frames is {settings.num_frames}, expected {found}: the window would be cut or "
            "repeated; leave num_frames out, and it follows from the other settings"
        )


def compute_spectrogram(
    waveform: np.ndarray, *, sample_rate: int, settings: Settings
) -> np.ndarray:
    """Compute one sample's spectrogram in its stored dtype.

    Args:
        waveform: Mono float32 ``(num_samples,)``. One that is shorter than a transform is repeated.
        sample_rate: Of the waveform, in Hz.
        settings: The settings in force.

    Returns:
        ``(1 + n_fft // 2, num_frames)``, low frequencies first.
    """
    if settings.kind == "magnitude":
        array = log_magnitude_spectrogram(
            waveform,
            n_fft=settings.n_fft,
            hop_length=settings.hop_length,
            num_frames=settings.num_frames,
            log_offset=settings.log_offset,
            log_divisor=settings.log_divisor,
        )
    else:
        array = log_psd_spectrogram(
            waveform,
            sample_rate=sample_rate,
            n_fft=settings.n_fft,
            hop_length=settings.hop_length,
            num_frames=settings.num_frames,
            log_offset=settings.log_offset,
            log_divisor=settings.log_divisor,
        )

    # `to_float16` gives the bits of `astype`, only faster.
    return to_float16(array) if settings.dtype == "float16" else array.astype(settings.dtype)


def log_magnitude_spectrogram(
    waveform: np.ndarray,
    *,
    n_fft: int,
    hop_length: int,
    num_frames: int = 0,
    log_offset: float = 1e-5,
    log_divisor: float = 1.0,
) -> np.ndarray:
    """Compute the log magnitude of a centred Hann STFT.

    Args:
        waveform: Mono float32 ``(num_samples,)``.
        n_fft: Samples per transform.
        hop_length: Samples from one column to the next.
        num_frames: Columns in the result. 0 keeps all ``1 + num_samples // hop_length``.
        log_offset: Is added to the magnitude before the natural logarithm.
        log_divisor: Divides the logarithm.

    Returns:
        float32 ``(1 + n_fft // 2, num_frames)``.
    """
    # Reflecting the ends needs more samples than half a transform has.
    padded = waveform if len(waveform) > n_fft else np.resize(waveform, n_fft + 1)
    magnitude = np.abs(
        librosa.stft(padded, n_fft=n_fft, hop_length=hop_length, center=True, pad_mode="reflect")
    )

    magnitude = _fit_columns(magnitude, num_frames) + np.float32(log_offset)
    np.log(magnitude, out=magnitude)
    return magnitude if log_divisor == 1 else magnitude / np.float32(log_divisor)


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
    """Compute the log power spectral density as LVS, EZ-VSL and HTF do.

    SciPy's defaults: a Tukey window, each segment's mean removed, no padding. The arguments are
    those of ``log_magnitude_spectrogram``.

    Returns:
        float32 ``(1 + n_fft // 2, num_frames)``; without ``num_frames`` it has
        ``(num_samples - n_fft) // hop_length + 1`` columns.
    """
    # Here, because commands import this module for its parameters, and SciPy takes half a second.
    import scipy.signal

    padded = waveform if len(waveform) >= n_fft else np.resize(waveform, n_fft)
    _, _, density = scipy.signal.spectrogram(
        padded, sample_rate, nperseg=n_fft, noverlap=n_fft - hop_length
    )

    density = _fit_columns(density, num_frames)
    return (np.log(density + log_offset) / log_divisor).astype(np.float32)


def _fit_columns(spectrogram: np.ndarray, num_frames: int) -> np.ndarray:
    """Keep the first ``num_frames`` columns (0: all); repeat them where there are fewer."""
    num_missing = num_frames - spectrogram.shape[1]
    if num_missing > 0:
        spectrogram = np.pad(spectrogram, ((0, 0), (0, num_missing)), mode="wrap")
    return spectrogram[:, : num_frames or None]


def make_feature(parameters: Parameters | Settings) -> Feature:
    """Make the feature; arrays ``(frequency, time)``.

    Args:
        parameters: Of params.yaml, or the settings that a shard recorded.

    Returns:
        The feature. Its keys depend on the settings in force, not on the name of a preset.
    """
    settings = parameters if isinstance(parameters, Settings) else parameters.resolve()
    return Feature(
        name="spectrograms",
        kind="sound",
        version=VERSION,
        parameters=settings,
        attributes={
            "layout": "frequency, time",
            "units": f"natural log of {settings.kind} / {settings.log_divisor:g}",
            "scale": 1.0,
            **ATTRIBUTE_UNITS,
        },
        needs=functools.partial(find_sound_needs, settings),
        compute=functools.partial(_compute, settings),
    )


def _compute(settings: Settings, moment: Moment, decoded: Decoded) -> Extracted:
    assert decoded.waveform is not None and decoded.sample_rate is not None
    array = compute_spectrogram(
        decoded.waveform, sample_rate=decoded.sample_rate, settings=settings
    )
    return Extracted(array, describe_window(decoded))
