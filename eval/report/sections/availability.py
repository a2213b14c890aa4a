"""Count what was requested and what is there: clips by split and by reason, samples by feature.

Each row of these tables adds up. ``templates/section_availability.html`` shows them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from earshot.tables import DOWNLOADS, describe_missing
from eval.report.data.inputs import DatasetInputs
from eval.results.files import format_coverage
from pipeline.base.table_filters import count_values
from pipeline.downloads.account.counts import count_splits
from pipeline.downloads.account.reasons import REASONS

_NUM_LISTED = 200  # missing clips that the page names one by one; the command names them all
_NUM_EXAMPLES = 3
_MAX_DETAIL_CHARACTERS = 300
_ALL, _NO_SPLIT = "all", "(no split)"
_NO_REASON = "(no reason given)"
# By ``Reason.permanence``: what another attempt is worth.
_OUTLOOKS = {
    "permanent": "will not come by itself",
    "confirm": "once more on another day",
    "transient": "worth a retry",
    "pause": "worth a retry, after a pause",
    "later": "worth a retry, later",
    "stop": "worth a retry, once this machine is in order",
}


@dataclass(frozen=True)
class SplitCount:
    """Clips of one split: requested = ok + missing + pending."""

    split: str
    requested: int
    ok: int
    missing: int
    pending: int


@dataclass(frozen=True)
class ReasonCount:
    """Clips that are not there for one reason; ``splits`` counts them by split."""

    reason: str
    num_clips: int
    splits: Mapping[str, int]
    examples: tuple[str, ...]
    advice: str


@dataclass(frozen=True)
class AbsentClip:
    """A clip that is not there, with what was said about it."""

    clip_id: str
    status: str
    reason: str | None
    detail: str | None
    splits: tuple[str, ...]
    is_confirmed: bool


@dataclass(frozen=True)
class FeatureCount:
    """Samples of one feature: requested = ok + missing + failed + absent."""

    feature: str
    requested: int
    ok: int
    missing: int  # their clip is missing
    failed: int  # the feature could not be computed
    absent: int  # the index does not name them
    reasons: Mapping[str, int]  # of the failed ones, most frequent first


@dataclass(frozen=True)
class DatasetAvailability:
    """All counts of one dataset; ``absent_clips`` names the first of ``num_absent_clips``."""

    name: str
    has_downloads: bool
    splits: tuple[SplitCount, ...]
    reasons: tuple[ReasonCount, ...]
    absent_clips: tuple[AbsentClip, ...]
    num_absent_clips: int
    features: tuple[FeatureCount, ...]

    @property
    def headline(self) -> str:
        """Say in one line how much is there."""
        # The first row counts the clips of all splits.
        row = self.splits[0]
        if not self.has_downloads:
            return f"{row.requested:,} clips are requested; nothing was downloaded yet."
        if row.ok == row.requested:
            return f"All {row.requested:,} clips are here."
        reasons = ", ".join(f"{one.num_clips:,} {one.reason}" for one in self.reasons)
        percent = format_coverage(100 * row.ok / row.requested if row.requested else 0.0)
        why = f" ({reasons})" if reasons else ""
        return (
            f"{row.ok:,} of {row.requested:,} clips are here, {percent} %; "
            f"{row.requested - row.ok:,} {'is' if row.requested - row.ok == 1 else 'are'} not{why}."
        )

    @property
    def num_failed_samples(self) -> int:
        """Samples of features that could not be computed, or that no index names."""
        return sum(feature.failed + feature.absent for feature in self.features)


@dataclass(frozen=True)
class Availability:
    """The section about what is there; an audit has a ``title`` and a ``text``."""

    datasets: tuple[DatasetAvailability, ...]
    audits: tuple[Mapping, ...]


def view_availability(
    datasets: Iterable[DatasetInputs], audits: Sequence[Mapping[str, object]]
) -> Availability:
    """Return the section about what is there: the counts of each dataset, and the audits.

    Args:
        datasets: The datasets of the page, in its order.
        audits: Mappings with ``title`` and ``text``, shown as they are.
    """
    return Availability(tuple(_view_dataset(dataset) for dataset in datasets), tuple(audits))


def _view_dataset(dataset: DatasetInputs) -> DatasetAvailability:
    absent_clips = find_absent_clips(dataset)
    return DatasetAvailability(
        name=dataset.name,
        has_downloads=dataset.downloads is not None,
        splits=count_clips(dataset),
        reasons=count_reasons(absent_clips),
        absent_clips=tuple(absent_clips[:_NUM_LISTED]),
        num_absent_clips=len(absent_clips),
        features=count_features(dataset),
    )


def count_clips(dataset: DatasetInputs) -> tuple[SplitCount, ...]:
    """Count all clips, then those of each split in its order of appearance.

    A clip without a row in the downloads table is pending.
    """
    downloads = dataset.downloads
    if downloads is None:
        downloads = DOWNLOADS.columns.empty_table()

    # "all" is a split like others here, and so is having none, so that one count gives all rows
    splits = [
        [_ALL, *(splits or [_NO_SPLIT])] for splits in dataset.clips.column("splits").to_pylist()
    ]
    clips = pa.table({"clip_id": dataset.clips.column("clip_id"), "splits": splits})
    counts = count_splits(clips, downloads) if splits else {}

    # without any clip there is one row of zeros
    counts.setdefault(_ALL, dict.fromkeys(("requested", "ok", "missing", "pending"), 0))

    names = dict.fromkeys([_ALL, *(name for names in splits for name in names)])
    return tuple(
        SplitCount(name, *(counts[name][key] for key in ("requested", "ok", "missing", "pending")))
        for name in names
    )


def find_absent_clips(dataset: DatasetInputs) -> list[AbsentClip]:
    """Return the clips of the list that the downloads table has not as ok, in the list's order."""
    if dataset.downloads is None:
        return []

    columns = ["clip_id", "status", "reason", "detail", "is_confirmed"]

    row_of = {row["clip_id"]: row for row in dataset.downloads.select(columns).to_pylist()}

    absent = []
    for clip in dataset.clips.select(["clip_id", "splits"]).to_pylist():
        row = row_of.get(clip["clip_id"])
        # A clip without a row is pending: nothing is known of it yet.
        if row is not None and row["status"] != "ok":
            is_confirmed = bool(row["is_confirmed"])
            detail = describe_missing(row["detail"], is_confirmed=is_confirmed) or ""
            absent.append(
                AbsentClip(
                    clip_id=row["clip_id"],
                    status=row["status"],
                    reason=row["reason"],
                    detail=detail[:_MAX_DETAIL_CHARACTERS],
                    splits=tuple(clip["splits"] or ()),
                    is_confirmed=is_confirmed,
                )
            )
    return absent


