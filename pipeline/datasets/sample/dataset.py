"""The embedded dataset ``sample``: clips rendered on this machine, so that everything runs without a download.

Rendered files lie in ``cache/sample/remote/``, which plays the part of the internet: the download stage fetches them
through ``file://`` URLs like any other. On purpose the remote also holds what real lists hold: removed, truncated,
mute, picture-less and too short clips, and a duplicate (``BROKEN``). A file's name carries a key of everything that
determines its content, so a changed parameter changes the URL and nothing stale is ever taken for new.

Rendering resumes: what an earlier, perhaps killed, run wrote whole is kept (size and SHA-256 in ``rendered.jsonl``).
"""

import hashlib
import json
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from earshot.errors import DataError
from earshot.files import publish, publish_text, remove_leftovers, sha256_of
from earshot.tables import CLIPS, SAMPLES
from pipeline.base.progress import Progress
from pipeline.datasets.dataset import Attribute, Dataset, TestSet
from pipeline.datasets.sample.rendering import SceneRenderer, encode, render_sound
from pipeline.datasets.sample.scenes import Scene, make_scene
from pipeline.datasets.sample.sprites import aspect_of

VERSION = 2  # of what rendering draws and plays; raise it when the same parameters give other media
BROKEN = ("removed", "truncated", "no_audio", "no_video", "too_short", "duplicate")
_TOO_SHORT_SECONDS = 0.4
_TRUNCATED_FRACTION = 0.4
_LEDGER_NAME = "rendered.jsonl"


