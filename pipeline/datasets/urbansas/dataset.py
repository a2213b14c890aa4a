"""The ``urbansas`` dataset: street scenes with boxes of sounding vehicles; FlowGrad's evaluation frames.

A release (``pipeline/datasets/urbansas/release.py``) is a folder that the user has (``folder``), or the archives of the Zenodo
record, fetched into ``cache/urbansas/release``. Picture and sound of a clip are separate files there; they are joined
without loss into ``cache/urbansas/remote/<id>.mkv``.

Samples of ``urbansas_test`` follow FlowGrad (Singh et al., ICASSP 2023): audio events labelled ``offscreen`` or with
``non_identifiable_vehicle_sound`` = 1 are dropped; boxes with a negative x, y, w or h or a visibility other than 1
are dropped; a box counts if a remaining event of its file strictly spans its time; each (file, time) with a box is a
sample. ``urbansas_unlabelled``: media without annotations, for training.
"""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from earshot.errors import MediaError
from earshot.files import publish_text
from earshot.tables import CLIPS, SAMPLES
from pipeline.base.progress import Progress
from pipeline.datasets.dataset import Attribute, Dataset, TestSet
from pipeline.datasets.urbansas.release import (
    ClipMedia,
    fetch_release,
    find_media,
    find_release,
    read_audio_annotations,
    read_video_annotations,
)
from pipeline.lists.published_lists import check_selection, log, select
from pipeline.media.mux import SUFFIX, mux
from pipeline.media.reader import MediaInfo, probe

TEST_SPLIT, UNLABELLED_SPLIT = "urbansas_test", "urbansas_unlabelled"
SPLITS = (TEST_SPLIT, UNLABELLED_SPLIT)
PUBLISHED_SIZE = (1280, 720)  # of the annotated videos, where none is there to look at
FLOW_FRAMES_PER_SECOND = 8


@dataclass(frozen=True)
class Parameters:
    """Section ``sources.urbansas``.

    ``folder``: a release on this machine; null fetches the Zenodo record ``record_url`` (9.6 GB). ``archives``:
    patterns of the record's files to fetch. ``video_dirs``: which copy of a video to take, the first that is there.
    ``limit``: at most so many clips of each split. ``unlabelled_every_seconds``: null gives one sample at the centre
    of an unlabelled clip, a number N one in the middle of every N seconds.
    """

    folder: str | None = None
    record_url: str = "https://zenodo.org/api/records/6658386"
    archives: tuple[str, ...] = ("*",)
    keep_archives: bool = False
    video_dirs: tuple[str, ...] = ("video_24fps", "video_8fps", "video_2fps")
    splits: tuple[str, ...] = (TEST_SPLIT,)
    limit: int | None = None
    unlabelled_every_seconds: float | None = None

    def __post_init__(self):
        check_selection(self.splits, SPLITS, self.limit)
        every = self.unlabelled_every_seconds
        if every is not None and not (math.isfinite(every) and every > 0):
            raise ValueError(f"unlabelled_every_seconds is {every}, expected a number > 0 or null")


