"""A few seconds of a clip's sound as a small MP3 (the format that every browser plays)."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.media.reader import ClipReader

SAMPLE_RATE = 16_000  # MPEG-2 layer III has it; speech-band sound is enough to hear what is meant


def encode_mp3(
    waveform: np.ndarray, *, sample_rate: int = SAMPLE_RATE, bit_rate: int = 16_000
) -> bytes:
    """A mono float waveform ``(num_samples,)`` in [-1, 1] as MP3; the same waveform gives the same bytes."""
    buffer = io.BytesIO()
    samples = np.clip(np.nan_to_num(waveform), -1.0, 1.0)
    with av.open(
        buffer,
        "w",
        format="mp3",
        options={"fflags": "+bitexact", "write_xing": "0", "id3v2_version": "0"},
    ) as container:
        stream = container.add_stream("libmp3lame", rate=sample_rate, layout="mono")
        stream.bit_rate = bit_rate
        stream.options = {
            "compression_level": "7"
        }  # LAME's fast search: half the time, no difference at these rates
        frame = av.AudioFrame.from_ndarray(
            np.rint(samples * 32767).astype(np.int16)[None], format="s16p", layout="mono"
        )
        frame.sample_rate, frame.time_base, frame.pts = sample_rate, Fraction(1, sample_rate), 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def read_window(path: Path, time_seconds: float | None, *, duration_seconds: float) -> np.ndarray:
    """Mono float32 waveform ``(num_samples,)`` at ``SAMPLE_RATE``, ``duration_seconds`` around a time of the clip.

    ``time_seconds`` None is the clip's centre. Raises ``MediaError`` where there is no audio.
    """
    with ClipReader(path) as reader:
        middle = reader.info.duration_seconds / 2 if time_seconds is None else time_seconds
        half = duration_seconds / 2
        return reader.read_audio(middle - half, middle + half, sample_rate=SAMPLE_RATE)[0]
