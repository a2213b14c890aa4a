"""The gallery's sound: length, pitch, and the same bytes each time."""

import io

import av
import numpy as np

from eval.report.gallery import sound


def test_mp3_has_the_length_and_the_pitch_of_the_sound():
    rate, seconds = sound.SAMPLE_RATE, 3.0
    times = np.arange(round(rate * seconds)) / rate
    data = sound.encode_mp3(0.5 * np.sin(2 * np.pi * 440 * times))
    assert data == sound.encode_mp3(0.5 * np.sin(2 * np.pi * 440 * times))
    assert len(data) < 7000
    with av.open(io.BytesIO(data)) as container:
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert abs(len(decoded) / rate - seconds) < 0.2
    middle = decoded[len(decoded) // 3 : 2 * len(decoded) // 3]
    peak = np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle)))))
    assert abs(peak * rate / len(middle) - 440) < 3
