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

from pipeline.errors import DataError
from pipeline.failures import REASONS, permanence_of
from pipeline.histories import SETTLED_MARK
from pipeline.project import Project
from pipeline.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, read_table

STATUSES = ("ok", "missing", "pending")


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
        num_pending=max(num_requested - counts["ok"] - counts["missing"], 0),  # also what no run has seen yet
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
    joined = clips.select(["clip_id"]).append_column("row", pa.array(range(clips.num_rows), pa.int64()))
    joined = joined.join(downloads.select(["clip_id", "status", "reason"]), "clip_id")
    flat = flat.set_column(1, "row", flat["row"].cast(pa.int64())).join(joined, "row")
    grouped = flat.group_by(["split", "status", "reason"]).aggregate([([], "count_all")])
    counts: dict[str, dict[str, int]] = {}
    for row in sorted(grouped.to_pylist(), key=lambda row: (row["split"], row["status"] or "", row["reason"] or "")):
        split = counts.setdefault(row["split"], {"requested": 0, "ok": 0, "missing": 0, "pending": 0})
        number = row["count_all"]
        split["requested"] += number
        split[row["status"] or "pending"] += number
        if row["status"] == "missing":
            split[row["reason"]] = number
    return counts


def reason_rows(downloads: pa.Table) -> list[dict]:
    """``reason clips share outlook``, most frequent first: the table of a DVC plot (write it as csv)."""
    missing = downloads.filter(pc.equal(downloads["status"], "missing"))
    return [
        {
            "reason": reason,
            "clips": number,
            "share": round(number / downloads.num_rows, 6),
            "outlook": outlook_of(reason, None),
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
) -> list[dict]:
    """``dataset clip_id status reason outlook attempts last_attempt splits detail`` of clips that are not there."""
    columns = ["clip_id", "status", "reason", "detail", "attempts", "last_attempt"]
    downloads = _read_downloads(project, dataset, columns)
    wanted = pc.not_equal(downloads["status"], "ok") if has_pending else pc.equal(downloads["status"], "missing")
    if reasons:
        wanted = pc.and_(wanted, pc.fill_null(pc.is_in(downloads["reason"], pa.array(reasons)), False))
    downloads = downloads.filter(wanted)
    clips = read_table(project.clips_table_path(dataset), CLIPS, columns=["clip_id", "splits"])
    clips = clips.filter(pc.is_in(clips["clip_id"], downloads["clip_id"]))
    splits_of = dict(zip(clips["clip_id"].to_pylist(), clips["splits"].to_pylist(), strict=True))
    rows = []
    for row in downloads.to_pylist():
        own_splits = splits_of.get(row["clip_id"], [])
        if splits and not set(splits) & set(own_splits):
            continue
        moment = row["last_attempt"]
        rows.append(
            {"dataset": dataset}
            | row
            | {
                "outlook": outlook_of(row["reason"], row["detail"]),
                "last_attempt": moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment is not None else None,
                "splits": own_splits,
            }
        )
    return rows


def missing_samples(
    project: Project, dataset: str, *, reasons: Sequence[str] = (), splits: Sequence[str] = ()
) -> list[dict]:
    """``dataset sample_id feature status reason outlook splits detail`` of samples that an index has not as ok."""
    samples = read_table(project.samples_table_path(dataset), SAMPLES, columns=["sample_id", "splits"])
    splits_of = dict(zip(samples["sample_id"].to_pylist(), samples["splits"].to_pylist(), strict=True))
    rows = []
    for index_path in sorted(project.dataset_cache_dir(dataset).glob("*/index.parquet")):
        index = read_table(index_path, INDEX, columns=["sample_id", "status", "reason", "detail"])
        wanted = pc.not_equal(index["status"], "ok")
        if reasons:
            wanted = pc.and_(wanted, pc.fill_null(pc.is_in(index["reason"], pa.array(reasons)), False))
        for row in index.filter(wanted).to_pylist():
            own_splits = splits_of.get(row["sample_id"], [])
            if splits and not set(splits) & set(own_splits):
                continue
            # A feature that could not be computed from a whole clip will fail again.
            outlook = "permanent" if row["status"] == "failed" else outlook_of(row["reason"], row["detail"])
            rows.append(
                {"dataset": dataset, "feature": index_path.parent.name}
                | row
                | {"outlook": outlook, "splits": own_splits}
            )
    return rows


def count_values(column: pa.ChunkedArray) -> Counter:
    """How often each value occurs; nulls are left out."""
    counts = pc.value_counts(column.drop_null())
    return Counter(dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))


def _read_downloads(project: Project, dataset: str, columns: list[str]) -> pa.Table:
    path = project.downloads_table_path(dataset)
    if not path.exists():
        raise DataError(f"{path}: not found; run `dvc repro download@{dataset}` first")
    return read_table(path, DOWNLOADS, columns=columns)


def _num_rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
