"""How long the evaluation of a run with 20 models takes: all protocols, all test sets of VGG-SS.

    python -m benchmarks.evaluation [--clips 5158] [--models 2]

Models are 14x14 noise; the test sets have the sizes of the nine of VGG-SS. Some models are measured
on one core, in CPU time, and so are the paired comparisons of 20 models on the largest set. A model
more costs what the last one cost. The rest is extrapolated, and the output says so; with fewer
clips it is a rough guess, since breakdowns by class cost the same for few clips as for many.
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads: one core

import cv2
import numpy as np
import pyarrow as pa

from earshot.reader import FeatureReader
from earshot.tables import SAMPLES
from eval.entrants.entrant import Entrant
from eval.entrants.maps import Maps
from eval.published.test_sets import find_test_sets
from eval.results.comparisons import compare_pairs
from eval.results.evaluate import EvaluationParameters, evaluate_dataset
from eval.scoring.protocols import PROTOCOLS

NUM_CLIPS, NUM_MODELS = 5158, 20
BOUND_MINUTES = 10


def make_samples(num_clips: int) -> pa.Table:
    """Make a table of ``num_clips`` clips in splits of the published proportions."""
    generator = np.random.default_rng(0)

    # Test sets overlap, so each one draws its clips from all of them.
    sizes = {
        test_set.split: test_set.num_published
        for test_set in find_test_sets().values()
        if test_set.dataset == "vggsound" and test_set.num_published <= NUM_CLIPS
    }
    members = {
        split: set(generator.permutation(num_clips)[: size * num_clips // NUM_CLIPS].tolist())
        for split, size in sizes.items()
    }

    # A box in each clip, and about as many clips of each class as there.
    rows = []
    for i in range(num_clips):
        corners = np.sort(generator.uniform(0, 1, (2, 2)), axis=0)
        name = f"{i:011d}_000000"
        rows.append(
            {
                "sample_id": name,
                "clip_id": name,
                "time_seconds": 5.0,
                "splits": [split for split, clips in members.items() if i in clips],
                "label": f"class {i % 220}",
                "boxes": [corners.ravel().tolist()],
                "box_annotators": [0],
                "audio_clip_id": None,
                "attributes": [],
            }
        )
    return pa.Table.from_pylist(rows, schema=SAMPLES.columns)


def make_model(number: int) -> Entrant:
    """Make an entrant of noise that differs from model to model."""

    def predict(sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /) -> Maps:
        generator = np.random.default_rng(number)
        return generator.standard_normal((len(sample_ids), 14, 14)).astype(np.float32)

    return Entrant(f"model{number}", "model", predict)


def time_evaluation(samples: pa.Table, *, num_models: int) -> float:
    """Evaluate models on all test sets under all protocols; return CPU seconds."""
    splits = sorted({split for row in samples["splits"].to_pylist() for split in row})
    parameters = EvaluationParameters(
        subsets={"vggsound": splits}, protocols=tuple(PROTOCOLS), num_resamples=10_000
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        evaluate_dataset(
            "vggsound",
            samples,
            {},
            [make_model(number) for number in range(num_models)],
            parameters=parameters,
            maps_dir=Path(folder),
        )
        return time.process_time() - start


def time_comparisons(samples: pa.Table) -> float:
    """Compare all pairs of 20 models on one test set; return CPU seconds."""
    ids = samples["sample_id"].to_pylist()
    generator = np.random.default_rng(0)
    names = [f"model{number}" for number in range(NUM_MODELS)]
    scores = [
        {
            "model": name,
            "dataset": "vggsound",
            "protocol": "earshot",
            "sample_id": sample_id,
            "status": "ok",
            "is_positive": True,
            **dict.fromkeys(("ciou", "adaptive_ciou", "median_ciou", "pointing"), value),
        }
        for name in names
        for sample_id, value in zip(ids, generator.random(len(ids)), strict=True)
    ]
    start = time.process_time()
    pairs = list(itertools.combinations(names, 2))
    compare_pairs(scores, ids, pairs=pairs, metric="adaptive_ciou", group_of={i: i for i in ids})
    return time.process_time() - start


def main() -> None:
    """Print what was measured and what it says of a whole run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=NUM_CLIPS)
    parser.add_argument("--models", type=int, default=2)
    options = parser.parse_args()
    cv2.setNumThreads(1)

    samples = make_samples(options.clips)
    one = time_evaluation(samples, num_models=1)
    some = time_evaluation(samples, num_models=options.models)
    compared = time_comparisons(samples)
    num_sets = len({split for splits in samples["splits"].to_pylist() for split in splits})
    print(
        f"{options.clips} clips, {len(PROTOCOLS)} protocols, {num_sets} test sets, one core (CPU): "
        f"1 model {one:.1f} s, {options.models} models {some:.1f} s; all pairs of {NUM_MODELS} "
        f"models on one test set {compared:.1f} s"
    )

    per_model = (some - one) / (options.models - 1)
    total = one + (NUM_MODELS - 1) * per_model + num_sets * compared
    total *= NUM_CLIPS / options.clips
    print(
        f"extrapolated to {NUM_CLIPS:,} clips and {NUM_MODELS} models: {total / 60:.1f} minutes "
        f"on one core (bound {BOUND_MINUTES} on two)"
    )


if __name__ == "__main__":
    main()
