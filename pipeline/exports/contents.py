"""What each sample of a dataset has to hand over, and why it lacks the rest."""

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from earshot.errors import DataError, ParameterError
from earshot.reader import FeatureReader
from earshot.shard_format import INDEX_NAME
from earshot.tables import CLIPS, DOWNLOADS, SAMPLES, describe_missing, read_table
from pipeline.base.project import Project
from pipeline.downloads.clip_files import format_path, path_of_file_url
from pipeline.downloads.messages import FetchError
from pipeline.exports.encoding import (
    Part,
    encode_array,
    encode_picture,
    encode_sound,
    find_part_kind,
    read_clip_sound,
)
from pipeline.exports.parameters import AUDIO, ExportParameters

_WAVEFORMS = "waveforms"  # stand in for the sound of clips that are not here
# Folders before the name of a file. Those with a space in their name are found by other means.
_FOLDERS = re.compile(r"(?:\bfile://[^\s/]*|(?<![\w:/.]))/(?:[^/\s'\"]+/)+")
Row = dict[str, Any]


class Obstacle(NamedTuple):
    """Why a sample is not exported."""

    reason: str  # ``feature: reason``, to be counted
    detail: str  # one sentence


@dataclass(frozen=True)
class Item:
    """A sample with everything that is written of it."""

    record: dict[str, Any]  # facts, as JSON can hold them
    parts: tuple[Part, ...]


