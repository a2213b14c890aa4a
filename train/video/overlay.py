"""Draw maps over the frames of a video, and write the result as a video."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from earshot.errors import MediaError
from earshot.files import publish
from pipeline.media.reader import ClipReader
from train.video.encoder import VideoEncoder

MAX_FPS = 60.0
_DEFAULT_FPS = 25.0  # where the video does not say its frame rate


class TimedMaps:
    """Find the map nearest to each frame, for frames in the order of time.

    Args:
        maps: A map or None for each of ``times``. Each is read when a frame needs it.
        times: Of the maps, in seconds, ascending.
    """

    def __init__(self, maps: Iterator[np.ndarray | None], times: np.ndarray):
        self._maps, self._times = maps, times
        self._current: np.ndarray | None = None
        self._index = -1

    def find_nearest(self, frame_time: float) -> np.ndarray | None:
        """Return the map nearest to ``frame_time`` seconds, the later one of two equally near."""
        while self._index + 1 < len(self._times) and self._is_next_nearer(frame_time):
            self._current = next(self._maps, None)
            self._index += 1
        return self._current

    def _is_next_nearer(self, frame_time: float) -> bool:
        if self._index < 0:
            return True
        current, following = self._times[self._index : self._index + 2]
        return abs(following - frame_time) <= abs(current - frame_time)


def write_video(
    reader: ClipReader, path: Path, maps: TimedMaps, *, opacity: float, ffmpeg_path: Path
) -> None:
    """Write a copy of a video with the nearest map over each frame, and with its sound.

    Args:
        reader: Of the original.
        path: Of the copy, an mp4.
        maps: What is drawn; frames without a map stay as they are.
        opacity: As for ``draw_map``.
        ffmpeg_path: The program.

    Raises:
        MediaError: No frame can be decoded.
        DataError: ffmpeg cannot write the copy.
    """
    # Some files name no rate, and broken ones thousands of frames a second.
    fps = min(reader.info.fps or _DEFAULT_FPS, MAX_FPS)
    num_frames = max(1, int(reader.info.duration_seconds * fps))
    frame_times = (np.arange(num_frames) / fps).tolist()

    with publish(path) as temporary_path, contextlib.ExitStack() as stack:
        encoder = None
        for frame_time, frame in zip(frame_times, reader.iter_frames(frame_times), strict=False):
            current = maps.find_nearest(frame_time)
            picture = (
                frame.rgb if current is None else draw_map(frame.rgb, current, opacity=opacity)
            )

            # The size of the copy is that of the first frame.
            if encoder is None:
                height, width = picture.shape[:2]
                encoder = stack.enter_context(
                    VideoEncoder(
                        temporary_path,
                        sound_path=reader.path,
                        size=(width, height),
                        fps=fps,
                        pixel_aspect=frame.pixel_aspect,
                        ffmpeg_path=ffmpeg_path,
                    )
                )
            encoder.write(picture)

        if encoder is None:
            raise MediaError("corrupt", f"{reader.path}: no frame can be decoded")


def draw_map(rgb: np.ndarray, lowres_map: np.ndarray, *, opacity: float) -> np.ndarray:
    """Draw a map in colours over a picture.

    Args:
        rgb: uint8 (h, w, 3).
        lowres_map: Of any size; its values are scaled to 0..1.
        opacity: Of the colour at the map's maximum; it falls to 0 at the minimum.

    Returns:
        uint8 (h, w, 3).
    """
    low, high = float(lowres_map.min()), float(lowres_map.max())
    values = np.zeros_like(lowres_map) if high <= low else (lowres_map - low) / (high - low)

    # Cubic interpolation overshoots, so the values are clipped again.
    size = rgb.shape[1::-1]
    values = cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_CUBIC).clip(0, 1)

    colours = cv2.applyColorMap((values * 255).astype(np.uint8), cv2.COLORMAP_JET)
    # Where the map is low, the picture stays as it is.
    weight = opacity * values
    return cv2.blendLinear(rgb, cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), 1 - weight, weight)
