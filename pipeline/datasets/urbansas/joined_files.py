"""Join picture and sound of a clip, which a release keeps in two files."""

import json
from pathlib import Path

from earshot.files import publish_text
from pipeline.media.mux import SUFFIX, VERSION, mux

_SAVE_EVERY = 100  # new files


class JoinedFiles:
    """A folder of joined files, with a record of the sources of each."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._record_path, self._num_new = folder, folder / "sources.json", 0
        try:
            self._sources = json.loads(self._record_path.read_text())
        except (FileNotFoundError, ValueError):
            self._sources = {}

    def make(self, clip_id: str, video_path: Path, audio_path: Path) -> Path:
        """Return the path of a joined file; make it if its sources are new or changed.

        Raises:
            MediaError: A source cannot be read.
        """
        path = self._folder / f"{clip_id}{SUFFIX}"
        facts = [VERSION, *(_describe_file(source) for source in (video_path, audio_path))]

        if self._sources.get(clip_id) != facts or not path.exists():
            mux(video_path, audio_path, path)
            self._sources[clip_id] = facts
            self._num_new += 1

            # A stopped run joins at most these files again.
            if self._num_new % _SAVE_EVERY == 0:
                self.save()
        return path.absolute()

    def save(self) -> None:
        """Write the record, if a file was made."""
        if self._num_new:
            publish_text(self._record_path, json.dumps(self._sources, indent=0) + "\n")


def _describe_file(path: Path) -> list[str | int]:
    facts = path.stat()
    return [str(path).encode("utf-8", "replace").decode(), facts.st_size, facts.st_mtime_ns]