def count_reasons(absent_clips: Iterable[AbsentClip]) -> tuple[ReasonCount, ...]:
    """Count the clips of each reason.

    Args:
        absent_clips: From ``find_absent_clips``.

    Returns:
        The counts, the most frequent reason first. Clips without a reason are a row of their own.
    """
    clips_of: dict[str, list[AbsentClip]] = {}
    for clip in absent_clips:
        clips_of.setdefault(clip.reason or _NO_REASON, []).append(clip)

    return tuple(
        ReasonCount(
            reason=reason,
            num_clips=len(clips),
            splits=_count_splits(clips),
            examples=tuple(clip.clip_id for clip in clips[:_NUM_EXAMPLES]),
            # one clip that is not confirmed yet is worth another attempt
            advice=describe_reason(reason, is_confirmed=all(clip.is_confirmed for clip in clips)),
        )
        for reason, clips in sorted(clips_of.items(), key=lambda item: (-len(item[1]), item[0]))
    )


def count_retryable(availability: Availability) -> int:
    """Count the missing clips that another attempt may bring."""
    # Each advice begins with the outlook (`describe_reason`).
    return sum(
        row.num_clips
        for dataset in availability.datasets
        for row in dataset.reasons
        if not row.advice.startswith(_OUTLOOKS["permanent"])
    )


def _count_splits(clips: Iterable[AbsentClip]) -> dict[str, int]:
    counts = Counter(split for clip in clips for split in clip.splits)
    return dict(sorted(counts.items()))


def describe_reason(reason: str, *, is_confirmed: bool) -> str:
    """Return whether another attempt is worth it, and what to do first."""
    # The table can come from another version of Earshot, with reasons of its own.
    if reason not in REASONS:
        return "unknown reason: read what was said"
    permanence = "permanent" if is_confirmed else REASONS[reason].permanence
    advice = REASONS[reason].advise(is_confirmed=is_confirmed)
    # The outlook says that there is nothing to do.
    advice = re.sub(r"^nothing(, as another attempt would not help)?[;:] ", "", advice)
    return _OUTLOOKS[permanence] + ("" if advice == "retry" else f": {advice}")


def count_features(dataset: DatasetInputs) -> tuple[FeatureCount, ...]:
    """Count the samples of each feature that has an index on this machine."""
    sample_ids = dataset.samples.column("sample_id").unique()
    counts = []
    for feature, reader in dataset.readers.items():
        # an index may still name samples that are no longer in the list
        index = reader.index
        index = index.filter(pc.is_in(index["sample_id"], sample_ids))
        statuses = count_values(index["status"])
        reasons = count_values(index.filter(pc.equal(index["status"], "failed"))["reason"])

        counts.append(
            FeatureCount(
                feature=feature,
                requested=len(sample_ids),
                ok=statuses["ok"],
                missing=statuses["missing"],
                failed=statuses["failed"],
                absent=len(sample_ids) - statuses.total(),
                reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
            )
        )
    return tuple(counts)
