"""Negative audio for whole test sets: is a model silent when nothing in the frame sounds?

``eval.scoring.negative_audio`` defines the scores. Each model has one threshold. It is found on
samples that are in no test set.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from earshot.errors import DataError
from earshot.files import publish
from earshot.reader import FeatureReader
from eval.entrants.entrant import Entrant, choose_available
from eval.entrants.negative_sounds import SEEDS, SOUND_FEATURES, Pool, Sounds, make_sounds
from eval.published.test_sets import find_subset_ids
from eval.results.model_scores import find_negatives
from eval.results.negative_audio_scores import count_maxima, find_maxima, measure, summarize
from eval.scoring.ground_truth import ground_truths_of
from eval.scoring.negative_audio import NEGATIVES, find_universal_threshold
from pipeline.datasets.dataset import load
from pipeline.features.registry import find_base


@dataclass(frozen=True)
class NegativeAudioParameters:
    """Section ``evaluate.negative_audio`` of params.yaml."""

    # Dataset -> test sets whose samples also get silence, noise and offscreen sound.
    subsets: dict[str, Sequence[str]] = field(default_factory=dict)
    # The threshold of a model is found on this split, of the same dataset or else of the first.
    threshold_split: str = "val"
    num_threshold_samples: int = 100  # at most
    num_seeds: int = len(SEEDS)

    def __post_init__(self) -> None:
        if self.num_threshold_samples < 1:
            raise ValueError(
                f"num_threshold_samples ({self.num_threshold_samples}) must be at least 1"
            )
        if not 1 <= self.num_seeds <= len(SEEDS):
            raise ValueError(f"num_seeds ({self.num_seeds}) must be 1 to {len(SEEDS)}")


@dataclass(frozen=True)
class SoundData:
    """One dataset: its table SAMPLES, its open features, and the videos of its samples."""

    name: str
    samples: pa.Table
    readers: Mapping[str, FeatureReader]
    group_of: Mapping[str, str]  # sample id -> video
    test_sets: Collection[str]  # names of all of them


def evaluate_negative_audio(
    entrants: Iterable[Entrant],
    datasets: Sequence[SoundData],
    *,
    parameters: NegativeAudioParameters,
    num_resamples: int,
    maps_root_dir: Path,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Score all models that compare sounds.

    Args:
        entrants: of the evaluation; those without ``compare_sounds``, and untrained networks, are
            left out.
        datasets: all datasets; the training dataset comes first.
        parameters: which test sets, and where the threshold comes from.
        num_resamples: of the intervals.
        maps_root_dir: raw similarities go to ``<dataset>/similarities/<model>_<subset>.npz``.

    Returns:
        Objects of the list ``negative_audio`` (see ``eval.results.files``), and of ``notes``.

    Raises:
        DataError: a feature cannot be read.
    """
    # Baselines and foreign maps cannot be computed for another sound.
    models = [one for one in entrants if one.compare_sounds is not None and one.kind == "model"]
    rows: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    thresholds: dict[tuple[str, str], dict[str, Any] | None] = {}

    places = [(data, name) for data in datasets for name in parameters.subsets.get(data.name, ())]
    for data, subset in places if models else ():
        source, problem = _find_threshold_source(data, subset, datasets, parameters)
        if source is None:
            notes.append(_make_note("", data.name, problem))
            continue

        for entrant in models:
            # Found once for all test sets, because it needs as many maps as scoring does.
            key = entrant.name, source.name
            if key not in thresholds:
                thresholds[key] = _find_threshold(entrant, source, parameters)
            found = _evaluate_subset(
                entrant,
                data,
                subset,
                threshold=thresholds[key],
                parameters=parameters,
                num_resamples=num_resamples,
                maps_dir=maps_root_dir / data.name / "similarities",
            )
            if found is not None:
                rows.append(found)
            else:
                text = (
                    f"{entrant.name} on {subset} is not scored, since none of the positives, or of "
                    f"{parameters.threshold_split}, has {', '.join(entrant.reads)}"
                )
                notes.append(_make_note(entrant.name, data.name, text))
    return rows, notes


def _find_threshold_source(
    data: SoundData,
    subset: str,
    datasets: Sequence[SoundData],
    parameters: NegativeAudioParameters,
) -> tuple[SoundData | None, str]:
    """Return the dataset of the threshold, or why there is none.

    It is the test set's own dataset, or else the first one, on which the model was trained.
    """
    if subset not in data.test_sets:
        return None, f"{subset} is left out, since evaluate.subsets.{data.name} does not have it"

    split = parameters.threshold_split
    # A dataset without such a split takes the threshold of the first dataset.
    for candidate in (data, datasets[0]):
        if _find_threshold_ids(candidate, split):
            return candidate, ""
    return None, (
        f"{subset} is not scored, since the split {split} has no sample outside of the test sets "
        "to find a threshold with (evaluate.negative_audio.threshold_split)"
    )


def _make_note(model: str, dataset: str, text: str) -> dict[str, Any]:
    """Return an object of the list ``notes`` (see ``eval.results.files``)."""
    return {
        "model": model,
        "dataset": dataset,
        "problem": "negative_audio",
        "num_samples": None,
        "text": f"Negative audio of {dataset}: {text}.",
    }


def _find_threshold_ids(data: SoundData, split: str) -> list[str]:
    """Return samples of a split that share no video with a test set."""
    columns = data.samples.select(["sample_id", "splits"]).to_pydict()
    tested = {
        data.group_of[name]
        for subset in data.test_sets
        for name in find_subset_ids(data.samples, subset)
    }
    return [
        name
        for name, splits in zip(*columns.values(), strict=True)
        if split in (splits or ()) and data.group_of[name] not in tested
    ]


