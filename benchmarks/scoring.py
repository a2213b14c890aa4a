"""How fast maps are scored: Earshot against the published loops, in one process on one core.

``python -m benchmarks.scoring [--annotations vggss.json]``. The maps are 14x14 noise; the boxes are VGG-SS's when its
list is given, otherwise as many made-up ones. The loops are timed on every eighth map, Earshot on all. Times are CPU
seconds, so that other work on the machine disturbs them less.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: one core for both sides

import cv2
import numpy as np

from eval.results.model_results import sample_values
from eval.scoring.bootstrap import intervals
from eval.scoring.ground_truth import make_ground_truth
from eval.scoring.protocols import PROTOCOLS
from eval.scoring.score_maps import score_maps
from tests.helpers.published_loop import LOOPS, union_map

NUM_MAPS = 5158
STEP = 8


def make_boxes(rng: np.random.Generator) -> list[list[list[float]]]:
    """One box a map, two in every tenth, of about the sizes in VGG-SS."""
    boxes = []
    for i in range(NUM_MAPS):
        corners = np.sort(rng.uniform(0, 1, (2 if i % 10 == 0 else 1, 2, 2)), axis=1)
        boxes.append(corners.reshape(-1, 4).tolist())
    return boxes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", type=Path, help="the published vggss.json")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    if options.annotations is None:
        all_boxes = make_boxes(rng)
    else:
        all_boxes = [entry["bbox"] for entry in json.loads(options.annotations.read_text())]
    maps = rng.standard_normal((len(all_boxes), 14, 14)).astype(np.float32)
    truths = [make_ground_truth(boxes, rule="union") for boxes in all_boxes]

    print(f"{len(maps)} maps 14x14, {os.cpu_count()} cores in the machine, one used")
    print(f"{'protocol':10s} {'published':>12s} {'earshot':>12s} {'ratio':>7s}   (CPU ms a map)")
    columns, total_start, total_loop = [], time.process_time(), 0.0
    for name, protocol in PROTOCOLS.items():
        loop_ms = None
        if name in LOOPS:
            loop = LOOPS[name]
            loop(maps[0], union_map(all_boxes[0]))  # imports and caches
            start = time.process_time()
            expected = [loop(maps[i], union_map(all_boxes[i])) for i in range(0, len(maps), STEP)]
            total_loop += time.process_time() - start
            loop_ms = 1000 * (time.process_time() - start) / len(expected)
        start = time.process_time()
        scores = score_maps(maps, truths, protocol=protocol)
        our_ms = 1000 * (time.process_time() - start) / len(maps)
        if loop_ms is not None:
            assert np.array_equal(scores.ciou[::STEP], expected), name
        ratio = f"{loop_ms / our_ms:7.1f}" if loop_ms is not None else "      -"
        published = f"{loop_ms:12.3f}" if loop_ms is not None else f"{'-':>12s}"
        print(f"{name:10s} {published} {our_ms:12.3f} {ratio}")
        rows = zip(
            scores.ciou, scores.adaptive_ciou, scores.median_ciou, scores.pointing, strict=True
        )
        names = ("ciou", "adaptive_ciou", "median_ciou", "pointing")
        columns.append(sample_values([dict(zip(names, row, strict=True)) for row in rows]))
    start = time.process_time()
    for values in columns:
        intervals(values, num_resamples=10_000)
    bootstrap_seconds = time.process_time() - start
    total_seconds = time.process_time() - total_start - total_loop
    print(
        f"10,000-fold intervals of all metrics, {len(columns)} protocols: {bootstrap_seconds:.1f} s"
    )
    print(f"all protocols with intervals: {total_seconds:.1f} s")


if __name__ == "__main__":
    main()
