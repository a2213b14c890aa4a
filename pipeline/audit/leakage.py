"""Find clips and videos that a training split shares with a test split.

Overlap is counted by clip (the same seconds, or the same bytes under another id) and by video
(any seconds of the same upload). Test sets of still pictures are compared with the training splits
of the dataset that they are made from.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from earshot.errors import ParameterError, RunError
from earshot.tables import CLIPS, DOWNLOADS, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.base.table_filters import number_values
from pipeline.datasets.dataset import check_test_splits, find_own_tables, load
from pipeline.lists.origins import find_made_from, find_video, is_clip, read_origins

Role = Literal["train", "val", "test"]
# The test set of every clip, as in ``eval.published.test_sets.find_subset_ids``.
_ALL = "all"
_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class AuditParameters:
    """Section ``audit`` of params.yaml."""

    allow_leakage: bool = False  # an overlap of training and test splits is no error


@dataclass(frozen=True)
class Overlap:
    """What a training and a test split of a dataset share."""

    dataset: str
    train_split: str
    test_split: str
    num_test_clips: int
    num_shared_clips: int  # test clips that are training clips, or have the bytes of one
    num_shared_video_clips: int  # test clips whose video has a training clip; includes the former
    examples: tuple[str, ...]  # some of their clip ids, sorted
    num_unknown_clips: int = 0  # test clips whose list does not say what they are made from
    # The training split is of another dataset, and its name is ``dataset/split``.
    is_foreign: bool = False

    @property
    def is_leakage(self) -> bool:
        """Whether training sees anything of the test clips' videos."""
        return self.num_shared_video_clips > 0


def role_of(split: str, *, test_splits: Collection[str] = ()) -> Role:
    """Return the role of a split, from its name.

    Args:
        split: Name of the split.
        test_splits: Test splits whose names do not say so (``Dataset.test_splits``).
    """
    # Whole words, because `latest` and `contest` are no tests.
    words = set(split.lower().split("_"))
    if "test" in words or split in test_splits:
        return "test"
    return "val" if {"val", "validation"} & words else "train"


def splits_of_role(clips: pa.Table, role: Role, *, test_splits: Collection[str] = ()) -> list[str]:
    """Return the splits of a CLIPS table that have this role (see ``role_of``)."""
    return [name for name in split_members(clips) if role_of(name, test_splits=test_splits) == role]


def find_overlaps(
    clips: pa.Table,
    *,
    dataset: str,
    train_splits: Sequence[str],
    test_splits: Sequence[str],
    sha256_of: Mapping[str, str] | None = None,
) -> list[Overlap]:
    """Compare every training split with every test split.

    Args:
        clips: CLIPS rows. A split that no row names is empty; ``all`` is every clip.
        dataset: Name of the dataset, for the findings.
        train_splits: Names of training splits.
        test_splits: Names of test splits.
        sha256_of: Clip id -> hash of its file, where it is known. Without it, clips with the same
            bytes under two ids are two clips.

    Returns:
        One ``Overlap`` a pair, also where nothing is shared.
    """
    members = _find_members(clips)
    nothing = np.empty(0, np.int64)

    # Give each video, and each distinct content, a number.
    clip_ids = np.asarray(clips.column("clip_id").to_pylist(), dtype=object)
    video_codes = number_values(clips["video_id"])
    # A clip without a known hash has a content of its own.
    contents = [(sha256_of or {}).get(one) or f"only {row}" for row, one in enumerate(clip_ids)]
    content_codes = number_values(pa.chunked_array([contents], pa.string()))

    overlaps = []
    for train_split in train_splits:
        train_rows = members.get(train_split, nothing)
        # Tables by number, so that a test split is looked up at once.
        is_train_content = np.zeros(clips.num_rows + 1, bool)
        is_train_content[content_codes[train_rows]] = True

        is_train_video = np.zeros(clips.num_rows + 1, bool)
        is_train_video[video_codes[train_rows]] = True

        for test_split in test_splits:
            test_rows = members.get(test_split, nothing)
            # The same clip, or its bytes under another id.
            is_shared = is_train_content[content_codes[test_rows]]
            shared = test_rows[is_shared]
            shared_videos = test_rows[is_shared | is_train_video[video_codes[test_rows]]]

            # Shared clips are the stronger examples. Name clips of shared videos only without them.
            named = sorted(clip_ids[shared if len(shared) else shared_videos].tolist())
            overlaps.append(
                Overlap(
                    dataset,
                    train_split,
                    test_split,
                    num_test_clips=len(test_rows),
                    num_shared_clips=len(shared),
                    num_shared_video_clips=len(shared_videos),
                    examples=tuple(named[:_NUM_EXAMPLES]),
                )
            )
    return overlaps


