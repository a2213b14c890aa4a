"""Synthesize the sounds of the sample dataset's objects: one kind of sound for each class.

Noise comes from the generator that is passed in, so synthesis is deterministic. The pitch rises
with ``tone`` in [0, 1], which also sets the hue of the look. Loudness, and the pitch of engines,
follow the object's ``activity``, so that sound and motion are in step.
"""

from collections.abc import Callable, Sequence

import numpy as np

Gain = Callable[[np.ndarray], np.ndarray]  # of frequencies in Hz
# (activity, tone, sample rate, generator) -> waveform of any level
Synthesizer = Callable[[np.ndarray, float, int, np.random.Generator], np.ndarray]


def synthesize(
    class_name: str,
    activity: np.ndarray,
    *,
    tone: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Synthesize the sound of one object.

    Args:
        class_name: One of ``sprites.CLASS_NAMES``.
        activity: ``(num_samples,)``, how fast the object moves: 0 still, 1 fastest.
        tone: 0 to 1; sets the pitch.
        sample_rate: In Hz.
        rng: For noise and jitter.

    Returns:
        float32 ``(num_samples,)`` with a root mean square of 1 while fully active.
    """
    waveform = _SYNTHESIZERS[class_name](np.asarray(activity, float), tone, sample_rate, rng)
    # The small number keeps a silent waveform from a division by zero.
    waveform /= np.sqrt(np.mean(waveform**2)) + 1e-9
    # What hardly moves is still heard a little, as an engine that idles.
    return (waveform * (0.06 + 0.94 * activity)).astype(np.float32)


def ambience(num_samples: int, *, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return background noise that falls by about 6 dB an octave.

    It is float32 ``(num_samples,)`` with a root mean square of 1.
    """
    noise = _coloured_noise(
        num_samples, sample_rate, rng, lambda frequency: 1 / np.maximum(frequency, 60.0)
    )
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def _coloured_noise(
    num_samples: int, sample_rate: int, rng: np.random.Generator, gain: Gain
) -> np.ndarray:
    """Return noise with the spectrum ``gain(frequency in Hz)``.

    Two seconds of it are repeated; they join without a click.
    """
    period = 2 * sample_rate
    spectrum = np.fft.rfft(rng.standard_normal(period))
    noise = np.fft.irfft(spectrum * gain(np.fft.rfftfreq(period, 1 / sample_rate)), period)
    return np.resize(noise / (np.std(noise) + 1e-12), num_samples)


def _harmonics(phase: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Return the sum of ``weights[k] * sin((k + 1) * phase)``.

    By Chebyshev's recurrence this takes one sine and one cosine, however many weights there are.
    """
    twice_cosine = 2 * np.cos(phase)
    before, current = np.zeros_like(phase), np.sin(phase)

    total = weights[0] * current
    for weight in weights[1:]:
        before, current = current, twice_cosine * current - before
        total += weight * current
    return total


def _phase(frequency: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the phase in radians of a tone whose frequency in Hz varies."""
    return 2 * np.pi * np.cumsum(frequency) / sample_rate


def _repeat(
    sound: np.ndarray,
    period_seconds: float,
    num_samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Repeat a sound, with a little jitter of level and time."""
    output = np.zeros(num_samples + len(sound))
    start = rng.uniform(0, period_seconds)
    while start * sample_rate < num_samples:
        first = int(start * sample_rate)
        output[first : first + len(sound)] += sound * rng.uniform(0.8, 1.0)
        start += period_seconds * rng.uniform(0.9, 1.1)
    return output[:num_samples]


def _times(duration_seconds: float, sample_rate: int) -> np.ndarray:
    """Return the time of each audio sample in seconds."""
    return np.arange(int(duration_seconds * sample_rate)) / sample_rate


def _car(
    activity: np.ndarray, tone: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    # A faster car has a higher engine.
    phase = _phase(80 * 2.2**tone * (0.8 + 0.6 * activity), sample_rate)
    engine = _harmonics(phase, [1 / k for k in range(1, 9)])
    return engine + 0.25 * _coloured_noise(
        len(activity), sample_rate, rng, lambda f: 1 / (1 + (f / 700) ** 2)
    )


def _bus(
    activity: np.ndarray, tone: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    phase = _phase(36 * 1.7**tone * (0.85 + 0.3 * activity), sample_rate)
    rumble = _harmonics(phase, [1.0, 0.9, 0.3, 0.5, 0.1])
    # A hiss above 4.5 kHz, like that of compressed air.
    hiss = _coloured_noise(len(activity), sample_rate, rng, lambda f: (f > 4500) * 1.0)
    return rumble + 0.28 * hiss


def _motorcycle(
    activity: np.ndarray, tone: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    phase = _phase(170 * 2.2**tone * (0.75 + 0.7 * activity), sample_rate)
    buzz = _harmonics(phase, [1.0, 0.8, 0.9, 0.6, 0.7, 0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.3])
    # A slower throb: the cylinders do not fire alike.
    return buzz * (0.65 + 0.35 * np.sin(phase / 8))


def _helicopter(
    activity: np.ndarray, tone: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    time = np.arange(len(activity)) / sample_rate
    # Eight to sixteen blades a second pass by, each as a short beat of the noise.
    blades = np.maximum(0, np.sin(2 * np.pi * (8 + 8 * tone) * time)) ** 4
    noise = _coloured_noise(
        len(activity), sample_rate, rng, lambda f: np.exp(-(((f - 900) / 900) ** 2))
    )
    return noise * (0.12 + blades)


def _dog(
    activity: np.ndarray, tone: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    time = _times(0.16, sample_rate)
    # Within a bark the pitch rises and falls by half.
    pitch = 320 * 2.3**tone * (1 + 0.5 * np.sin(np.pi * time / 0.16))
    bark = _harmonics(_phase(pitch, sample_rate), [0.5, 1.0, 0.9, 0.4, 0.25, 0.15])
    bark = (bark + 0.3 * rng.standard_normal(len(time))) * np.sin(np.pi * time / 0.16) ** 0.5
    return _repeat(bark, 0.34, len(activity), sample_rate, rng)


def _bird(
    activity: np.ndarray, tone: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    time = _times(0.09, sample_rate)
    pitch = 2300 * 2.1**tone + 1400 * np.sin(np.pi * time / 0.09)
    chirp = np.sin(_phase(pitch, sample_rate)) * np.sin(np.pi * time / 0.09)
    return _repeat(chirp, 0.15, len(activity), sample_rate, rng)


def _bell(
    activity: np.ndarray, tone: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    time = _times(0.9, sample_rate)
    strike = np.zeros_like(time)
    # Partials of a bell are not harmonic: ratio to the lowest, level, decay a second.
    for ratio, level, decay in (
        (1, 1, 4),
        (2, 0.6, 5),
        (2.41, 0.7, 6),
        (3.01, 0.5, 7),
        (4.52, 0.4, 9),
        (5.35, 0.3, 11),
    ):
        strike += level * np.sin(2 * np.pi * 430 * 2.1**tone * ratio * time) * np.exp(-decay * time)
    return _repeat(strike, 0.42, len(activity), sample_rate, rng)


def _drum(
    activity: np.ndarray, tone: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    time = _times(0.22, sample_rate)
    # The pitch of a struck skin falls while it fades.
    thump = np.sin(2 * np.pi * 65 * 2.2**tone * (time - 1.2 * time**2)) * np.exp(-14 * time)
    snare = 0.35 * rng.standard_normal(len(time)) * np.exp(-30 * time)
    return _repeat(thump + snare, 0.23, len(activity), sample_rate, rng)


_SYNTHESIZERS: dict[str, Synthesizer] = {
    "car": _car,
    "bus": _bus,
    "motorcycle": _motorcycle,
    "helicopter": _helicopter,
    "dog": _dog,
    "bird": _bird,
    "bell": _bell,
    "drum": _drum,
}