class Contents:
    """The samples of a dataset, with what is cached and on the disk for each.

    Args:
        project: The checkout.
        dataset: Name of the dataset.
        parameters: Which splits and features.

    Raises:
        DataError: A table or an index is absent; the message says which stage makes it.
        ParameterError: No sample is in a split; the message names those that there are.

    Attributes:
        samples: Rows of the samples table, of the selected splits.
        clips: Rows of the clips table by clip id.
    """

    def __init__(self, project: Project, dataset: str, parameters: ExportParameters):
        self.dataset, self.parameters = dataset, parameters
        rows = read_table(project.samples_table_path(dataset), SAMPLES).to_pylist()
        # First of all: a wrong name of a split must not cost the opening of all shards.
        _require_splits(parameters.splits, rows)
        # A sample can be in several splits, and is exported once if any of them is selected.
        selected = set(parameters.splits)
        self.samples: list[Row] = [
            row for row in rows if not selected or selected & set(row["splits"] or ())
        ]

        clips = read_table(project.clips_table_path(dataset), CLIPS).to_pylist()
        self.clips: dict[str, Row] = {row["clip_id"]: row for row in clips}

        self._root, self._clips_dir = project.root, project.clips_dir(dataset)
        self._downloads = _read_downloads(project.downloads_table_path(dataset))
        self._features: dict[str, _CachedFeature] = {}
        for name in self._find_feature_names(project):
            self._features[name] = _CachedFeature(project.feature_dir(dataset, name), dataset)

    def _find_feature_names(self, project: Project) -> list[str]:
        names = [name for name in self.parameters.features if name != AUDIO]
        # Without the clips, `audio` is read from the cached waveforms. They are optional: where the
        # clips are here, nobody needs them.
        if AUDIO in self.parameters.features and _WAVEFORMS not in names:
            has_waveforms = (project.feature_dir(self.dataset, _WAVEFORMS) / INDEX_NAME).exists()
            names += [_WAVEFORMS] if has_waveforms else []

        return names

    def describe_features(self) -> dict[str, dict[str, Any]]:
        """Return the root attributes of the exported features: units, parameters, versions."""
        described = {}

        for name in self.parameters.features:
            if name == AUDIO:
                # Its rate is that of each clip, so it is not an attribute of the whole dataset.
                described[name] = {"units": "amplitude", "channels": 1}
            else:
                described[name] = self._features[name].describe()

        return described

    def find_obstacle(self, row: Row) -> Obstacle | None:
        """Return why a sample cannot be exported; None if it has all that was asked for."""
        obstacle = self._find_obstacle(row)
        return obstacle and obstacle._replace(detail=self._hide_folders(obstacle.detail, row))

    def _hide_folders(self, text: str, row: Row) -> str:
        """Return a sentence in which files of this machine have no folders."""
        folders = [self._root]
        for clip_id in (row["clip_id"], row["audio_clip_id"]):
            url = self.clips.get(clip_id, {}).get("url") or ""
            # An address that names a host is no path.
            with contextlib.suppress(FetchError):
                if _is_of_file(url):
                    folders.append(path_of_file_url(url).parent)

        for folder in folders:
            text = text.replace(f"{format_path(folder)}/", "")
        return _FOLDERS.sub("", text)

    def _find_obstacle(self, row: Row) -> Obstacle | None:
        for name in self.parameters.features:
            if name != AUDIO:
                obstacle = self._features[name].find_obstacle(row["sample_id"])
            elif self._find_sound(row) is None:
                obstacle = self._describe_silence(row)
            else:
                obstacle = None

            if obstacle is not None:
                return obstacle

        # Only the clip of the picture must be here. That of a negative's sound is added where it
        # is.
        if self.parameters.has_clips and self.find_clip_file(row["clip_id"]) is None:
            return Obstacle("clip: no file", f"clip: {self._describe_absence(row['clip_id'])}")
        return None

    def fingerprint(self, row: Row) -> str:
        """Return a hash of all that decides what is written of a sample without an obstacle."""
        # The key of a cached array changes with its clip and its parameters, so it stands for the
        # array. Hashing the arrays themselves would read the whole cache for a run that has nothing
        # to do.
        keys = [
            self._features[name].key(row["sample_id"]) if name != AUDIO else self._sound_key(row)
            for name in self.parameters.features
        ]

        clip = self._downloads.get(row["clip_id"], {}).get("sha256")
        content = [self.make_record(row), keys, clip if self.parameters.has_clips else None]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def make_record(self, row: Row) -> dict[str, Any]:
        """Return what is known of a sample, as JSON can hold it."""
        clip = self.clips.get(row["clip_id"], {})
        # A file of this machine is nowhere else, and its path is nobody else's business.
        url = clip.get("url")

        # Arrow gives None for a list that was never set, and pairs for a map.
        return {
            "sample_id": row["sample_id"],
            "clip_id": row["clip_id"],
            "audio_clip_id": row["audio_clip_id"],
            "time_seconds": row["time_seconds"],
            "splits": list(row["splits"] or ()),
            "label": row["label"],
            "boxes": [list(box) for box in row["boxes"] or ()],
            "box_annotators": list(row["box_annotators"] or ()),
            "attributes": dict(row["attributes"] or ()),
            "url": None if _is_of_file(url) else url,
            "start_seconds": clip.get("start_seconds"),
            "end_seconds": clip.get("end_seconds"),
        }

    def read_item(self, row: Row) -> Item:
        """Read and encode everything of a sample.

        Raises:
            MediaError: The sound of its clip cannot be read.
            DataError: A cached array is damaged.
        """
        record = self.make_record(row)
        record["feature_attributes"] = {}
        parts = []

        for name in self.parameters.features:
            if name == AUDIO:
                part, attributes = self._read_sound(row)
            else:
                feature = self._features[name]
                part = feature.read_part(row["sample_id"], pictures=self.parameters.pictures)
                # What differs between the arrays of one feature, such as where a window begins.
                attributes = feature.reader.read_attributes(row["sample_id"])
            parts.append(part)
            record["feature_attributes"][name] = attributes

        return Item(record, tuple(parts))

    def find_clip_file(self, clip_id: str) -> Path | None:
        """Return the media file of a clip; None if it is not on this machine."""
        download = self._downloads.get(clip_id)
        if download is None or download["status"] != "ok" or not download["path"]:
            return None

        # The table says what was downloaded once. The clip can be gone, or on another machine.
        path = self._clips_dir / download["path"]
        return path if path.is_file() else None

    def close(self) -> None:
        """Close the shards."""
        for feature in self._features.values():
            feature.reader.close()

    def _find_sound(self, row: Row) -> Literal["clip", "waveforms"] | None:
        """Return where a sample's sound comes from; None: there is none."""
        # The sound of a negative is that of another clip.
        clip_id = row["audio_clip_id"] or row["clip_id"]

        # The clip is preferred: a cached waveform is only the part of it around the moment.
        if self.find_clip_file(clip_id) is not None and not self._is_without_sound(clip_id):
            return "clip"

        waveforms = self._features.get(_WAVEFORMS)
        if waveforms is not None and row["sample_id"] in waveforms.reader:
            return "waveforms"
        return None

    def _is_without_sound(self, clip_id: str) -> bool:
        # Found when the clip was validated, so no file is opened here.
        return "no_audio" in (self._downloads[clip_id]["flags"] or ())

    def _sound_key(self, row: Row) -> str:
        if self._find_sound(row) == "clip":
            return str(self._downloads[row["audio_clip_id"] or row["clip_id"]]["sha256"])
        return self._features[_WAVEFORMS].key(row["sample_id"])

    def _read_sound(self, row: Row) -> tuple[Part, Mapping[str, Any]]:
        if self._find_sound(row) == "clip":
            path = self.find_clip_file(row["audio_clip_id"] or row["clip_id"])
            assert path is not None
            return read_clip_sound(AUDIO, path), {"read_from": "clip", "start_seconds": 0.0}

        waveforms = self._features[_WAVEFORMS]
        # `pictures` says nothing about a sound; any value will do.
        part = waveforms.read_part(row["sample_id"], pictures="png", name=AUDIO)
        start = waveforms.reader.read_attributes(row["sample_id"])["start_seconds"]
        # The same names as above: they become columns, which all shards must have.
        return part, {"read_from": "waveforms", "start_seconds": float(start)}

    def _describe_silence(self, row: Row) -> Obstacle:
        clip_id = row["audio_clip_id"] or row["clip_id"]
        if self.find_clip_file(clip_id) is not None:
            return Obstacle("audio: no_audio", f"audio: clip {clip_id} has no sound")

        absence = self._describe_absence(clip_id)
        return Obstacle("audio: no file", f"audio: {absence}, and no waveform is cached")

    def _describe_absence(self, clip_id: str) -> str:
        download = self._downloads.get(clip_id)
        # In the order in which a clip fails: not asked for, gone since, never there.
        if download is None:
            return f"clip {clip_id} was not downloaded yet"
        if download["status"] == "ok":
            return f"the file {download['path']} of clip {clip_id} is not on this machine"

        cause = download["reason"] or download["status"]
        detail = describe_missing(download["detail"], is_confirmed=bool(download["is_confirmed"]))
        return f"clip {clip_id} is missing ({cause}{f': {detail}' if detail else ''})"


