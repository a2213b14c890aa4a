"""Measure how much of each published test set is on this machine.

Papers report on test sets of different sizes (``PublishedTestSet``). Where the list of a set is not
on this machine, its size still gives a lower and an upper bound.
"""

import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from earshot.errors import DataError
from earshot.tables import CLIPS, DOWNLOADS, read_table
from pipeline.base.project import Project
from pipeline.datasets.dataset import PublishedTestSet, load


@dataclass(frozen=True)
class Coverage:
    """How much of a published test set is on this machine."""

    dataset: str
    test_set: str
    used_by: str
    num_clips: int
    num_requested: int | None  # its clips in the list of clips; None: its clips are not known
    num_ok: int | None  # its clips on disk; None: its clips are not known
    percent_low: float  # `num_ok` of `num_clips`, or a lower bound where that is not known
    percent_high: float
    note: str

    @property
    def percent(self) -> float | None:
        """Percent of the set's clips on disk; None where only bounds are known."""
        return self.percent_low if self.num_ok is not None else None


def find_coverage(
    test_sets: Iterable[PublishedTestSet],
    *,
    dataset: str,
    clip_ids: Iterable[str],
    ok_clip_ids: Iterable[str],
) -> list[Coverage]:
    """Compare the clips of a dataset with each published test set.

    Args:
        test_sets: Those of the dataset.
        dataset: Name of the dataset, for the findings.
        clip_ids: Clips in the list of clips.
        ok_clip_ids: Clips on disk.

    Returns:
        One ``Coverage`` a test set, in their order.
    """
    test_sets = list(test_sets)
    requested, ok = set(clip_ids), set(ok_clip_ids)

    # Sets whose list is not here are parts of the largest set that has one.
    known = [test_set for test_set in test_sets if test_set.clip_ids is not None]
    largest = max(known, key=lambda test_set: test_set.num_clips, default=None)

    return [
        _compare(test_set, dataset, requested, ok)
        if test_set.clip_ids is not None
        else _bound(test_set, dataset, largest, ok)
        for test_set in test_sets
    ]


def _compare(
    test_set: PublishedTestSet, dataset: str, requested: Collection[str], ok: Collection[str]
) -> Coverage:
    """Count the clips of a set whose list is on this machine."""
    assert test_set.clip_ids is not None
    size = test_set.num_clips
    num_requested = len(test_set.clip_ids.intersection(requested))
    num_ok = len(test_set.clip_ids.intersection(ok))

    # Parameters such as `splits` and `limit` leave clips out, which then cannot be on disk.
    num_others = size - num_requested
    note = f"{num_others} of its clips are in no selected split" if num_others else ""
    percent = 100.0 * num_ok / size
    # Both bounds are the same, because the clips are known.
    return Coverage(
        dataset,
        test_set.name,
        test_set.used_by,
        size,
        num_requested,
        num_ok,
        percent,
        percent,
        note,
    )


def _bound(
    test_set: PublishedTestSet, dataset: str, largest: PublishedTestSet | None, ok: Collection[str]
) -> Coverage:
    """Give bounds for a set whose clips are not known.

    Such a set is a part of the largest known one. Of the clips on disk, at most as many can lie
    outside of it as the largest set has more.
    """
    size = test_set.num_clips
    note = "its list is not on this machine"

    low, high = 0.0, 100.0
    if largest is not None and largest.clip_ids is not None:
        num_ok = len(largest.clip_ids.intersection(ok))
        # At worst, all clips that the smaller set lacks are among those on disk.
        low = 100.0 * max(num_ok - (largest.num_clips - size), 0) / size
        high = 100.0 * min(num_ok, size) / size
        note = f"{note}: bounds from {largest.name}"
    return Coverage(dataset, test_set.name, test_set.used_by, size, None, None, low, high, note)


def audit_coverage(project: Project, dataset: str) -> list[Coverage]:
    """Measure the coverage of one dataset of a checkout, from its tables.

    Before the first download nothing is on disk.

    Args:
        project: The checkout.
        dataset: Name of the dataset.

    Returns:
        One ``Coverage`` a published test set; an empty list for a dataset without such sets.
    """
    about = load(dataset)
    if about.find_published_test_sets is None:
        return []

    parameters = project.parameters(about.parameters, f"sources.{dataset}")

    clips = read_table(project.clips_table_path(dataset), CLIPS, columns=["clip_id"])

    # The dataset reads the lists that are on this machine. It fetches none. A folder that is gone
    # must not stop the report at the end of all work.
    try:
        test_sets = about.find_published_test_sets(
            parameters, cache_dir=project.sources_dir(dataset)
        )
    except DataError as error:
        print(f"{dataset}: no coverage of published test sets: {error}", file=sys.stderr)
        return []
    return find_coverage(
        test_sets,
        dataset=dataset,
        clip_ids=clips.column("clip_id").to_pylist(),
        ok_clip_ids=_read_ok_clips(project, dataset),
    )


def _read_ok_clips(project: Project, dataset: str) -> list[str]:
    path = project.downloads_table_path(dataset)
    if not path.exists():
        return []
    downloads = read_table(path, DOWNLOADS, columns=["clip_id", "status"]).to_pydict()
    rows = zip(downloads["clip_id"], downloads["status"], strict=True)
    return [clip_id for clip_id, status in rows if status == "ok"]


def describe_coverages(coverages: Iterable[Coverage]) -> list[dict[str, str]]:
    """Turn coverages into sentences for a report.

    Returns:
        ``title`` and ``text`` of each coverage.
    """
    notes = []
    for coverage in coverages:
        percent = f"{coverage.percent_low:.1f} %"
        # Without the list of its clips, a set has bounds instead of one number.
        if coverage.percent is None:
            percent = f"{percent} to {coverage.percent_high:.1f} %"

        note = f" ({coverage.note})" if coverage.note else ""
        text = (
            f"{percent} of the {coverage.num_clips:,} clips that {coverage.used_by} report on are "
            f"here{note}."
        )
        notes.append({"title": f"Coverage of {coverage.test_set}:", "text": text})
    return notes
