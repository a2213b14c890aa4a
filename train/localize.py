"""Localize the sound in any video: ``earshot localize --model RUN_DIR VIDEO...``.

For each video this writes two files into the output folder:

- ``NAME.localized.mp4``: a copy with the localization map over its picture, and with its sound
- ``NAME.maps.npz``: ``maps`` (n, h, w), ``times_seconds`` (n,) and ``method``

Frames, flow and sound are prepared as the model's training data were.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from earshot.errors import DataError, EarshotError
from pipeline.base.parameters import build
from pipeline.commands import command_line
from pipeline.commands.options import FILE, quiet_option
from pipeline.features.feature import Feature
from train.video.parameters import LocalizeParameters

if TYPE_CHECKING:
    from train.inference.predictor import Predictor


@click.command()
@click.argument("videos", nargs=-1, required=True, type=FILE, metavar="VIDEO...")
@click.option(
    "--model",
    type=FILE,
    required=True,
    metavar="FOLDER",
    help="run folder, for example cache/runs/htf",
)
@click.option(
    "--output",
    type=FILE,
    default=Path("localized"),
    metavar="FOLDER",
    help="folder to write (default: localized)",
)
@click.option(
    "--maps-per-second",
    type=float,
    default=LocalizeParameters.maps_per_second,
    metavar="NUMBER",
    help=f"maps for each second of video (default: {LocalizeParameters.maps_per_second:g})",
)
@click.option(
    "--opacity",
    type=float,
    default=LocalizeParameters.opacity,
    metavar="NUMBER",
    help=f"of the map's maximum over the picture, 0 to 1 (default: {LocalizeParameters.opacity:g})",
)
@quiet_option(help="show no progress (default: show it)")
def run(
    videos: tuple[Path, ...],
    model: Path,
    output: Path,
    maps_per_second: float,
    opacity: float,
    is_quiet: bool,
) -> int:
    """Localize the sound in videos; the exit code is 2 when one of them could not be localized."""
    from train.video.localization import localize_video  # after `--help`, as in `_load`

    # Wrong options are an error before the first video is read.
    values = {"maps_per_second": maps_per_second, "opacity": opacity}
    parameters = build(LocalizeParameters, values, "command line")
    _require_distinct_names(videos)
    predictor, features = _load(model)

    # A video that fails does not stop the others.
    num_failed = 0
    for path in videos:
        try:
            if path.is_dir():
                raise DataError(f"{path}: is a folder, expected a video; name its files: {path}/*")
            paths = localize_video(
                predictor, features, path, output, parameters=parameters, is_quiet=is_quiet
            )
            print(*paths, sep="\n")
        except EarshotError as error:
            num_failed += 1
            print(f"error: {error}", file=sys.stderr)
        except OSError as error:  # the output folder is a file, is read-only, or its disk is full
            num_failed += 1
            print(f"error: {path}: cannot be localized into {output}: {error}", file=sys.stderr)

    return 2 if num_failed else 0


def main(words: Sequence[str] | None = None) -> int:
    """Run ``earshot localize`` and return its exit code."""
    return command_line.main(["localize", *(sys.argv[1:] if words is None else words)])


def localize(model: Path, video: Path, output: Path) -> tuple[Path, Path]:
    """Localize one video; ``earshot.localize`` describes arguments, results and errors."""
    from train.video.localization import localize_video

    predictor, features = _load(model)
    return localize_video(predictor, features, video, output, is_quiet=True)


def _load(model: Path) -> "tuple[Predictor, list[Feature]]":
    """Return a model and the features that it reads."""
    # PyTorch takes seconds to import, which `--help` need not wait for.
    from train.inference.predictor import load_predictor
    from train.runs.run_folder import read_features
    from train.video.model_features import make_features

    predictor = load_predictor(model)
    # Imported weights recorded no features; they get those of their authors' tests.
    return predictor, make_features(predictor, read_features(model))


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
