"""Choose the clips of a dataset: keys that every section ``sources.<dataset>`` has.

``ids`` and ``limit`` act when the list is made. ``exclude_flags`` acts in the account of downloads,
because only a file shows whether it is silent.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError, quote
from pipeline.base.parameters import IS_PATH, suggest
from pipeline.lists.published_lists import iter_lines

FLAGS = ("silent", "still", "more_recordings", "no_audio")  # of validation (media/validate.py)
_OF_VIDEOS = {"video_url", "unlisted_url"}  # addresses that are of no list
_LEFT_OUT_KEY = b"earshot.left_out"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What every section ``sources.<dataset>`` may say about its clips."""

    # A file with the id of a clip in each line: only these clips; null: all of the list
    ids: str | None = field(default=None, metadata=IS_PATH)
    # At most so many clips of each split, those whose ids have the smallest hashes; null: all
    limit: int | None = None
    exclude_flags: tuple[str, ...] = ()  # clips with such a flag are left out: silent, still, ...

    def __post_init__(self) -> None:
        if self.ids is not None and not self.ids.strip():
            raise ValueError("ids is empty, expected a file with one id in each line, or null")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}, expected 1 or more, or null for whole lists")
        for flag in self.exclude_flags:
            if flag not in FLAGS:
                raise ValueError(
                    f"exclude_flags has {flag!r}{suggest(flag, FLAGS)}, expected some of "
                    f"{', '.join(FLAGS)}"
                )

    def find_idle(self) -> dict[str, str]:
        """Return the settings that change nothing beside the others -> why."""
        # Datasets of published lists have it, and an address of each list.
        if getattr(self, "lists_dir", None) is None:
            return {}
        addresses = {name for name in vars(self) if name.endswith("_url")} - _OF_VIDEOS
        return dict.fromkeys(sorted(addresses), "lists_dir is set, so no list is fetched")


class Chooser:
    """Applies ``ids`` and ``limit`` to the splits of a dataset, and counts what they leave out."""

    def __init__(self, selection: Selection) -> None:
        """Read the file of ids.

        Raises:
            DataError: There is no such file, or it holds no id.
        """
        self._path = None if selection.ids is None else Path(selection.ids).expanduser().absolute()
        self._limit = selection.limit
        # Id -> its line, for the message about one that no list has.
        self._wanted = {} if self._path is None else _read_wanted(self._path)
        self._chosen: set[str] = set()
        self._by_ids: set[str] = set()
        self._by_limit: set[str] = set()

    @property
    def takes_all(self) -> bool:
        """Whether every clip is used, so that nothing need be chosen."""
        return self._path is None and self._limit is None

    def choose(self, ids: Iterable[str]) -> list[str]:
        """Return the clips of one split that are used, in their order.

        Args:
            ids: All clips of the split.
        """
        listed = list(ids)

        wanted = listed
        if self._path is not None:
            wanted = [clip_id for clip_id in listed if clip_id in self._wanted]
            # Counted when all splits are known: another one may use the clip.
            self._by_ids |= set(listed) - set(wanted)

        chosen = select(wanted, self._limit)
        self._by_limit |= set(wanted) - set(chosen)
        self._chosen |= set(chosen)
        return chosen

    def choose_splits(self, splits_by_id: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
        """Return the splits in which each clip is used; clips that none uses are absent.

        Args:
            splits_by_id: All clips of all splits, in the order of the list.
        """
        members: dict[str, list[str]] = {}
        for clip_id, splits in splits_by_id.items():
            for split in splits:
                members.setdefault(split, []).append(clip_id)
        chosen = {split: set(self.choose(ids)) for split, ids in members.items()}

        used = {
            clip_id: [split for split in splits if clip_id in chosen[split]]
            for clip_id, splits in splits_by_id.items()
        }
        return {clip_id: splits for clip_id, splits in used.items() if splits}

    def finish(self, clips: pa.Table) -> pa.Table:
        """Return the table with a note of how many clips were left out (``read_left_out``).

        Args:
            clips: CLIPS rows, made after all splits were chosen.

        Raises:
            DataError: The file of ids names a clip that no split has: a mistyped id would only
                make the dataset smaller.
        """
        # A clip that only `limit` leaves out is in the dataset, so its line is right.
        known = self._chosen | self._by_limit
        for name, number in self._wanted.items():
            if name not in known:
                raise DataError(
                    f"{self._path}, line {number}: the dataset has no clip {quote(name)} in its "
                    "splits, expected one that it has; remove the line, or mend it"
                )

        # A clip that one split leaves out is used if another one keeps it.
        by_limit = self._by_limit - self._chosen
        counts = {"ids": len(self._by_ids - known), "limit": len(by_limit)}
        found = {name: number for name, number in counts.items() if number}
        return clips.replace_schema_metadata({_LEFT_OUT_KEY: json.dumps(found)})


def read_left_out(clips: pa.Table) -> dict[str, int]:
    """Return how many clips of the list are not used, by the key that leaves them out.

    Args:
        clips: From ``Chooser.finish``.
    """
    return json.loads((clips.schema.metadata or {}).get(_LEFT_OUT_KEY, b"{}"))


def select(ids: Iterable[str], limit: int | None) -> list[str]:
    """Choose at most ``limit`` ids and keep their order.

    The ids with the smallest hashes are chosen: published lists are sorted, so their first lines
    would be no fair sample. A larger limit contains the smaller one, and lists that share ids
    share the chosen ones.

    Args:
        ids: Of a list.
        limit: None chooses all.
    """
    ids = list(ids)
    if limit is None or len(ids) <= limit:
        return ids

    # By the id alone, so that it is the same in every list, run and version of Python.
    chosen = set(sorted(ids, key=lambda clip_id: hashlib.sha256(clip_id.encode()).digest())[:limit])
    return [clip_id for clip_id in ids if clip_id in chosen]


def check_splits(splits: tuple[str, ...], known: Iterable[str]) -> None:
    """Check the parameter ``splits`` of a list-based dataset.

    Args:
        splits: The splits that were chosen.
        known: The splits that the dataset has.

    Raises:
        ValueError: Splits are unknown or named twice. A dataclass lets it pass from its
            ``__post_init__``.
    """
    known = list(known)
    if not splits:
        raise ValueError(f"splits is empty, expected some of {', '.join(known)}")

    for name in splits:
        if name not in known:
            raise ValueError(f"splits has {name!r}, expected some of {', '.join(known)}")
        if splits.count(name) > 1:
            raise ValueError(f"splits has {name!r} twice")


def _read_wanted(path: Path) -> dict[str, int]:
    """Return the ids of a file and the lines in which they stand."""
    if not path.is_file():
        raise DataError(f"{path}: not found, expected a file with one id in each line")

    wanted = {text: number for number, text in iter_lines(path)}
    if not wanted:
        raise DataError(f"{path}: is empty, expected one id in each line")
    return wanted
