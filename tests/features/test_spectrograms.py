"""The feature ``spectrograms``: analytic tones, the published codes' numbers, presets."""

import wave

import librosa
import numpy as np
import pytest

from earshot.errors import ParameterError
from pipeline.base.parameters import build
from pipeline.features import waveforms
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.features.sound_window import find_window
from pipeline.features.spectrograms import (
    PRESETS,
    Parameters,
    compute_spectrogram,
    log_magnitude_spectrogram,
    make_feature,
)
from tests.helpers.media.clip_factory import make_clip
from tests.helpers.paths import DATA


def make_sine(frequency, *, sample_rate=16000, seconds=3.0, amplitude=0.5):
    return (
        amplitude
        * np.sin(2 * np.pi * frequency * np.arange(int(seconds * sample_rate)) / sample_rate)
    ).astype("f4")


@pytest.mark.parametrize("bin_number", [16, 64, 200])
def test_a_tone_peaks_in_its_bin_with_its_magnitude(bin_number):
    spectrogram = log_magnitude_spectrogram(
        make_sine(bin_number * 16000 / 512), n_fft=512, hop_length=160, num_frames=300
    )
    inner = spectrogram[:, 5:-5]
    assert spectrogram.shape == (257, 300)
    assert (inner.argmax(axis=0) == bin_number).all()
    assert np.exp(inner[bin_number]) == pytest.approx(
        0.5 * 256 / 2, rel=1e-3
    )  # amplitude times the Hann sum over 2


def test_silence_and_extremes_are_finite():
    for waveform in (np.zeros(48000), np.ones(48000), np.full(48000, 1e-30), np.full(48000, 3e4)):
        for preset in ("257x300", "htf"):
            settings = PRESETS[preset]
            array = compute_spectrogram(waveform.astype("f4"), sample_rate=16000, settings=settings)
            assert np.isfinite(array).all()
            assert array.dtype == np.float16


@pytest.mark.parametrize(
    ("preset", "level"), [("257x300", np.log(1e-5)), ("htf", np.log(1e-7) / 12)]
)
def test_silence_has_the_level_of_the_offset(preset, level):
    silence = np.zeros(48000, np.float32)
    array = compute_spectrogram(silence, sample_rate=16000, settings=PRESETS[preset])
    assert (array == np.float16(level)).all()


@pytest.mark.parametrize("num_samples", [1, 100, 511, 512, 513, 47999, 48001])
def test_any_length_gives_the_shape(num_samples):
    waveform = np.random.default_rng(0).standard_normal(num_samples).astype("f4")
    assert compute_spectrogram(waveform, sample_rate=16000, settings=PRESETS["257x300"]).shape == (
        257,
        300,
    )


@pytest.mark.parametrize(
    ("preset", "name", "rate"),
    [("htf", "htf_ezvsl", 22050), ("ezvsl", "htf_ezvsl", 22050), ("lvs", "lvs", 16000)],
)
def test_presets_equal_the_published_codes(preset, name, rate):
    golden = np.load(DATA / "golden_spectrograms.npz")
    settings = Parameters(preset=preset, dtype="float32").resolve()
    waveform, expected = golden[f"{name}_waveform"].astype("f4"), golden[f"{name}_spectrogram"]
    got = compute_spectrogram(waveform, sample_rate=rate, settings=settings)[:, ::8]
    assert got.shape == expected.shape
    assert find_relative_error(got, expected) < 1e-4


def test_presets_equal_the_published_codes_over_whole_windows(shared):
    golden = np.load(shared("golden", "protocols.npz"))
    htf = Parameters(preset="htf", dtype="float32").resolve()
    ezvsl = Parameters(preset="ezvsl", dtype="float32").resolve()
    lvs = Parameters(preset="lvs", dtype="float32").resolve()
    for settings in (htf, ezvsl):
        got = compute_spectrogram(
            golden["wave22050_3s"].astype("f4"), sample_rate=22050, settings=settings
        )
        assert got.shape == golden["spec_htf_ezvsl_22050"].shape == (257, 276)
        assert find_relative_error(got, golden["spec_htf_ezvsl_22050"]) < 1e-4
    got = compute_spectrogram(golden["wave16000_10s"].astype("f4"), sample_rate=16000, settings=lvs)
    assert got.shape == (257, 671)
    assert find_relative_error(got[:, ::8], golden["spec_lvs_16000"]) < 1e-4


