"""Build a feature: fill its folder, and compute only the arrays that the store does not have.

``build_feature`` makes a request for each sample, plans tasks for the arrays that the store does
not have (``plan.py``), runs them on Dask (``task_run.py``, ``tasks.py``), links the shards that
are in use into the output folder and writes the index last. The bytes are the same if a build was
killed and started again, or if it had another number of workers.
"""

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError, RunError
from earshot.shard_format import INDEX_NAME
from earshot.tables import INDEX, read_table, write_table
from pipeline.base.disk import link_file
from pipeline.base.os_errors import explain_os_errors
from pipeline.base.progress import Progress
from pipeline.features.extract import extract_features
from pipeline.features.feature import Feature
from pipeline.shards.account import count_index
from pipeline.shards.dvc_cache import find_cached_files, restore_folder
from pipeline.shards.plan import Planner, Task, make_companion
from pipeline.shards.requests import Request, find_clips, make_requests
from pipeline.shards.store import Store
from pipeline.shards.task_run import run_tasks
from pipeline.shards.tasks import Extract
from pipeline.shards.workers.cluster import ClusterParameters

# These reasons say nothing about the clip, only that its file was not as expected at that moment.
# Every build tries such samples again.
ALWAYS_RETRIED = frozenset({"no_file", "changed_file"})


@dataclass(frozen=True)
class FeatureFolders:
    """Where a feature of one dataset is read from and written to."""

    clips_dir: Path  # media files; the paths of the downloads table are relative to it
    store_dir: Path  # all shards of the feature that were ever computed
    output_dir: Path  # the shards in use, and index.parquet

    def resolve(self) -> "FeatureFolders":
        """Return the same folders as absolute paths, which workers can use."""
        return FeatureFolders(
            self.clips_dir.resolve(), self.store_dir.resolve(), self.output_dir.resolve()
        )

    def of_companion(self, name: str) -> "FeatureFolders":
        """Return the folders of another feature of the dataset, which are beside these."""
        return replace(
            self,
            store_dir=self.store_dir.with_name(name),
            output_dir=self.output_dir.with_name(name),
        )


@dataclass(frozen=True)
class BuildOptions:
    """How a build runs. Nothing here changes an array."""

    cluster: ClusterParameters = field(default_factory=ClusterParameters)
    shard_samples: int = 64  # the most samples in a shard
    # The build fails if more of the samples whose clip is there could not be computed.
    max_failed_fraction: float = 1.0
    retry_reasons: Collection[str] = ()  # remembered failures to try again
    is_quiet: bool = False  # no progress bar


@dataclass(frozen=True)
class BuildReport:
    """What a build found and did."""

    feature: str
    requested: int  # == ok + missing + num_failed
    ok: int
    missing: int  # samples without their clip
    failed: Mapping[str, int]  # by reason
    computed: int  # arrays and failures of this build
    bytes: int  # of the shards in use
    seconds: float

    @property
    def num_failed(self) -> int:
        """Samples whose clip is there but whose array could not be computed."""
        return sum(self.failed.values())

    @property
    def reused(self) -> int:
        """Samples whose array or failure was in the store before."""
        return self.ok + self.num_failed - self.computed

    def describe(self) -> str:
        """Return one line for people."""
        reasons = ", ".join(f"{reason} {number}" for reason, number in self.failed.items())
        per_sample = f", {self.bytes / self.ok / 1e6:.2f} MB a sample" if self.ok else ""
        return (
            f"{self.feature}: {self.requested} samples, {self.ok} ok "
            f"({self.bytes / 1e6:.1f} MB{per_sample}), {self.missing} without their clip, "
            f"{self.num_failed} failed{f' ({reasons})' if reasons else ''}; "
            f"{self.computed} computed, {self.reused} from the cache, {self.seconds:.1f} s"
        )


