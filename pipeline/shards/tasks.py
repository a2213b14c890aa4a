"""Run a task, as a worker does: one pass over its clips, then one shard for each feature."""

import dataclasses
import errno
import functools
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Protocol

import cv2

from earshot.errors import MediaError
from earshot.files import sha256_of
from earshot.shard_format import Failure, Row, parameters_json, read_layout, write_shard
from earshot.shard_names import has_named_content, task_of
from pipeline.base.os_errors import is_machine_error
from pipeline.base.parameters import as_mapping
from pipeline.features.feature import Extracted, Feature, Moment
from pipeline.media.files.machine import find_machine_error
from pipeline.shards.plan import ClipWork, PlannedShard, Task
from pipeline.shards.requests import Clip
from pipeline.shards.workers.crash_log import TaskNotes

# What decides the bits of the arrays. Numba is not in the list: compiled flow is used only where it
# has OpenCV's bits, and shards have the same bytes with and without it.
_SOFTWARE = (
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "av",
    "librosa",
    "soxr",
    "scipy",
    "h5py",
)


_DOUBTFUL_WORDS = tuple(os.strerror(code) for code in (errno.EIO, errno.ENOMEM))


class Extract(Protocol):
    """Compute features of a clip at some moments, as ``extract_features`` does.

    Yields one outcome per feature name for each moment, in the order of ``moments``.
    """

    def __call__(
        self, path: Path, moments: Sequence[Moment], features: Sequence[Feature], /
    ) -> Iterator[dict[str, Extracted]]: ...


@dataclass(frozen=True)
class TaskResult:
    """The shards that a task made, and which samples of its first feature failed."""

    shards: Mapping[str, str]  # names of shards, by feature
    num_samples: int
    failures: Mapping[str, int]  # number of samples, by reason


def run_task(
    task: Task,
    *,
    extract: Extract,
    skip_reasons: Mapping[str, str] | None = None,
    ends: Mapping[str, str] | None = None,
    notes: TaskNotes | None = None,
) -> TaskResult:
    """Compute and publish the shards of a task.

    A clip that cannot be read fails its own samples, with the reason, and no others. If an earlier
    try has published all shards already, nothing is computed.

    Args:
        task: What to compute.
        extract: What computes the arrays of a clip.
        skip_reasons: Clips that ended the worker of earlier tries, with the reason. They are not
            read, and their samples fail.
        ends: How the worker of such a clip ended, where that is known.
        notes: Where the worker writes what it is doing.
    """
    finished = _find_finished(task)
    if finished is not None:
        return finished

    # All arrays stay in memory until the shards are written: about 64 samples of each feature.
    rows: dict[str, list[Row]] = {shard.feature.name: [] for shard in task.shards}
    failures: dict[str, list[Failure]] = {shard.feature.name: [] for shard in task.shards}
    features = [shard.feature for shard in task.shards]
    for work in task.work:
        outcomes = extract_clip(
            work, features, extract, skip_reasons=skip_reasons, ends=ends, notes=notes
        )
        for shard in task.shards:
            name = shard.feature.name
            for moment, outcome in zip(work.moments, outcomes, strict=True):
                # A companion may have only some of the task's samples.
                if moment.sample_id in shard.keys:
                    _add_outcome(outcome[name], moment.sample_id, shard, rows[name], failures[name])

    # From here on no clip is a suspect. What ends the worker now is the writing.
    if notes is not None:
        notes.begin_writing()

    # The task's own shard is written last: if it exists, those of the companions exist, too.
    shard_names = {}
    for shard in reversed(task.shards):
        name = shard.feature.name
        attributes = _make_shard_attributes(shard.feature)
        path = write_shard(shard.store_dir, shard.task_id, rows[name], failures[name], attributes)
        shard_names[name] = path.name
        assert task_of(path.name) == shard.task_id

    first = task.shards[0].feature.name
    assert len(rows[first]) + len(failures[first]) == task.num_samples
    return TaskResult(shard_names, task.num_samples, _count_reasons(failures[first]))


def _find_finished(task: Task) -> TaskResult | None:
    """Return the result of an earlier try that published all shards before its worker was lost."""
    # In the order of writing. At the end, ``failures`` are those of the task's own shard.
    shard_names: dict[str, str] = {}
    failures: Sequence[Failure] = ()
    for shard in reversed(task.shards):
        whole = [
            path
            for path in shard.store_dir.glob(f"{shard.task_id}-*.h5")
            if path.name not in shard.superseded and has_named_content(path)
        ]
        if not whole:
            return None

        shard_names[shard.feature.name] = whole[0].name
        failures = read_layout(whole[0]).failures
    return TaskResult(shard_names, task.num_samples, _count_reasons(failures))


def _count_reasons(failures: Sequence[Failure]) -> dict[str, int]:
    return dict(Counter(failure.reason for failure in failures))


def _add_outcome(
    extracted: Extracted,
    sample_id: str,
    shard: PlannedShard,
    rows: list[Row],
    failures: list[Failure],
) -> None:
    key = shard.keys[sample_id]
    if extracted.array is not None:
        rows.append(Row(sample_id, key, extracted.array, extracted.attributes))
    else:
        reason, detail = extracted.reason or "error", extracted.detail or ""
        failures.append(Failure(sample_id, key, reason, detail))


