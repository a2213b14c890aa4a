"""A few seconds of a clip's sound as a small MP3 (the format that every browser plays)."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.errors import MediaError

SAMPLE_RATE = 16_000  # MPEG-2 layer III has it; speech-band sound is enough to hear what is meant


def encode_mp3(waveform: np.ndarray, *, sample_rate: int = SAMPLE_RATE, bit_rate: int = 16_000) -> bytes:
    """A mono float waveform ``(num_samples,)`` in [-1, 1] as MP3; the same waveform gives the same bytes."""
    buffer = io.BytesIO()
    samples = np.clip(np.nan_to_num(waveform), -1.0, 1.0)
    with av.open(
        buffer, "w", format="mp3", options={"fflags": "+bitexact", "write_xing": "0", "id3v2_version": "0"}
    ) as container:
        stream = container.add_stream("libmp3lame", rate=sample_rate, layout="mono")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(
            np.rint(samples * 32767).astype(np.int16)[None], format="s16p", layout="mono"
        )
        frame.sample_rate, frame.time_base, frame.pts = sample_rate, Fraction(1, sample_rate), 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def read_window(path: Path, time_seconds: float | None, *, duration_seconds: float) -> np.ndarray:
    """Mono float32 waveform ``(num_samples,)`` at ``SAMPLE_RATE``, ``duration_seconds`` around a time of the file.

    ``time_seconds`` None is the middle of the audio. What lies outside of the file is left out. Raises ``MediaError``
    where there is no audio.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.best("audio")
            if stream is None:
                raise MediaError("no_audio", f"{path}: has no audio stream")
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
            pieces, first_second = [], None
            for frame in container.decode(stream):
                if first_second is None and frame.time is not None:
                    first_second = frame.time
                pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    except av.error.FFmpegError as error:
        raise MediaError("corrupt", f"{path}: its audio cannot be decoded: {error.strerror}") from None
    waveform = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not len(waveform):
        raise MediaError("no_audio", f"{path}: its audio stream is empty")
    start_of_audio = first_second or 0.0
    middle = start_of_audio + len(waveform) / SAMPLE_RATE / 2 if time_seconds is None else time_seconds
    start = max(0, round((middle - duration_seconds / 2 - start_of_audio) * SAMPLE_RATE))
    window = waveform[start : start + round(duration_seconds * SAMPLE_RATE)]
    if not len(window):
        raise MediaError("too_short", f"{path}: has no audio around {middle:.2f} s")
    return window
