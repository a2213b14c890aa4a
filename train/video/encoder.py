"""Encode pictures as H.264 in mp4, with the sound of another file, by a process of ffmpeg."""

import contextlib
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from earshot.errors import DataError
from pipeline.media.files.container import open_container
from pipeline.media.files.formats import make_program_options
from pipeline.media.files.timeline import choose_stream

_MAX_AAC_CHANNELS = 8


class VideoEncoder:
    """Write pictures to a video. A context manager; the file is complete when it is left.

    Args:
        path: Of the mp4 to write.
        sound_path: The file whose sound is taken; its pictures are ignored.
        size: Width and height of the pictures.
        fps: Pictures per second.
        pixel_aspect: Width over height of a pixel.
        ffmpeg_path: The program.
    """

    def __init__(
        self,
        path: Path,
        *,
        sound_path: Path,
        size: tuple[int, int],
        fps: float,
        pixel_aspect: Fraction,
        ffmpeg_path: Path,
    ):
        self._sound_path, self._size = sound_path, size

        aspect = f"{pixel_aspect.numerator}/{pixel_aspect.denominator}"
        audio_index, audio_filter = _choose_sound(sound_path)

        arguments = (
            # raw pictures from the pipe
            f"-f rawvideo -pix_fmt rgb24 -s {size[0]}x{size[1]} -r {fps:.6f} -i pipe:0",
            # the original; its path may contain spaces, so it is added by itself
            [*_list_options(make_program_options()), "-i", str(sound_path.absolute())],
            f"-map 0:v -map 1:{audio_index}",
            # H.264 with yuv420p needs even sides
            f"-vf pad=ceil(iw/2)*2:ceil(ih/2)*2,setsar={aspect}",
            "-c:v libx264 -preset veryfast -crf 20 -pix_fmt yuv420p",
            audio_filter,
            "-c:a aac -b:a 160k -movflags +faststart -f mp4",
            [str(path.absolute())],
        )

        self._command = [str(ffmpeg_path), "-v", "error", "-y"]
        for argument in arguments:
            self._command += argument.split() if isinstance(argument, str) else argument

    def __enter__(self) -> "VideoEncoder":
        # Into a file: a pipe that nobody reads would fill up, and ffmpeg would wait for ever.
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stderr=self._log)
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        return self

    def write(self, picture: np.ndarray) -> None:
        """Append a picture; resize it where its size differs from the video's.

        Args:
            picture: uint8 (h, w, 3).

        Raises:
            DataError: ffmpeg cannot write the copy; the message has its last line.
        """
        if picture.shape[1::-1] != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        try:
            self._pipe.write(np.ascontiguousarray(picture).data)
        except BrokenPipeError:
            raise self._make_error() from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After an error nobody wants the file, so ffmpeg does not finish it.
        if kind is not None:
            self._process.kill()
        # The end of the pipe tells ffmpeg that all pictures were written.
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()

        code = self._process.wait()
        try:
            if kind is None and code != 0:
                raise self._make_error()
        finally:
            self._log.close()

    def _make_error(self) -> DataError:
        """Return an error with the last line that ffmpeg printed."""
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else "no reason given"
        return DataError(f"{self._sound_path}: ffmpeg cannot write the copy: {reason}")


def _list_options(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"-{name}", value)]


def _choose_sound(path: Path) -> tuple[int, str]:
    """Return the index of a file's sound stream, and ffmpeg's arguments that mix it.

    AAC has at most eight channels. Files with more often do not say what each of them is, so all
    are mixed into one.
    """
    with open_container(path) as container:
        stream = choose_stream(container, "audio")
        assert stream is not None, "the caller checks that there is sound"
        index, num_channels = stream.index, stream.codec_context.layout.nb_channels

    if num_channels <= _MAX_AAC_CHANNELS:
        return index, ""
    channels = "+".join(f"c{channel}" for channel in range(num_channels))
    return index, f"-af pan=mono|c0<{channels}"
