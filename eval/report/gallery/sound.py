"""Sound in few bytes for the gallery: a window of a clip as MP3, which all browsers play."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.media.reader import ClipReader

# A rate that MPEG-2 layer III has; the speech band is enough to recognize a sound.
SAMPLE_RATE = 16_000


def encode_mp3(
    waveform: np.ndarray, *, sample_rate: int = SAMPLE_RATE, bit_rate: int = 16_000
) -> bytes:
    """Encode a waveform as MP3; the same waveform gives the same bytes.

    Args:
        waveform: ``(num_samples,)`` float in [-1, 1]; NaN is silence.
        sample_rate: Of the waveform, in Hz.
        bit_rate: Of the MP3, in bits a second.
    """
    # 16-bit samples: more than an MP3 of this rate keeps
    pcm = np.rint(np.clip(np.nan_to_num(waveform), -1.0, 1.0) * 32767).astype(np.int16)

    buffer = io.BytesIO()
    # without these options the file holds the version of the encoder
    options = {"fflags": "+bitexact", "write_xing": "0", "id3v2_version": "0"}

    with av.open(buffer, "w", format="mp3", options=options) as container:
        stream = container.add_stream("libmp3lame", rate=sample_rate, layout="mono")
        stream.bit_rate = bit_rate

        # LAME's fast search: half the time, no difference to hear at these rates
        stream.options = {"compression_level": "7"}

        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16p", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = sample_rate, Fraction(1, sample_rate), 0

        # Encoding None flushes what the encoder still holds.
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def read_window(path: Path, time_seconds: float | None, *, duration_seconds: float) -> np.ndarray:
    """Read the sound of a clip around a moment.

    Args:
        path: The clip.
        time_seconds: Middle of the window; None is the middle of the clip.
        duration_seconds: Length of the window.

    Returns:
        Mono float32 ``(num_samples,)`` at ``SAMPLE_RATE``.

    Raises:
        MediaError: The clip has no sound or cannot be read.
    """
    with ClipReader(path) as reader:
        middle = reader.info.duration_seconds / 2 if time_seconds is None else time_seconds
        half = duration_seconds / 2
        return reader.read_audio(middle - half, middle + half, sample_rate=SAMPLE_RATE)[0]
