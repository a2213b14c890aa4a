"""Localize the sound in any video: ``python -m train.localize --model RUN_DIR VIDEO...``.

For each video, in the output folder: ``NAME.localized.mp4``, a copy with the localization map over its picture and
with its sound, and ``NAME.maps.npz`` with ``maps`` (n, h, w), ``times_seconds`` (n,) and ``method``. Frames, flow and
sound are prepared as the model's training data were; memory does not grow with the length of the video.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from earshot.errors import DataError, EarshotError, MediaError
from earshot.files import publish
from pipeline.base.parameters import build
from pipeline.base.progress import Progress
from pipeline.features.configure import load_module, restore_feature
from pipeline.features.extract import extract_features
from pipeline.features.feature import Extracted, Feature, Moment
from pipeline.media.ffmpeg import find_ffmpeg
from pipeline.media.reader import ClipReader, MediaInfo
from train.data.collate import collate
from train.inference.predictor import Predictor, load_predictor
from train.runs.run_folder import read_features

_BATCH_SIZE = 8
_DEFAULT_FPS = 25.0
_MAX_FPS = 60.0
_MAX_AAC_CHANNELS = 8
# Of weights that were imported, not trained here: how their authors' tests prepare sound.
_PUBLISHED_PRESETS = {
    "lvs": {"spectrograms": "lvs"},
    "ezvsl": {"spectrograms": "ezvsl"},
    "htf": {"spectrograms": "htf"},
    "rcgrad": {"waveforms": "rcgrad"},
    "flowgrad_h": {"waveforms": "flowgrad_test"},
    "flowgrad_ic": {"waveforms": "flowgrad_test"},
    "flowgrad_en": {"waveforms": "flowgrad_test"},
}


@dataclass(frozen=True)
class LocalizeParameters:
    """``maps_per_second``: how often the model looks; ``opacity``: of the map's maximum over the picture."""

    maps_per_second: float = 4.0
    opacity: float = 0.6

    def __post_init__(self):
        if not 0 < self.maps_per_second <= _MAX_FPS:
            raise ValueError(
                f"maps_per_second ({self.maps_per_second}) must be > 0 and <= {_MAX_FPS:g}"
            )
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"opacity ({self.opacity}) must be in [0, 1]")


def make_features(predictor: Predictor, recorded: dict[str, dict]) -> list[Feature]:
    """Make the features that a model reads, with the parameters of its training or the published ones.

    ``recorded``: by feature, the parameters that the model's run recorded; imported weights have none.
    """
    presets = _PUBLISHED_PRESETS.get(predictor.parameters.method, {})
    features = []
    for name in predictor.reads:
        if recorded.get(name):
            features.append(restore_feature(name, recorded[name]))
            continue
        module = load_module(name)
        values = {"preset": presets[name]} if name in presets else {}
        features.append(module.make_feature(build(module.Parameters, values, name)))
    return features


def iter_maps(
    predictor: Predictor, features: Sequence[Feature], path: Path, times: Sequence[float]
) -> Iterator[np.ndarray | Extracted]:
    """The map (h, w) at each time, in order; where a feature has none, its ``Extracted`` with the reason."""
    moments = [Moment(f"{time:.3f} s", float(time)) for time in times]
    waiting: list[dict[str, Extracted]] = []

    def flush() -> Iterator[np.ndarray | Extracted]:
        lacking = [
            next((e for e in extracted.values() if e.array is None), None) for extracted in waiting
        ]
        whole = [
            extracted for extracted, lack in zip(waiting, lacking, strict=True) if lack is None
        ]
        maps = iter(_predict(predictor, whole) if whole else [])
        for lack in lacking:
            yield next(maps) if lack is None else lack
        waiting.clear()

    for extracted in extract_features(path, moments, features):
        waiting.append(extracted)
        if len(waiting) == _BATCH_SIZE:
            yield from flush()
    yield from flush()


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
    """Write the video with its maps and the maps; return both paths. Raises ``MediaError`` when there are none."""
    parameters = parameters or LocalizeParameters()
    # absolute: FFmpeg takes what is before a colon, as in 12:30.mp4, for a protocol
    path, output_dir = Path(path).absolute(), Path(output_dir)
    with ClipReader(path) as reader:
        info = reader.info
        if not info.has_video:
            raise MediaError("no_video", f"{path}: has no video")
        if not info.has_audio:
            raise MediaError("no_audio", f"{path}: has no audio, so there is nothing to localize")
        times = (
            np.arange(max(1, round(info.duration_seconds * parameters.maps_per_second))) + 0.5
        ) / (parameters.maps_per_second)
        times = np.minimum(times, max(info.duration_seconds - 1e-3, 0.0))
        video_path = output_dir / f"{path.stem}.localized.mp4"
        maps_path = output_dir / f"{path.stem}.maps.npz"
        maps = iter_maps(predictor, features, path, times)
        output_dir.mkdir(parents=True, exist_ok=True)
        with (
            Progress(
                len(times), f"localize {path.name}", unit="map", is_quiet=is_quiet
            ) as progress,
            tempfile.TemporaryDirectory(dir=output_dir, prefix=".tmp-") as folder,
        ):
            recorder = _MapRecorder(Path(folder) / "maps.npy", len(times))
            shown = recorder.record(maps, progress)
            _write_video(
                reader,
                info,
                path,
                video_path,
                shown,
                times,
                parameters,
                ffmpeg_path or find_ffmpeg(),
            )
            for _ in shown:  # maps later than the last frame
                pass
            if recorder.num_maps == 0:
                video_path.unlink(missing_ok=True)
                first = recorder.first_lack
                raise MediaError(first.reason, f"{path}: no map at any time: {first.detail}")
            recorder.publish(
                maps_path, times_seconds=times, method=np.array(predictor.parameters.method)
            )
    return video_path, maps_path


