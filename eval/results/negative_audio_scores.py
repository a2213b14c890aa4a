"""From similarities with negative audio to the numbers of a test set, with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np

from eval.entrants.negative_sounds import Sounds
from eval.scoring.bootstrap import find_ends, resample_means
from eval.scoring.ground_truth import GroundTruth
from eval.scoring.masks import compute_iou
from eval.scoring.metrics import auc_contributions
from eval.scoring.negative_audio import (
    NEGATIVES,
    NegativeAudioValues,
    auc_n_contributions,
    harmonic_mean,
    summarize_values,
)
from eval.scoring.upsampling import upsample

_UPSAMPLING = "cv2_linear"  # the authors' for VGG-SS, and for all negatives
_NUM_BINS = 20  # of the distributions of maxima


def find_maxima(sounds: Sequence[Sounds], maps: np.ndarray) -> dict[str, np.ndarray]:
    """Return the largest value of each upsampled map, by kind: (number of seeds, n)."""
    found: dict[str, list[list[float]]] = {}
    for sound, of_sound in zip(sounds, maps, strict=True):
        maxima = [float(upsample(one, how=_UPSAMPLING).max()) for one in of_sound]
        found.setdefault(sound.kind, []).append(maxima)
    return {kind: np.array(values) for kind, values in found.items()}


def measure(
    sounds: Sequence[Sounds],
    maps: np.ndarray,
    truths: Sequence[GroundTruth],
    *,
    threshold: float,
) -> NegativeAudioValues:
    """Measure the marked pixels of each map.

    Args:
        sounds: the first are the samples' own.
        maps: (len(sounds), n, h, w).
        truths: (n,).
        threshold: pixels strictly above it are marked.

    Returns:
        ``ious`` (n,); by kind ``pia`` and ``agreement`` (number of seeds, n).
    """
    assert sounds[0].kind == "own"
    # In the type of the maps. A float64 limit can lie on the other side of a value.
    limit = np.float32(threshold)
    ious = np.empty(len(truths))
    pia = np.empty(maps.shape[:2])
    agreement = np.empty(maps.shape[:2])

    for column, truth in enumerate(truths):
        own = upsample(maps[0, column], how=_UPSAMPLING) > limit
        ious[column] = compute_iou(own, truth.levels() > 0)
        for row in range(1, len(sounds)):
            marked = upsample(maps[row, column], how=_UPSAMPLING) > limit
            pia[row, column] = marked.mean()
            # Two empty masks agree.
            agrees = not own.any() and not marked.any()
            agreement[row, column] = 1.0 if agrees else compute_iou(own, marked)

    kinds = [sound.kind for sound in sounds]
    rows_of = {kind: [i for i, name in enumerate(kinds) if name == kind] for kind in NEGATIVES}
    rows_of = {kind: rows for kind, rows in rows_of.items() if rows}
    return NegativeAudioValues(
        ious,
        {kind: pia[rows] for kind, rows in rows_of.items()},
        {kind: agreement[rows] for kind, rows in rows_of.items()},
    )


def summarize(
    values: NegativeAudioValues, *, groups: Sequence[str], num_resamples: int
) -> dict[str, float]:
    """Return the scores, and the ends of the intervals of the printed scores.

    Args:
        values: of ``measure``.
        groups: (n,): samples of one video are drawn together.
        num_resamples: of the bootstrap.
    """
    scores = summarize_values(values)
    kinds = list(values.pia)
    found = {"f_loc": scores.f_loc, "f_auc": scores.f_auc}
    found |= {"ciou_u": scores.ciou_u, "auc_u": scores.auc_u}
    for kind in kinds:
        found[f"pia_{kind}"] = scores.pia[kind]
        found[f"auc_n_{kind}"] = scores.auc_n[kind]
        found[f"f_loc_{kind}"] = scores.f_loc_of[kind]
        found[f"agreement_{kind}"] = scores.agreement[kind]

    # One value a sample: the mean over its seeds. The F scores are computed for each resample.
    columns = [values.ious, auc_contributions(values.ious)]
    columns += [values.pia[kind].mean(axis=0) for kind in kinds]
    columns += [auc_n_contributions(values.pia[kind]).mean(axis=0) for kind in kinds]
    means = resample_means(np.stack(columns, axis=1), groups=groups, num_resamples=num_resamples)
    # In the order in which they were stacked.
    pia, auc_n = means[:, 2 : 2 + len(kinds)], means[:, 2 + len(kinds) :]
    resampled = {
        "ciou_u": means[:, 0],
        "auc_u": means[:, 1],
        "f_loc": _harmonic_means(means[:, 0], 1 - pia.mean(axis=1)),
        "f_auc": _harmonic_means(means[:, 1], auc_n.mean(axis=1)),
        **{f"pia_{kind}": pia[:, i] for i, kind in enumerate(kinds)},
    }

    for name, draws in resampled.items():
        low, high = find_ends(draws, num_groups=len(set(groups)), limits=(0.0, 1.0))
        found[f"{name}_low"], found[f"{name}_high"] = float(low), float(high)
    return found


def _harmonic_means(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.array([harmonic_mean(a, b) for a, b in zip(first, second, strict=True)])


def count_maxima(maxima: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Return the distributions of the maxima: the share of maps in each of equal bins."""
    # The same bins for all kinds, so that their distributions can be compared.
    values = np.concatenate([of_kind.ravel() for of_kind in maxima.values()])
    edges = np.linspace(values.min(), values.max(), _NUM_BINS + 1)
    counts = {
        f"maxima_{kind}": np.histogram(of_kind, bins=edges)[0] / of_kind.size
        for kind, of_kind in maxima.items()
    }
    return {
        "maxima_edges": [float(edge) for edge in edges],
        **{name: [float(share) for share in shares] for name, shares in counts.items()},
    }
