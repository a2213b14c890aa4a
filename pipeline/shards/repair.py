"""Making damaged or missing shards again: the same bytes where possible, and nothing but them.

What is still good in a damaged shard is kept, the rest is computed from the clips. The hash in the shard's name tells
whether the result is the original, byte for byte; if what was kept does not lead there, every array is computed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError
from earshot.files import publish_bytes
from earshot.shard_format import (
    INDEX_NAME,
    Failure,
    Row,
    encode_shard,
    has_named_content,
    has_our_version,
    read_layout,
    shard_name,
    task_of,
)
from earshot.tables import INDEX, read_table
from pipeline.base.disk import link_file
from pipeline.base.os_errors import explain_os_errors
from pipeline.base.progress import Progress
from pipeline.features.extract import extract_features
from pipeline.features.feature import Extracted, Feature, Moment
from pipeline.shards.build import BuildReport, build_feature
from pipeline.shards.cluster import ClusterParameters, run_tasks
from pipeline.shards.crash_log import Attempt
from pipeline.shards.dvc_cache import find_cached_files
from pipeline.shards.plan import (
    Clip,
    ClipWork,
    Request,
    available_clips,
    place_of,
    resolve_requests,
)
from pipeline.shards.store import Entry, Store
from pipeline.shards.tasks import attempt_clip, shard_attributes
from pipeline.shards.verify import Damage, read_good_arrays


@dataclass(frozen=True)
class RepairReport:
    """What became of the damaged shards, by name."""

    restored: tuple[str, ...]  # the same bytes
    remade: Mapping[
        str, str
    ]  # other bytes under another name: other software, or clips that fail now
    removed: tuple[str, ...]  # files that no row of the index uses
    num_computed: int
    build: BuildReport

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.build.feature}: {len(self.restored)} shards restored byte for byte, {len(self.remade)} remade, "
            f"{len(self.removed)} foreign files removed; {self.num_computed} arrays computed again"
        )


@dataclass(frozen=True)
class _Job:
    """One shard to make again: its samples in order, and what might still be good of it."""

    name: str
    feature: Feature
    store_dir: Path
    entries: tuple[Entry, ...]  # rows, then failures
    requests: Mapping[str, Request]  # by key
    clips: Mapping[str, Clip]  # by id
    damaged_path: Path | None
    attributes: tuple[Mapping[str, object], ...]  # candidates for the root


def repair_feature(
    feature: Feature,
    damages: Sequence[Damage],
    *,
    samples: pa.Table,
    downloads: pa.Table,
    clips_dir: Path,
    store_dir: Path,
    output_dir: Path,
    cluster: ClusterParameters = ClusterParameters(),  # noqa: B008 - frozen
    retry_reasons: Sequence[str] = (),
    is_quiet: bool = False,
    extract: Callable = extract_features,
    **build_options,
) -> RepairReport:
    """Make again what ``verify_feature`` found damaged, then bring the folder and its index up to date.

    ``DataError`` when a damaged array cannot be computed because its clip or parameters are no longer those of its key.
    """
    store_dir, output_dir, clips_dir = (
        Path(path).resolve() for path in (store_dir, output_dir, clips_dir)
    )
    clips, absent = available_clips(downloads, clips_dir)
    requests = {
        r.key: r for r in resolve_requests(feature, samples, clips, absent) if r.key is not None
    }
    is_checked = _check_that_keys_fit(output_dir, requests)
    removed = tuple(damage.path.name for damage in damages if not damage.sample_ids)
    names = list(dict.fromkeys(damage.path.name for damage in damages if damage.sample_ids))
    restored, remade, num_computed = [], {}, 0
    with explain_os_errors(store_dir), Store(store_dir).open() as store:
        for name in removed:
            if (output_dir / name).is_dir() and not (output_dir / name).is_symlink():
                raise DataError(
                    f"{output_dir / name}: is a folder among shards; move it away and run `repair` again"
                )
            (output_dir / name).unlink(missing_ok=True)
        store.take({path.name: path for path in output_dir.glob("*.h5")})
        if (
            not is_checked
            and store.by_key
            and requests
            and not any(key in store.by_key for key in requests)
        ):
            raise DataError(
                f"{output_dir}: nothing in its store was computed with the parameters and clips of now; "
                "run `dvc repro` first"
            )
        listed = _list_entries(names, store, output_dir, requests)
        jobs = {}
        for name in names:
            if _restore_from_copy(name, store, output_dir):
                restored.append(name)
            else:
                jobs[name] = _make_job(
                    name, listed[name], feature, store, output_dir, requests, clips
                )
        with Progress(
            len(jobs), f"repair {feature.name}", unit="shard", is_quiet=is_quiet
        ) as progress:
            for name, new_name, count in run_tasks(
                partial(_remake_shard, extract=extract),
                jobs,
                parameters=cluster,
                shared_dir=store.folder,
                is_quiet=is_quiet,
            ):
                num_computed += count
                progress.update()
                if new_name == name:
                    restored.append(name)
                else:
                    remade[name] = new_name
        store.forget(names)
        for name in remade:
            for folder in (store.folder, output_dir):
                (folder / name).unlink(missing_ok=True)
        store.adopt(sorted({*restored, *remade.values()}))
        store.publish()
        for name in sorted(restored):
            link_file(store.folder / name, output_dir / name, otherwise="copy")
            _mend_dvc_object(name, output_dir)
    report = build_feature(
        feature,
        samples=samples,
        downloads=downloads,
        clips_dir=clips_dir,
        store_dir=store_dir,
        output_dir=output_dir,
        cluster=cluster,
        retry_reasons=retry_reasons,
        is_quiet=is_quiet,
        extract=extract,
        **build_options,
    )
    return RepairReport(tuple(sorted(restored)), remade, removed, num_computed, report)


def _check_that_keys_fit(output_dir: Path, requests: Mapping[str, Request]) -> bool:
    """Repairing is no way to compute everything with other parameters. False where there is no index to tell."""
    try:
        keys = read_table(output_dir / INDEX_NAME, INDEX, columns=["key"]).column("key").to_pylist()
    except DataError:
        return False  # the index itself is damaged: the store is looked at instead
    num_other = sum(key is not None and key not in requests for key in keys)
    if num_other:
        raise DataError(
            f"{output_dir}: {num_other} of {len(keys)} samples were computed with other parameters or clips than those "
            "of now; run `dvc repro` first"
        )
    return True


def _list_entries(
    names: Sequence[str], store: Store, output_dir: Path, requests: Mapping[str, Request]
) -> dict[str, tuple[Entry, ...]]:
    """What each shard held, from the catalog, or from the index where the store is not the one that made it."""
    listed = {name: tuple(store.entries.get(name) or store.lost.get(name, ())) for name in names}
    if all(listed.values()):
        return listed
    from_index: dict[str, dict[int, Entry]] = {name: {} for name in names}
    failed = []
    for row in read_table(output_dir / INDEX_NAME, INDEX).to_pylist():
        entry = Entry(
            row["key"],
            row["sample_id"],
            "",
            0,
            row["row"],
            row["crc32"],
            row["reason"],
            row["detail"],
        )
        if row["shard"] in from_index:
            from_index[row["shard"]].setdefault(
                row["row"], entry
            )  # of samples that share a row the first
        elif (
            row["status"] == "failed" and row["key"] not in store.by_key and row["key"] in requests
        ):
            failed.append(entry)
    for name, entries in from_index.items():
        listed[name] = listed[name] or tuple(entries[row] for row in sorted(entries))
    if len(names) == 1 and not store.entries.get(names[0]):
        # The index does not say which shard recorded a failure; what no other shard did, the only damaged one did.
        listed[names[0]] += tuple(sorted(failed, key=lambda entry: place_of(requests[entry.key])))
    return listed


def _restore_from_copy(name: str, store: Store, output_dir: Path) -> bool:
    """Put a whole copy of the shard, if there is one on this disk, into the store."""
    final = store.folder / name
    cached = find_cached_files(output_dir).get(name)
    for path in (final, output_dir / name, *([cached] if cached else [])):
        if path.is_file() and has_named_content(path, name) and has_our_version(path):
            link_file(path, final, otherwise="copy")
            return True
    return False


def _make_job(
    name: str,
    entries: tuple[Entry, ...],
    feature: Feature,
    store: Store,
    output_dir: Path,
    requests: Mapping[str, Request],
    clips: Mapping[str, Clip],
) -> _Job:
    wanted = {entry.key: requests[entry.key] for entry in entries if entry.key in requests}
    damaged = next(
        (path for path in (output_dir / name, store.folder / name) if path.is_file()), None
    )
    attributes = [shard_attributes(feature)]
    for other in sorted(
        store.entries
    ):  # shards of the same feature, made by the software of their time
        path = store.folder / other
        if other != name and path.is_file() and len(attributes) < 4 and has_named_content(path):
            found = {
                key: value
                for key, value in read_layout(path).attributes.items()
                if key != "schema_version"
            }
            if found not in attributes and found["parameters"] == attributes[0]["parameters"]:
                attributes.append(found)
    return _Job(
        name=name,
        feature=feature,
        store_dir=store.folder,
        entries=entries,
        requests=wanted,
        clips={request.clip_id: clips[request.clip_id] for request in wanted.values()},
        damaged_path=damaged,
        attributes=tuple(attributes),
    )


def _remake_shard(
    job: _Job,
    *,
    extract: Callable,
    set_aside: Mapping[str, str] | None = None,
    attempt: Attempt | None = None,
) -> tuple[str, str, int]:
    """Runs on a worker: publish the shard; its old name, its new name, and how many arrays were computed."""
    kept: dict[str, Extracted] = {}
    if job.damaged_path is not None:
        keys = {entry.row: entry.key for entry in job.entries if entry.row is not None}
        good = read_good_arrays(
            job.damaged_path, {e.row: e.crc32 for e in job.entries if e.row is not None}
        )
        kept = {
            keys[row]: Extracted(array, attributes) for row, (array, attributes) in good.items()
        }
    for known in [kept, {}] if kept else [{}]:
        missing = [
            entry for entry in job.entries if entry.row is not None and entry.key not in known
        ]
        outcomes = known | _compute(
            job, missing, extract=extract, set_aside=set_aside, attempt=attempt
        )
        rows = [
            Row(
                entry.sample_id,
                entry.key,
                outcomes[entry.key].array,
                outcomes[entry.key].attributes,
            )
            for entry in job.entries
            if entry.row is not None and outcomes[entry.key].array is not None
        ]
        failures = [_make_failure(entry, outcomes.get(entry.key)) for entry in job.entries]
        failures = [failure for failure in failures if failure is not None]
        for attributes in job.attributes:
            content = encode_shard(rows, failures, attributes)
            name = shard_name(task_of(job.name), content)
            if name == job.name:
                break
        if name == job.name:
            break
    if name != job.name:  # not the original: made by the software of today, and named so
        content = encode_shard(rows, failures, job.attributes[0])
        name = shard_name(task_of(job.name), content)
    publish_bytes(job.store_dir / name, content)
    return job.name, name, len(missing)


def _compute(
    job: _Job, entries: Sequence[Entry], *, extract, set_aside, attempt
) -> dict[str, Extracted]:
    """Outcomes by key, clip by clip."""
    outcomes: dict[str, Extracted] = {}
    by_clip: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.key not in job.requests:
            raise DataError(
                f"{job.name}: {entry.sample_id} is damaged and cannot be computed: its clip or the parameters of "
                f"{job.feature.name} are not those it was made from; run `dvc repro`"
            )
        by_clip.setdefault(job.requests[entry.key].clip_id, []).append(entry)
    for clip_id, of_clip in by_clip.items():
        moments = tuple(
            Moment(entry.sample_id, job.requests[entry.key].time_seconds) for entry in of_clip
        )
        work = ClipWork(job.clips[clip_id], moments)
        extracted = attempt_clip(work, [job.feature], extract, set_aside=set_aside, attempt=attempt)
        for entry, outcome in zip(of_clip, extracted, strict=True):
            outcomes[entry.key] = outcome[job.feature.name]
    return outcomes


def _make_failure(entry: Entry, outcome: Extracted | None) -> Failure | None:
    """The failure that the catalog remembers, or the one of now."""
    if entry.row is None:
        return Failure(entry.sample_id, entry.key, entry.reason, entry.detail or "")
    if outcome is not None and outcome.array is None:
        return Failure(entry.sample_id, entry.key, outcome.reason or "error", outcome.detail or "")
    return None


def _mend_dvc_object(name: str, output_dir: Path) -> None:
    """Give DVC's cache the repaired file where its object was damaged too (it may be the same file by another name)."""
    cached = find_cached_files(output_dir).get(name)
    if cached is not None and not has_named_content(cached, name):
        cached.unlink()
        link_file(output_dir / name, cached, otherwise="copy")
        cached.chmod(0o444)  # as DVC protects what it holds