class _MapRecorder:
    """Passes maps on and keeps them in a file, so that memory does not grow; where there is none, NaN."""

    def __init__(self, path: Path, num_times: int):
        self._path, self._num_times, self._array = path, num_times, None
        self.num_maps, self.first_lack = 0, None

    def record(
        self, maps: Iterator[np.ndarray | Extracted], progress: Progress
    ) -> Iterator[np.ndarray | None]:
        """Each map, or None where there is none."""
        for index, value in enumerate(maps):
            if isinstance(value, Extracted):
                self.first_lack = self.first_lack or value
                progress.update(num_failed=1)
                yield None
                continue
            if self._array is None:
                shape = (self._num_times, *value.shape)
                self._array = np.lib.format.open_memmap(
                    self._path, mode="w+", dtype=np.float32, shape=shape
                )
                self._array[:index] = np.nan
            self._array[index] = value
            self.num_maps += 1
            progress.update()
            yield value

    def publish(self, path: Path, **others: np.ndarray) -> None:
        """Write ``path`` (npz) with ``maps`` and the other arrays."""
        self._array.flush()
        self._array = None
        with (
            publish(path) as temporary_path,
            zipfile.ZipFile(temporary_path, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.write(self._path, "maps.npy")
            for name, array in others.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.asanyarray(array))


def overlay(rgb: np.ndarray, lowres_map: np.ndarray, *, opacity: float) -> np.ndarray:
    """uint8 picture (h, w, 3) with a map (values 0..1 after min-max) over it in colours."""
    low, high = float(lowres_map.min()), float(lowres_map.max())
    values = np.zeros_like(lowres_map) if high <= low else (lowres_map - low) / (high - low)
    values = cv2.resize(
        values.astype(np.float32), rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC
    ).clip(0, 1)
    colours = cv2.cvtColor(
        cv2.applyColorMap((values * 255).astype(np.uint8), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB
    )
    weight = opacity * values
    return cv2.blendLinear(rgb, colours, 1 - weight, weight)


def _predict(predictor: Predictor, extracted: Sequence[dict[str, Extracted]]) -> np.ndarray:
    arrays = {name: [one[name].array for one in extracted] for name in extracted[0]}
    heights = (
        [one["flow"].attributes["native_height"] for one in extracted] if "flow" in arrays else None
    )
    return predictor.localize(
        collate(arrays, ids=[str(index) for index in range(len(extracted))], native_heights=heights)
    )


def _write_video(
    reader, info: MediaInfo, path, video_path, maps, times, parameters, ffmpeg_path
) -> None:
    """Encode the frames with the map of their moment; ffmpeg takes the sound from the original."""
    fps = min(info.fps or _DEFAULT_FPS, _MAX_FPS)
    frame_times = np.arange(max(1, int(info.duration_seconds * fps))) / fps
    current, index = None, -1
    with publish(video_path) as temporary_path, contextlib.ExitStack() as stack:
        encoder = None
        for frame_time, frame in zip(
            frame_times, reader.iter_frames(frame_times.tolist()), strict=False
        ):
            while index + 1 < len(times) and (index < 0 or _is_nearer(times, index, frame_time)):
                current, index = next(maps, None), index + 1
            rgb = frame.rgb
            picture = rgb if current is None else overlay(rgb, current, opacity=parameters.opacity)
            if encoder is None:
                size = picture.shape[1::-1]
                encoder = stack.enter_context(
                    _Encoder(
                        ffmpeg_path,
                        path,
                        temporary_path,
                        size=size,
                        fps=fps,
                        pixel_aspect=frame.pixel_aspect,
                    )
                )
            encoder.write(picture)
        if encoder is None:
            raise MediaError("corrupt", f"{path}: no frame can be decoded")


def _is_nearer(times, index: int, frame_time: float) -> bool:
    """Whether the next map's moment is nearer to the frame than the current one's."""
    return abs(times[index + 1] - frame_time) <= abs(times[index] - frame_time)


class _Encoder:
    """ffmpeg fed with raw pictures; H.264 in mp4, with the sound of ``source_path``."""

    def __init__(
        self, ffmpeg_path: Path, source_path: Path, path: Path, *, size, fps: float, pixel_aspect
    ):
        self._source_path, self._path, self._size = source_path, path, size
        with av.open(str(source_path), metadata_errors="ignore") as container:
            sound = container.streams.best("audio")
            audio_index, num_channels = sound.index, sound.codec_context.layout.nb_channels
        # AAC knows no more channels; what many of them mean, files often do not say
        mixed = "+".join(f"c{channel}" for channel in range(num_channels))
        mixing = ["-af", f"pan=mono|c0<{mixed}"] if num_channels > _MAX_AAC_CHANNELS else []
        ratio = f"{pixel_aspect.numerator}/{pixel_aspect.denominator}"
        self._command = [
            *(str(ffmpeg_path), "-v", "error", "-y"),
            *(
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "-s",
                f"{size[0]}x{size[1]}",
                "-r",
                f"{fps:.6f}",
                "-i",
                "pipe:0",
            ),
            *("-i", str(source_path.absolute())),
            *("-map", "0:v", "-map", f"1:{audio_index}"),
            *("-vf", f"pad=ceil(iw/2)*2:ceil(ih/2)*2,setsar={ratio}"),
            *("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"),
            *mixing,
            *(
                "-c:a",
                "aac",
                "-b:a",
                "160k",
                "-movflags",
                "+faststart",
                "-f",
                "mp4",
                str(path.absolute()),
            ),
        ]

    def __enter__(self) -> "_Encoder":
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stderr=self._log)
        return self

    def write(self, picture: np.ndarray) -> None:
        """Append one picture; sizes that change in the middle of a file are brought to the first one's."""
        if picture.shape[1::-1] != tuple(self._size):
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        try:
            self._process.stdin.write(np.ascontiguousarray(picture).data)
        except BrokenPipeError:
            raise self._failure() from None

    def __exit__(self, kind, error, traceback) -> None:
        if kind is not None:
            self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait()
        try:
            if kind is None and code != 0:
                raise self._failure()
        finally:
            self._log.close()

    def _failure(self) -> DataError:
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return DataError(
            f"{self._source_path}: ffmpeg cannot write the copy: {lines[-1] if lines else 'no reason given'}"
        )


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code: 2 when any of the videos could not be localized."""
    parser = argparse.ArgumentParser(
        prog="python -m train.localize", description="Localize the sound in videos."
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="run folder, for example cache/runs/htf"
    )
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("localized"),
        help="folder to write (default: localized)",
    )
    parser.add_argument("--maps-per-second", type=float, default=LocalizeParameters.maps_per_second)
    parser.add_argument(
        "--opacity", type=float, default=LocalizeParameters.opacity, help="of the map, 0 to 1"
    )
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(arguments)
    try:
        values = {"maps_per_second": options.maps_per_second, "opacity": options.opacity}
        parameters = build(LocalizeParameters, values, "command line")
        _require_distinct_names(options.videos)
        predictor = load_predictor(options.model)
        features = make_features(predictor, read_features(options.model))
    except EarshotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    num_failed = 0
    for path in options.videos:
        try:
            video_path, maps_path = localize_video(
                predictor,
                features,
                path,
                options.output,
                parameters=parameters,
                is_quiet=options.quiet,
            )
            print(f"{video_path}\n{maps_path}")
        except EarshotError as error:
            num_failed += 1
            print(f"error: {error}", file=sys.stderr)
        except OSError as error:  # the folder is a file, is not ours to write, its disk is full
            num_failed += 1
            print(
                f"error: {path}: cannot be localized into {options.output}: {error}",
                file=sys.stderr,
            )
    return 2 if num_failed else 0


def _require_distinct_names(paths: Sequence[Path]) -> None:
    stems = [path.stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise DataError(
            f"two of the videos would be written as {twice}.localized.mp4; localize them one at a time, each with an "
            "--output of its own"
        )


if __name__ == "__main__":
    sys.exit(main())
