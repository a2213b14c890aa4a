"""Localize the sound in one video: write a copy with the maps over its frames, and the maps."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earshot.errors import MediaError
from pipeline.base.progress import Progress
from pipeline.features.feature import Feature
from pipeline.media.files.ffmpeg import find_ffmpeg
from pipeline.media.reader import ClipReader, MediaInfo
from train.inference.predictor import Predictor
from train.video.overlay import TimedMaps, write_video
from train.video.parameters import LocalizeParameters
from train.video.video_maps import MapRecorder, iter_maps


def localize_video(
    predictor: Predictor,
    features: Sequence[Feature],
    path: Path,
    output_dir: Path,
    *,
    parameters: LocalizeParameters | None = None,
    ffmpeg_path: Path | None = None,
    is_quiet: bool = False,
) -> tuple[Path, Path]:
    """Write a copy of a video with its maps, and the maps themselves.

    Memory does not grow with the length of the video.

    Args:
        predictor: Of the model.
        features: What the model reads, from ``make_features``.
        path: Of the video.
        output_dir: Folder to write; created.
        parameters: None takes the defaults.
        ffmpeg_path: The program; None finds it.
        is_quiet: Show no progress.

    Returns:
        The paths of the copy, ``NAME.localized.mp4``, and of the maps, ``NAME.maps.npz``.

    Raises:
        MediaError: The video has no picture, no sound, or no map at any time.
        DataError: ffmpeg cannot write the copy.
    """
    parameters = parameters or LocalizeParameters()
    # ffmpeg takes what is before a colon, as in 12:30.mp4, for a protocol, except in full paths.
    path, output_dir = Path(path).absolute(), Path(output_dir)
    video_path = output_dir / f"{path.stem}.localized.mp4"
    maps_path = output_dir / f"{path.stem}.maps.npz"

    with ClipReader(path) as reader:
        _require_streams(reader.info, path)
        times = choose_times(reader.info.duration_seconds, parameters.maps_per_second)
        # After the checks, so that a file without sound or picture leaves no empty folder.
        output_dir.mkdir(parents=True, exist_ok=True)

        with (
            Progress(
                len(times), f"localize {path.name}", unit="map", is_quiet=is_quiet
            ) as progress,
            tempfile.TemporaryDirectory(dir=output_dir, prefix=".tmp-") as folder,
        ):
            recorder = MapRecorder(Path(folder) / "maps.npy", len(times))
            maps = recorder.record(iter_maps(predictor, features, path, times), progress)
            write_video(
                reader,
                video_path,
                TimedMaps(maps, times),
                opacity=parameters.opacity,
                ffmpeg_path=ffmpeg_path or find_ffmpeg(),
            )

            for _ in maps:  # record the maps after the last frame, too
                pass

            # A copy without any map would look like a result.
            if recorder.num_maps == 0:
                video_path.unlink(missing_ok=True)
                raise recorder.make_error(path)
            recorder.publish(maps_path, times_seconds=times, method=np.array(predictor.method))
    return video_path, maps_path


def choose_times(duration_seconds: float, maps_per_second: float) -> np.ndarray:
    """Return the times of the maps in seconds, each in the middle of its part of the video."""
    num_maps = max(1, round(duration_seconds * maps_per_second))
    times = (np.arange(num_maps) + 0.5) / maps_per_second
    # The last middle may lie after the end, where there is neither picture nor sound.
    return np.minimum(times, max(duration_seconds - 1e-3, 0.0))


def _require_streams(info: MediaInfo, path: Path) -> None:
    if not info.has_video:
        raise MediaError("no_video", f"{path}: has no video")
    if not info.has_audio:
        raise MediaError("no_audio", f"{path}: has no audio, so there is nothing to localize")