def split_members(clips: pa.Table) -> dict[str, np.ndarray]:
    """Return for each split the row numbers of its clips, sorted."""
    splits = clips.column("splits").combine_chunks()
    names = splits.flatten().dictionary_encode()
    # One entry for each name in each list: the name's code and the row of its list.
    rows = splits.value_parent_indices().to_numpy(zero_copy_only=False)
    codes = names.indices.to_numpy(zero_copy_only=False)
    return {
        name: np.sort(rows[codes == code]) for code, name in enumerate(names.dictionary.to_pylist())
    }


def _find_members(clips: pa.Table) -> dict[str, np.ndarray]:
    """Return the row numbers of each split, and of the test set of every clip."""
    return {_ALL: np.arange(clips.num_rows)} | split_members(clips)


def check_leakage(overlaps: Iterable[Overlap], parameters: AuditParameters) -> None:
    """Fail on leakage unless the parameters allow it.

    Args:
        overlaps: Of ``find_overlaps``.
        parameters: Section ``audit`` of params.yaml.

    Raises:
        RunError: Names the worst overlap.
    """
    leaks = [overlap for overlap in overlaps if overlap.is_leakage]
    if not leaks or parameters.allow_leakage:
        return

    # Training on the test clip itself is worse than on another part of its video.
    worst = max(
        leaks, key=lambda overlap: (overlap.num_shared_clips, overlap.num_shared_video_clips)
    )
    raise RunError(
        f"{worst.dataset}: training split {worst.train_split} has {worst.num_shared_clips} of the "
        f"{worst.num_test_clips} clips of test split {worst.test_split} and parts of the videos "
        f"of {worst.num_shared_video_clips}, for example {', '.join(worst.examples)}; "
        "choose other splits, or set audit.allow_leakage to true and say so beside the results"
    )


def audit_leakage(
    project: Project,
    dataset: str,
    *,
    train_splits: Sequence[str] | None = None,
    test_splits: Sequence[str] | None = None,
) -> list[Overlap]:
    """Find the overlaps of one dataset of a checkout, from its tables.

    Args:
        project: The checkout.
        dataset: Name of the dataset.
        train_splits: None takes the splits whose names say that they are for training.
        test_splits: None takes the dataset's test splits.

    Returns:
        One ``Overlap`` for each pair of a training and a test split.
    """
    clips = read_table(project.clips_table_path(dataset), CLIPS)
    known_test_splits = load(dataset).test_splits
    chosen = train_splits

    # A split's name says its role. The dataset adds test splits whose names do not.
    if train_splits is None:
        train_splits = splits_of_role(clips, "train", test_splits=known_test_splits)
    if test_splits is None:
        test_splits = splits_of_role(clips, "test", test_splits=known_test_splits)

    overlaps = find_overlaps(
        clips,
        dataset=dataset,
        train_splits=train_splits,
        test_splits=test_splits,
        sha256_of=_read_hashes(project, dataset),
    )
    return overlaps + _audit_origins(project, dataset, clips, chosen, test_splits)


def _audit_origins(
    project: Project,
    dataset: str,
    clips: pa.Table,
    train_splits: Sequence[str] | None,
    test_splits: Sequence[str],
) -> list[Overlap]:
    """Compare test clips that are made from clips of another dataset with its training splits."""
    source = load(dataset).made_from
    if source is None or source not in project.datasets:
        return []
    path = project.clips_table_path(source)
    if not path.exists():
        return []

    origins = read_origins(read_table(project.samples_table_path(dataset), SAMPLES))
    train_clips = read_table(path, CLIPS)
    train_ids = np.asarray(train_clips.column("clip_id").to_pylist(), dtype=object)
    train_members = split_members(train_clips)

    clip_ids = clips.column("clip_id").to_pylist()
    members = _find_members(clips)
    overlaps = []
    if train_splits is None:
        known_test_splits = load(source).test_splits
        train_splits = splits_of_role(train_clips, "train", test_splits=known_test_splits)
    for train_split in (name for name in train_splits if name in train_members):
        ids = set(train_ids[train_members[train_split]])
        for test_split in test_splits:
            rows = members.get(test_split, ())
            tested = {clip_ids[row]: origins[clip_ids[row]] for row in rows}
            overlaps.append(
                _compare_origins(tested, ids, dataset, f"{source}/{train_split}", test_split)
            )
    return overlaps


