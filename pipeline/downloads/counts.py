"""The account of a dataset: how many clips and samples were asked for, are there, or are missing, and why.

Totals reconcile: requested = ok + missing + pending. For the commands, for ``dvc metrics`` and plots, and for reports.
Only the columns that are needed are read; nothing is decoded.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earshot.errors import DataError
from earshot.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.downloads.history import SETTLED_MARK
from pipeline.downloads.reasons import REASONS, permanence_of


@dataclass(frozen=True)
class FeatureAccount:
    """Samples of one feature: ``num_requested`` = ok + missing (their clip is) + failed + absent from the index."""

    feature: str
    num_requested: int
    num_ok: int
    num_missing: int
    num_failed: int
    num_absent: int
    num_bytes: int


@dataclass(frozen=True)
class DatasetAccount:
    """Clips of one dataset; ``reasons`` counts the missing ones. ``has_sources`` False: the list was not made yet."""

    dataset: str
    has_sources: bool
    num_requested: int = 0
    num_ok: int = 0
    num_missing: int = 0
    num_pending: int = 0
    num_bytes: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    features: tuple[FeatureAccount, ...] = ()


def account_dataset(project: Project, dataset: str) -> DatasetAccount:
    """Counts of a dataset's clips and of each feature's samples."""
    clips_path = project.clips_table_path(dataset)
    if not clips_path.exists():
        return DatasetAccount(dataset, has_sources=False)
    num_requested = _num_rows(clips_path)
    counts, reasons, num_bytes = Counter(), Counter(), 0
    downloads_path = project.downloads_table_path(dataset)
    if downloads_path.exists():
        downloads = read_table(downloads_path, DOWNLOADS, columns=["status", "reason", "bytes"])
        counts = count_values(downloads["status"])
        reasons = count_values(downloads.filter(pc.equal(downloads["status"], "missing"))["reason"])
        num_bytes = pc.sum(downloads["bytes"]).as_py() or 0
    return DatasetAccount(
        dataset=dataset,
        has_sources=True,
        num_requested=num_requested,
        num_ok=counts["ok"],
        num_missing=counts["missing"],
        num_pending=max(
            num_requested - counts["ok"] - counts["missing"], 0
        ),  # also what no run has seen yet
        num_bytes=num_bytes,
        reasons=dict(reasons.most_common()),
        features=tuple(account_features(project, dataset)),
    )


def account_features(project: Project, dataset: str) -> list[FeatureAccount]:
    """Counts of each feature that has an index."""
    samples_path = project.samples_table_path(dataset)
    num_requested = _num_rows(samples_path) if samples_path.exists() else 0
    accounts = []
    for index_path in sorted(project.dataset_cache_dir(dataset).glob("*/index.parquet")):
        counts = count_values(read_table(index_path, INDEX, columns=["status"])["status"])
        accounts.append(
            FeatureAccount(
                feature=index_path.parent.name,
                num_requested=num_requested,
                num_ok=counts["ok"],
                num_missing=counts["missing"],
                num_failed=counts["failed"],
                num_absent=max(num_requested - sum(counts.values()), 0),
                num_bytes=sum(path.stat().st_size for path in index_path.parent.glob("*.h5")),
            )
        )
    return accounts


def split_counts(clips: pa.Table, downloads: pa.Table) -> dict[str, dict[str, int]]:
    """``{split: {requested, ok, missing, pending, <reason>: ...}}``, splits by name; a clip can be in several.

    Made for ``dvc metrics``: write it as JSON. ``clips`` needs the columns ``clip_id splits``, ``downloads``
    ``clip_id status reason``.
    """
    splits = clips["splits"].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(splits), 0)
    flat = pa.table({"split": pc.list_flatten(splits), "row": pc.list_parent_indices(splits)})
    if len(flat) != (pc.sum(lengths).as_py() or 0):
        raise DataError("clips: the splits of some rows are null, expected lists")
    joined = clips.select(["clip_id"]).append_column(
        "row", pa.array(range(clips.num_rows), pa.int64())
    )
    joined = joined.join(downloads.select(["clip_id", "status", "reason"]), "clip_id")
    flat = flat.set_column(1, "row", flat["row"].cast(pa.int64())).join(joined, "row")
    grouped = flat.group_by(["split", "status", "reason"]).aggregate([([], "count_all")])
    counts: dict[str, dict[str, int]] = {}
    for row in sorted(
        grouped.to_pylist(),
        key=lambda row: (row["split"], row["status"] or "", row["reason"] or ""),
    ):
        split = counts.setdefault(
            row["split"], {"requested": 0, "ok": 0, "missing": 0, "pending": 0}
        )
        number = row["count_all"]
        split["requested"] += number
        split[row["status"] or "pending"] += number
        if row["status"] == "missing":
            split[row["reason"]] = number
    return counts


def reason_rows(downloads: pa.Table) -> list[dict]:
    """``reason clips share outlook``, most frequent first: the table of a DVC plot (write it as csv)."""
    missing = downloads.filter(pc.equal(downloads["status"], "missing"))
    outlooks: dict[
        str, str
    ] = {}  # permanent only where no clip of the reason is worth another attempt
    each = _outlooks(missing["reason"], missing["detail"]).to_pylist()
    for reason, outlook in zip(missing["reason"].to_pylist(), each, strict=True):
        if outlooks.get(reason, "permanent") == "permanent":
            outlooks[reason] = outlook
    return [
        {
            "reason": reason,
            "clips": number,
            "share": round(number / downloads.num_rows, 6),
            "outlook": outlooks[reason],
        }
        for reason, number in count_values(missing["reason"]).most_common()
    ]


def outlook_of(reason: str | None, detail: str | None) -> str:
    """``permanent``, ``retry`` (worth it), or ``confirm`` (one more attempt on another day settles it)."""
    permanence = permanence_of(reason) if reason else "transient"
    if permanence == "permanent":
        return "permanent"
    if permanence == "confirm":
        return "permanent" if detail and detail.endswith(SETTLED_MARK) else "confirm"
    return "retry"


def advice_of(reason: str) -> str:
    """What a user can do about a reason."""
    return REASONS[reason].advice if reason in REASONS else "retry"


def missing_clips(
    project: Project,
    dataset: str,
    *,
    reasons: Sequence[str] = (),
    splits: Sequence[str] = (),
    has_pending: bool = False,
) -> pa.Table:
    """``dataset clip_id status reason outlook attempts last_attempt splits detail`` of clips that are not there."""
    columns = ["clip_id", "status", "reason", "detail", "attempts", "last_attempt"]
    rows = _read_downloads(project, dataset, columns)
    rows = rows.filter(
        pc.not_equal(rows["status"], "ok") if has_pending else pc.equal(rows["status"], "missing")
    )
    rows = _of_reasons(rows, reasons)
    clips = read_table(project.clips_table_path(dataset), CLIPS, columns=["clip_id", "splits"])
    rows = _of_splits(rows, "clip_id", clips, splits)
    moments = pc.strftime(
        rows["last_attempt"].cast(pa.timestamp("s", "UTC")), format="%Y-%m-%dT%H:%M:%SZ"
    )
    rows = rows.set_column(rows.schema.get_field_index("last_attempt"), "last_attempt", moments)
    rows = rows.append_column("outlook", _outlooks(rows["reason"], rows["detail"]))
    rows = rows.append_column("dataset", pa.repeat(dataset, rows.num_rows))
    return rows.select(
        [
            "dataset",
            "clip_id",
            "status",
            "reason",
            "outlook",
            "attempts",
            "last_attempt",
            "splits",
            "detail",
        ]
    )


def missing_samples(
    project: Project, dataset: str, *, reasons: Sequence[str] = (), splits: Sequence[str] = ()
) -> pa.Table:
    """``dataset sample_id feature status reason outlook splits detail`` of samples that an index has not as ok."""
    samples = read_table(
        project.samples_table_path(dataset), SAMPLES, columns=["sample_id", "splits"]
    )
    tables = [_NO_SAMPLES.empty_table()]
    for index_path in sorted(project.dataset_cache_dir(dataset).glob("*/index.parquet")):
        rows = read_table(index_path, INDEX, columns=["sample_id", "status", "reason", "detail"])
        rows = _of_reasons(rows.filter(pc.not_equal(rows["status"], "ok")), reasons)
        rows = _of_splits(rows, "sample_id", samples, splits)
        # A feature that could not be computed from a whole clip will fail again.
        outlooks = pc.if_else(
            pc.equal(rows["status"], "failed"),
            "permanent",
            _outlooks(rows["reason"], rows["detail"]),
        )
        rows = rows.append_column("outlook", outlooks)
        rows = rows.append_column("dataset", pa.repeat(dataset, rows.num_rows))
        rows = rows.append_column("feature", pa.repeat(index_path.parent.name, rows.num_rows))
        tables.append(rows.select(_NO_SAMPLES.names).replace_schema_metadata(None))
    return pa.concat_tables(tables)


_NO_SAMPLES = pa.schema(
    [
        (name, pa.string())
        for name in ("dataset", "sample_id", "feature", "status", "reason", "outlook")
    ]
    + [("splits", pa.list_(pa.string())), ("detail", pa.string())]
)


def _of_reasons(rows: pa.Table, reasons: Sequence[str]) -> pa.Table:
    if not reasons:
        return rows
    return rows.filter(
        pc.fill_null(pc.is_in(rows["reason"], pa.array(list(reasons), pa.string())), False)
    )


def _of_splits(rows: pa.Table, key: str, lists: pa.Table, splits: Sequence[str]) -> pa.Table:
    """``rows`` with the column ``splits`` of ``lists``, where they are in one of ``splits`` (none given: all)."""
    places = pc.index_in(rows[key], lists[key].combine_chunks())
    own_splits = pc.take(lists["splits"].combine_chunks(), places.combine_chunks())
    rows = rows.append_column("splits", own_splits)
    if not splits:
        return rows
    wanted = set(splits)
    return rows.filter(
        pa.array([bool(wanted & set(names or ())) for names in own_splits.to_pylist()], pa.bool_())
    )


def _outlooks(reasons: pa.ChunkedArray, details: pa.ChunkedArray) -> pa.Array:
    """``outlook_of`` for columns."""
    is_settled = pc.fill_null(pc.ends_with(details, SETTLED_MARK), False).to_pylist()
    by_reason = {
        reason: [outlook_of(reason, None), outlook_of(reason, SETTLED_MARK)]
        for reason in pc.unique(reasons).to_pylist()
    }
    return pa.array(
        [
            by_reason[reason][settled]
            for reason, settled in zip(reasons.to_pylist(), is_settled, strict=True)
        ],
        pa.string(),
    )


def count_values(column: pa.ChunkedArray) -> Counter:
    """How often each value occurs; nulls are left out."""
    counts = pc.value_counts(column.drop_null())
    return Counter(
        dict(
            zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
        )
    )


def _read_downloads(project: Project, dataset: str, columns: list[str]) -> pa.Table:
    path = project.downloads_table_path(dataset)
    if not path.exists():
        raise DataError(f"{path}: not found; run `dvc repro download@{dataset}` first")
    return read_table(path, DOWNLOADS, columns=columns)


def _num_rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}"
        ) from None
