"""Localize the sound in any video: ``python -m train.localize --model RUN_DIR VIDEO...``.

For each video this writes two files into the output folder:

- ``NAME.localized.mp4``: a copy with the localization map over its picture, and with its sound
- ``NAME.maps.npz``: ``maps`` (n, h, w), ``times_seconds`` (n,) and ``method``

Frames, flow and sound are prepared as the model's training data were.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from earshot.errors import DataError, EarshotError
from pipeline.base.parameters import build
from train.inference.predictor import load_predictor
from train.runs.run_folder import read_features
from train.video.localization import LocalizeParameters, localize_video
from train.video.model_features import make_features


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code, 2 when a video could not be localized."""
    options = _parse_arguments(arguments)

    # Wrong options are an error before the first video is read.
    try:
        values = {"maps_per_second": options.maps_per_second, "opacity": options.opacity}
        parameters = build(LocalizeParameters, values, "command line")
        _require_distinct_names(options.videos)
        predictor = load_predictor(options.model)
        # Imported weights recorded no features; they get those of their authors' tests.
        features = make_features(predictor, read_features(options.model))
    except EarshotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code

    # A video that fails does not stop the others.
    num_failed = 0
    for path in options.videos:
        try:
            paths = localize_video(
                predictor,
                features,
                path,
                options.output,
                parameters=parameters,
                is_quiet=options.quiet,
            )
            print(*paths, sep="\n")
        except EarshotError as error:
            num_failed += 1
            print(f"error: {error}", file=sys.stderr)
        except OSError as error:  # the output folder is a file, is read-only, or its disk is full
            num_failed += 1
            print(
                f"error: {path}: cannot be localized into {options.output}: {error}",
                file=sys.stderr,
            )

    return 2 if num_failed else 0


def localize(model: Path, video: Path, output: Path) -> tuple[Path, Path]:
    """Localize one video; ``earshot.localize`` describes arguments, results and errors."""
    predictor = load_predictor(model)
    features = make_features(predictor, read_features(model))
    return localize_video(predictor, features, video, output, is_quiet=True)


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m train.localize", description="Localize the sound in videos."
    )

    # What is localized.
    parser.add_argument(
        "--model", type=Path, required=True, help="run folder, for example cache/runs/htf"
    )
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")

    # Where the copies go and how they look.
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("localized"),
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument(
        "--maps-per-second",
        type=float,
        default=LocalizeParameters.maps_per_second,
        help="maps for each second of video (default: %(default)s)",
    )
    parser.add_argument(
        "--opacity",
        type=float,
        default=LocalizeParameters.opacity,
        help="of the map's maximum over the picture, 0 to 1 (default: %(default)s)",
    )

    parser.add_argument("--quiet", action="store_true", help="show no progress (default: show it)")
    return parser.parse_args(arguments)


def _require_distinct_names(paths: Sequence[Path]) -> None:
    # The second copy would replace the first.
    stems = [path.stem for path in paths]
    repeated = next((stem for stem in stems if stems.count(stem) > 1), None)
    if repeated is not None:
        raise DataError(
            f"two of the videos would be written as {repeated}.localized.mp4; localize them one at "
            "a time, each with an --output of its own"
        )


if __name__ == "__main__":
    sys.exit(main())
