"""Score a model's maps: one row for every tested sample under every protocol.

No sample is lost silently: a test set is its list of ids, and each id gets a row with a status. It
is ``ok``, ``missing`` (there is no map) or ``failed`` (the map cannot be scored).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from earshot.errors import DataError
from eval.entrants.entrant import Kind
from eval.entrants.maps import Maps, NoMapError, SelectedMaps
from eval.results.files import SCORES
from eval.scoring.ground_truth import GroundTruth, ground_truths_of
from eval.scoring.protocols import Protocol, get_protocol
from eval.scoring.score_maps import has_finite_range, score_map
from pipeline.datasets.dataset import load


@dataclass(frozen=True)
class ModelMaps:
    """The maps of one model on one dataset, and facts about the model for the tables."""

    model: str
    dataset: str
    sample_ids: Sequence[str]  # (n,)
    maps: Maps  # n maps (h, w), larger = more likely
    # The maps have a unit of their own (see eval.scoring.score_maps.score_maps).
    is_absolute: bool = False
    # Why other samples have no map, by sample id.
    reasons: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    # How the checkpoint was chosen.
    selection: str = "none"
    # Clips in the training data; None: not known. Of some clips it can be unknown.
    train_clip_ids: Collection[str] | None = None
    unknown_clip_ids: Collection[str] = ()
    kind: Kind = "model"
    # As the fields of ``Entrant``.
    method: str | None = None
    trained_on: str | None = None
    num_trained_on: int | None = None
    own_settings: tuple[str, ...] = ()
    # Of systems with a map for each source: (k, h, w) a sample; then ``maps`` are their sums.
    source_maps: Maps | None = None
    # Features of frames and sounds of given samples, (n, c) each; None: none to compare.
    embed_pairs: Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]] | None = None

    def keep_only(self, sample_ids: Collection[str]) -> ModelMaps:
        """Return the maps of these samples only, without computing any map."""
        wanted = set(sample_ids)
        positions = [i for i, name in enumerate(self.sample_ids) if name in wanted]
        return dataclasses.replace(
            self,
            sample_ids=[self.sample_ids[i] for i in positions],
            maps=SelectedMaps(self.maps, positions),
            source_maps=None
            if self.source_maps is None
            else SelectedMaps(self.source_maps, positions),
        )


def check_ids(sample_ids: Sequence[str], *, num_maps: int, known_ids: Collection[str]) -> None:
    """Check that each map has one id that the dataset knows.

    Raises:
        DataError: the numbers differ, an id appears twice, or the dataset does not know it.
    """
    if num_maps != len(sample_ids):
        raise DataError(
            f"{num_maps} maps for {len(sample_ids)} sample ids, expected as many of each"
        )

    # With two maps of a sample, nobody could say which one was scored.
    repeated = [name for name, count in Counter(sample_ids).items() if count > 1]
    if repeated:
        raise DataError(
            f"sample id {repeated[0]} appears twice ({len(repeated)} such ids), expected each once"
        )

    unknown = [name for name in sample_ids if name not in known_ids]
    if unknown:
        raise DataError(f"sample id {unknown[0]} is not in the dataset ({len(unknown)} such ids)")


def find_negatives(samples: pa.Table) -> set[str]:
    """Return the samples whose sound has no visible source: negatives of extended test sets.

    They have the sound of another clip, or the attribute ``negative``. If such a row has boxes,
    they belong to the frame's own sound.
    """
    columns = samples.select(["sample_id", "audio_clip_id", "attributes"]).to_pydict()
    # Usually the sound of another clip. Some negatives of SLAVC are clips with their own sound,
    # outside of VGG-SS: an attribute tells.
    return {
        name
        for name, audio_clip_id, attributes in zip(*columns.values(), strict=True)
        if audio_clip_id is not None or dict(attributes or ()).get("negative") == "true"
    }


def score_model(
    model_maps: ModelMaps,
    samples: pa.Table,
    *,
    protocols: Sequence[str],
    with_confidence: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Score the maps of a model on all tested samples.

    Each map is read once, so that ``model_maps.maps`` may compute them when they are read.

    Args:
        model_maps: maps of some or all of the samples.
        samples: the tested samples of all subsets together (table SAMPLES).
        protocols: names of protocols.
        with_confidence: compute the confidence also where no sample is a negative.

    Returns:
        For each protocol, a row of the table SCORES for every sample. A positive without boxes
        cannot be scored: it is ``missing``, with the reason ``no_ground_truth``.

    Raises:
        DataError: ids and maps do not fit (see ``check_ids``), or a map has another shape.
        ParameterError: a protocol is unknown.
    """
    chosen = [get_protocol(name) for name in protocols]
    truths = ground_truths_of(samples, box_rule=load(model_maps.dataset).box_rule)
    negatives = find_negatives(samples)
    tested_ids = samples["sample_id"].to_pylist()
    # A mistyped id would otherwise be one more sample without a map.
    check_ids(model_maps.sample_ids, num_maps=len(model_maps.maps), known_ids=set(tested_ids))

    position_of = {name: i for i, name in enumerate(model_maps.sample_ids)}

    rows: dict[str, list[dict[str, Any]]] = {protocol.name: [] for protocol in chosen}
    for name in tested_ids:
        is_positive = name not in negatives
        # A negative needs no boxes; a positive without boxes cannot be scored.
        has_truth = not is_positive or name in truths
        lowres_map, status, reason = (
            _read_map(model_maps, name, position_of.get(name))
            if has_truth
            else (None, "missing", "no_ground_truth")
        )

        # If there are negatives, positives need a confidence, too.
        found: list[dict[str, float | None]] = [{} for _ in chosen]
        if lowres_map is not None:
            found = _score_sample(
                lowres_map,
                truths[name] if is_positive else None,
                chosen,
                is_absolute=model_maps.is_absolute,
                with_confidence=with_confidence or bool(negatives),
            )

        for protocol, columns in zip(chosen, found, strict=True):
            # Every column of the table; scores are null until there are some.
            row = dict.fromkeys(SCORES.columns.names) | {
                "model": model_maps.model,
                "dataset": model_maps.dataset,
                "sample_id": name,
                "protocol": protocol.name,
                "is_positive": is_positive,
                "status": status,
                "reason": reason,
            }
            rows[protocol.name].append(row | columns)
    return rows


