"""A range of bytes of a file, as a file of its own that FFmpeg's libraries can read."""

import io
import os
from pathlib import Path


class ByteRange(io.RawIOBase):
    """The bytes [start, stop) of a file."""

    def __init__(self, path: Path | str, start: int, stop: int):
        """Open a file.

        Args:
            path: The file.
            start: The first byte.
            stop: The first byte behind the range.
        """
        self.name = os.fspath(path)  # PyAV's name of the container
        self._file = io.BufferedReader(io.FileIO(path))
        self._start = start
        self._length = stop - start
        self._position = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        self._file.seek(self._start + self._position)
        data = self._file.read(max(min(len(buffer), self._length - self._position), 0))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence, self._length)
        self._position = begin + offset
        return self._position

    def tell(self) -> int:
        return self._position