def _find_threshold(
    entrant: Entrant, data: SoundData, parameters: NegativeAudioParameters
) -> dict[str, Any] | None:
    """Find the universal threshold of a model: a number, and the facts that reports print."""
    split = parameters.threshold_split
    ids, _ = choose_available(_find_threshold_ids(data, split), entrant.reads, data.readers)
    if not ids:
        return None

    # Choose samples evenly over the split, the same in each run.
    places = np.linspace(0, len(ids) - 1, min(len(ids), parameters.num_threshold_samples))
    chosen = [sorted(ids)[int(place)] for place in places]
    sounds, maps = _compare(entrant, data, chosen, pool_ids=ids, num_seeds=parameters.num_seeds)

    maxima = {kind: values.ravel() for kind, values in find_maxima(sounds, maps).items()}
    # The threshold has to silence negatives. Its own sounds have no say in it.
    threshold, quartiles = find_universal_threshold(
        {kind: values for kind, values in maxima.items() if kind != "own"}
    )
    return {
        "threshold": threshold,
        "threshold_on": f"{data.name}/{split}",
        "num_threshold_samples": len(chosen),
        **{f"third_quartile_{kind}": value for kind, value in quartiles.items()},
    }


def _compare(
    entrant: Entrant,
    data: SoundData,
    sample_ids: Sequence[str],
    *,
    pool_ids: Sequence[str],
    num_seeds: int,
) -> tuple[list[Sounds], np.ndarray]:
    """Return the sounds, and the similarities (len(sounds), n, h, w)."""
    # Negatives are made in the form of the sound that the model reads.
    name = next(name for name in entrant.reads if find_base(name) in SOUND_FEATURES)
    columns = data.samples.select(["sample_id", "label"]).to_pydict()
    labels = dict(zip(*columns.values(), strict=True))
    sounds = make_sounds(
        sample_ids,
        data.readers[name],
        feature=find_base(name),
        pool=Pool(pool_ids, labels, data.group_of),
        num_seeds=num_seeds,
    )
    assert entrant.compare_sounds is not None

    maps = entrant.compare_sounds(sample_ids, data.readers, sounds)
    # NaN is above no threshold, so it would look like perfect silence.
    if not np.isfinite(maps).all():
        raise DataError(f"{entrant.name}: similarities of {data.name} are not finite")
    return sounds, maps


def _evaluate_subset(
    entrant: Entrant,
    data: SoundData,
    subset: str,
    *,
    threshold: Mapping[str, Any] | None,
    parameters: NegativeAudioParameters,
    num_resamples: int,
    maps_dir: Path,
) -> dict[str, Any] | None:
    """Score one model on one test set; None without a threshold, or a positive with features."""
    truths = ground_truths_of(data.samples, box_rule=load(data.name).box_rule)
    negatives = find_negatives(data.samples)
    positives = [
        name
        for name in find_subset_ids(data.samples, subset)
        if name in truths and name not in negatives
    ]

    # A sample without a feature has no map. It counts in `num_requested` alone.
    ids, _ = choose_available(positives, entrant.reads, data.readers)
    if not ids or threshold is None:
        return None

    sounds, maps = _compare(entrant, data, ids, pool_ids=ids, num_seeds=parameters.num_seeds)
    _keep_similarities(maps_dir / f"{entrant.name}_{subset}.npz", ids, sounds, maps)

    values = measure(sounds, maps, [truths[name] for name in ids], threshold=threshold["threshold"])
    groups = [data.group_of[name] for name in ids]
    return {
        "model": entrant.name,
        "kind": entrant.kind,
        "dataset": data.name,
        "subset": subset,
        "n": len(ids),
        "num_requested": len(positives),
        "num_groups": len(set(groups)),
        "num_seeds": parameters.num_seeds,
        **threshold,
        **summarize(values, groups=groups, num_resamples=num_resamples),
        **count_maxima(find_maxima(sounds, maps)),
    }


def _keep_similarities(
    path: Path, sample_ids: Sequence[str], sounds: Sequence[Sounds], maps: np.ndarray
) -> None:
    """Write the raw similarities: for each kind ``(number of seeds, n, h, w)``."""
    kinds = np.array([sound.kind for sound in sounds])
    arrays = {kind: maps[kinds == kind] for kind in dict.fromkeys(kinds.tolist())}

    path.parent.mkdir(parents=True, exist_ok=True)
    # An open file, because NumPy would change a path that ends in another way.
    with publish(path) as temporary_path, open(temporary_path, "wb") as file:
        np.savez_compressed(file, sample_ids=np.array(sample_ids, dtype=np.str_), **arrays)


def describe(row: Mapping[str, Any]) -> str:
    """Return the sentence that ``evaluate`` prints about one model on one test set."""
    shares = ", ".join(
        f"{kind} {row[f'pia_{kind}']:.3f}" for kind in NEGATIVES if f"pia_{kind}" in row
    )
    # Without it, the F scores are means of two kinds, and published ones are of three.
    lacks = "" if "pia_offscreen" in row else " (without offscreen sound: no clip of another class)"
    return (
        f"{row['model']} on {row['subset']}, negative audio: threshold {row['threshold']:.4f} "
        f"(of {row['num_threshold_samples']} samples of {row['threshold_on']}), marked share for "
        f"{shares}; cIoU_U {row['ciou_u']:.3f}, F_LOC {row['f_loc']:.3f}, F_AUC {row['f_auc']:.3f}"
        f"{lacks}"
    )
