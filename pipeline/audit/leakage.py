"""Two questions that make results comparable or not: does training see test clips, and how much of a test set is there?

Overlap is counted by clip (the same seconds, or the same bytes under another id) and by video (any seconds of the same
upload). Coverage compares with
the test sets of the literature, which differ in size (``PublishedTestSet``); where only the size of one is known,
what can be said are bounds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from earshot.errors import RunError
from earshot.tables import CLIPS, DOWNLOADS, read_table
from pipeline import datasets
from pipeline.base.project import Project
from pipeline.lists.published_lists import PublishedTestSet

_TEST_SUBSETS = frozenset({"single", "traffic"})  # of the rendered dataset
_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class AuditParameters:
    """Section ``audit``. ``allow_leakage``: overlap of training and test splits is no error."""

    allow_leakage: bool = False


@dataclass(frozen=True)
class Overlap:
    """What a training and a test split of a dataset share.

    ``num_shared_clips``: test clips that are training clips, or have the bytes of one. ``num_shared_video_clips``: test
    clips whose video has a training clip, whatever its seconds (these include the former). ``examples``: some clip ids,
    sorted.
    """

    dataset: str
    train_split: str
    test_split: str
    num_test_clips: int
    num_shared_clips: int
    num_shared_video_clips: int
    examples: tuple[str, ...]

    @property
    def is_leakage(self) -> bool:
        return self.num_shared_video_clips > 0


@dataclass(frozen=True)
class Coverage:
    """How much of a published test set is there.

    ``num_requested`` and ``num_ok`` count its clips in the list and on disk, None when nobody published which clips it
    has; ``percent`` is ``num_ok`` of ``num_clips``, or else the range between ``percent_low`` and ``percent_high``.
    """

    dataset: str
    test_set: str
    used_by: str
    num_clips: int
    num_requested: int | None
    num_ok: int | None
    percent_low: float
    percent_high: float
    note: str

    @property
    def percent(self) -> float | None:
        return self.percent_low if self.num_ok is not None else None


def role_of(split: str) -> str:
    """``train``, ``val`` or ``test``, by the split's name."""
    words = split.lower().split("_")
    if "test" in words or split in _TEST_SUBSETS:
        return "test"
    return "val" if {"val", "validation"} & set(words) else "train"


def find_overlaps(
    clips: pa.Table,
    *,
    dataset: str,
    train_splits: Sequence[str] | None = None,
    test_splits: Sequence[str] | None = None,
    sha256_of: Mapping[str, str] | None = None,
) -> list[Overlap]:
    """Every pair of a training and a test split of ``clips`` (CLIPS rows).

    None takes the splits whose names say so (``role_of``). A split that the table does not have is empty.
    ``sha256_of``: clip id to the hash of its file, where it is known.
    """
    members = split_members(clips)
    if train_splits is None:
        train_splits = [name for name in members if role_of(name) == "train"]
    if test_splits is None:
        test_splits = [name for name in members if role_of(name) == "test"]
    clip_ids = np.asarray(clips.column("clip_id").to_pylist(), dtype=object)
    _, video_codes = np.unique(
        np.asarray(clips.column("video_id").to_pylist(), dtype=str), return_inverse=True
    )
    contents = [
        (sha256_of or {}).get(clip_id) or f"only {row}" for row, clip_id in enumerate(clip_ids)
    ]
    _, content_codes = np.unique(np.asarray(contents, dtype=str), return_inverse=True)
    nobody = np.empty(0, np.int64)
    overlaps = []
    for train_split in train_splits:
        train_rows = members.get(train_split, nobody)
        is_train = np.zeros(clips.num_rows + 1, bool)
        is_train[content_codes[train_rows]] = True
        is_train_video = np.zeros(clips.num_rows + 1, bool)
        is_train_video[video_codes[train_rows]] = True
        for test_split in test_splits:
            test_rows = members.get(test_split, nobody)
            is_shared = is_train[content_codes[test_rows]]
            shared = test_rows[is_shared]
            shared_videos = test_rows[is_shared | is_train_video[video_codes[test_rows]]]
            examples = sorted(clip_ids[shared if len(shared) else shared_videos].tolist())[
                :_NUM_EXAMPLES
            ]
            counts = (len(test_rows), len(shared), len(shared_videos))
            overlaps.append(Overlap(dataset, train_split, test_split, *counts, tuple(examples)))
    return overlaps


def split_members(clips: pa.Table) -> dict[str, np.ndarray]:
    """Split -> row numbers of its clips."""
    splits = clips.column("splits").combine_chunks()
    names = splits.flatten().dictionary_encode()
    rows = splits.value_parent_indices().to_numpy(zero_copy_only=False)
    codes = names.indices.to_numpy(zero_copy_only=False)
    return {
        name: np.sort(rows[codes == code]) for code, name in enumerate(names.dictionary.to_pylist())
    }


