"""One media file that several readers share, and that can be opened again.

A container has one position. Reading packets moves it, and some containers cannot seek back to
their exact beginning. So a reader that needs the beginning opens the file again, unless nothing was
read from it yet. (Opening a file takes as long as decoding several pictures.)
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av import AudioStream, VideoStream
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from earshot.cached_property import cached_property
from earshot.errors import MediaError
from pipeline.base.os_errors import is_machine_error
from pipeline.media.files.container import find_damaged_packets, open_container
from pipeline.media.files.machine import is_ffmpegs_own
from pipeline.media.files.timeline import LATE_STREAM, choose_stream, find_origin
from pipeline.media.files.truncation import is_cut_off


@dataclass(eq=False)
class Opening:
    """A container, its streams, and what has been done with it since it was opened."""

    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    # Packets have been read or sought, so the next one need not be the file's first.
    is_touched: bool = False
    # A frame reader is in the middle of it: nobody else may seek.
    is_reading_frames: bool = False


class MediaFile:
    """An open media file. Errors are MediaError and name the file.

    Attributes:
        path: The file.
        main: The first opening, shared by the readers of pictures and of sound.
        origin_seconds: The time, by the file's own timestamps, that is zero on the clip's timeline.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        # All that close() has to close, `main` included.
        self._openings: list[Opening] = []

        with name_errors(self.path):
            self.main = self.open_again()

        if self.main.video is None and self.main.audio is None:
            self.close()
            raise MediaError("no_streams", f"{self.path}: has neither video nor audio")

        self.origin_seconds = find_origin(self.main.container)

    @cached_property
    def is_cut_off(self) -> bool:
        """Whether the file is known to be shorter than it says it is."""
        return is_cut_off(self.main.container)

    @cached_property
    def damaged_pictures(self) -> frozenset[int]:
        """Positions in the file of pictures that are damaged (see `find_damaged_packets`)."""
        assert self.main.video is not None
        return find_damaged_packets(self.main.container, self.main.video)

    def open_again(self, *, accelerator: HWAccel | None = None) -> Opening:
        """Open the file once more, at its beginning. The result is closed with this object.

        Args:
            accelerator: What decodes pictures instead of the CPU.
        """
        container = open_container(self.path, accelerator=accelerator)
        opening = Opening(
            container, choose_stream(container, "video"), choose_stream(container, "audio")
        )
        self._openings.append(opening)
        return opening

    @contextlib.contextmanager
    def opened_again(self) -> Iterator[Opening]:
        """Open the file once more, at its beginning, and close it at the end of the block."""
        opening = self.open_again()
        try:
            yield opening
        finally:
            opening.container.close()
            # The file may have been closed meanwhile, while a generator was suspended here.
            if opening in self._openings:
                self._openings.remove(opening)

    def close(self) -> None:
        """Close all openings."""
        for opening in self._openings:
            opening.container.close()
        self._openings.clear()


@contextlib.contextmanager
def name_errors(path: Path) -> Iterator[None]:
    """Turn FFmpeg's exceptions in the body into MediaError that name the file.

    Errors of this machine, such as too many open files, stay OSError: the file is not to blame.

    Raises:
        MediaError: ``no_file`` if the file does not exist, ``corrupt`` if FFmpeg cannot read it. A
            MediaError of the body keeps its reason.
        OSError: This machine could not read the file.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise MediaError("no_file", f"{path}: not found") from error
    except MediaError as error:
        # What was found within a stream does not know the file; other reasons name it already.
        if str(path) in str(error):
            raise
        raise MediaError(error.reason, f"{path}: {error}") from error
    except IndexError as error:
        raise MediaError("corrupt", f"{path}: {LATE_STREAM}") from error
    except av.FFmpegError as error:
        if is_machine_error(error) and not is_ffmpegs_own(error):
            raise OSError(error.errno, error.strerror, str(path)) from error

        # FFmpeg says only "Invalid data". Downloads that fail often leave an empty file.
        is_empty = path.is_file() and path.stat().st_size == 0
        what = "is empty" if is_empty else f"cannot be read: {error.strerror}"
        raise MediaError("corrupt", f"{path}: {what}") from error
