"""What a rerun costs: with other parameters, with 1 % more clips, and with nothing changed.

    python -m benchmarks.reruns [--clips N] [--seconds N]

Every figure is a ratio to the full extraction of all three features in the same run, in one
process. The clips are rendered (``render_many_clips``). The steps are those of a user: everything,
nothing, one parameter of each feature, more clips.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2

from benchmarks.inputs.clips import render_many_clips
from benchmarks.inputs.feature_cache import FeatureCache


def list_steps(cache: FeatureCache, *, num_clips: int) -> list[tuple[str, Callable[[], None]]]:
    """Return the steps: a name, and what changes before the features are built again."""

    def change_spectrogram() -> None:
        cache.spectrogram = replace(cache.spectrogram, hop_length=170)

    def change_flow() -> None:
        cache.flow = replace(cache.flow, window_size=13)

    def change_frames() -> None:
        cache.frames = replace(cache.frames, short_side=224)

    num_more = max(1, num_clips // 100)
    return [
        ("everything", lambda: None),
        ("nothing changed", lambda: None),
        ("spectrogram.hop_length", change_spectrogram),
        ("flow.window_size", change_flow),
        ("frames.short_side", change_frames),
        ("all changed back", cache.use_default_parameters),
        (f"{num_more} more clips", lambda: cache.use_clips(num_clips + num_more)),
    ]


def main() -> None:
    """Print seconds, percent of the full extraction and the number of computed arrays by step."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=10, help="length of a clip")
    arguments = parser.parse_args()
    num_clips = arguments.clips
    num_all = num_clips + max(1, num_clips // 100)
    cv2.setNumThreads(1)

    with tempfile.TemporaryDirectory(prefix="earshot-reruns-") as name:
        folder = Path(name)
        render_many_clips(folder / "clips", num_clips=num_all, seconds=arguments.seconds)
        cache = FeatureCache(folder, folder / "clips", num_clips)
        print(
            f"{num_clips} clips of {arguments.seconds} s, one process; "
            "arrays computed: frames/spectrograms/flow"
        )

        full = None
        for step, change in list_steps(cache, num_clips=num_clips):
            change()
            seconds, num_computed = cache.build()
            total = sum(seconds.values())
            full = full or total
            counts = "/".join(map(str, num_computed.values()))
            print(f"{step:<26}{total:8.2f} s{100 * total / full:8.1f} %   {counts}", flush=True)

        num_bytes = sum(path.stat().st_size for path in folder.glob("[fs]*/*.h5"))
        print(f"disk: {num_bytes / num_all / 1e6:.3f} MB a sample, all three features")


if __name__ == "__main__":
    main()