def find_relative_error(got, expected):
    return float((np.abs(got - expected) / np.maximum(np.abs(expected), 1e-3)).max())


@pytest.mark.parametrize(("rate", "columns"), [(22050, 276), (24000, 301), (11025, 137)])
def test_columns_of_the_published_codes(rate, columns):
    waveform = np.random.default_rng(0).standard_normal(3 * rate).astype("f4")
    assert compute_spectrogram(waveform, sample_rate=rate, settings=PRESETS["ezvsl"]).shape == (
        257,
        columns,
    )


def test_windows_lie_around_the_sample_and_inside_the_clip():
    def window(preset, time, duration):
        return find_window(Moment("a", time), settings=PRESETS[preset], duration_seconds=duration)

    assert window("257x300", 5.0, 10.0) == (3.5, 6.5)
    assert window("257x300", None, 10.0) == (3.5, 6.5)
    assert window("257x300", 0.2, 10.0) == (0.0, 3.0)
    assert window("257x300", 9.9, 10.0) == (7.0, 10.0)
    assert window("257x300", 1.0, 2.0) == (0.0, 3.0)
    assert window("lvs", 9.0, 20.0) == (0.0, 10.0)
    assert window("ezvsl", 1.0, 10.6) == pytest.approx((3.8, 6.8))
    assert window("htf", 1.0, 10.6) == (3.5, 6.5)


def test_feature_of_real_sound(tmp_path):
    path = make_clip(tmp_path / "a.mp4", "-c:v", "mpeg4", "-c:a", "aac", size="64x64", seconds=2)
    shapes = {}
    for preset in PRESETS:
        feature = make_feature(Parameters(preset=preset))
        (extracted,) = extract_features(path, [Moment("a", 1.0)], [feature])
        array = extracted["spectrograms"].array
        assert np.isfinite(array).all()
        shapes[preset] = (
            array.shape,
            str(array.dtype),
            extracted["spectrograms"].attributes["sample_rate"],
        )
    assert shapes == {
        "257x300": ((257, 300), "float16", 16000),
        "lvs": ((257, 1851), "float16", 44100),
        "ezvsl": ((257, 554), "float16", 44100),
        "htf": ((257, 276), "float16", 22050),
        "sslalignment": ((257, 299), "float16", 16000),
    }


def test_parameters_override_a_preset_and_name_what_is_wrong():
    parameters = build(
        Parameters,
        {"hop_length": 80, "sample_rate": "native"},
        "spectrogram",
    )
    assert parameters.resolve().hop_length == 80
    assert parameters.resolve().sample_rate == "native"
    assert parameters.resolve().n_fft == 512
    assert (
        make_feature(Parameters()).parameters == make_feature(Parameters(hop_length=160)).parameters
    )
    for values, message in [
        ({"preset": "cqt"}, "preset is 'cqt'"),
        ({"n_fft": 0}, "n_fft is 0, expected a positive number"),
        ({"window_seconds": float("inf")}, "window_seconds is inf, expected a finite number"),
        ({"log_offset": float("nan")}, "log_offset is nan, expected a finite number"),
        ({"sample_rate": 5}, "sample_rate is 5, expected 1000 to 192000 or native"),
        ({"dtype": "int16"}, r"dtype is 'int16', expected one of 'float16', 'float32'"),
        ({"preset": "rcgrad"}, "preset is 'rcgrad', expected one of"),
        ({"hop": 3}, r"unknown key spectrogram\.hop"),
        ({"hop_length": 0}, "hop_length is 0, expected a positive number"),
        ({"hop_length": 600}, r"hop_length is 600, expected n_fft \(512\) or less"),
        ({"hop_length": 80, "num_frames": 300}, "num_frames is 300, expected 600 or 601"),
        ({"num_frames": 400}, "num_frames is 400, expected 300 or 301"),
        ({"num_frames": 300, "sample_rate": "native"}, "num_frames is 300, expected 0"),
        ({"preset": "htf", "num_frames": 275}, "num_frames is 275, expected 276"),
    ]:
        with pytest.raises(ParameterError, match=message):
            build(Parameters, values, "spectrogram")