class _CachedFeature:
    """One feature folder: arrays, and why samples have none."""

    def __init__(self, folder: Path, dataset: str):
        if not (folder / INDEX_NAME).exists():
            raise DataError(
                f"{folder}: {folder.name} is not cached; run `dvc repro {folder.name}@{dataset}`, "
                "or leave it out of --features"
            )

        self.name, self._dataset = folder.name, dataset
        # Damage must not be handed over.
        self.reader = FeatureReader(folder, is_checked=True)

        # As Python's own values: picking single ones from Arrow columns is slow for large datasets.
        names = ("sample_id", "key", "reason", "detail")
        columns = [self.reader.index.column(name).to_pylist() for name in names]
        self._row_of = {values[0]: values[1:] for values in zip(*columns, strict=True)}

        attributes = self.reader.attributes
        self._kind = find_part_kind(self.name, attributes.get("units"))

    def describe(self) -> dict[str, Any]:
        """Return what the first shard says of all arrays."""
        # They are facts about Earshot's shards, not about the arrays.
        left_out = ("schema_version", "software")
        attributes = self.reader.attributes
        return {name: value for name, value in attributes.items() if name not in left_out}

    def key(self, sample_id: str) -> str:
        """Return the key of a sample's array."""
        return str(self._row_of[sample_id][0])

    def find_obstacle(self, sample_id: str) -> Obstacle | None:
        """Return why a sample has no array."""
        if sample_id in self.reader:
            return None
        if sample_id not in self._row_of:
            return Obstacle(
                f"{self.name}: not computed yet",
                f"{self.name}: not computed yet; run `dvc repro {self.name}@{self._dataset}`",
            )

        _, reason, detail = self._row_of[sample_id]
        text = f"{self.name}: {reason}"
        # Messages of FFmpeg can have several lines, a row of `samples.csv` has one.
        return Obstacle(text, f"{text}: {' '.join(detail.split())}" if detail else text)

    def read_part(self, sample_id: str, *, pictures: str, name: str | None = None) -> Part:
        """Read a sample's array and encode it; ``name`` replaces that of the feature."""
        array = self.reader.read(sample_id)
        if self._kind == "picture":
            return encode_picture(name or self.name, array, pictures)
        if self._kind == "sound":
            rate = self.reader.read_attributes(sample_id)["sample_rate"]
            return encode_sound(name or self.name, array, int(rate))
        return encode_array(name or self.name, array)


def _require_splits(names: Sequence[str], rows: Sequence[Row]) -> None:
    known = {split for row in rows for split in row["splits"] or ()}
    # A mistyped split would only make the export smaller.
    for name in names:
        if name not in known:
            raise ParameterError(
                f"--split is {name!r}, expected some of {', '.join(sorted(known))}"
            )


def _is_of_file(url: str | None) -> bool:
    return url is not None and url.lower().startswith("file:")


def _read_downloads(path: Path) -> dict[str, Row]:
    if not path.exists():  # nothing was downloaded yet, or only the cache was copied here
        return {}
    names = ["clip_id", "status", "reason", "detail", "is_confirmed", "path", "sha256", "flags"]
    rows: Sequence[Row] = read_table(path, DOWNLOADS, columns=names).to_pylist()
    return {row["clip_id"]: row for row in rows}