def build_feature(
    feature: Feature,
    *,
    samples: pa.Table,
    downloads: pa.Table,
    folders: FeatureFolders,
    options: BuildOptions = BuildOptions(),
    companions: Sequence[Feature] = (),
    extract: Extract = extract_features,
) -> BuildReport:
    """Fill the output folder of a feature: the shards of all samples, and the index.

    A failure is remembered like an array. It is tried again only if its reason is in
    ``options.retry_reasons``, or if the clip's file was not as the downloads table says.

    Args:
        feature: What to build.
        samples: Table ``SAMPLES`` of ``earshot.tables``.
        downloads: Table ``DOWNLOADS`` of ``earshot.tables``.
        folders: Where the feature is read from and written to.
        options: How the build runs.
        companions: Features that are computed in the same pass over a clip. Their arrays wait in
            their stores, beside this one, for their own builds.
        extract: What computes the arrays of a clip. It is sent to worker processes.

    Returns:
        What was found and done.

    Raises:
        RunError: More samples failed than ``options.max_failed_fraction`` allows (all arrays are
            kept, and the index is written), the disk refuses a write, or the cluster is lost.
        DataError: The tables contradict themselves.
    """
    start = time.monotonic()
    folders = folders.resolve()
    clips, absences = find_clips(downloads, folders.clips_dir)
    requests = make_requests(feature, samples, clips, absences)

    with explain_os_errors(folders.store_dir), ExitStack() as stack:
        # Each store is locked until the end: another build of the feature waits. All builds lock
        # in the order of the names, so that two builds cannot wait for each other.
        names = sorted({feature.name, *(other.name for other in companions)})
        stores = {
            name: stack.enter_context(
                open_store(folders if name == feature.name else folders.of_companion(name))
            )
            for name in names
        }
        store = stores.pop(feature.name)

        planner = Planner(
            feature,
            requests,
            clips,
            store,
            companions=[
                make_companion(
                    other,
                    stores[other.name],
                    make_requests(other, samples, clips, absences),
                )
                for other in companions
            ],
            retry_reasons=ALWAYS_RETRIED | set(options.retry_reasons),
            shard_samples=options.shard_samples,
        )
        tasks = planner.plan()
        _require_clips(feature, requests, tasks, folders, options.max_failed_fraction)
        new_shards = _run_tasks(tasks, store.folder, options, extract)

        # From here on, a killed build finds the new shards in the catalogs.
        store.adopt(sorted(new_shards.get(feature.name, ())))
        store.publish()
        for name, other_store in stores.items():
            _publish_companion(other_store, new_shards.get(name, set()))

        index = _make_index(requests, store)
        num_bytes = _publish_output(folders.output_dir, index, store)

    # Everything is kept and indexed before too many failures become an error.
    num_computed = sum(task.num_samples for task in tasks)
    seconds = time.monotonic() - start
    report = _make_report(
        feature, index, num_computed=num_computed, num_bytes=num_bytes, seconds=seconds
    )
    assert report.requested == samples.num_rows == report.ok + report.missing + report.num_failed
    _check_failures(report, folders.store_dir, options.max_failed_fraction)
    return report


@contextmanager
def open_store(folders: FeatureFolders) -> Iterator[Store]:
    """Open a store, perhaps after another build; adopt the shards that `dvc pull` brought."""
    with Store(folders.store_dir).open(is_patient=True) as store:
        # DVC empties the output folder before it runs a stage. Then only its cache has them.
        pulled = find_cached_files(folders.output_dir)
        pulled |= {path.name: path for path in folders.output_dir.glob("*.h5")}
        store.adopt_copies(pulled)
        yield store


def _require_clips(
    feature: Feature,
    requests: Sequence[Request],
    tasks: Sequence[Task],
    folders: FeatureFolders,
    max_failed_fraction: float,
) -> None:
    """Stop before anything is changed if the build would fail because media files are absent.

    `dvc pull` brings features without the clips, and `clips drop` removes them. A changed parameter
    would then replace arrays by failures.

    Raises:
        RunError: The files of clips that are ``ok`` are absent, and this concerns all samples, more
            samples than may fail, or a sample that has an array now.
    """
    num_with_clip = sum(request.key is not None for request in requests)
    absent = {
        moment.sample_id
        for task in tasks
        for work in task.work
        if not os.path.exists(work.clip.file)
        for moment in work.moments
    }
    if not absent:
        return

    # Some absent clips may be failures that the limit allows. Not all of them, and none whose array
    # would be lost.
    is_bearable = len(absent) < min(num_with_clip, max_failed_fraction * num_with_clip + 1)
    if is_bearable and not absent & _find_ok_samples(folders.output_dir):
        return

    # DVC has emptied the folder already. What it kept comes back.
    restored = restore_folder(folders.output_dir)
    words = "the feature as it was is back" if restored else "nothing was changed"
    raise RunError(
        f"{feature.name}: {len(absent)} of {num_with_clip} samples must be computed, but their "
        f"clips are not in {folders.clips_dir}, as after `dvc pull` or `clips drop`; get them with "
        f"`earshot retry --absent` or `import`, and run again ({words})"
    )


