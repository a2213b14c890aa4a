"""How fast maps are scored, against the published loops, in one process on one core.

    python -m benchmarks.scoring [--annotations vggss.json]

The maps are 14x14 noise. The boxes are those of VGG-SS when its list is given, else as many random
ones. The loops are timed on every eighth map and Earshot on all. The sides take turns, and the best
of the repeats counts. Times are CPU seconds, which other work on the machine disturbs less.
"""

import argparse
import json
import math
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads: one core for both sides

import cv2
import numpy as np

from eval.results.summaries import compute_sample_values
from eval.scoring.bootstrap import intervals
from eval.scoring.ground_truth import make_ground_truth
from eval.scoring.protocols import PROTOCOLS, Protocol
from eval.scoring.score_maps import Scores, score_maps
from tests.helpers.scoring.published_loop import LOOPS, union_map

NUM_MAPS = 5158  # as in VGG-SS
STEP = 8  # the loops score every eighth map
NUM_REPEATS = 5

METRICS = ("ciou", "adaptive_ciou", "median_ciou", "pointing")


def make_boxes(generator: np.random.Generator) -> list[list[list[float]]]:
    """Return normalized x1 y1 x2 y2 boxes: one a map, two in every tenth."""
    boxes = []
    for i in range(NUM_MAPS):
        corners = np.sort(generator.uniform(0, 1, (2 if i % 10 == 0 else 1, 2, 2)), axis=1)
        boxes.append(corners.reshape(-1, 4).tolist())
    return boxes


def time_loop(name: str, maps: np.ndarray, boxes: list) -> tuple[float, list[float]]:
    """Score every eighth map with a published loop; return CPU ms a map and the cIoUs."""
    loop = LOOPS[name]
    loop(maps[0], union_map(boxes[0]))  # loads what it imports

    start = time.process_time()
    ciou = [loop(maps[i], union_map(boxes[i])) for i in range(0, len(maps), STEP)]
    return 1000 * (time.process_time() - start) / len(ciou), ciou


def time_earshot(protocol: Protocol, maps: np.ndarray, truths: list) -> tuple[float, Scores]:
    """Score all maps with ``score_maps``; return CPU ms a map and the scores."""
    start = time.process_time()
    scores = score_maps(maps, truths, protocol=protocol)
    return 1000 * (time.process_time() - start) / len(maps), scores


def main() -> None:
    """Print CPU ms a map of both sides by protocol, then the time of the confidence intervals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", type=Path, help="the published vggss.json")
    options = parser.parse_args()
    cv2.setNumThreads(1)

    generator = np.random.default_rng(0)
    if options.annotations is None:
        boxes = make_boxes(generator)
    else:
        boxes = [entry["bbox"] for entry in json.loads(options.annotations.read_text())]
    maps = generator.standard_normal((len(boxes), 14, 14)).astype(np.float32)
    truths = [make_ground_truth(map_boxes, rule="union") for map_boxes in boxes]
    print(f"{len(maps)} maps 14x14, {os.cpu_count()} cores in the machine, one used")
    print(f"{'protocol':10s} {'published':>12s} {'earshot':>12s} {'ratio':>7s}   (CPU ms a map)")

    columns, ratios, our_seconds = [], [], 0.0
    for name, protocol in PROTOCOLS.items():
        our_ms = loop_ms = math.inf
        for _ in range(NUM_REPEATS):
            repeat_ms, scores = time_earshot(protocol, maps, truths)
            our_ms = min(our_ms, repeat_ms)
            if name in LOOPS:
                repeat_ms, ciou = time_loop(name, maps, boxes)
                loop_ms = min(loop_ms, repeat_ms)
                assert np.array_equal(scores.ciou[::STEP], ciou), name
        our_seconds += our_ms * len(maps) / 1000

        loop_text, ratio_text = "-", "-"
        if name in LOOPS:
            ratios.append(loop_ms / our_ms)
            loop_text, ratio_text = f"{loop_ms:.3f}", f"{ratios[-1]:.1f}"
        print(f"{name:10s} {loop_text:>12s} {our_ms:12.3f} {ratio_text:>7s}")

        rows = zip(*(getattr(scores, metric) for metric in METRICS), strict=True)
        columns.append(
            compute_sample_values([dict(zip(METRICS, row, strict=True)) for row in rows])
        )

    print(f"geometric mean of the ratios: {statistics.geometric_mean(ratios):.2f} (bound 3)")

    start = time.process_time()
    for values in columns:
        intervals(values, num_resamples=10_000)
    seconds = time.process_time() - start
    print(f"10,000-fold intervals of all metrics, {len(columns)} protocols: {seconds:.1f} s")
    print(f"all protocols with intervals: {our_seconds + seconds:.1f} s")


if __name__ == "__main__":
    main()
