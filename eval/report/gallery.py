"""The gallery: which samples to show, and their pictures, maps and sound in few bytes."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earshot.errors import DataError, EarshotError
from eval.entrants.maps import read_maps
from eval.report import sound
from eval.report.facts import describe_facts
from eval.report.inputs import DatasetInputs
from eval.report.markup import encode_base64
from eval.report.score_charts import SampleScores, column_of
from pipeline.features import pictures

_PAGE_BYTES = 13_000_000  # for the gallery of a page that shall stay below 15 MB
_MAX_SAMPLE_BYTES, _MIN_SAMPLE_BYTES = 64_000, 12_000
_QUALITIES = (70, 45, 25, 12)
_SOUND_SECONDS = 3.0
_PEAK = 0.9
_ROLES = ("best", "worst", "median")


@dataclass(frozen=True)
class MapFile:
    """Maps of one model by sample: ``maps[row_of[sample_id]]`` is ``(h, w)`` float32."""

    row_of: Mapping[str, int]
    maps: np.ndarray


def load_maps(path: Path) -> MapFile:
    """Read what ``evaluate`` left."""
    sample_ids, maps = read_maps(path)
    return MapFile({sample_id: row for row, sample_id in enumerate(sample_ids)}, maps)


def choose_samples(
    dataset: DatasetInputs,
    scores: SampleScores,
    *,
    models: Sequence[str],
    metric: str,
    num_wanted: int,
) -> dict[str, list[str]]:
    """At most ``num_wanted`` sample ids, each with what it was picked for (``htf: best of single``; may be nothing).

    Of each set of splits and each model the best, worst and median sample, then evenly between, until there are enough.
    A dataset without scores (no ground truth) gives samples spread over those with maps, else over those with frames.
    Ties are broken by id, so that the choice is the same in each run.
    """
    rows = dataset.samples.select(["sample_id", "splits"]).to_pylist()
    column = column_of(metric)
    members: dict[str, list[str]] = {}
    for row in rows:
        members.setdefault(", ".join(row["splits"] or []), []).append(row["sample_id"])
    rankings = []
    for model in models:
        by_sample = scores.values.get(model, {})
        for splits, sample_ids in members.items():
            ranked = sorted(
                (i for i in sample_ids if i in by_sample),
                key=lambda i: (by_sample[i].get(column, -1.0), i),
            )
            if ranked:
                rankings.append((f"{model}: {{}} of {splits}", ranked))
    if not rankings:
        rankings = [("", sorted(_showable_ids(dataset, [row["sample_id"] for row in rows])))]
    chosen: dict[str, list[str]] = {}
    walks = [(title, ranked, _spread(len(ranked))) for title, ranked in rankings]
    for round_number in itertools.count():
        walks = [walk for walk in walks if len(walk[1]) > round_number]
        if not walks or len(chosen) >= num_wanted:
            return chosen
        for title, ranked, positions in walks:
            sample_id = ranked[next(positions)]
            if sample_id in chosen or len(chosen) < num_wanted:
                roles = chosen.setdefault(sample_id, [])
                if title and round_number < len(_ROLES) and len(ranked) >= len(_ROLES):
                    roles.append(title.format(_ROLES[round_number]))


def _showable_ids(dataset: DatasetInputs, sample_ids: Sequence[str]) -> set[str]:
    wanted = set(sample_ids)
    mapped = {
        sample_id for path in dataset.map_paths.values() for sample_id in load_maps(path).row_of
    }
    if mapped & wanted:
        return mapped & wanted
    return (
        wanted & set(dataset.readers["frames"].sample_ids) if "frames" in dataset.readers else set()
    )


def _spread(length: int) -> Iterator[int]:
    """Each position of 0..length-1 once: last, first, middle, quarters, eighths, ..."""
    seen = set()
    depth = 1
    while len(seen) < length:
        parts = 1 << depth
        inner = range(1, parts, 2) if depth > 1 else (2, 0, 1)
        for numerator in inner:
            position = numerator * (length - 1) // parts
            if position not in seen:
                seen.add(position)
                yield position
        depth += 1


def build_cards(
    dataset: DatasetInputs,
    chosen: Mapping[str, Sequence[str]],
    scores: SampleScores,
    *,
    models: Sequence[str],
    subsets: Sequence[str],
    has_sound: bool,
    num_all_samples: int,
) -> Iterator[dict]:
    """One JSON-able mapping a sample: what the gallery's script turns into a card.

    ``num_all_samples`` (of all datasets) divides the page's bytes. What cannot be shown is named in ``absent``.
    """
    budget = int(
        np.clip(_PAGE_BYTES * 3 / 4 / max(1, num_all_samples), _MIN_SAMPLE_BYTES, _MAX_SAMPLE_BYTES)
    )
    rows = {row["sample_id"]: row for row in dataset.samples.to_pylist()}
    paths = {}
    if dataset.downloads is not None:
        paths = {
            row["clip_id"]: row["path"]
            for row in dataset.downloads.select(["clip_id", "path"]).to_pylist()
        }
    map_files = {
        model: load_maps(dataset.map_paths[model]) for model in models if model in dataset.map_paths
    }
    for sample_id, roles in chosen.items():
        sample = rows[sample_id]
        shown_subsets = [name for name in subsets if name in (sample["splits"] or [])] or list(
            sample["splits"] or []
        )
        card = {
            "id": sample_id,
            "dataset": dataset.name,
            "roles": list(roles),
            "subsets": shown_subsets,
            "label": sample["label"] or "",
            "boxes": [
                [round(float(v), 4) for v in box]
                for box in sample["boxes"] or []
                if np.all(np.isfinite(box))
            ],
            "clip": sample["clip_id"],
            "time": None if sample["time_seconds"] is None else round(sample["time_seconds"], 2),
            "facts": describe_facts(
                dict(sample["attributes"] or []), dataset=dataset.name, shown=shown_subsets
            ),
            "scores": {
                model: {
                    name: round(value, 4) for name, value in scores.values[model][sample_id].items()
                }
                for model in models
                if sample_id in scores.values.get(model, {})
            },
            "absent": [],
        }
        card["maps"] = _pack_maps(map_files, sample_id, max_bytes=budget // 8)
        used = sum(len(packed["data"]) for packed in card["maps"].values()) * 3 // 4
        if has_sound:
            audio_clip_id = sample["audio_clip_id"] or sample["clip_id"]
            used += _add_sound(
                card, dataset, paths.get(audio_clip_id), sample["time_seconds"], budget=budget
            )
        _add_pictures(card, dataset, sample_id, budget=budget - used)
        yield card


def _add_pictures(card: dict, dataset: DatasetInputs, sample_id: str, *, budget: int) -> None:
    """Frame, flow and spectrogram as WebP, sharing ``budget`` bytes 5 : 2 : 3."""
    frame = _read(card, dataset, "frames", sample_id)
    if frame is not None:
        picture = pictures.fit(frame, max_width=320, max_height=240)
        card["size"] = [picture.shape[1], picture.shape[0]]
        card["frame"] = _encode(picture, budget * 5 // 10)
    flow = _read(card, dataset, "flow", sample_id)
    if flow is not None:
        small = pictures.fit(
            np.moveaxis(flow, 0, -1).astype(np.float32), max_width=200, max_height=150
        )
        picture, full_scale = pictures.colour_flow(np.moveaxis(small, -1, 0))
        card["flow"] = _encode(picture, budget * 2 // 10)
        card["flow_scale"] = round(full_scale, 2)
    spectrogram = _read(card, dataset, "spectrograms", sample_id)
    if spectrogram is not None:
        picture = pictures.colour_spectrogram(spectrogram)
        card["spectrogram"] = _encode(
            pictures.resize(picture, width=200, height=150), budget * 3 // 10
        )


def _read(card: dict, dataset: DatasetInputs, feature: str, sample_id: str) -> np.ndarray | None:
    reader = dataset.readers.get(feature)
    if reader is None:
        card["absent"].append(f"{feature}: not cached on this machine")
        return None
    try:
        if sample_id not in reader:
            card["absent"].append(f"{feature}: {reader.reason(sample_id)}")
            return None
        return np.asarray(reader.read(sample_id))
    except (
        DataError
    ) as error:  # unknown to the index, or damaged: this page says so, `verify` repairs
        card["absent"].append(f"{feature}: {str(error).rpartition('/')[2]}")
        return None


def _encode(picture: np.ndarray, max_bytes: int) -> str:
    """Base64 WebP of the best quality that fits; a picture that never does is halved."""
    while True:
        for quality in _QUALITIES:
            data = pictures.encode(picture, ".webp", quality=quality)
            if len(data) <= max_bytes:
                return encode_base64(data)
        if min(picture.shape[:2]) <= 32:
            return encode_base64(data)
        picture = pictures.resize(
            picture, width=picture.shape[1] // 2, height=picture.shape[0] // 2
        )


def _pack_maps(
    map_files: Mapping[str, MapFile], sample_id: str, *, max_bytes: int
) -> dict[str, dict]:
    """Maps as 8-bit grids, min-max normalized, of at most 28 x 28 cells (fewer if many models share ``max_bytes``)."""
    present = {
        model: file.maps[file.row_of[sample_id]]
        for model, file in map_files.items()
        if sample_id in file.row_of
    }
    side = next((s for s in (28, 20, 14) if s * s * len(present) <= max_bytes), 10)
    packed = {}
    for model, localization_map in present.items():
        grid = pictures.normalize_map(localization_map)
        if max(grid.shape) > side:
            grid = pictures.fit(grid, max_width=side, max_height=side)
        data = np.rint(np.clip(grid, 0.0, 1.0) * 255).astype(np.uint8)
        packed[model] = {
            "w": data.shape[1],
            "h": data.shape[0],
            "data": encode_base64(data.tobytes()),
        }
        if not np.all(np.isfinite(localization_map)):
            packed[model]["note"] = "holds NaN"
        elif np.ptp(localization_map) == 0:
            packed[model]["note"] = "constant"
    return packed


def _add_sound(
    card: dict, dataset: DatasetInputs, path: str | None, time_seconds: float | None, *, budget: int
) -> int:
    """Add the sound around the sample's time, levelled; return its bytes."""
    if path is None or dataset.clips_dir is None or not (dataset.clips_dir / path).exists():
        card["absent"].append("sound: the clip is not on this machine")
        return 0
    try:
        waveform = sound.read_window(
            dataset.clips_dir / path, time_seconds, duration_seconds=_SOUND_SECONDS
        )
    except EarshotError as error:
        card["absent"].append(f"sound: {error}".replace(str(dataset.clips_dir), "clips"))
        return 0
    peak = float(np.max(np.abs(waveform), initial=0.0))
    if peak > 0:
        waveform = waveform * (
            _PEAK / max(peak, 0.02)
        )  # quiet clips are raised, silence stays silence
    data = sound.encode_mp3(waveform, bit_rate=32_000 if budget >= 40_000 else 16_000)
    card["sound"] = encode_base64(data)
    return len(data)