@dataclass(frozen=True)
class Parameters:
    """How much is rendered, and from which seed.

    ``num_broken`` entries of each kind in ``BROKEN`` are in the train split, besides the ``num_train`` whole clips.
    ``traffic_fraction`` of the train and val clips are traffic scenes, the others single ones.
    """

    seed: int = 0
    num_train: int = 800
    num_val: int = 60
    num_single: int = 120
    num_traffic: int = 120
    num_broken: int = 1
    traffic_fraction: float = 0.5
    num_places: int = 48  # backdrops of train and val; test has as many of its own
    duration_seconds: float = 4.0
    fps: int = 16
    num_workers: int | None = None  # processes that render; null: one a core

    def __post_init__(self):
        for name in ("num_train", "num_val", "num_single", "num_traffic", "num_broken"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.num_places < 1:
            raise ValueError(f"num_places is {self.num_places}, expected 1 or more")
        if not 0 <= self.traffic_fraction <= 1:
            raise ValueError(f"traffic_fraction is {self.traffic_fraction}, expected 0 to 1")
        if self.duration_seconds < 1:
            raise ValueError(f"duration_seconds is {self.duration_seconds}, expected 1 or more")
        if not 8 <= self.fps <= 60:
            raise ValueError(f"fps is {self.fps}, expected 8 to 60")
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(
                f"num_workers is {self.num_workers}, expected 1 or more, or null for one a core"
            )


@dataclass(frozen=True)
class Entry:
    """One line of the dataset's list: a clip, its scene, and what is wrong with it (None: nothing)."""

    clip_id: str
    splits: tuple[str, ...]
    scene: Scene
    defect: str | None = None


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Render what is not rendered yet into ``cache_dir/remote`` and list it: CLIPS and SAMPLES."""
    remote_dir = Path(cache_dir).resolve() / "remote"
    entries = list_entries(parameters)
    render_all(entries, parameters, remote_dir)
    clips, samples = [], []
    for entry in entries:
        clips.append(
            {
                "clip_id": entry.clip_id,
                "video_id": entry.clip_id,
                "url": (remote_dir / file_name(entry, parameters)).as_uri(),
                "start_seconds": None,
                "end_seconds": None,
                "splits": list(entry.splits),
            }
        )
        samples.append(_sample_row(entry))
    return (
        pa.Table.from_pylist(clips, schema=CLIPS.columns),
        pa.Table.from_pylist(samples, schema=SAMPLES.columns),
    )


def list_entries(parameters: Parameters) -> list[Entry]:
    """All clips of the list in order; each scene follows from (seed, clip id) alone."""
    entries = []
    for split, kind, number in (
        ("train", None, parameters.num_train),
        ("val", None, parameters.num_val),
        ("single", "single", parameters.num_single),
        ("traffic", "traffic", parameters.num_traffic),
    ):
        splits = ("test", split) if kind else (split,)
        for index in range(number):
            clip_id = f"{split}_{index:04d}"
            # Evenly interleaved, so that any part of the list has both kinds in proportion.
            is_traffic = int((index + 1) * parameters.traffic_fraction) > int(
                index * parameters.traffic_fraction
            )
            scene = _scene(
                clip_id, kind or ("traffic" if is_traffic else "single"), splits, parameters
            )
            entries.append(Entry(clip_id, splits, scene))
    for defect in BROKEN:
        for index in range(parameters.num_broken):
            clip_id = f"{defect}_{index:04d}"
            # A duplicate is the upload of a train clip under another name: the same bytes.
            original_id = (
                f"train_{index % max(1, parameters.num_train):04d}"
                if defect == "duplicate"
                else clip_id
            )
            kind = "single" if parameters.traffic_fraction < 1 else "traffic"
            if defect == "duplicate" and parameters.num_train:
                kind = entries[index % parameters.num_train].scene.kind
            entries.append(
                Entry(
                    clip_id, ("train",), _scene(original_id, kind, ("train",), parameters), defect
                )
            )
    return entries


def render_all(entries: list[Entry], parameters: Parameters, remote_dir: Path) -> None:
    """Bring ``remote_dir`` to hold exactly the media of ``entries``; what is whole already is not rendered again."""
    remote_dir.mkdir(parents=True, exist_ok=True)
    remove_leftovers(remote_dir)
    ledger_path = remote_dir / _LEDGER_NAME
    known = _read_ledger(ledger_path)
    wanted = {file_name(entry, parameters): entry for entry in entries if entry.defect != "removed"}
    for path in remote_dir.glob("*.mp4"):
        if path.name not in wanted:
            path.unlink()
    waiting = [
        entry for name, entry in wanted.items() if not _is_whole(remote_dir / name, known.get(name))
    ]
    if not waiting:
        return
    # Written anew before lines are added: a line that a kill cut off must not swallow the next one.
    publish_text(
        ledger_path,
        "".join(_ledger_line(name, *known[name]) for name in sorted(known.keys() & wanted.keys())),
    )
    num_workers = min(len(waiting), parameters.num_workers or os.cpu_count() or 1)
    tasks = [(entry, parameters, remote_dir) for entry in waiting]
    # Spawned, not forked: the caller may hold threads (OpenCV, Arrow) that a fork would leave in pieces.
    with (
        Progress(len(tasks), "rendering sample") as progress,
        open(ledger_path, "a", encoding="utf-8") as ledger,
        multiprocessing.get_context("spawn").Pool(num_workers) as pool,
    ):
        for name, size, digest in pool.imap_unordered(_render_task, tasks, chunksize=4):
            ledger.write(_ledger_line(name, size, digest))
            ledger.flush()
            progress.update()


def render_clip(entry: Entry, parameters: Parameters, path: Path) -> None:
    """Render one clip, with its defect, to ``path`` (atomically)."""
    scene, defect = entry.scene, entry.defect
    duration_seconds = _TOO_SHORT_SECONDS if defect == "too_short" else parameters.duration_seconds
    frames = waveform = None
    if defect != "no_video":
        renderer = SceneRenderer(scene)
        num_frames = round(duration_seconds * parameters.fps)
        frames = (renderer.frame(index / parameters.fps) for index in range(num_frames))
    if defect != "no_audio":
        waveform = render_sound(scene, duration_seconds=duration_seconds)
    with publish(path) as temporary_path:
        encode(temporary_path, frames, waveform, fps=parameters.fps)
        if defect == "truncated":
            os.truncate(temporary_path, int(temporary_path.stat().st_size * _TRUNCATED_FRACTION))


def file_name(entry: Entry, parameters: Parameters) -> str:
    """Name of an entry's file in the remote: clip id and a key of all that determines its content."""
    content = (VERSION, entry.scene, entry.defect, parameters.duration_seconds, parameters.fps)
    return f"{entry.clip_id}-{hashlib.sha256(repr(content).encode()).hexdigest()[:8]}.mp4"


def _render_task(task: tuple[Entry, Parameters, Path]) -> tuple[str, int, str]:
    cv2.setNumThreads(1)  # one process a core already
    entry, parameters, remote_dir = task
    path = remote_dir / file_name(entry, parameters)
    render_clip(entry, parameters, path)
    return path.name, path.stat().st_size, sha256_of(path)


def _ledger_line(name: str, size: int, digest: str) -> str:
    return json.dumps({"file": name, "bytes": size, "sha256": digest}) + "\n"


def _read_ledger(path: Path) -> dict[str, tuple[int, str]]:
    """File name -> (bytes, sha256) of what was rendered; a last line cut off by a kill is ignored."""
    known = {}
    if not path.exists():
        return known
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            known[row["file"]] = (row["bytes"], row["sha256"])
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise DataError(
                    f"{path}:{number}: not a JSON line with file, bytes and sha256; remove the file"
                ) from None
    return known


def _is_whole(path: Path, known: tuple[int, str] | None) -> bool:
    return (
        known is not None
        and path.is_file()
        and path.stat().st_size == known[0]
        and sha256_of(path) == known[1]
    )


def _scene(clip_id: str, kind: str, splits: tuple[str, ...], parameters: Parameters) -> Scene:
    rng = np.random.default_rng(_seed_of(parameters.seed, clip_id, kind))
    world = (
        "test" if "test" in splits else "train"
    )  # test clips are from places that training never saw
    place_seed = _seed_of(parameters.seed, world, int(rng.integers(parameters.num_places)))
    time_seconds = parameters.duration_seconds / 2
    return make_scene(
        kind,
        time_seconds=time_seconds,
        place_seed=place_seed,
        rng=rng,
        aspect_of=aspect_of,
        has_look_alike="train" not in splits,
    )


def _seed_of(*names: str | int) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(names).encode()).digest()[:8], "big")


