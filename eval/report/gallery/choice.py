"""Choose the samples that the gallery shows: the best, the worst and the median of each model."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.entrants.maps import read_maps
from eval.report.data.inputs import DatasetInputs
from eval.report.data.sample_scores import SampleScores, column_of

_ROLES = ("best", "worst", "median")


@dataclass(frozen=True)
class MapFile:
    """Maps of one model: ``maps[row_of[sample_id]]`` is ``(h, w)`` float32."""

    row_of: Mapping[str, int]
    maps: np.ndarray


def load_maps(path: Path) -> MapFile:
    """Read the maps that the stage ``evaluate`` wrote."""
    sample_ids, maps = read_maps(path)
    return MapFile({sample_id: row for row, sample_id in enumerate(sample_ids)}, maps)


def choose_samples(
    dataset: DatasetInputs,
    scores: SampleScores,
    *,
    models: Sequence[str],
    metric: str,
    num_wanted: int,
    first: Sequence[str] = (),
) -> dict[str, list[str]]:
    """Choose the samples that the gallery shows, the same ones in each run.

    For each set of splits and each model, the best, the worst and the median sample come first,
    then samples evenly between them. Without scores (no ground truth) the samples are spread over
    those that have maps, or else over those that have frames.

    Args:
        dataset: The dataset whose samples are chosen.
        scores: Scores of that dataset.
        models: Models that are asked for their best and worst samples.
        metric: Ranks the samples; equal values are ranked by id.
        num_wanted: At most so many samples are chosen.
        first: Samples that are chosen before all others.

    Returns:
        For each sample id what it was chosen for (``htf: best of single``; may be nothing).
    """
    rankings = _rank_samples(dataset, scores, models, metric)
    if not rankings:
        showable = _find_showable(dataset, set(dataset.samples.column("sample_id").to_pylist()))
        rankings = [("", sorted(showable))]

    # Each ranking in turn gives its next sample, until there are enough.
    chosen: dict[str, list[str]] = {name: [] for name in first[:num_wanted]}
    walks = [(title, ranked, _spread(len(ranked))) for title, ranked in rankings]
    for round_number in itertools.count():
        walks = [walk for walk in walks if len(walk[1]) > round_number]
        # The first rounds go on when there are enough samples: they give the roles.
        if not walks or (round_number >= len(_ROLES) and len(chosen) >= num_wanted):
            break

        for title, ranked, positions in walks:
            sample_id = ranked[next(positions)]
            # A chosen sample can get another role without another card.
            if sample_id in chosen or len(chosen) < num_wanted:
                roles = chosen.setdefault(sample_id, [])
                # Of fewer than three samples, one would be best and worst at once.
                if title and round_number < len(_ROLES) and len(ranked) >= len(_ROLES):
                    roles.append(title.format(_ROLES[round_number]))
    return chosen


def _rank_samples(
    dataset: DatasetInputs, scores: SampleScores, models: Sequence[str], metric: str
) -> list[tuple[str, list[str]]]:
    """Return sample ids from worst to best by model and set of splits, with a title to fill in."""
    # Samples with the same splits compete with each other.
    members: dict[str, list[str]] = {}
    for row in dataset.samples.select(["sample_id", "splits"]).to_pylist():
        members.setdefault(", ".join(row["splits"] or []), []).append(row["sample_id"])

    rankings = []
    column = column_of(metric)
    for model in models:
        # A sample without this score ranks last.
        value_of = {
            sample_id: numbers.get(column, -1.0)
            for sample_id, numbers in scores.values.get(model, {}).items()
        }
        for splits, sample_ids in members.items():
            scored = [sample_id for sample_id in sample_ids if sample_id in value_of]
            if scored:
                # Names decide between equal values, so that each run chooses the same samples.
                ranked = sorted(scored, key=lambda name: (value_of[name], name))
                # The braces stay in the title: `choose_samples` puts the role there.
                rankings.append((f"{model}: {{}} of {splits}", ranked))
    return rankings


def _find_showable(dataset: DatasetInputs, sample_ids: set[str]) -> set[str]:
    """Return the samples that have a map, or else those that have a frame."""
    # A map is what the gallery is about; a frame alone is better than nothing.
    mapped = {name for path in dataset.map_paths.values() for name in load_maps(path).row_of}
    if mapped & sample_ids:
        return mapped & sample_ids
    if "frames" not in dataset.readers:
        return set()
    return sample_ids & set(dataset.readers["frames"].sample_ids)


def _spread(length: int) -> Iterator[int]:
    """Yield each position of 0..length-1 once: last, first, middle, quarters, eighths, ..."""
    seen: set[int] = set()
    depth = 1
    while len(seen) < length:
        num_parts = 1 << depth
        # Depth 1 is last, first, middle; each further depth halves the gaps.
        numerators = range(1, num_parts, 2) if depth > 1 else (2, 0, 1)
        for numerator in numerators:
            position = numerator * (length - 1) // num_parts
            # Of few positions, finer parts meet the same ones again.
            if position not in seen:
                seen.add(position)
                yield position
        depth += 1
