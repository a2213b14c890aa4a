"""The engine: brings a feature of all samples into its folder, computing only what the store does not have.

`build_feature` resolves every sample to a key, takes what the store has under it, groups the rest into shard-sized
tasks (`plan.py`), runs them on Dask (`cluster.py`, `shard_tasks.py`), links the shards that are in use into the output
folder and writes the index last. The plan follows from the catalog of the last finished run and from the samples,
never from timing: a run that was killed and resumed, or had other workers, ends with the same bytes.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa

from earshot.errors import RunError
from earshot.reader import INDEX_NAME
from earshot.shard_format import task_of
from earshot.tables import INDEX, write_table
from pipeline.base.disk import link_file
from pipeline.base.os_errors import explain_os_errors
from pipeline.base.progress import Progress
from pipeline.features.extract import extract_features
from pipeline.features.feature import Feature
from pipeline.shards.cluster import ClusterParameters, run_tasks
from pipeline.shards.dvc_cache import find_cached_files
from pipeline.shards.plan import (
    Also,
    Clip,
    Request,
    Task,
    available_clips,
    group_requests,
    make_tasks,
    resolve_requests,
)
from pipeline.shards.store import Store
from pipeline.shards.tasks import run_task

# Not facts about a clip's bytes but about the folder at that moment: tried again by every run.
_ALWAYS_RETRIED = frozenset({"no_file", "changed_file"})


@dataclass(frozen=True)
class BuildReport:
    """What a build found and did. ``requested == ok + missing + failed``; ``ok + failed == reused + computed``."""

    feature: str
    requested: int
    ok: int
    missing: int  # their clip is
    failed: Mapping[str, int] = field(default_factory=dict)  # by reason
    reused: int = 0
    computed: int = 0
    bytes: int = 0  # of the shards in use
    seconds: float = 0.0

    @property
    def num_failed(self) -> int:
        return sum(self.failed.values())

    def describe(self) -> str:
        """One line for people."""
        failed = ", ".join(f"{reason} {count}" for reason, count in sorted(self.failed.items()))
        per_sample = f", {self.bytes / self.ok / 1e6:.2f} MB a sample" if self.ok else ""
        return (
            f"{self.feature}: {self.requested} samples, {self.ok} ok ({self.bytes / 1e6:.1f} MB{per_sample}), "
            f"{self.missing} without their clip, {self.num_failed} failed{f' ({failed})' if failed else ''}; "
            f"{self.computed} computed, {self.reused} from the cache, {self.seconds:.1f} s"
        )


def build_feature(
    feature: Feature,
    *,
    samples: pa.Table,
    downloads: pa.Table,
    clips_dir: Path,
    store_dir: Path,
    output_dir: Path,
    cluster: ClusterParameters = ClusterParameters(),  # noqa: B008 - frozen
    also: Sequence[tuple[Feature, Path]] = (),
    shard_samples: int = 64,
    max_failed_fraction: float = 1.0,
    retry_reasons: Collection[str] = (),
    is_quiet: bool = False,
    extract: Callable = extract_features,
) -> BuildReport:
    """Make ``output_dir`` hold ``feature`` of every sample: its shards, and ``index.parquet`` written last.

    ``samples`` and ``downloads`` are tables of ``earshot.tables``. ``also``: further features, with their stores, that
    share the pass over each clip; their shards wait in those stores for their own builds (into sibling folders of
    ``output_dir`` named like them). A failure is remembered and
    not tried again unless its reason is in ``retry_reasons`` (or lay in the file's absence). Raises ``RunError``, after
    everything has been kept and indexed, when more than ``max_failed_fraction`` of the samples whose clip is there
    failed.
    """
    start = time.monotonic()
    store_dir, output_dir, clips_dir = (
        Path(path).resolve() for path in (store_dir, output_dir, clips_dir)
    )
    clips, absent = available_clips(downloads, clips_dir)
    requests = resolve_requests(feature, samples, clips, absent)
    with explain_os_errors(store_dir), ExitStack() as stack:
        store = stack.enter_context(Store(store_dir).open())
        others = [
            (other, stack.enter_context(Store(Path(folder).resolve()).open()))
            for other, folder in also
        ]
        _take_pulled(store, output_dir)
        for other, other_store in others:
            _take_pulled(other_store, output_dir.with_name(other.name))
        lacking_also = [
            Also(
                other,
                other_store.folder,
                {
                    request.sample_id: request
                    for request in resolve_requests(other, samples, clips, absent)
                    if request.key is not None and request.key not in other_store.by_key
                },
            )
            for other, other_store in others
        ]
        retried = _ALWAYS_RETRIED | set(retry_reasons)
        planner = _Planner(feature, requests, clips, store, lacking_also, retried, shard_samples)
        tasks = planner.plan()
        num_computed = sum(task.num_samples for task in tasks)
        made = _compute(
            tasks, extract=extract, cluster=cluster, store=store, feature=feature, is_quiet=is_quiet
        )
        store.adopt(sorted(made[feature.name]))
        store.publish()
        for other, other_store in others:
            other_store.adopt(sorted(made.get(other.name, ())))
            other_store.adopt(
                other_store.whole(other_store.unlisted())
            )  # of runs that were interrupted
            other_store.publish()
        index = _make_index(requests, store)
        num_bytes = _publish_output(output_dir, index, store)
    counts = Counter(index.column("status").to_pylist())
    failed = Counter(
        reason
        for status, reason in zip(
            index.column("status").to_pylist(), index.column("reason").to_pylist(), strict=True
        )
        if status == "failed"
    )
    num_with_clip = counts["ok"] + counts["failed"]
    report = BuildReport(
        feature=feature.name,
        requested=len(requests),
        ok=counts["ok"],
        missing=counts["missing"],
        failed=dict(failed),
        reused=num_with_clip - num_computed,
        computed=num_computed,
        bytes=num_bytes,
        seconds=time.monotonic() - start,
    )
    assert report.requested == samples.num_rows == report.ok + report.missing + report.num_failed
    if report.num_failed > max_failed_fraction * num_with_clip:
        reasons = ", ".join(f"{reason} {count}" for reason, count in failed.most_common())
        raise RunError(
            f"{feature.name}: {report.num_failed} of {num_with_clip} samples failed ({reasons}), more than "
            f"max_failed_fraction {max_failed_fraction}; what was computed is kept in {store_dir}"
        )
    return report


def _take_pulled(store: Store, output_dir: Path) -> None:
    """What `dvc pull` brought: in the folder, or, once DVC has emptied it for this run, in DVC's cache alone."""
    store.take(
        find_cached_files(output_dir) | {path.name: path for path in output_dir.glob("*.h5")}
    )


@dataclass(frozen=True)
class _Planner:
    feature: Feature
    requests: Sequence[Request]
    clips: Mapping[str, Clip]
    store: Store
    also: Sequence[Also]
    retried: Collection[str]
    shard_samples: int

    def plan(self) -> list[Task]:
        """Tasks still to be run; shards that an interrupted run left are taken into the catalog.

        What the catalog lists decides the grouping. An interrupted run's shards fit the same plan made again, unless
        samples or clips changed meanwhile: then all of them are adopted for good before the rest is planned.
        """
        tasks = self._tasks_lacking()
        unlisted = self.store.unlisted()
        if not tasks or not unlisted:
            return tasks
        whole = self.store.whole(unlisted)
        planned = {task.task_id for task in tasks}
        is_other_plan = any(task_of(name) not in planned for name in whole)
        self.store.adopt(whole)
        if is_other_plan:
            self.store.publish()
            return self._tasks_lacking()
        done = {task_of(name) for name in whole}
        return [task for task in tasks if task.task_id not in done]

    def _tasks_lacking(self) -> list[Task]:
        lacking = [
            request
            for request in self.requests
            if request.key is not None and self._is_lacking(request.key)
        ]
        groups = group_requests(lacking, shard_samples=self.shard_samples)
        superseded = {
            self.store.by_key[request.key].shard
            for request in lacking
            if request.key in self.store.by_key
        }
        return make_tasks(
            self.feature, self.store.folder, groups, self.clips, self.also, superseded
        )

    def _is_lacking(self, key: str) -> bool:
        entry = self.store.by_key.get(key)
        return entry is None or (entry.row is None and entry.reason in self.retried)


def _compute(
    tasks: Sequence[Task],
    *,
    extract: Callable,
    cluster: ClusterParameters,
    store: Store,
    feature: Feature,
    is_quiet: bool,
) -> dict[str, set[str]]:
    """Run the tasks; names of the shards that they made, by feature."""
    made: dict[str, set[str]] = {part.feature.name: set() for task in tasks for part in task.parts}
    made.setdefault(feature.name, set())
    if not tasks:
        return made
    names = " and ".join(made)
    total = sum(task.num_samples for task in tasks)
    with Progress(total, names, unit="sample", is_quiet=is_quiet) as progress:
        results = run_tasks(
            partial(run_task, extract=extract),
            {task.task_id: task for task in tasks},
            parameters=cluster,
            shared_dir=store.folder,
            is_quiet=is_quiet,
        )
        for result in results:
            for name, shard in result.shards.items():
                made[name].add(shard)
            progress.update(result.num_samples, num_failed=sum(result.failures.values()))
    return made


def _make_index(requests: Iterable[Request], store: Store) -> pa.Table:
    """INDEX rows, one a request, in their order."""
    rows = []
    for request in requests:
        row = {"sample_id": request.sample_id, "key": request.key}
        if request.key is None:
            row |= {"status": "missing", "reason": request.reason, "detail": request.detail}
        else:
            entry = store.by_key[request.key]
            if entry.row is None:
                row |= {"status": "failed", "reason": entry.reason, "detail": entry.detail or None}
            else:
                row |= {
                    "status": "ok",
                    "shard": entry.shard,
                    "row": entry.row,
                    "crc32": entry.crc32,
                }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=INDEX.columns)


def _publish_output(output_dir: Path, index: pa.Table, store: Store) -> int:
    """Make the folder hold exactly the shards that the index uses, then the index; the shards' bytes."""
    output_dir.mkdir(parents=True, exist_ok=True)
    used = set(index.column("shard").to_pylist()) - {None}
    index_path = output_dir / INDEX_NAME
    index_path.unlink(missing_ok=True)  # never an index over shards that are not there
    for path in output_dir.iterdir():
        if path.name not in used and (path.suffix == ".h5" or path.name.startswith(".tmp-")):
            path.unlink()
    for name in sorted(used):
        link_file(store.folder / name, output_dir / name, otherwise="copy")
    write_table(index_path, index, INDEX)
    return sum(store.entries[name][0].shard_bytes for name in used)
