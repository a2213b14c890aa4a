"""From samples and downloads to shard-sized tasks: what is wanted, what the store has, who computes the rest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError
from earshot.shard_format import task_of
from earshot.tables import describe_missing
from pipeline.features.feature import Feature, Moment
from pipeline.shards.keys import KeyMaker, task_key

# Features of the sound alone: a sample whose sound comes from another clip takes them from there.
AUDIO_FEATURES = frozenset({"spectrograms", "waveforms"})
_MIN_SHARD_SAMPLES, _MIN_TASKS = 8, 16


@dataclass(frozen=True)
class Request:
    """One sample of the manifest: its key when its clip is there, else why it is not."""

    sample_id: str
    clip_id: str
    time_seconds: float | None
    key: str | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Clip:
    """A clip's media file as the downloads table knows it."""

    clip_id: str
    file: str  # absolute; a string, because 200,000 paths take seconds to make
    sha256: str

    @property
    def path(self) -> Path:
        return Path(self.file)


@dataclass(frozen=True)
class ClipWork:
    """Moments of one clip that lack a feature."""

    clip: Clip
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class Part:
    """One shard of a task: which samples (with their keys, in order) of which feature, and into which store."""

    task: str
    feature: Feature
    store_dir: Path
    keys: Mapping[str, str]  # by sample id
    superseded: frozenset[str] = (
        frozenset()
    )  # shards of the same samples in the store that are to be made anew


@dataclass(frozen=True)
class Task:
    """What one worker does at a time: a pass over some clips for one shard a feature; the first part names it."""

    work: tuple[ClipWork, ...]
    parts: tuple[Part, ...]

    @property
    def task_id(self) -> str:
        return self.parts[0].task

    @property
    def num_samples(self) -> int:
        return len(self.parts[0].keys)


def available_clips(
    downloads: pa.Table, clips_dir: Path
) -> tuple[dict[str, Clip], dict[str, tuple[str, str | None]]]:
    """Clips that are there by id, and for every other clip its reason and detail."""
    names = ("clip_id", "status", "reason", "detail", "is_confirmed", "path", "sha256")
    clips, absent = {}, {}
    for values in zip(*(downloads.column(name).to_pylist() for name in names), strict=True):
        clip_id, status, reason, detail, is_confirmed, path, sha256 = values
        if status != "ok":
            detail = describe_missing(detail, is_confirmed=bool(is_confirmed))
            absent[clip_id] = (reason or status, detail)
        elif path is None or sha256 is None:
            raise DataError(
                f"downloads: clip {clip_id} is ok but has no path or sha256; run `dvc repro` to fix it"
            )
        else:
            clips[clip_id] = Clip(clip_id, f"{clips_dir}/{path}", sha256)
    return clips, absent


def resolve_requests(
    feature: Feature,
    samples: pa.Table,
    clips: Mapping[str, Clip],
    absent: Mapping[str, tuple[str, str | None]],
) -> list[Request]:
    """One request a sample, in the order of ``samples``."""
    make_key = KeyMaker(feature)
    names = ("sample_id", "clip_id", "audio_clip_id", "time_seconds")
    requests = []
    for values in zip(*(samples.column(name).to_pylist() for name in names), strict=True):
        sample_id, clip_id, audio_clip_id, time_seconds = values
        if feature.name in AUDIO_FEATURES and audio_clip_id is not None:
            clip_id = audio_clip_id
        if clip_id in clips:
            key = make_key(clips[clip_id].sha256, time_seconds)
            requests.append(Request(sample_id, clip_id, time_seconds, key))
        else:
            reason, detail = absent.get(
                clip_id, ("pending", f"clip {clip_id} is not in the downloads table")
            )
            requests.append(Request(sample_id, clip_id, time_seconds, None, reason, detail))
    if len({request.sample_id for request in requests}) != len(requests):
        seen: set[str] = set()
        twice = next(r.sample_id for r in requests if r.sample_id in seen or seen.add(r.sample_id))
        raise DataError(f"samples: {twice} is there twice, expected unique sample ids")
    return requests


def group_requests(requests: Iterable[Request], *, shard_samples: int) -> list[list[Request]]:
    """Groups of at most ``shard_samples`` requests, by clip, in an order that only the requests decide.

    Requests of one key are one; a clip stays together unless it alone is too large. When there is little to do the
    groups are smaller, so that several workers have some.
    """
    unique = {}
    for request in sorted(requests, key=place_of):
        unique.setdefault(request.key, request)
    limit = min(shard_samples, max(_MIN_SHARD_SAMPLES, -(-len(unique) // _MIN_TASKS)))
    by_clip: dict[str, list[Request]] = {}
    for request in unique.values():
        by_clip.setdefault(request.clip_id, []).append(request)
    groups: list[list[Request]] = []
    for of_clip in by_clip.values():
        for first in range(0, len(of_clip), limit):
            part = of_clip[first : first + limit]
            if groups and len(groups[-1]) + len(part) <= limit:
                groups[-1].extend(part)
            else:
                groups.append(list(part))
    return groups


def place_of(request: Request) -> tuple:
    """What requests are sorted by, so that shards do not depend on the order of the manifest."""
    time_seconds = request.time_seconds
    return request.clip_id, time_seconds is not None, time_seconds or 0.0, request.sample_id


@dataclass(frozen=True)
class Also:
    """Another feature made in the same pass: its store, and the requests by sample id whose keys that lacks."""

    feature: Feature
    store_dir: Path
    lacking: Mapping[str, Request]


def make_tasks(
    feature: Feature,
    store_dir: Path,
    groups: Sequence[Sequence[Request]],
    clips: Mapping[str, Clip],
    also: Sequence[Also] = (),
    superseded: Iterable[str] = (),
) -> list[Task]:
    """One task a group; features in ``also`` join where they take the same clip and lack the sample's key.

    ``superseded``: names of shards whose samples may be asked for again (their failures are tried once more).
    """
    tasks = []
    made: set[str] = set()
    for group in groups:
        part = _make_part(feature, store_dir, group)
        parts = [
            replace(
                part,
                superseded=frozenset(name for name in superseded if task_of(name) == part.task),
            )
        ]
        for other in also:
            wanted = [
                other.lacking[request.sample_id]
                for request in group
                if request.sample_id in other.lacking
                and other.lacking[request.sample_id].clip_id == request.clip_id
                and other.lacking[request.sample_id].key not in made
            ]
            made.update(request.key for request in wanted)
            if wanted:
                parts.append(_make_part(other.feature, other.store_dir, wanted))
        by_clip: dict[str, list[Moment]] = {}
        for request in group:
            by_clip.setdefault(request.clip_id, []).append(
                Moment(request.sample_id, request.time_seconds)
            )
        work = tuple(
            ClipWork(clips[clip_id], tuple(moments)) for clip_id, moments in by_clip.items()
        )
        tasks.append(Task(work, tuple(parts)))
    return tasks


def _make_part(feature: Feature, store_dir: Path, group: Sequence[Request]) -> Part:
    keys = {request.sample_id: request.key for request in group}
    return Part(task_key(feature.name, list(keys.values())), feature, Path(store_dir), keys)
