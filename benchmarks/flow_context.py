"""Benchmark (f): what a longer context of flow costs, from one pair (0.125 s) to 5 s.

    python -m benchmarks.flow_context [--clips FILE_OR_FOLDER ...] [--clock wall|cpu]

Per context: time and bytes a sample for one sample a clip (its centre), and time a sample for samples every half second
(as Urbansas has them), whose contexts overlap and share their pairs; one thread.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks.clips import find_clips, render_clips
from benchmarks.extraction import CLOCKS
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.features.flow import Parameters, make_feature
from pipeline.media.reader import probe

CONTEXTS = (0.125, 0.5, 1.0, 2.5, 5.0)


def measure(
    paths: list[Path], *, parameters: Parameters, step_seconds: float | None, read_clock
) -> tuple[float, float]:
    """Seconds and bytes a sample."""
    feature = make_feature(parameters)
    seconds, sizes = 0.0, []
    for path in paths:
        times = (
            [None]
            if step_seconds is None
            else np.arange(0.5, probe(path).duration_seconds - 0.5, step_seconds)
        )
        start = read_clock()
        for extracted in extract_features(
            path, [Moment(str(time), time) for time in times], [feature]
        ):
            if extracted["flow"].array is None:
                raise ValueError(f"{path.name}: {extracted['flow'].detail}")
            sizes.append(extracted["flow"].array.nbytes)
        seconds += read_clock() - start
    return seconds / len(sizes), float(np.mean(sizes))


def main(argv: list[str] | None = None) -> int:
    """Print one line a context and aggregation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clips", nargs="*", type=Path, help="media files or folders (default: rendered clips)"
    )
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that has other work"
    )
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    read_clock = CLOCKS[arguments.clock]
    with tempfile.TemporaryDirectory() as folder:
        paths = (
            find_clips(arguments.clips)
            if arguments.clips
            else render_clips(Path(folder), num_clips=2)
        )
        measure(
            paths[:1], parameters=Parameters(), step_seconds=None, read_clock=read_clock
        )  # loads the kernels
        first = None
        for context_seconds in CONTEXTS:
            for aggregation in ("mean", "max", "stack") if context_seconds > 0.125 else ("mean",):
                parameters = Parameters(context_seconds=context_seconds, aggregation=aggregation)
                one, size = measure(
                    paths, parameters=parameters, step_seconds=None, read_clock=read_clock
                )
                many, _ = measure(
                    paths, parameters=parameters, step_seconds=0.5, read_clock=read_clock
                )
                first = first or one
                print(
                    f"context {context_seconds:5.3f} s {aggregation:5s}  one sample a clip {one * 1000:7.1f} ms"
                    f" ({one / first:5.1f}x)  every 0.5 s {many * 1000:7.1f} ms  {size / 1000:8.1f} kB"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
