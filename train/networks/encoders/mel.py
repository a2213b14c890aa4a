"""Mel spectrograms inside a network, as the methods that read waveforms compute them."""

import warnings
from dataclasses import dataclass
from typing import Literal

import librosa
import torch
from torch import nn

_SMALLEST_VALUE = 1e-10  # of a band before the decibels


@dataclass(frozen=True, kw_only=True)
class MelSettings:
    """How waveforms become mel spectrograms. The frames of the STFT are centred."""

    sample_rate: int  # in Hz
    n_fft: int
    hop_length: int
    num_bands: int  # from 0 Hz to half the sample rate
    window_length: int = 0  # of the Hann window; 0: as n_fft
    padding: Literal["reflect", "constant"] = "reflect"
    power: Literal[1, 2] = 2  # of the magnitudes
    # slaney: the filters have one area; htk: they have one height, on HTK's scale
    filters: Literal["slaney", "htk"] = "slaney"
    is_normalized: bool = False  # whether the spectrum is divided by the norm of the window


class MelSpectrogram(nn.Module):
    """Turn waveforms (n, num_samples) into mel spectrograms (n, num_bands, times).

    Window and filters follow from the settings, so they are no part of the state dict.
    """

    def __init__(self, settings: MelSettings):
        super().__init__()
        s = self.settings = settings
        # torchaudio's mel, which SSL-TIE uses, has HTK's bands of height 1; librosa's has Slaney's.
        is_htk = s.filters == "htk"
        with warnings.catch_warnings():
            # Some published settings have bands without any frequency.
            warnings.filterwarnings("ignore", "Empty filters")
            filters = librosa.filters.mel(
                sr=s.sample_rate,
                n_fft=s.n_fft,
                n_mels=s.num_bands,
                htk=is_htk,
                norm=None if is_htk else "slaney",
            )

        window = torch.hann_window(s.window_length or s.n_fft)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        self.register_buffer("window", window, persistent=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return the sums of each band, in float32 also under mixed precision."""
        s = self.settings
        # There is no FFT in bfloat16.
        with torch.autocast(waveforms.device.type, enabled=False):
            window = self.window.to(waveforms.dtype)
            spectrum = torch.stft(
                waveforms,
                s.n_fft,
                s.hop_length,
                win_length=len(window),
                window=window,
                center=True,
                pad_mode=s.padding,
                return_complex=True,
            )
            # This is `normalized=True` of torchaudio.
            if s.is_normalized:
                spectrum = spectrum / window.norm()
            return self.filters.to(waveforms.dtype) @ spectrum.abs().pow(s.power)


def decibels(mel: torch.Tensor, *, dynamic_range: float | None = None) -> torch.Tensor:
    """Return ten times the decimal logarithm of mel spectrograms (n, bands, times).

    Args:
        mel: not negative.
        dynamic_range: in dB below the maximum of each spectrogram; None: no limit.
    """
    values = 10 * mel.clamp_min(_SMALLEST_VALUE).log10()
    if dynamic_range is None:
        return values
    return values.maximum(values.amax((1, 2), keepdim=True) - dynamic_range)


def fit_length(waveforms: torch.Tensor, num_samples: int) -> torch.Tensor:
    """Cut the middle out of long waveforms, and repeat short ones.

    Args:
        waveforms: (n, any).
        num_samples: the length of the result.

    Returns:
        (n, num_samples). A repeated waveform begins with its own beginning.
    """
    num_given = waveforms.shape[1]
    if num_given >= num_samples:
        first = (num_given - num_samples) // 2
        return waveforms[:, first : first + num_samples]
    return waveforms.repeat(1, -(-num_samples // num_given))[:, :num_samples]