def extract_clip(
    work: ClipWork,
    features: Sequence[Feature],
    extract: Extract,
    *,
    skip_reasons: Mapping[str, str] | None,
    notes: TaskNotes | None,
    ends: Mapping[str, str] | None = None,
) -> list[dict[str, Extracted]]:
    """Compute features of one clip, and turn what goes wrong into failures of its samples.

    Args:
        work: The clip and its moments.
        features: What to compute.
        extract: What computes them.
        skip_reasons: Clips that are not read, with the reason.
        ends: How the worker of such a clip ended, where that is known.
        notes: Where the worker writes what it is doing.

    Returns:
        One outcome per feature name for each moment. If reading breaks off, the remaining moments
        share the failure.
    """
    names = [feature.name for feature in features]

    # A clip that ended several workers would end this one, too.
    reason = (skip_reasons or {}).get(work.clip.clip_id)
    if reason is not None:
        problem = "made no progress in time" if reason == "timeout" else "ended its worker process"
        how = (ends or {}).get(work.clip.clip_id)
        detail = f"reading the clip {problem}, repeatedly{f': {how}' if how else ''}"
        failed = Extracted(None, reason=reason, detail=detail)
        return [dict.fromkeys(names, failed) for _ in work.moments]

    if notes is not None:
        notes.begin_clip(work.clip.clip_id)

    outcomes = _read_clip(work, features, extract, notes)
    if _may_be_machines_fault(outcomes, names):
        # If the machine still has a problem, the task fails. If it had one for a moment only, the
        # clip can be read now. If the same error comes again, the clip is damaged.
        error = find_machine_error(work.clip.path)
        if error is not None:
            raise error
        outcomes = _read_clip(work, features, extract, notes)
    return outcomes


def _read_clip(
    work: ClipWork, features: Sequence[Feature], extract: Extract, notes: TaskNotes | None
) -> list[dict[str, Extracted]]:
    names = [feature.name for feature in features]
    outcomes: list[dict[str, Extracted]] = []
    try:
        # Keys name the bytes in the downloads table, so arrays of other bytes must not get them.
        _check_file(work.clip)
        for outcome in extract(work.clip.path, list(work.moments), list(features)):
            outcomes.append(
                {name: _shorten_detail(extracted, work.clip) for name, extracted in outcome.items()}
            )
            if notes is not None:
                notes.note_progress()
    except Exception as error:
        # The task must be tried again, because the clip may be in order.
        if is_machine_error(error):
            raise
        # OpenCV has an error of its own for too little memory.
        if _is_opencv_without_memory(error):
            raise MemoryError(str(error)) from error
        failed = _describe_failure(error, work.clip)
        # Moments that were done before the error keep their arrays.
        num_left = len(work.moments) - len(outcomes)
        return outcomes + [dict.fromkeys(names, failed) for _ in range(num_left)]

    assert len(outcomes) == len(work.moments), (
        f"{len(outcomes)} outcomes of {len(work.moments)} moments"
    )
    return outcomes


def _may_be_machines_fault(
    outcomes: Sequence[Mapping[str, Extracted]], names: Sequence[str]
) -> bool:
    """Return whether FFmpeg gives the error of a clip also for problems of this machine."""
    details = (outcome[name].detail or "" for outcome in outcomes for name in names)
    return any(word in detail for detail in details for word in _DOUBTFUL_WORDS)


def _is_opencv_without_memory(error: Exception) -> bool:
    return isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem


def _describe_failure(error: Exception, clip: Clip) -> Extracted:
    """Turn an exception into a failure. Even a bug must not stop the other 199,999 clips."""
    text = _format_detail(str(error), clip)
    if isinstance(error, MediaError):
        return Extracted(None, reason=error.reason, detail=text)
    return Extracted(None, reason="error", detail=f"{type(error).__name__}: {text}")


def _check_file(clip: Clip) -> None:
    """Refuse a file that is not the one in the downloads table, because keys name that one."""
    # Neither reason is a fact about the clip, so every build tries again.
    try:
        status = clip.path.stat()
        found = _hash_file(clip.file, status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        raise MediaError(
            "no_file", f"{clip.path}: not found, though the downloads table has it"
        ) from None
    except OSError as error:
        # Rights are those of one file; anything else concerns all files, or a whole disk.
        if is_machine_error(error) and error.errno not in (errno.EACCES, errno.EPERM):
            raise
        raise MediaError("no_file", f"{clip.path}: cannot be read ({error.strerror})") from None

    if found != clip.sha256:
        raise MediaError(
            "changed_file",
            f"{clip.path}: its sha256 begins with {found[:12]}, the downloads table says "
            f"{clip.sha256[:12]}",
        )


@functools.lru_cache(maxsize=64)
def _hash_file(file: str, size: int, mtime_ns: int) -> str:
    """Return the SHA-256 of a file; a long video with samples in several tasks is hashed once."""
    return sha256_of(file)


def _shorten_detail(extracted: Extracted, clip: Clip) -> Extracted:
    if extracted.array is not None:
        return extracted
    return dataclasses.replace(extracted, detail=_format_detail(extracted.detail or "", clip))


def _format_detail(text: str, clip: Clip) -> str:
    """Put a text on one line, without the clips' folder: it is the same in every checkout."""
    return " ".join(text.split()).replace(str(clip.path), clip.path.name)


def _make_shard_attributes(feature: Feature) -> dict[str, object]:
    """Return the root attributes of a shard: what it holds and what computed it."""
    software = {}
    for name in (*_SOFTWARE, *feature.software):
        try:
            software[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # the other build of the same library is installed

    return {
        **feature.attributes,
        "feature": feature.name,
        "version": feature.version,
        "parameters": parameters_json(as_mapping(feature.parameters)),
        "software": json.dumps(software, sort_keys=True),
    }