@dataclass
class _Moment:
    """One sample in the making: what FlowGrad's rules leave of a file at a time; boxes in pixels (x, y, w, h)."""

    clip_id: str
    time_seconds: float
    boxes: list[tuple[float, float, float, float]]
    labels: list[str]
    attributes: dict[str, str]


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """CLIPS and SAMPLES of the selected splits; joins picture and sound of each clip in ``cache_dir/remote``."""
    root = _get_release(parameters, Path(cache_dir))
    media = find_media(root)
    video_rows, audio_rows = read_video_annotations(root), read_audio_annotations(root)
    moments = apply_rules(video_rows, audio_rows)
    labelled = {row["filename"] for row in video_rows} | {row["filename"] for row in audio_rows}
    chosen = {
        TEST_SPLIT: list(dict.fromkeys(moment.clip_id for moment in moments)),
        UNLABELLED_SPLIT: sorted(set(media) - labelled),
    }
    chosen = {split: select(chosen[split], parameters.limit) for split in parameters.splits}
    if UNLABELLED_SPLIT in chosen and not chosen[UNLABELLED_SPLIT]:
        log.warning("%s: holds no media without annotations, %s is empty", root, UNLABELLED_SPLIT)
    clip_rows, sample_rows = [], []
    joined = _Joined(Path(cache_dir) / "remote")
    with Progress(sum(map(len, chosen.values())), "preparing urbansas") as progress:
        for split, clip_ids in chosen.items():
            for clip_id in clip_ids:
                path, info = _prepare(
                    clip_id, media.get(clip_id, ClipMedia()), parameters, joined, root
                )
                clip_rows.append(_clip_row(clip_id, path, split))
                if split == UNLABELLED_SPLIT:
                    sample_rows += _unlabelled_samples(clip_id, info, parameters)
                else:
                    size = (info.width, info.height) if info is not None else PUBLISHED_SIZE
                    own = (moment for moment in moments if moment.clip_id == clip_id)
                    sample_rows += [_test_sample(moment, size) for moment in own]
                progress.update(num_failed=info is None)
    joined.save()
    return (
        pa.Table.from_pylist(clip_rows, schema=CLIPS.columns),
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


def apply_rules(video_rows: list[dict], audio_rows: list[dict]) -> list[_Moment]:
    """FlowGrad's evaluation rules: what is to be localized, in the order of the annotations."""
    events: dict[str, list[tuple[float, float]]] = {}
    for row in audio_rows:
        if row["label"] != "offscreen" and row["non_identifiable_vehicle_sound"] == 0:
            events.setdefault(row["filename"], []).append((row["start"], row["end"]))
    moments: dict[tuple[str, int], _Moment] = {}
    for row in video_rows:
        box, time_seconds = (row["x"], row["y"], row["w"], row["h"]), row["time"]
        if min(box) < 0 or row["visibility"] != 1:
            continue
        # Strictly: at the very beginning or end of an event the sound is not there. Sentinels (-1) span nothing.
        if not any(start < time_seconds < end for start, end in events.get(row["filename"], ())):
            continue
        key = (row["filename"], round(time_seconds * 1000))
        if key not in moments:
            attributes = {name: row[name] for name in ("city", "location_id", "night", "subset")}
            attributes["frame_at_8_fps"] = str(round(time_seconds * FLOW_FRAMES_PER_SECOND))
            moments[key] = _Moment(row["filename"], time_seconds, [], [], attributes)
        moments[key].boxes.append(box)
        moments[key].labels.append(row["label"])
    return list(moments.values())


def _clip_row(clip_id: str, path: Path, split: str) -> dict:
    return {
        "clip_id": clip_id,
        "video_id": clip_id,
        "url": "file://" + quote(os.fsencode(path)),
        "start_seconds": None,
        "end_seconds": None,
        "splits": [split],
    }


def _test_sample(moment: _Moment, size: tuple[int, int]) -> dict:
    width, height = size
    # With it a protocol that rounds pixels gets back the exact numbers of the annotation.
    moment.attributes["annotated_size"] = f"{width}x{height}"
    return {
        "sample_id": f"{moment.clip_id}@{round(moment.time_seconds * 1000):08d}",
        "clip_id": moment.clip_id,
        "time_seconds": moment.time_seconds,
        "splits": [TEST_SPLIT],
        "label": "+".join(sorted(set(moment.labels))),
        "boxes": [
            (x / width, y / height, (x + w) / width, (y + h) / height)
            for x, y, w, h in moment.boxes
        ],
        "box_annotators": [0] * len(moment.boxes),
        "audio_clip_id": None,
        "attributes": list(moment.attributes.items()),
    }


def _unlabelled_samples(
    clip_id: str, info: MediaInfo | None, parameters: Parameters
) -> Iterator[dict]:
    every, duration = (
        parameters.unlabelled_every_seconds,
        info.duration_seconds if info is not None else 0.0,
    )
    times = [None]
    if every is not None and duration >= every:
        times = [
            round((index + 0.5) * every, 6) for index in range(math.floor(duration / every + 1e-9))
        ]
    for time_seconds in times:
        yield {
            "sample_id": clip_id
            if time_seconds is None
            else f"{clip_id}@{round(time_seconds * 1000):08d}",
            "clip_id": clip_id,
            "time_seconds": time_seconds,
            "splits": [UNLABELLED_SPLIT],
            "label": None,
            "boxes": [],
            "box_annotators": [],
            "audio_clip_id": None,
            "attributes": [],
        }


class _Joined:
    """Which joined files were made of which sources, so that they are not made again."""

    def __init__(self, folder: Path):
        self.folder, self._index_path, self._num_new = folder, folder / "sources.json", 0
        try:
            self._made = json.loads(self._index_path.read_text())
        except (FileNotFoundError, ValueError):
            self._made = {}

    def get(self, clip_id: str, video_path: Path, audio_path: Path) -> Path:
        path = self.folder / f"{clip_id}{SUFFIX}"
        facts = [
            [
                str(source).encode("utf-8", "replace").decode(),
                source.stat().st_size,
                source.stat().st_mtime_ns,
            ]
            for source in (video_path, audio_path)
        ]
        if self._made.get(clip_id) != facts or not path.exists():
            mux(video_path, audio_path, path)
            self._made[clip_id] = facts
            self._num_new += 1
            if self._num_new % 100 == 0:
                self.save()
        return path.absolute()

    def save(self) -> None:
        if self._num_new:
            publish_text(self._index_path, json.dumps(self._made, indent=0) + "\n")


def _prepare(
    clip_id: str, media: ClipMedia, parameters: Parameters, joined: _Joined, root: Path
) -> tuple[Path, MediaInfo | None]:
    """The clip's one media file, and what it has (None when it is not to be had: the download stage says why)."""
    if not media.videos:
        return root / parameters.video_dirs[0] / f"{clip_id}.mp4", None
    ranks = {name: rank for rank, name in enumerate(parameters.video_dirs)}
    name = min(media.videos, key=lambda name: (ranks.get(name, len(ranks)), name))
    path = media.videos[name]
    try:
        info = probe(path)
        if media.audio is not None:
            return joined.get(clip_id, path, media.audio), info
    except MediaError as error:
        log.warning("%s: %s", clip_id, error)
        return path, None
    return path, info


DATASET = Dataset(
    name="urbansas",
    parameters=Parameters,
    build_tables=build_tables,
    box_rule="corner_size",
    is_linked=True,
    test_sets=(
        TestSet(
            "urbansas",
            "urbansas",
            TEST_SPLIT,
            5704,
            "FlowGrad's frames of the labelled clips; its n differs by model",
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
