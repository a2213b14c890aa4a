"""Join the files of a clip, such as picture and sound, which a release keeps apart.

The name of a joined file holds a hash of its sources. When they change, so does its address in the
table of clips, and DVC runs the stages that depend on it.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from earshot.errors import MediaError
from earshot.files import publish_text, sha256_of
from pipeline.media.mux import SUFFIX, VERSION, mux

Join = Callable[..., None]

_SAVE_EVERY = 100  # new files
_KEY_DIGITS = 12


class JoinedFiles:
    """A folder of joined files, with a record of the sources of each."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._record_path, self._num_new = folder, folder / "sources.json", 0
        # Clip id -> facts about its sources, and the name of the joined file.
        self._record: dict[str, Any] = {}
        # Without a record, only the sources are hashed again, and give the same names.
        with contextlib.suppress(FileNotFoundError, ValueError):
            self._record = json.loads(self._record_path.read_text())
        self._outdated: list[Path] = []

    def make(self, clip_id: str, *sources: Path, join: Join = mux) -> Path:
        """Return the path of a joined file; make it if its sources are new or changed.

        Args:
            clip_id: Of the clip.
            sources: The files, in the order in which ``join`` takes them.
            join: Writes a joined file: the sources, then the path.

        Raises:
            MediaError: A source cannot be read.
        """
        facts = [VERSION, *(_describe_file(source) for source in sources)]
        known = self._record.get(clip_id)
        # Hashing reads the sources whole, so unchanged ones keep their name.
        if isinstance(known, dict) and known["sources"] == facts:
            path = self._folder / known["name"]
        else:
            path = self._folder / f"{clip_id}-{_make_key(*sources)}{SUFFIX}"

        if not path.exists():
            join(*sources, path)
        if known != (entry := {"sources": facts, "name": path.name}):
            self._add(clip_id, entry)
        return path.absolute()

    def _add(self, clip_id: str, entry: dict[str, Any]) -> None:
        known = self._record.get(clip_id)
        # Clips joined by earlier versions have no hash in their name.
        old_name = known["name"] if isinstance(known, dict) else f"{clip_id}{SUFFIX}"
        if old_name != entry["name"]:
            self._outdated.append(self._folder / old_name)

        self._record[clip_id] = entry
        self._num_new += 1
        # A stopped run joins at most these files again.
        if self._num_new % _SAVE_EVERY == 0:
            self._write_record()

    def save(self) -> None:
        """Write the record, if a file was made, and remove the files of earlier sources."""
        if self._num_new:
            self._write_record()

        # Last: the record that is on the disk until then names these files.
        for path in self._outdated:
            path.unlink(missing_ok=True)

    def _write_record(self) -> None:
        publish_text(self._record_path, json.dumps(self._record, indent=0) + "\n")


def _make_key(*sources: Path) -> str:
    try:
        text = "\n".join([str(VERSION), *map(sha256_of, sources)])
    except OSError as error:
        raise MediaError(
            "no_file", f"{error.filename}: cannot be read ({error.strerror})"
        ) from None
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


def _describe_file(path: Path) -> list[str | int]:
    # A path can have bytes that are no UTF-8, which JSON cannot hold.
    facts = path.stat()
    return [str(path).encode("utf-8", "replace").decode(), facts.st_size, facts.st_mtime_ns]
