"""The dataset ``urbansas``: street scenes with boxes of sounding vehicles.

A release is a folder that the user has, or the archives of the Zenodo record, which are fetched
into ``cache/urbansas/release``. Picture and sound of a clip are separate files there. They are
joined without loss into ``cache/urbansas/remote/<id>-<key>.mkv``; the key is a hash of both.

The split ``urbansas_test`` holds the frames that FlowGrad evaluates (see ``rules.py``).
``urbansas_unlabelled`` holds media without annotations, for training.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from earshot.errors import MediaError
from earshot.tables import CLIPS, SAMPLES
from pipeline.base.parameters import IS_PATH
from pipeline.base.progress import Progress
from pipeline.datasets.dataset import Attribute, Dataset, Source, TestSet
from pipeline.datasets.urbansas.release import (
    ClipMedia,
    fetch_release,
    find_media,
    find_release,
    read_audio_annotations,
    read_video_annotations,
)
from pipeline.datasets.urbansas.rules import Moment, apply_rules
from pipeline.lists.published_lists import log
from pipeline.lists.record_samples import MIN_EVERY_SECONDS, sample_id_of, times_of
from pipeline.lists.rows import Truth, make_file_clip, make_sample_row
from pipeline.lists.selection import Chooser, Selection, check_splits
from pipeline.media.joined_files import JoinedFiles
from pipeline.media.reader import MediaInfo, probe

TEST_SPLIT, UNLABELLED_SPLIT = "urbansas_test", "urbansas_unlabelled"
SPLITS = (TEST_SPLIT, UNLABELLED_SPLIT)
PUBLISHED_SIZE = (1280, 720)  # of the annotated videos, for a clip whose video is absent


@dataclass(frozen=True)
class Parameters(Selection):
    """Section ``sources.urbansas`` of params.yaml."""

    # A release on this machine; null: fetch the record (9.6 GB).
    folder: str | None = field(default=None, metadata=IS_PATH)
    record_url: str = "https://zenodo.org/api/records/6658386"
    archives: tuple[str, ...] = ("*",)  # patterns of the record's files to fetch
    keep_archives: bool = False  # after they are unpacked
    # Copies of a video by the name of their folder; the first that is there is used.
    video_dirs: tuple[str, ...] = ("video_24fps", "video_8fps", "video_2fps")
    splits: tuple[str, ...] = (TEST_SPLIT,)
    # Of an unlabelled clip: null: one sample at its centre; N: one in the middle of every N seconds
    unlabelled_every_seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_splits(self.splits, SPLITS)
        every = self.unlabelled_every_seconds
        # Ids of samples count milliseconds, so two samples must not share one.
        if every is not None and not every >= MIN_EVERY_SECONDS:
            raise ValueError(
                f"unlabelled_every_seconds is {every}, expected {MIN_EVERY_SECONDS} or more, "
                "or null"
            )

    def find_idle(self) -> dict[str, str]:
        """Return the settings that change nothing beside the others -> why."""
        idle: dict[str, str] = {}
        if self.folder is not None:
            why = "folder is set, so nothing is fetched"
            idle |= dict.fromkeys(("record_url", "archives", "keep_archives"), why)
        if UNLABELLED_SPLIT not in self.splits:
            idle["unlabelled_every_seconds"] = f"splits does not have {UNLABELLED_SPLIT}"
        return idle


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Return CLIPS and SAMPLES of the selected splits.

    Joins picture and sound of each clip in ``cache_dir/remote``.
    """
    root = _get_release(parameters, Path(cache_dir))
    media = find_media(root)
    video_rows, audio_rows = read_video_annotations(root), read_audio_annotations(root)

    # Choose the clips of each split.
    moments = apply_rules(video_rows, audio_rows)
    # A clip whose moments the rules all drop is still labelled.
    labelled = {row["filename"] for row in video_rows} | {row["filename"] for row in audio_rows}
    ids_of_split = {
        TEST_SPLIT: list(dict.fromkeys(moment.clip_id for moment in moments)),
        UNLABELLED_SPLIT: sorted(set(media) - labelled),
    }
    chooser = Chooser(parameters)
    chosen = {split: chooser.choose(ids_of_split[split]) for split in parameters.splits}

    if UNLABELLED_SPLIT in chosen and not chosen[UNLABELLED_SPLIT]:
        log.warning("%s: holds no media without annotations, %s is empty", root, UNLABELLED_SPLIT)

    # Join the files of each clip, then make its row and its samples.
    clip_rows: list[dict] = []
    sample_rows: list[dict] = []
    joined_files = JoinedFiles(Path(cache_dir) / "remote")
    with Progress(sum(map(len, chosen.values())), "preparing urbansas") as progress:
        for split, clip_ids in chosen.items():
            for clip_id in clip_ids:
                clip_media = media.get(clip_id, ClipMedia())
                path, info = _prepare_clip(clip_id, clip_media, parameters, joined_files, root)

                clip_rows.append(make_file_clip(clip_id, path, [split]))
                if split == UNLABELLED_SPLIT:
                    sample_rows += _unlabelled_samples(clip_id, info, parameters)
                else:
                    # All published videos have one size, so it serves where a video is absent.
                    size = (info.width, info.height) if info is not None else PUBLISHED_SIZE
                    own = (moment for moment in moments if moment.clip_id == clip_id)
                    sample_rows += [_test_sample(moment, size) for moment in own]

                progress.update(num_failed=info is None)
    joined_files.save()

    return (
        chooser.finish(pa.Table.from_pylist(clip_rows, schema=CLIPS.columns)),
        pa.Table.from_pylist(sample_rows, schema=SAMPLES.columns),
    )