def _read_map(
    model_maps: ModelMaps, sample_id: str, position: int | None
) -> tuple[np.ndarray | None, str, str | None]:
    """Return a map that can be scored or None, the status, and the reason if there is none."""
    if position is None:
        return None, "missing", model_maps.reasons.get(sample_id, "no_map")

    # Some rules leave out a sample when they see its inputs.
    try:
        lowres_map = np.asarray(model_maps.maps[position])
    except NoMapError as error:
        return None, "missing", str(error)

    # A wrong shape is an error of the whole file. Values that are not finite fail only this sample.
    if lowres_map.ndim != 2 or 0 in lowres_map.shape:
        raise DataError(
            f"the map of {sample_id} has shape {lowres_map.shape}, expected (height, width)"
        )

    if not has_finite_range(lowres_map):
        return None, "failed", "not_finite"
    return lowres_map, "ok", None


def _score_sample(
    lowres_map: np.ndarray,
    truth: GroundTruth | None,
    protocols: Sequence[Protocol],
    *,
    is_absolute: bool,
    with_confidence: bool,
) -> list[dict[str, float | None]]:
    """Return the columns of scores for each protocol; a negative has a confidence alone."""
    results = score_map(
        lowres_map,
        truth,
        protocols=protocols,
        is_absolute=is_absolute,
        with_confidence=with_confidence,
    )

    rows = []
    for ciou, median_ciou, adaptive_ciou, pointing, confidence in results:
        # NaN if it was not requested; a table has null for that.
        columns: dict[str, float | None] = {
            "confidence": None if np.isnan(confidence) else confidence
        }
        if truth is not None:
            columns |= {
                "ciou": ciou,
                "median_ciou": median_ciou,
                "adaptive_ciou": adaptive_ciou,
                "pointing": pointing,
            }
        rows.append(columns)
    return rows