def _sample_row(entry: Entry) -> dict:
    scene = entry.scene
    time_seconds = scene.time_seconds if entry.defect != "too_short" else _TOO_SHORT_SECONDS / 2
    boxes = SceneRenderer(scene).boxes(time_seconds)
    sources = [actor for actor in scene.actors if actor.is_sounding]
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]
    mean_area = sum(areas) / len(areas)
    return {
        "sample_id": entry.clip_id,
        "clip_id": entry.clip_id,
        "time_seconds": time_seconds,
        "splits": list(entry.splits),
        "label": "+".join(sorted(actor.class_name for actor in sources)),
        "boxes": boxes,
        "box_annotators": [0] * len(boxes),
        "audio_clip_id": None,
        "attributes": [
            ("subset", scene.kind),
            ("source_is_moving", str(all(actor.is_moving for actor in sources)).lower()),
            ("num_objects", str(len(scene.actors))),
            ("num_sounding", str(len(sources))),
            (
                "object_size",
                "small" if mean_area < 0.06 else "medium" if mean_area < 0.12 else "large",
            ),
        ],
    }


DATASET = Dataset(
    name="sample",
    parameters=Parameters,
    build_tables=build_tables,
    box_rule="union",
    test_splits=frozenset({"single", "traffic"}),
    test_sets=(
        TestSet("sample", "sample", "test", 0, "rendered on this machine: both subsets below"),
        TestSet("sample_single", "sample", "single", 0, "one source, still background"),
        TestSet(
            "sample_traffic",
            "sample",
            "traffic",
            0,
            "several objects of which one or two sound, parked look-alikes",
        ),
    ),
    attributes={
        "source_is_moving": Attribute(
            {"true": "the source moves", "false": "the source stands still"},
            breakdown="motion",
            groups={"true": "moving", "false": "still"},
        ),
        "num_objects": Attribute({"1": "1 object", None: "{} objects"}),
        "num_sounding": Attribute({None: "{} sounding"}),
        "object_size": Attribute({None: "{} source by the dataset's measure"}),
    },
)
