"""List every file below a folder of the user's own, and why some are left out."""

import fnmatch
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Listing:
    """What is in a folder."""

    # Relative path -> [size in bytes, modification time in ns].
    files: dict[str, list[int]] = field(default_factory=dict)
    # Relative path -> why it is left out.
    skipped: dict[str, str] = field(default_factory=dict)


class FolderWalk:
    """One walk through a folder, depth first."""

    def __init__(self, folder: Path, ignore: tuple[str, ...], own_caches: set[str]) -> None:
        self.listing = Listing()
        self._folder, self._ignore, self._own_caches = folder, ignore, own_caches
        # Links can lead in a circle. Device and inode name a folder whatever its path is.
        self._visited = {_identity(os.stat(folder))}
        # Relative paths of folders that are still to be listed.
        self._pending: list[str] = [""]
        self._linked: list[str] = []

    def run(self) -> None:
        """List all folders; those behind links last."""
        while self._pending or self._linked:
            if self._pending:
                self._list_entries(self._pending.pop())
                continue

            # Links come last, so that a file behind one keeps its own path.
            relative_path = self._linked.pop(0)
            identity = _identity(os.stat(os.path.join(self._folder, relative_path)))
            if identity in self._visited:
                self.listing.skipped[relative_path] = "folder already visited through another path"
            else:
                self._visited.add(identity)
                self._pending.append(relative_path)

    def _list_entries(self, relative_folder: str) -> None:
        try:
            # Sorted, because file systems give their entries in any order.
            entries = sorted(
                os.scandir(os.path.join(self._folder, relative_folder)),
                key=lambda entry: entry.name,
            )
        except OSError as error:
            self.listing.skipped[relative_folder] = f"folder cannot be read: {error.strerror}"
            return

        subfolders: list[str] = []
        for entry in entries:
            relative_path = os.path.join(relative_folder, entry.name)
            reason = self._add_entry(entry, relative_path, subfolders)
            if reason is not None:
                self.listing.skipped[relative_path] = reason

        # `run` takes the last one first, so reverse them to keep the order.
        self._pending.extend(reversed(subfolders))

    def _add_entry(
        self, entry: os.DirEntry[str], relative_path: str, subfolders: list[str]
    ) -> str | None:
        """Record one entry; return why it is left out, or None."""
        if entry.name.startswith("."):
            return "hidden"
        # Here a `*` also stands for `/`.
        if any(fnmatch.fnmatchcase(relative_path, pattern) for pattern in self._ignore):
            return "ignored by parameter"

        try:
            facts = entry.stat()
        except OSError:
            # A link without a target becomes a clip that is missing.
            self.listing.files[relative_path] = [0, 0]
            return None

        if stat.S_ISREG(facts.st_mode):
            self.listing.files[relative_path] = [facts.st_size, facts.st_mtime_ns]
        elif not stat.S_ISDIR(facts.st_mode):
            return "neither a file nor a folder"
        elif os.path.realpath(entry.path) in self._own_caches:
            # Otherwise clips in the cache would come back as new videos.
            return "Earshot's own cache"
        elif entry.is_symlink():
            self._linked.append(relative_path)
        else:
            self._visited.add(_identity(facts))
            subfolders.append(relative_path)
        return None


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino
