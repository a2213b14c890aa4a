"""What the clips of a dataset do not give is told before a feature is computed."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.features import flow, frames, sequences, spectrograms, waveforms
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.shards.clip_fit import describe_clip_fit
from tests.helpers.media.clip_factory import make_clip

RATES = [25.0, 23.976, None, 16.0]
SECONDS = [4.0, 10.0, None, 10.0]
CLIPS = list("abcd")
SAMPLE_RATES = [44100, 48000, None, 44100]
DOWNLOADS = pa.table(
    {
        "clip_id": CLIPS,
        "fps": RATES,
        "duration_seconds": SECONDS,
        "sample_rate": SAMPLE_RATES,
    }
)
TIMES = [2.0, 5.0, 5.0, 1.0]
SAMPLES = pa.table(
    {
        "sample_id": CLIPS,
        "clip_id": CLIPS,
        "audio_clip_id": pa.array([None] * len(CLIPS), pa.string()),
        "time_seconds": TIMES,
    }
)


def describe(feature, samples=SAMPLES, name=None) -> list[str]:
    name = name or feature.name
    return describe_clip_fit(name, feature, samples=samples, downloads=DOWNLOADS)


def test_flow_of_more_pictures_than_there_are_is_nothing(tmp_path):
    """Why it is told: at twice the rate, pairs of this clip are one picture."""
    path = make_clip(tmp_path / "clip.mp4", fps="25", seconds=2)
    feature = flow.make_feature(flow.Parameters(fps=60, context_seconds=1 / 60))
    moments = [Moment(str(time), time) for time in np.linspace(0.3, 1.5, 5)]
    found = [one["flow"].array for one in extract_features(path, moments, [feature])]
    assert any((array == 0).all() for array in found)
    assert describe(feature) == [
        "flow takes 60 pictures a second, and 3 of 3 clips have fewer (one has 16): there, some "
        "are the same picture again, which has no motion"
    ]


@pytest.mark.parametrize(
    ("feature", "part"),
    [
        (flow.make_feature(flow.Parameters()), None),
        (flow.make_feature(flow.Parameters(fps=20)), ", and 1 of 3 clips have fewer (one has 16)"),
        (sequences.make_feature(sequences.Parameters()), ", and 1 of 3 clips have fewer"),
        (frames.make_feature(frames.Parameters()), None),
        (waveforms.make_feature(waveforms.Parameters()), "clip of 2 of 3 samples, so their window"),
        (waveforms.make_feature(waveforms.Parameters(window_seconds=2)), None),
        (waveforms.make_feature(waveforms.Parameters(anchor="centre")), None),
        (spectrograms.make_feature(spectrograms.Parameters()), None),
        (
            spectrograms.make_feature(spectrograms.Parameters(preset="lvs")),
            "native, and 1 of 3 clips have another rate than 44100 Hz (one has 48000), so their",
        ),
    ],
)
def test_clips_are_counted(feature, part):
    notes = describe(feature)
    if part is None:
        assert notes == []
    else:
        assert len(notes) == 1 and part in notes[0]


def test_a_variant_is_named():
    """Its settings are in a section of its own."""
    feature = spectrograms.make_feature(spectrograms.Parameters(preset="lvs"))
    (note,) = describe(feature, name="spectrograms-lvs")
    assert note.startswith("spectrograms-lvs: sample_rate is native")


def test_the_window_lies_in_the_clip_that_has_the_sound():
    """The second sample has the sound of a shorter clip, which ends before its window."""
    sounds = pa.array([None, "a", None, None])
    place = SAMPLES.schema.get_field_index("audio_clip_id")
    samples = SAMPLES.set_column(place, "audio_clip_id", sounds)
    feature = waveforms.make_feature(waveforms.Parameters(window_seconds=3))
    assert "clip of 1 of 3 samples" in describe(feature)[0]
    assert "clip of 2 of 3 samples" in describe(feature, samples)[0]


def test_the_middle_of_a_moved_window_is_another_moment(tmp_path):
    """Why it is told: the sound says its time by its pitch, 500 Hz more each second."""
    sound = "aevalsrc=0.5*sin(2*PI*(500*t+250*t*t)):s=16000:d=4"
    path = make_clip(tmp_path / "clip.mkv", "-c:a", "pcm_s16le", seconds=4, sound=sound)
    heard = []
    for window_seconds in (5, 3):
        feature = waveforms.make_feature(waveforms.Parameters(window_seconds=window_seconds))
        (found,) = extract_features(path, [Moment("a", 2.0)], [feature])
        array = found["waveforms"].array
        middle = array[len(array) // 2 - 1000 :][:2000] * np.hanning(2000)
        heard.append((np.abs(np.fft.rfft(middle)).argmax() * 8 - 500) / 500)
    assert heard == pytest.approx([2.5, 2.0], abs=0.05)
