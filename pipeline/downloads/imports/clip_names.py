"""Find the clip of a list that a file's name means.

Known names, without their suffix:

| name | example |
|---|---|
| the clip's id | ``YTID_000030`` |
| video id, start and end in seconds | ``YTID_30_40``, ``YTID_30.0_40.0`` |
| the same in milliseconds | ``YTID_30000_40000`` |
| video id and start | ``YTID_30`` |
| video id, if the list has one clip of it | ``YTID`` |
"""

import math
import re
from collections.abc import Iterator

import pyarrow as pa

from pipeline.downloads.clip_files import make_file_stem

_TIMED = (
    re.compile(r"(?P<video>.+)[_-](?P<start>\d+(?:\.\d+)?)[_-](?P<end>\d+(?:\.\d+)?)"),
    re.compile(r"(?P<video>.+)[_-](?P<start>\d+(?:\.\d+)?)"),
)
_UNITS_PER_SECOND = (1.0, 1000.0)


class ClipNames:
    """The names that the clips of a list may have."""

    def __init__(self, clips: pa.Table):
        """Read the columns ``clip_id video_id start_seconds end_seconds`` of CLIPS rows."""
        columns = (
            clips.column(name).to_pylist()
            for name in ("clip_id", "video_id", "start_seconds", "end_seconds")
        )

        self._ids: dict[str, str] = {}
        self._of_video: dict[str, list[tuple[str, float | None, float | None]]] = {}
        for clip_id, video_id, start, end in zip(*columns, strict=True):
            # Files of another cache are named after the stem, which encodes special characters.
            self._ids[clip_id] = self._ids[make_file_stem(clip_id)] = clip_id
            self._of_video.setdefault(video_id, []).append((clip_id, start, end))

    def find(self, stem: str, *, is_section: bool = False) -> set[str]:
        """Return the ids of the clips that a name can mean, often one or none.

        Args:
            stem: a file's name without folder and suffix.
            is_section: the file is known to be a section of its video; so the video's id alone
                does not say which clip it is.
        """
        if stem in self._ids:
            return {self._ids[stem]}

        # Try names with times before the video's id alone, because ids may end in digits.
        found = {
            clip_id for pattern in _TIMED for clip_id in self._find_timed(pattern.fullmatch(stem))
        }
        if not found and not is_section:
            found = {clip_id for clip_id, _, _ in self._of_video.get(stem, ())}
        return found

    def _find_timed(self, match: re.Match[str] | None) -> Iterator[str]:
        if match is None:
            return
        start, end = float(match["start"]), match.groupdict().get("end")

        for clip_id, clip_start, clip_end in self._of_video.get(match["video"], ()):
            if clip_start is None:
                continue
            # The name does not say whether the numbers are seconds or milliseconds: try both.
            for scale in _UNITS_PER_SECOND:
                is_start = math.isclose(start, clip_start * scale, abs_tol=1e-6)
                is_end = end is None or (
                    clip_end is not None
                    and math.isclose(float(end), clip_end * scale, abs_tol=1e-6)
                )
                if is_start and is_end:
                    yield clip_id
                    break