@pytest.mark.parametrize("num_samples", [513, 800, 7777, 48000])
@pytest.mark.parametrize(
    ("n_fft", "hop_length"), [(512, 160), (512, 255), (512, 256), (512, 400), (511, 160), (64, 1)]
)
def test_magnitudes_are_librosas_bit_for_bit(num_samples, n_fft, hop_length):
    waveform = np.random.default_rng(num_samples).standard_normal(num_samples).astype(np.float32)
    computed = log_magnitude_spectrogram(waveform, n_fft=n_fft, hop_length=hop_length)
    magnitude = np.abs(
        librosa.stft(waveform, n_fft=n_fft, hop_length=hop_length, pad_mode="reflect")
    )
    assert np.array_equal(computed, np.log(magnitude + np.float32(1e-5)))


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        ({}, 300),
        ({"hop_length": 80}, 600),
        ({"hop_length": 320}, 150),
        ({"hop_length": 255}, 189),
        ({"window_seconds": 1.0}, 100),
        ({"sample_rate": 22050}, 414),
        ({"kind": "psd"}, 297),
        ({"num_frames": 301}, 301),
        ({"num_frames": 0}, 301),
    ],
)
def test_columns_follow_from_window_rate_and_hop(values, columns):
    settings = Parameters(**values).resolve()
    num_samples = round(settings.window_seconds * settings.sample_rate)
    waveform = np.random.default_rng(0).standard_normal(num_samples).astype("f4")
    array = compute_spectrogram(waveform, sample_rate=settings.sample_rate, settings=settings)
    assert array.shape == (257, columns)


def draw_parameters(generator):
    """Draw settings that a user could choose."""
    n_fft = int(generator.choice([256, 400, 512, 1024]))
    kind = str(generator.choice(["magnitude", "psd"]))
    return Parameters(
        kind=kind,
        window_seconds=round(float(generator.uniform(0.3, 1.5)), 3),
        sample_rate=[8000, 16000, 22050, 44100, "native"][generator.integers(5)],
        n_fft=n_fft,
        hop_length=int(generator.integers(n_fft // 8, n_fft // 2 + 1)),
        log_offset=1e-10 if kind == "psd" else 1e-5,
        dtype="float32",
    )


def test_a_click_is_seen_exactly_inside_the_window(tmp_path):
    """One click, and moments around it: 50 drawn settings."""
    click_seconds, rate = 2.0, 24000
    samples = np.zeros(4 * rate, np.float32)
    samples[round(click_seconds * rate)] = 0.9
    path = tmp_path / "click.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())

    generator = np.random.default_rng(0)
    for _ in range(50):
        parameters = draw_parameters(generator)
        settings = parameters.resolve()
        own_rate = rate if settings.sample_rate == "native" else settings.sample_rate
        length, hop_seconds = settings.window_seconds, settings.hop_length / own_rate
        # Without padding the last samples have no column; the taper hides the first ones.
        slack = settings.n_fft / 8 / own_rate + hop_seconds if settings.kind == "psd" else 0.002

        # Where the click lies in the window, seconds from its beginning.
        inside = [slack, length - slack]
        places = [-0.02, *inside, length + 0.02]
        moments = [Moment(str(one), click_seconds - one + length / 2) for one in places]
        results = extract_features(path, moments, [make_feature(parameters)])
        arrays = [one["spectrograms"].array.astype(float) for one in results]

        silence, peak = arrays[0].min(), max(array.max() for array in arrays)
        levels = [(array.max() - silence) / (peak - silence) for array in arrays]
        assert max(levels[0], levels[-1]) < 0.1 < min(levels[1:-1]), (parameters, levels)
        # It is seen where it is.
        for place, array in zip(inside, arrays[1:-1], strict=True):
            first = settings.n_fft / 2 / own_rate if settings.kind == "psd" else 0.0
            expected = (place - first) / hop_seconds
            assert abs(array.max(axis=0).argmax() - expected) < 1.5 + first / hop_seconds


def test_rows_say_where_a_shifted_window_begins(tmp_path):
    path = make_clip(
        tmp_path / "a.mkv",
        *("-c:v", "mpeg4", "-c:a", "flac", "-af", "atrim=end=4"),
        size="64x64",
        seconds=6,
    )
    moments = [Moment("first", 0.2), Moment("middle", 2.0), Moment("last", 5.9)]
    features = [make_feature(Parameters()), waveforms.make_feature(waveforms.Parameters())]
    rows = list(extract_features(path, moments, features))
    starts = [one["spectrograms"].attributes["start_seconds"] for one in rows]
    # The sound ends after 4 s; the last window ends there, too.
    assert starts == pytest.approx([0.0, 0.5, 1.0], abs=0.01)
    assert rows[2]["waveforms"].attributes["start_seconds"] == pytest.approx(0.0, abs=0.01)
