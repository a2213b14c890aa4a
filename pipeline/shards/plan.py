"""Plan a build: which arrays the store does not have, and in which tasks they are computed.

The plan depends on the requests and on the store's catalog, never on timing. A build that was
killed therefore makes the same plan when it runs again, and finds the shards that it had finished.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earshot.shard_names import task_of
from pipeline.features.feature import Feature, Moment
from pipeline.shards.keys import make_task_id
from pipeline.shards.requests import Clip, Request
from pipeline.shards.store import Store

# When there is little to compute, shards get smaller, so that the workers have this many tasks. But
# they do not get smaller than the minimum.
_MIN_TASKS, _MIN_SHARD_SAMPLES = 16, 8


@dataclass(frozen=True)
class ClipWork:
    """One clip and the moments in it for which arrays are computed."""

    clip: Clip
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class PlannedShard:
    """One shard that a task makes."""

    task_id: str  # the first part of the shard's name
    feature: Feature
    store_dir: Path
    keys: Mapping[str, str]  # by sample id, in the shard's order
    # Shards in the store with the same task id whose failures are tried again. They do not count as
    # the result of this task.
    superseded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Task:
    """What one worker does at a time: one pass over some clips that makes one shard per feature."""

    work: tuple[ClipWork, ...]
    shards: tuple[PlannedShard, ...]  # first that of the feature being built, then its companions'

    @property
    def task_id(self) -> str:
        """The identity of the first shard, and so of the task."""
        return self.shards[0].task_id

    @property
    def num_samples(self) -> int:
        """How many samples the first shard is made for."""
        return len(self.shards[0].keys)


@dataclass(frozen=True)
class Companion:
    """A feature that is computed in the same pass over a clip; both need the same frames."""

    feature: Feature
    store_dir: Path
    requests: Mapping[str, Request]  # by sample id; only those without an array in the store


def make_companion(feature: Feature, store: Store, requests: Iterable[Request]) -> Companion:
    """Make a companion; it keeps the requests whose array its store does not have."""
    new = {
        request.sample_id: request
        for request in requests
        if request.key is not None and request.key not in store.by_key
    }
    return Companion(feature, store.folder, new)


@dataclass(frozen=True)
class Planner:
    """Makes the tasks of one build."""

    feature: Feature
    requests: Sequence[Request]
    clips: Mapping[str, Clip]  # by clip id
    store: Store
    companions: Sequence[Companion]
    retry_reasons: Collection[str]  # failures with these reasons are tried again
    shard_samples: int  # the most samples in a shard

    def plan(self) -> list[Task]:
        """Return the tasks that remain, and adopt the shards that an interrupted build left.

        The catalog decides how samples are grouped. The plan of an interrupted build usually comes
        out the same again. Then the tasks of its shards are done. If samples or clips have changed
        since, the shards fit no task. Then all of them enter the catalog, and the rest is planned
        again.
        """
        tasks = self._plan_missing()

        # Shards that are in no catalog come from a build that was killed before it published one.
        unlisted = self.store.find_unlisted()
        if not tasks or not unlisted:
            return tasks

        whole = self.store.select_whole(unlisted)
        planned_ids = {task.task_id for task in tasks}
        is_other_plan = any(task_of(name) not in planned_ids for name in whole)
        self.store.adopt(whole)
        if is_other_plan:
            # Published first: if this build is killed too, the next one must plan the same.
            self.store.publish()
            return self._plan_missing()

        finished_ids = {task_of(name) for name in whole}
        return [task for task in tasks if task.task_id not in finished_ids]

    def _plan_missing(self) -> list[Task]:
        missing = [
            request
            for request in self.requests
            if request.key is not None and self._is_missing(request.key)
        ]
        # Shards that remember a failure which is tried again now.
        superseded = {
            self.store.by_key[request.key].shard
            for request in missing
            if request.key in self.store.by_key
        }

        groups = _group_requests(
            missing, shard_samples=self.shard_samples, lost_shards=self.store.find_lost_keys()
        )

        # Two samples can need the same array of a companion. Only one task may make it.
        companion_keys: set[str | None] = set()
        tasks = []
        for group in groups:
            shard = _plan_shard(self.feature, self.store.folder, group, superseded)
            shards = (shard, *self._plan_companion_shards(group, companion_keys))
            tasks.append(Task(self._list_work(group), shards))
        return tasks

    def _is_missing(self, key: str) -> bool:
        entry = self.store.by_key.get(key)
        return entry is None or (entry.row is None and entry.reason in self.retry_reasons)

    def _plan_companion_shards(
        self, group: Sequence[Request], planned_keys: set[str | None]
    ) -> list[PlannedShard]:
        """Add companions to a task, for the samples for which they use the same clip.

        Args:
            group: The samples of the task.
            planned_keys: Keys of companions that earlier tasks make; those of this task are added.
        """
        shards = []
        for companion in self.companions:
            chosen = []
            for request in group:
                # Sound can come from another clip than the picture. This task does not read it.
                other = companion.requests.get(request.sample_id)
                if other is None or other.clip_id != request.clip_id or other.key in planned_keys:
                    continue
                chosen.append(other)
            planned_keys.update(other.key for other in chosen)

            if chosen:
                shards.append(_plan_shard(companion.feature, companion.store_dir, chosen))
        return shards

    def _list_work(self, group: Sequence[Request]) -> tuple[ClipWork, ...]:
        moments: dict[str, list[Moment]] = {}
        for request in group:
            moment = Moment(request.sample_id, request.time_seconds)
            moments.setdefault(request.clip_id, []).append(moment)
        return tuple(
            ClipWork(self.clips[clip_id], tuple(of_clip)) for clip_id, of_clip in moments.items()
        )


def _group_requests(
    requests: Iterable[Request], *, shard_samples: int, lost_shards: Mapping[str, str]
) -> list[list[Request]]:
    """Group requests into shards, in an order that does not depend on the order of the manifest.

    Requests with one key become one request. The samples of a clip stay together unless they are
    more than fit into one shard.

    Args:
        requests: Those without an array; each has a key.
        shard_samples: The most samples in a group.
        lost_shards: By key, the name of the lost shard that held its array. Such a shard is one
            group again, so that the same bytes come back.
    """
    # Sorted, so that the same samples give the same shards whatever the manifest's order.
    unique: dict[str | None, Request] = {}
    for request in sorted(requests, key=_sort_key):
        unique.setdefault(request.key, request)

    lost: dict[str, list[Request]] = {}
    by_clip: dict[str, list[Request]] = {}
    for key, request in unique.items():
        if key is not None and key in lost_shards:
            lost.setdefault(lost_shards[key], []).append(request)
        else:
            by_clip.setdefault(request.clip_id, []).append(request)

    # The limit depends on the amount of work alone, not on the number of workers.
    num_new = sum(map(len, by_clip.values()))
    limit = min(shard_samples, max(_MIN_SHARD_SAMPLES, -(-num_new // _MIN_TASKS)))

    # Clip by clip, a group is filled as long as the whole clip fits.
    groups: list[list[Request]] = []
    for of_clip in by_clip.values():
        for first in range(0, len(of_clip), limit):
            part = of_clip[first : first + limit]
            if groups and len(groups[-1]) + len(part) <= limit:
                groups[-1].extend(part)
            else:
                groups.append(list(part))
    return [*lost.values(), *groups]


def _sort_key(request: Request) -> tuple[str, bool, float, str]:
    """Return what requests are sorted by: the clip, the time (the centre first), the sample."""
    time_seconds = request.time_seconds
    return request.clip_id, time_seconds is not None, time_seconds or 0.0, request.sample_id


def _plan_shard(
    feature: Feature, store_dir: Path, group: Sequence[Request], superseded: Iterable[str] = ()
) -> PlannedShard:
    keys = {request.sample_id: request.key for request in group if request.key is not None}
    # The id is made from the keys: the same arrays are the same task in every plan.
    task_id = make_task_id(feature.name, list(keys.values()))
    # Shards of this very task that remember a failure. They do not make it finished.
    same_task = frozenset(name for name in superseded if task_of(name) == task_id)
    return PlannedShard(task_id, feature, store_dir, keys, same_task)