def _compare_origins(
    tested: Mapping[str, Sequence[str]],
    train_ids: Collection[str],
    dataset: str,
    train_split: str,
    test_split: str,
) -> Overlap:
    only_clips = {name: [word for word in words if is_clip(word)] for name, words in tested.items()}
    only_videos = {name: [find_video(word) for word in words] for name, words in tested.items()}
    shared = find_made_from(only_clips, train_ids)
    shared_videos = find_made_from(only_videos, train_ids)
    return Overlap(
        dataset,
        train_split,
        test_split,
        num_test_clips=len(tested),
        num_shared_clips=len(shared),
        num_shared_video_clips=len(shared_videos),
        examples=tuple(sorted(shared or shared_videos)[:_NUM_EXAMPLES]),
        num_unknown_clips=sum(not words for words in tested.values()),
        is_foreign=True,
    )


def read_test_splits(project: Project, dataset: str) -> list[str]:
    """Read which splits of a dataset are its test sets.

    Args:
        project: The checkout.
        dataset: Name of the dataset.

    Returns:
        The names in ``evaluate.subsets`` of params.yaml.

    Raises:
        ParameterError: One of them is no split of the dataset. An empty split shares no clip with
            any other, which would look as if nothing leaked.
    """
    test_splits = check_test_splits(
        project.section("evaluate.subsets"), own_tables=find_own_tables(project.params)
    )
    chosen = test_splits.get(dataset, [])

    clips = read_table(project.clips_table_path(dataset), CLIPS, columns=["splits"])
    known = sorted(split_members(clips))
    # No clip names the split `all`, but it is a test set: every clip.
    unknown = [name for name in chosen if name not in (*known, _ALL)]
    if unknown:
        raise ParameterError(
            f"params: evaluate.subsets.{dataset} has {unknown[0]!r}, which no clip is in; splits "
            f"of the clips: {', '.join(known) or 'none'}"
        )
    return chosen


def _read_hashes(project: Project, dataset: str) -> dict[str, str]:
    """Return the hash of each clip that is on disk; none before the first download."""
    path = project.downloads_table_path(dataset)
    if not path.exists():
        return {}
    columns = ["clip_id", "status", "sha256"]
    downloads = read_table(path, DOWNLOADS, columns=columns).to_pydict()
    rows = zip(*(downloads[name] for name in columns), strict=True)
    return {clip_id: sha256 for clip_id, status, sha256 in rows if status == "ok"}


def _explain(overlap: Overlap) -> str:
    notes = {
        one.origin_note
        for one in load(overlap.dataset).test_sets
        if one.split == overlap.test_split and one.origin_note
    }
    return "".join(f", since {note}" for note in notes)


def describe_overlaps(overlaps: Iterable[Overlap]) -> list[dict[str, str]]:
    """Turn overlaps into sentences for a report.

    Returns:
        ``title`` and ``text`` of each overlap.
    """
    notes = []
    for overlap in overlaps:
        pair = f"{overlap.train_split} and {overlap.test_split}"

        if overlap.is_leakage:
            title = f"Leakage between {pair} ({overlap.dataset}):"
            text = (
                f"{overlap.num_shared_clips:,} of {overlap.num_test_clips:,} test clips are "
                f"{'made from ' if overlap.is_foreign else ''}training clips; "
                f"of {overlap.num_shared_video_clips:,} the video has a training clip."
            )
        else:
            title = f"No overlap of {pair} ({overlap.dataset}):"
            text = (
                f"none of {overlap.num_test_clips:,} test clips, nor another part of their videos, "
                "is in training."
            )

        # What is not known must not look like a clean test set.
        if overlap.num_unknown_clips:
            unknown = (
                f"of {overlap.num_unknown_clips:,} of {overlap.num_test_clips:,} test clips it is "
                f"not known{_explain(overlap)}."
            )
            text = f"{text} But {unknown}" if overlap.is_leakage else unknown
            title = title if overlap.is_leakage else f"Overlap of {pair} ({overlap.dataset}):"

        notes.append({"title": title, "text": text})
    return notes