def _find_ok_samples(output_dir: Path) -> set[str]:
    """Return the samples that have an array in the folder, or had when DVC recorded it."""
    path = output_dir / INDEX_NAME
    if not path.exists():
        # DVC empties the folder before a stage runs. Its cache still has the index.
        path = find_cached_files(output_dir).get(INDEX_NAME, path)
    try:
        index = read_table(path, INDEX, columns=["sample_id", "status"])
    except (DataError, FileNotFoundError):
        return set()
    pairs = zip(index["sample_id"].to_pylist(), index["status"].to_pylist(), strict=True)
    return {sample_id for sample_id, status in pairs if status == "ok"}


def _run_tasks(
    tasks: Sequence[Task], shared_dir: Path, options: BuildOptions, extract: Extract
) -> dict[str, set[str]]:
    """Run the tasks; return the names of the shards that they made, by feature."""
    new_shards: dict[str, set[str]] = {}
    for task in tasks:
        for shard in task.shards:
            new_shards.setdefault(shard.feature.name, set())
    if not tasks:
        return new_shards

    # The progress bar names the companions, too, but counts the samples of the feature itself.
    description = " and ".join(new_shards)
    num_samples = sum(task.num_samples for task in tasks)
    with Progress(num_samples, description, unit="sample", is_quiet=options.is_quiet) as progress:
        for result in run_tasks(
            tasks,
            extract=extract,
            parameters=options.cluster,
            shared_dir=shared_dir,
            is_quiet=options.is_quiet,
        ):
            for name, shard_name in result.shards.items():
                new_shards[name].add(shard_name)
            progress.update(result.num_samples, num_failed=sum(result.failures.values()))
    return new_shards


def _publish_companion(store: Store, new_shards: Collection[str]) -> None:
    store.adopt(sorted(new_shards))
    # Also the shards that interrupted builds left.
    store.adopt(store.select_whole(store.find_unlisted()))
    store.publish()


def _make_index(requests: Sequence[Request], store: Store) -> pa.Table:
    """Make the rows of table INDEX, one for each request, in their order."""
    rows = []
    for request in requests:
        # Samples with the same key (the same media file, twice) share a row of a shard.
        row: dict[str, object] = {"sample_id": request.sample_id, "key": request.key}
        if request.key is None:
            row |= {"status": "missing", "reason": request.reason, "detail": request.detail}
            rows.append(row)
            continue

        # After the tasks each key has an entry: an array or a failure, perhaps of an earlier build.
        entry = store.by_key[request.key]
        if entry.row is None:
            row |= {"status": "failed", "reason": entry.reason, "detail": entry.detail or None}
        else:
            place = {"shard": entry.shard, "row": entry.row, "crc32": entry.crc32}
            row |= {"status": "ok", **place}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=INDEX.columns)


def _publish_output(output_dir: Path, index: pa.Table, store: Store) -> int:
    """Make the folder hold exactly the shards of the index, then write the index.

    Returns:
        The size of these shards in bytes.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    used = set(index.column("shard").to_pylist()) - {None}

    # The old index goes first: an index never names a shard that is not there.
    index_path = output_dir / INDEX_NAME
    index_path.unlink(missing_ok=True)
    for path in output_dir.iterdir():
        if path.name not in used and (path.suffix == ".h5" or path.name.startswith(".tmp-")):
            path.unlink()

    # Links cost no room. DVC finds their inodes unchanged, so it does not hash them again.
    for name in sorted(used):
        link_file(store.folder / name, output_dir / name, otherwise="copy")
    write_table(index_path, index, INDEX)
    return sum(store.entries[name][0].shard_bytes for name in used)


def _make_report(
    feature: Feature, index: pa.Table, *, num_computed: int, num_bytes: int, seconds: float
) -> BuildReport:
    counts = count_index(index)
    return BuildReport(
        feature=feature.name,
        requested=counts.num_requested,
        ok=counts.num_ok,
        missing=counts.num_missing,
        failed=counts.failed,
        computed=num_computed,
        bytes=num_bytes,
        seconds=seconds,
    )


def _check_failures(report: BuildReport, store_dir: Path, max_failed_fraction: float) -> None:
    # Samples without their clip do not count: the download stage judges those.
    num_with_clip = report.ok + report.num_failed
    if report.num_failed <= max_failed_fraction * num_with_clip:
        return

    most_frequent = sorted(report.failed.items(), key=lambda item: -item[1])
    reasons = ", ".join(f"{reason} {number}" for reason, number in most_frequent)
    raise RunError(
        f"{report.feature}: {report.num_failed} of {num_with_clip} samples failed "
        f"({reasons}), more than max_failed_fraction {max_failed_fraction}; what was computed is "
        f"kept in {store_dir}"
    )
