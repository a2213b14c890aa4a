"""Say which clips do not give what a feature takes. It is computed of them all the same."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.features.feature import Feature, Moment
from pipeline.features.sound_window import find_window

_FULL_RATE = 0.95  # 24 pictures a second are nearly 25
_MOVED_SECONDS = 0.02  # half a picture; a sound that is moved less is still of the same one
# Networks cut the middle out of a waveform; of a spectrogram they read all.
_CUT_FEATURE = "waveforms"


def describe_clip_fit(
    name: str, feature: Feature, *, samples: pa.Table, downloads: pa.Table
) -> list[str]:
    """Return sentences about clips that do not give what a feature takes.

    Args:
        name: Of the feature or its variant, for the sentences.
        feature: What will be computed.
        samples: The table SAMPLES of a dataset.
        downloads: Its table DOWNLOADS, which says what the clips are.
    """
    notes = (
        _describe_slow(name, feature, downloads),
        _describe_rates(name, feature, downloads),
        _describe_moved(name, feature, samples, downloads),
    )
    return [note for note in notes if note]


def _describe_slow(name: str, feature: Feature, downloads: pa.Table) -> str:
    if feature.fps is None:
        return ""
    rates = [rate for rate in downloads["fps"].to_pylist() if rate is not None]
    num_slow = sum(rate < _FULL_RATE * feature.fps for rate in rates)
    if not num_slow:
        return ""
    return (
        f"{name} takes {feature.fps:g} pictures a second, and {num_slow} of {len(rates)} "
        f"clips have fewer (one has {min(rates):g}): there, some are the same picture again, which "
        "has no motion"
    )


def _describe_rates(name: str, feature: Feature, downloads: pa.Table) -> str:
    if getattr(feature.parameters, "sample_rate", None) != "native":
        return ""
    rates = Counter(rate for rate in downloads["sample_rate"].to_pylist() if rate is not None)
    if len(rates) < 2:
        return ""
    (usual, _), *others = rates.most_common()
    num_others = sum(count for _, count in others)
    return (
        f"{name}: sample_rate is native, and {num_others} of {rates.total()} clips have "
        f"another rate than {usual} Hz (one has {others[0][0]}), so their arrays have another "
        f"shape; no training and no evaluation can join them. Set sample_rate to {usual}"
    )


def _describe_moved(name: str, feature: Feature, samples: pa.Table, downloads: pa.Table) -> str:
    settings = feature.parameters
    if feature.name != _CUT_FEATURE or settings.anchor != "sample":
        return ""

    durations = _read_durations(downloads)
    # A sample's sound can come from another clip than its picture.
    clip_ids = pc.coalesce(samples["audio_clip_id"], samples["clip_id"])
    columns = (samples["sample_id"], clip_ids, samples["time_seconds"])
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    known = [row for row in rows if row[1] in durations]

    num_moved = 0
    for sample_id, clip_id, time_seconds in known:
        moment, duration = Moment(sample_id, time_seconds), durations[clip_id]
        start, stop = find_window(moment, settings=settings, duration_seconds=duration)
        middle = (start + stop) / 2
        num_moved += abs(middle - moment.time_in(duration)) > _MOVED_SECONDS
    if not num_moved:
        return ""
    return (
        f"{name}: {settings.window_seconds:g} seconds around the sample reach beyond the "
        f"clip of {num_moved} of {len(known)} samples, so their window is moved. A network that "
        "cuts the middle of it (avobject, dmc) hears another moment there; a shorter "
        "window_seconds helps"
    )


def _read_durations(downloads: pa.Table) -> dict[str, float]:
    columns = downloads.select(["clip_id", "duration_seconds"]).to_pydict()
    pairs = zip(*columns.values(), strict=True)
    return {clip_id: seconds for clip_id, seconds in pairs if seconds is not None}
