"""What a worker does with a task: one pass over its clips, then one shard a feature."""

import dataclasses
import errno
import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata

from earshot.errors import MediaError
from earshot.files import sha256_of
from earshot.shard_format import (
    Failure,
    Row,
    has_named_content,
    parameters_json,
    read_layout,
    task_of,
    write_shard,
)
from pipeline.base.parameters import as_mapping
from pipeline.features.feature import Extracted, Feature
from pipeline.shards.crash_log import Attempt
from pipeline.shards.plan import Clip, ClipWork, Part, Task

# What decides the arrays' bits. Numba is not among it: flow that it compiles is used only where it has OpenCV's bits,
# and shards must have the same bytes with and without it.
_SOFTWARE = ("numpy", "opencv-python-headless", "opencv-python", "av", "librosa", "scipy", "h5py")


@dataclass(frozen=True)
class TaskResult:
    """What a task made: shard names by feature, and how the first feature's samples fared."""

    shards: Mapping[str, str]
    num_samples: int
    failures: Mapping[str, int]  # count by reason
    seconds: float


def run_task(
    task: Task,
    *,
    extract: Callable,
    set_aside: Mapping[str, str] | None = None,
    attempt: Attempt | None = None,
) -> TaskResult:
    """Compute and publish the shards of ``task``; shards that are already there are left.

    ``extract`` is ``pipeline.features.extract.extract_features``. Clips in ``set_aside`` (id to reason) are not touched: they
    killed earlier attempts. A clip that cannot be read fails its own samples, with the reason, and nothing else.
    """
    start = time.monotonic()
    finished = _find_finished(task)
    if finished is not None:
        return finished
    rows: dict[str, list[Row]] = {part.feature.name: [] for part in task.parts}
    failures: dict[str, list[Failure]] = {part.feature.name: [] for part in task.parts}
    for work in task.work:
        outcomes = attempt_clip(
            work,
            [part.feature for part in task.parts],
            extract,
            set_aside=set_aside,
            attempt=attempt,
        )
        for part in task.parts:
            name = part.feature.name
            for moment, outcome in zip(work.moments, outcomes, strict=True):
                if moment.sample_id in part.keys:
                    _keep(outcome[name], moment.sample_id, part, rows[name], failures[name])
    if attempt is not None:
        attempt.begin_writing()
    shards = {}
    for part in reversed(task.parts):  # the first one last: where it is, the others are
        name = part.feature.name
        path = write_shard(
            part.store_dir, part.task, rows[name], failures[name], shard_attributes(part.feature)
        )
        shards[name] = path.name
        assert task_of(path.name) == part.task
    first = task.parts[0].feature.name
    assert len(rows[first]) + len(failures[first]) == task.num_samples
    counts = Counter(failure.reason for failure in failures[first])
    return TaskResult(shards, task.num_samples, dict(counts), time.monotonic() - start)


def _find_finished(task: Task) -> TaskResult | None:
    """The result of an earlier attempt whose worker was lost after it had published everything."""
    shards, failures = {}, ()
    for part in reversed(task.parts):
        paths = [
            path
            for path in part.store_dir.glob(f"{part.task}-*.h5")
            if path.name not in part.superseded
        ]
        paths = [path for path in paths if has_named_content(path)]
        if not paths:
            return None
        shards[part.feature.name] = paths[0].name
        failures = read_layout(paths[0]).failures
    counts = Counter(failure.reason for failure in failures)
    return TaskResult(shards, task.num_samples, dict(counts), 0.0)


def _keep(
    extracted: Extracted, sample_id: str, part: Part, rows: list[Row], failures: list[Failure]
) -> None:
    key = part.keys[sample_id]
    if extracted.array is not None:
        rows.append(Row(sample_id, key, extracted.array, extracted.attributes))
    else:
        failures.append(
            Failure(sample_id, key, extracted.reason or "error", extracted.detail or "")
        )