def check_leakage(overlaps: Iterable[Overlap], parameters: AuditParameters) -> None:
    """Raise ``RunError`` for the worst overlap unless the parameters allow it."""
    leaks = [overlap for overlap in overlaps if overlap.is_leakage]
    if not leaks or parameters.allow_leakage:
        return
    worst = max(
        leaks, key=lambda overlap: (overlap.num_shared_clips, overlap.num_shared_video_clips)
    )
    raise RunError(
        f"{worst.dataset}: training split {worst.train_split} has {worst.num_shared_clips} of the "
        f"{worst.num_test_clips} clips of test split {worst.test_split} (videos of {worst.num_shared_video_clips}), "
        f"for example {', '.join(worst.examples)}; choose other splits, or set audit.allow_leakage to true and say so "
        "beside the results"
    )


def find_coverage(
    test_sets: Iterable[PublishedTestSet],
    *,
    dataset: str,
    clip_ids: Iterable[str],
    ok_clip_ids: Iterable[str],
) -> list[Coverage]:
    """How much of each published test set is requested (``clip_ids``) and on disk (``ok_clip_ids``).

    A set whose clips are unknown is a part of the largest known one: of that, at most as many are outside as it has
    more.
    """
    test_sets = list(test_sets)
    requested, ok = set(clip_ids), set(ok_clip_ids)
    whole = max(
        (s for s in test_sets if s.clip_ids is not None), key=lambda s: s.num_clips, default=None
    )
    rows = []
    for test_set in test_sets:
        size = test_set.num_clips
        if test_set.clip_ids is not None:
            num_ok = len(test_set.clip_ids & ok)
            num_requested = len(test_set.clip_ids & requested)
            percent = 100.0 * num_ok / size
            note = (
                ""
                if num_requested == size
                else f"{size - num_requested} of its clips are in no selected split"
            )
            rows.append(
                Coverage(
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
            )
            continue
        low, high, note = 0.0, 100.0, "its list of clips was never published"
        if whole is not None:
            num_ok = len(whole.clip_ids & ok)
            low = 100.0 * max(num_ok - (whole.num_clips - size), 0) / size
            high = 100.0 * min(num_ok, size) / size
            note = f"its list of clips was never published: bounds from {whole.name}"
        elif test_set.name in ("vggss_test", "flickr_test"):
            note = "its list is not on this machine"
        rows.append(
            Coverage(dataset, test_set.name, test_set.used_by, size, None, None, low, high, note)
        )
    return rows


def audit_dataset(
    project: Project,
    dataset: str,
    *,
    train_splits: Sequence[str] | None = None,
    test_splits: Sequence[str] | None = None,
) -> tuple[list[Overlap], list[Coverage]]:
    """Both audits of one dataset of a checkout, from its tables. Before any download nothing is ok."""
    clips = read_table(project.clips_table_path(dataset), CLIPS)
    sha256_of = {}  # of the clips that are there
    if project.downloads_table_path(dataset).exists():
        columns = ["clip_id", "status", "sha256"]
        downloads = read_table(
            project.downloads_table_path(dataset), DOWNLOADS, columns=columns
        ).to_pydict()
        rows = zip(*(downloads[name] for name in columns), strict=True)
        sha256_of = {clip_id: sha256 for clip_id, status, sha256 in rows if status == "ok"}
    overlaps = find_overlaps(
        clips,
        dataset=dataset,
        train_splits=train_splits,
        test_splits=test_splits,
        sha256_of=sha256_of,
    )
    module = datasets.load(dataset)
    if not hasattr(module, "published_test_sets"):
        return overlaps, []
    parameters = project.parameters(module.Parameters, f"sources.{dataset}")
    coverages = find_coverage(
        module.published_test_sets(parameters, cache_dir=project.dataset_cache_dir(dataset)),
        dataset=dataset,
        clip_ids=clips.column("clip_id").to_pylist(),
        ok_clip_ids=sha256_of,
    )
    return overlaps, coverages


def describe_audits(
    overlaps: Iterable[Overlap], coverages: Iterable[Coverage]
) -> list[dict[str, str]]:
    """``title`` and ``text`` of each finding, for a report."""
    notes = []
    for overlap in overlaps:
        pair = f"{overlap.train_split} and {overlap.test_split}"
        if overlap.is_leakage:
            text = (
                f"{overlap.num_shared_clips:,} of {overlap.num_test_clips:,} test clips are training clips; of "
                f"{overlap.num_shared_video_clips:,} the video has a training clip."
            )
            notes.append({"title": f"Leakage between {pair} ({overlap.dataset}):", "text": text})
        else:
            text = f"none of {overlap.num_test_clips:,} test clips, nor another part of their videos, is in training."
            notes.append({"title": f"No overlap of {pair} ({overlap.dataset}):", "text": text})
    for coverage in coverages:
        percent = f"{coverage.percent_low:.1f} %"
        if coverage.percent is None:
            percent = f"{percent} to {coverage.percent_high:.1f} %"
        note = f" ({coverage.note})" if coverage.note else ""
        text = f"{percent} of the {coverage.num_clips:,} clips that {coverage.used_by} report on are here{note}."
        notes.append({"title": f"Coverage of {coverage.test_set}:", "text": text})
    return notes
