"""Which clips the dataset ``sample`` has: a list of entries that follows from the parameters."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.sample.scenes import Scene, make_scene
from pipeline.datasets.sample.sprites import aspect_of
from pipeline.lists.selection import Selection

VERSION = 2  # raise it when the same parameters give other pixels or other sound
BROKEN = ("removed", "truncated", "no_audio", "no_video", "too_short", "duplicate")
TOO_SHORT_SECONDS = 0.4


@dataclass(frozen=True)
class Parameters(Selection):
    """Section ``sources.sample`` of params.yaml: how much is rendered, and from which seed."""

    seed: int = 0
    num_train: int = 800
    num_val: int = 60
    num_single: int = 120  # test clips with one object
    num_traffic: int = 120  # test clips of a street
    # Clips of each kind in the split `final`. Nobody looked at scores on them while the scenes and
    # the small settings were made, so they decide what is claimed.
    num_final: int = 120
    num_broken: int = 1  # of each kind in `BROKEN`, in the train split besides `num_train`
    traffic_fraction: float = 0.5  # of the train and val clips; the others show one object
    num_places: int = 48  # backdrops of train and val; test and final have as many of their own
    duration_seconds: float = 4.0
    fps: int = 16
    num_workers: int | None = None  # processes that render; null: one a core

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("num_train", "num_val", "num_single", "num_traffic", "num_final", "num_broken")
        for name in names:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")

        if self.num_places < 1:
            raise ValueError(f"num_places is {self.num_places}, expected 1 or more")
        if not 0 <= self.traffic_fraction <= 1:
            raise ValueError(f"traffic_fraction is {self.traffic_fraction}, expected 0 to 1")

        if not 1 <= self.duration_seconds <= 600:
            raise ValueError(f"duration_seconds is {self.duration_seconds}, expected 1 to 600")
        if not 8 <= self.fps <= 60:
            raise ValueError(f"fps is {self.fps}, expected 8 to 60")
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(
                f"num_workers is {self.num_workers}, expected 1 or more, or null for one a core"
            )


@dataclass(frozen=True)
class Entry:
    """One line of the dataset's list."""

    clip_id: str
    splits: tuple[str, ...]
    scene: Scene
    defect: str | None = None  # one of `BROKEN`; None: nothing is wrong with the clip


def list_entries(parameters: Parameters) -> list[Entry]:
    """List all clips in order; each scene follows from the seed and its clip id alone."""
    entries = []
    for splits, kind, number in (
        (("train",), None, parameters.num_train),
        (("val",), None, parameters.num_val),
        (("test", "single"), "single", parameters.num_single),
        (("test", "traffic"), "traffic", parameters.num_traffic),
        (("final", "final_single"), "single", parameters.num_final),
        (("final", "final_traffic"), "traffic", parameters.num_final),
    ):
        for index in range(number):
            clip_id = f"{splits[-1]}_{index:04d}"
            kind_of_clip = kind or _mixed_kind(index, parameters.traffic_fraction)
            scene = _make_scene(clip_id, kind_of_clip, splits, parameters)
            entries.append(Entry(clip_id, splits, scene))

    # Last, because a duplicate looks up its original among the entries before it.
    for defect in BROKEN:
        for index in range(parameters.num_broken):
            entries.append(_make_broken(defect, index, entries, parameters))
    return entries


def _mixed_kind(index: int, traffic_fraction: float) -> str:
    """Interleave the two kinds evenly: any part of a list has both in proportion."""
    # A clip is of traffic where the running total passes a whole number.
    is_traffic = int((index + 1) * traffic_fraction) > int(index * traffic_fraction)
    return "traffic" if is_traffic else "single"


def _make_broken(defect: str, index: int, entries: list[Entry], parameters: Parameters) -> Entry:
    clip_id, kind = f"{defect}_{index:04d}", "single"
    if parameters.traffic_fraction == 1:
        kind = "traffic"

    # A duplicate is a train clip that was uploaded under another name: the same bytes.
    original_id = clip_id
    if defect == "duplicate":
        # Without train clips there is no original, and the clip is one of its own.
        original_id = f"train_{index % max(1, parameters.num_train):04d}"
        if parameters.num_train:
            # The kind enters the seed. With another one the bytes would differ.
            kind = entries[index % parameters.num_train].scene.kind

    scene = _make_scene(original_id, kind, ("train",), parameters)
    return Entry(clip_id, ("train",), scene, defect)


def _make_scene(clip_id: str, kind: str, splits: tuple[str, ...], parameters: Parameters) -> Scene:
    # Each clip has its own generator, so adding clips leaves all other scenes unchanged.
    rng = np.random.default_rng(_seed_of(parameters.seed, clip_id, kind))
    # Test clips show places that training never saw, and final ones others again.
    world = splits[0] if splits[0] in ("test", "final") else "train"
    place_seed = _seed_of(parameters.seed, world, int(rng.integers(parameters.num_places)))
    return make_scene(
        kind,
        time_seconds=parameters.duration_seconds / 2,
        place_seed=place_seed,
        rng=rng,
        aspect_of=aspect_of,
        has_look_alike="train" not in splits,
    )


def _seed_of(*names: str | int) -> int:
    # As JSON, so that two neighbouring names cannot be mistaken for one.
    return int.from_bytes(hashlib.sha256(json.dumps(names).encode()).digest()[:8], "big")


def file_name(entry: Entry, parameters: Parameters) -> str:
    """Return the name of an entry's media file: its clip id and a key of its content.

    The key covers everything that determines the content. A changed parameter therefore changes
    the URL, and an old file is never taken for a new one.
    """
    content = (VERSION, entry.scene, entry.defect, parameters.duration_seconds, parameters.fps)
    return f"{entry.clip_id}-{hashlib.sha256(repr(content).encode()).hexdigest()[:8]}.mp4"