def attempt_clip(
    work: ClipWork,
    features: list[Feature],
    extract: Callable,
    *,
    set_aside: Mapping[str, str] | None,
    attempt: Attempt | None,
) -> list[dict[str, Extracted]]:
    """What ``extract`` makes of a clip, one outcome (by feature name) a moment, noted in ``attempt``.

    When reading fails, what is left shares the failure; a clip that is set aside fails without being touched.
    """
    reason = (set_aside or {}).get(work.clip.clip_id)
    if reason is not None:
        text = "made no progress in time" if reason == "timeout" else "ended its worker process"
        failed = Extracted(None, reason=reason, detail=f"reading the clip {text}, repeatedly")
        return [dict.fromkeys((feature.name for feature in features), failed) for _ in work.moments]
    if attempt is not None:
        attempt.begin_clip(work.clip.clip_id)
    return _extract_clip(work, features, extract, attempt)


def _extract_clip(
    work: ClipWork, features: list[Feature], extract: Callable, attempt: Attempt | None
) -> list[dict[str, Extracted]]:
    outcomes: list[dict[str, Extracted]] = []
    try:
        check_clip(work.clip)
        for outcome in extract(work.clip.path, list(work.moments), features):
            outcomes.append(
                {name: _without_folder(extracted, work.clip) for name, extracted in outcome.items()}
            )
            if attempt is not None:
                attempt.note_progress()
    except MediaError as error:
        failed = Extracted(None, reason=error.reason, detail=_told(error, work.clip))
    except MemoryError:
        raise  # the machine's state, perhaps not the clip's fault: the task is tried again
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # noting progress met a full disk: no fault of the clip either
        failed = Extracted(
            None, reason="error", detail=_told(error, work.clip, type(error).__name__)
        )
    except (
        Exception
    ) as error:  # a clip must not stop the other 199,999; its samples carry what happened
        failed = Extracted(
            None, reason="error", detail=_told(error, work.clip, type(error).__name__)
        )
    else:
        assert len(outcomes) == len(work.moments), (
            f"{len(outcomes)} outcomes of {len(work.moments)} moments"
        )
        return outcomes
    names = [feature.name for feature in features]
    return outcomes + [dict.fromkeys(names, failed) for _ in work.moments[len(outcomes) :]]


def check_clip(clip: Clip) -> None:
    """The file must be the one that the downloads table describes: its hash is part of every key made from it."""
    try:
        status = clip.path.stat()
        found = _hash_file(clip.file, status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        raise MediaError(
            "no_file", f"{clip.path}: not found, though the downloads table has it"
        ) from None
    except OSError as error:  # like the one above no fact about the clip: every run tries again
        raise MediaError("no_file", f"{clip.path}: cannot be read ({error.strerror})") from None
    if found != clip.sha256:
        raise MediaError(
            "changed_file",
            f"{clip.path}: its sha256 begins with {found[:12]}, the downloads table says {clip.sha256[:12]}",
        )


@functools.lru_cache(maxsize=64)
def _hash_file(file: str, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file, once for all tasks of this process that cut a long video into samples."""
    return sha256_of(file)


def _told(error: Exception, clip: Clip, kind: str | None = None) -> str:
    text = _one_line(str(error), clip)
    return f"{kind}: {text}" if kind else text


def _without_folder(extracted: Extracted, clip: Clip) -> Extracted:
    if extracted.array is not None:
        return extracted
    return dataclasses.replace(extracted, detail=_one_line(extracted.detail or "", clip))


def _one_line(text: str, clip: Clip) -> str:
    """Without the clips' folder: the same failure reads the same in every checkout."""
    return " ".join(text.split()).replace(str(clip.path), clip.path.name)


def shard_attributes(feature: Feature) -> dict[str, object]:
    """Root attributes of a shard: what it holds and what computed it."""
    software = {}
    for name in _SOFTWARE:
        try:
            software[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # one of two builds of the same library
    return {
        **feature.attributes,
        "feature": feature.name,
        "version": feature.version,
        "parameters": parameters_json(as_mapping(feature.parameters)),
        "software": json.dumps(software, sort_keys=True),
    }
