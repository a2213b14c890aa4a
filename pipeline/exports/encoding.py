"""Encode what a sample has as the bytes of files: JPEG or PNG, WAV, NPY."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.io import wavfile

from pipeline.features.pictures import encode
from pipeline.features.registry import FEATURES
from pipeline.features.waveforms import encode_waveform
from pipeline.media.reader import ClipReader

PartKind = Literal["picture", "sound", "array"]

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Part:
    """One file of a sample."""

    name: str  # of the feature
    kind: PartKind
    suffix: str  # without a dot
    data: bytes


def find_part_kind(feature: str, units: object) -> PartKind:
    """Return as what a feature is written.

    Args:
        feature: Its name; one that Earshot does not know is an array.
        units: The root attribute of its shards.
    """
    known = FEATURES.get(feature)
    if known is not None and known.kind == "picture":
        return "picture"
    # Of the sounds, a waveform can be played. A spectrogram is an array.
    is_waveform = known is not None and known.kind == "sound" and units == "amplitude"
    return "sound" if is_waveform else "array"


def encode_picture(name: str, picture: np.ndarray, suffix: str) -> Part:
    """Return a uint8 RGB picture as JPEG (quality 95) or PNG (every bit)."""
    return Part(name, "picture", suffix, encode(picture, f".{suffix}", quality=_JPEG_QUALITY))


def encode_sound(name: str, waveform: np.ndarray, sample_rate: int) -> Part:
    """Return a mono waveform as WAV: int16 as it is, floats as 32 bit floats."""
    # WAV has no floats of 16 bits, and few programs read those of 64.
    if waveform.dtype != np.int16:
        waveform = waveform.astype(np.float32)

    buffer = io.BytesIO()
    wavfile.write(buffer, sample_rate, waveform)
    return Part(name, "sound", "wav", buffer.getvalue())


def encode_array(name: str, array: np.ndarray) -> Part:
    """Return an array as NPY, with its shape and dtype."""
    buffer = io.BytesIO()
    # A pickled object could run code in the program that reads it.
    np.save(buffer, array, allow_pickle=False)
    return Part(name, "array", "npy", buffer.getvalue())


def read_clip_sound(name: str, path: Path) -> Part:
    """Return the whole sound of a clip as WAV: mono, 16 bits, at the clip's own rate.

    It begins where the clip begins. Where the sound begins later, silence comes first.

    Raises:
        MediaError: ``no_audio``, ``corrupt`` or ``no_file``.
    """
    with ClipReader(path) as reader:
        sound = reader.read_whole_sound(sample_rate=None)

    silence = np.zeros(round(sound.start_seconds * sound.sample_rate), np.float32)
    # The clip and its arrays are aligned by time, so the WAV must not begin where the sound does.
    waveform = encode_waveform(np.concatenate([silence, sound.waveform]), dtype="int16")
    return encode_sound(name, waveform, sound.sample_rate)
