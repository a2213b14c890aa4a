"""Count the samples of cached features, and list those that are not cached.

For the commands `status` and `missing`. Only the columns that are needed are read; no array is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from earshot.tables import INDEX, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.base.table_filters import add_splits, select_reasons
from pipeline.shards.account import count_index

_MISSING_SAMPLES = pa.schema(
    [
        (name, pa.string())
        for name in ("dataset", "sample_id", "clip_id", "audio_clip_id", "feature", "status")
    ]
    + [("reason", pa.string()), ("splits", pa.list_(pa.string())), ("detail", pa.string())]
)


_ROWS = pa.schema([(name, pa.string()) for name in ("sample_id", "status", "reason", "detail")])


@dataclass(frozen=True)
class FeatureCounts:
    """Samples of one feature: ``num_requested`` = ok + missing + failed + absent."""

    feature: str
    num_requested: int
    num_ok: int
    num_missing: int  # their clip is missing
    num_failed: int  # the feature could not be computed
    num_absent: int  # not in the index yet
    num_bytes: int


def count_features(project: Project, dataset: str) -> list[FeatureCounts]:
    """Return the counts of each feature that has an index."""
    samples_path = project.samples_table_path(dataset)
    # A copy of the cache alone has no list.
    listed = None
    if samples_path.exists():
        listed = read_table(samples_path, SAMPLES, columns=["sample_id"])["sample_id"]

    found = []
    for index_path in project.find_indexes(dataset):
        index = read_table(index_path, INDEX, columns=["sample_id", "status", "reason"])
        # An index can be older than the list: samples that are no longer listed do not count, and
        # those that it lacks are absent until the stage runs again.
        if listed is not None and not index["sample_id"].equals(listed):
            index = index.filter(pc.is_in(index["sample_id"], listed.combine_chunks()))
        counts = count_index(index)
        num_requested = counts.num_requested if listed is None else len(listed)
        found.append(
            FeatureCounts(
                feature=index_path.parent.name,
                num_requested=num_requested,
                num_ok=counts.num_ok,
                num_missing=counts.num_missing,
                num_failed=counts.num_failed,
                num_absent=max(num_requested - counts.num_requested, 0),
                num_bytes=sum(path.stat().st_size for path in index_path.parent.glob("*.h5")),
            )
        )
    return found


def find_lost_indexes(project: Project, dataset: str) -> list[str]:
    """Return the features that have shards and no index, so that nothing can be read."""
    # Not in the folder of clips, which can hold hundreds of thousands of files.
    folders = set(project.dataset_cache_dir(dataset).glob("*/")) - {project.clips_dir(dataset)}
    return sorted(
        path.name
        for path in folders
        if not (path / "index.parquet").exists() and any(path.glob("*.h5"))
    )


def list_missing_samples(
    project: Project,
    dataset: str,
    *,
    reasons: Sequence[str] = (),
    splits: Sequence[str] = (),
    pending_features: Collection[str] = (),
) -> pa.Table:
    """List the samples that a feature's index does not have as ok.

    Args:
        project: the checkout.
        dataset: name of a dataset whose list was made.
        reasons: only these reasons; none given: all.
        splits: only samples in one of these splits; none given: all.
        pending_features: also list the samples that the indexes of these features do not name yet,
            with the status ``pending``.

    Returns:
        A table ``dataset sample_id clip_id audio_clip_id feature status reason splits detail``.
    """
    samples = read_table(
        project.samples_table_path(dataset),
        SAMPLES,
        columns=["sample_id", "splits", "clip_id", "audio_clip_id"],
    )

    # The empty table fixes the columns of the result, even if no feature has an index yet.
    tables = [_MISSING_SAMPLES.empty_table()]
    paths = {path.parent.name: path for path in project.find_indexes(dataset)}
    for feature in sorted({*paths, *pending_features}):
        rows = _ROWS.empty_table()
        if feature in paths:
            rows = read_table(paths[feature], INDEX, columns=_ROWS.names)
        rows = rows.select(_ROWS.names).replace_schema_metadata(None)
        if feature in pending_features:
            rows = _add_pending(rows, samples)
        rows = select_reasons(rows.filter(pc.not_equal(rows["status"], "ok")), reasons)
        rows = add_splits(rows, "sample_id", samples, selected=splits)

        # An index has no clip ids. The list has them, in its own order.
        places = pc.index_in(rows["sample_id"], samples["sample_id"].combine_chunks())
        for name in ("clip_id", "audio_clip_id"):
            values = pc.take(samples[name].combine_chunks(), places.combine_chunks())
            rows = rows.append_column(name, values)

        rows = rows.append_column("dataset", pa.repeat(dataset, rows.num_rows))
        rows = rows.append_column("feature", pa.repeat(feature, rows.num_rows))
        tables.append(rows.select(_MISSING_SAMPLES.names))
    return pa.concat_tables(tables)


def _add_pending(rows: pa.Table, samples: pa.Table) -> pa.Table:
    """Add a row for each listed sample that an index does not name."""
    ids = samples["sample_id"]
    absent = ids.filter(pc.invert(pc.is_in(ids, rows["sample_id"].combine_chunks())))
    nulls = pa.nulls(len(absent), pa.string())
    values = [absent, pa.repeat("pending", len(absent)), nulls, nulls]
    return pa.concat_tables([rows, pa.table(values, schema=_ROWS)])
