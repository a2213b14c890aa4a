"""What a longer context of optical flow costs, from one pair of frames (0.125 s) to 5 s.

    python -m benchmarks.flow_context [--clips FILE_OR_FOLDER ...] [--clock wall|cpu]

Prints, for each context, time and bytes a sample for one sample a clip (at its centre), and time a
sample for one every half second, as Urbansas has them: their contexts overlap and share pairs. One
thread.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.extraction import CLOCKS
from benchmarks.inputs.clips import find_clips, render_clips
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.features.flow import Parameters, make_feature
from pipeline.media.reader import probe

ONE_PAIR_SECONDS = 0.125
CONTEXTS = (ONE_PAIR_SECONDS, 0.5, 1.0, 2.5, 5.0)


def measure(
    paths: list[Path],
    *,
    parameters: Parameters,
    step_seconds: float | None,
    read_clock: Callable[[], float],
) -> tuple[float, float]:
    """Return seconds and bytes a sample; ``step_seconds`` None takes one sample a clip."""
    feature = make_feature(parameters)
    seconds, sizes = 0.0, []

    for path in paths:
        times: list[float | None] = [None]
        if step_seconds is not None:
            stop_seconds = probe(path).duration_seconds - 0.5
            times = np.arange(0.5, stop_seconds, step_seconds).tolist()
        moments = [Moment(str(time), time) for time in times]

        start = read_clock()
        for extracted in extract_features(path, moments, [feature]):
            if extracted["flow"].array is None:
                raise ValueError(f"{path.name}: {extracted['flow'].detail}")
            sizes.append(extracted["flow"].array.nbytes)
        seconds += read_clock() - start

    return seconds / len(sizes), float(np.mean(sizes))


def main(argv: list[str] | None = None) -> int:
    """Print one line for each context and aggregation."""
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

    with tempfile.TemporaryDirectory() as name:
        if arguments.clips:
            paths = find_clips(arguments.clips)
        else:
            paths = render_clips(Path(name), num_clips=2)
        # The first call compiles or loads the kernels.
        measure(paths[:1], parameters=Parameters(), step_seconds=None, read_clock=read_clock)

        first = None
        for context_seconds in CONTEXTS:
            is_pair = context_seconds == ONE_PAIR_SECONDS
            for aggregation in ("mean",) if is_pair else ("mean", "max", "stack"):
                parameters = Parameters(context_seconds=context_seconds, aggregation=aggregation)
                one, num_bytes = measure(
                    paths, parameters=parameters, step_seconds=None, read_clock=read_clock
                )
                many, _ = measure(
                    paths, parameters=parameters, step_seconds=0.5, read_clock=read_clock
                )
                first = first or one
                print(
                    f"context {context_seconds:5.3f} s {aggregation:5s}  "
                    f"one sample a clip {one * 1000:7.1f} ms ({one / first:5.1f}x)  "
                    f"every 0.5 s {many * 1000:7.1f} ms  {num_bytes / 1000:8.1f} kB"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