def _get_release(parameters: Parameters, cache_dir: Path) -> Path:
    if parameters.folder is not None:
        return find_release(parameters.folder)
    return fetch_release(
        parameters.record_url,
        cache_dir / "release",
        archives=parameters.archives,
        keep_archives=parameters.keep_archives,
    )


def _prepare_clip(
    clip_id: str,
    media: ClipMedia,
    parameters: Parameters,
    joined_files: JoinedFiles,
    root: Path,
) -> tuple[Path, MediaInfo | None]:
    """Return the clip's one media file and what it holds.

    The second is None if there is no readable video: the download stage then says why.
    """
    if not media.videos:
        return root / parameters.video_dirs[0] / f"{clip_id}.mp4", None

    # Folders that the parameter names come first, in its order; all others by name.
    ranks = {name: rank for rank, name in enumerate(parameters.video_dirs)}
    best_dir = min(media.videos, key=lambda name: (ranks.get(name, len(ranks)), name))
    path = media.videos[best_dir]

    try:
        info = probe(path)
        if media.audio is not None:
            path = joined_files.make(clip_id, path, media.audio)
    except MediaError as error:
        # Leave the clip in the list. The download stage looks again and records the reason.
        log.warning("%s: %s", clip_id, error)
        return media.videos[best_dir], None
    return path, info


def _test_sample(moment: Moment, size: tuple[int, int]) -> dict:
    width, height = size
    # With the size, a protocol that rounds pixels restores the exact numbers of the annotation.
    attributes = moment.attributes | {"annotated_size": f"{width}x{height}"}

    # Sorted, and each class once: the same classes must give the same label.
    label = "+".join(sorted(set(moment.labels)))
    # From x, y, width and height in pixels to normalized corners.
    boxes = [
        (x / width, y / height, (x + w) / width, (y + h) / height) for x, y, w, h in moment.boxes
    ]
    return make_sample_row(
        sample_id_of(moment.clip_id, moment.time_seconds),
        moment.clip_id,
        time_seconds=moment.time_seconds,
        splits=[TEST_SPLIT],
        truth=Truth.of_one(label, boxes),
        attributes=attributes.items(),
    )


def _unlabelled_samples(
    clip_id: str, info: MediaInfo | None, parameters: Parameters
) -> Iterator[dict]:
    duration = info.duration_seconds if info is not None else None
    for time_seconds in times_of(duration, parameters.unlabelled_every_seconds):
        yield make_sample_row(
            sample_id_of(clip_id, time_seconds),
            clip_id,
            time_seconds=time_seconds,
            splits=[UNLABELLED_SPLIT],
        )


DATASET = Dataset(
    name="urbansas",
    lists_media=True,
    parameters=Parameters,
    build_tables=build_tables,
    box_rule="corner_size",
    find_splits=lambda parameters: parameters.splits,
    is_linked=True,
    release_parameters=("folder",),
    release_gigabytes=9.6,
    test_sets=(
        TestSet(
            "urbansas",
            "urbansas",
            TEST_SPLIT,
            5704,
            "FlowGrad's frames of the labelled clips; its n differs by model",
        ),
    ),
    sources=(
        Source(
            "Urbansas",
            "https://zenodo.org/records/6658386",
            "other places name CC BY 4.0 or a non-commercial licence: what the record says counts",
        ),
    ),
    attributes={
        "city": Attribute(breakdown="city"),
        "location_id": Attribute({None: "location {}"}, breakdown="location"),
        "night": Attribute(
            {"1": "night", "true": "night", "0": "day", "false": "day"},
            breakdown="time_of_day",
            groups={"1": "night", "true": "night", "0": "day", "false": "day"},
        ),
        "frame_at_8_fps": Attribute({None: "frame {} at 8 fps"}),
        "annotated_size": Attribute({None: "annotated at {} px"}),
    },
)
