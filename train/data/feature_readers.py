"""Open the cached features that a model reads."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from earshot.errors import DataError
from earshot.reader import FeatureReader


def open_readers(
    features_dirs: Mapping[str, Path], names: Sequence[str]
) -> dict[str, FeatureReader]:
    """Open the features ``names``.

    Args:
        features_dirs: feature -> folder with its shards and index.
        names: the features to open.

    Returns:
        feature -> its reader.

    Raises:
        DataError: a feature has no folder, or its folder has no index.
    """
    for name in names:
        if name not in features_dirs:
            cached = ", ".join(features_dirs)
            raise DataError(f"the model reads {name}, which is not cached; cached: {cached}")
    return {name: FeatureReader(Path(features_dirs[name])) for name in names}


def require_sample_rate(readers: Mapping[str, FeatureReader], sample_rate: int | None) -> None:
    """Fail unless cached waveforms have the rate that a network needs.

    Args:
        readers: feature -> its open reader.
        sample_rate: in Hz; None: the network takes any.

    Raises:
        DataError: waveforms have another rate.
    """
    if sample_rate is None or "waveforms" not in readers:
        return
    found = describe_features({"waveforms": readers["waveforms"]})["waveforms"].get("sample_rate")
    if found not in (None, sample_rate):
        raise DataError(
            f"waveforms: cached at {found} Hz, but the network reads {sample_rate} Hz; set "
            f"waveform.sample_rate to {sample_rate} (or a preset of that rate)"
        )


def describe_features(readers: Mapping[str, FeatureReader]) -> dict[str, dict]:
    """Return the parameters of each feature, as its shards record them.

    Args:
        readers: feature -> its open reader.

    Returns:
        Feature -> its parameters; empty where no sample of the feature is cached.
    """
    return {
        name: json.loads(str(reader.attributes.get("parameters", "{}")))
        for name, reader in readers.items()
    }


def choose_usable(
    sample_ids: Sequence[str], readers: Mapping[str, FeatureReader]
) -> tuple[list[str], Counter[str]]:
    """Choose the samples for which every feature is cached.

    Args:
        sample_ids: the samples to choose from.
        readers: feature -> its open reader.

    Returns:
        The usable ids in their order, and how many ids were left out for each
        ``feature: reason``.
    """
    usable = []
    reasons: Counter[str] = Counter()
    for sample_id in sample_ids:
        # A sample counts once: by the first feature that it lacks.
        absent = next((name for name, reader in readers.items() if sample_id not in reader), None)
        if absent is None:
            usable.append(sample_id)
        else:
            reasons[f"{absent}: {readers[absent].reason(sample_id)}"] += 1
    return usable, reasons
