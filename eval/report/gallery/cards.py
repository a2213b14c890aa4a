"""The cards of the gallery: pack pictures, maps and sound of samples into few bytes.

``templates/section_gallery.html`` shows the form, ``templates/gallery.js`` draws the cards.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from earshot.errors import DataError, EarshotError
from eval.entrants.baselines import FLOW_BASELINES, make_baseline
from eval.entrants.entrant import Entrant
from eval.report.data.inputs import DatasetInputs, FeatureArrays
from eval.report.data.sample_scores import SampleScores
from eval.report.gallery import sound
from eval.report.gallery.choice import load_maps
from eval.report.gallery.contours import trace_marked, trace_region
from eval.report.gallery.facts import describe_facts
from eval.scoring.ground_truth import GroundTruth, ground_truths_of
from eval.scoring.protocols import PROTOCOLS
from pipeline.datasets.dataset import load
from pipeline.features import pictures
from pipeline.lists.masks import ATTRIBUTE, decode_mask

_PAGE_BYTES = 13_000_000  # for the gallery, so that the page stays below 15 MB
_MAX_SAMPLE_BYTES, _MIN_SAMPLE_BYTES = 64_000, 12_000
_QUALITIES = (70, 45, 25, 12)  # of WebP, tried in this order
_SOUND_SECONDS = 3.0
# Normalized, a flow baseline has the same map.
_SHOWN_BASELINES = tuple(FLOW_BASELINES)
_PEAK = 0.9  # of the sound, where 1 is full scale

Card = dict  # a JSON object; gallery.js reads its keys


class CardMaker:
    """Makes the cards of one dataset: a JSON object a sample, with at most so many bytes."""

    def __init__(
        self,
        dataset: DatasetInputs,
        scores: SampleScores,
        *,
        models: Sequence[str],
        subsets: Sequence[str],
        has_sound: bool,
        num_all_samples: int,
    ) -> None:
        """Open the maps of a dataset.

        Args:
            dataset: The dataset of the samples.
            scores: Its scores.
            models: Models in the order of the page.
            subsets: Names of its test sets.
            has_sound: Embed three seconds of sound with each sample.
            num_all_samples: Samples of all datasets on the page; they share its bytes.
        """
        self._dataset, self._scores, self._has_sound = dataset, scores, has_sound
        self._models, self._subsets = models, subsets

        # base64 makes four bytes of three
        share = _PAGE_BYTES * 3 / 4 / max(1, num_all_samples)
        self._num_bytes = int(np.clip(share, _MIN_SAMPLE_BYTES, _MAX_SAMPLE_BYTES))

        self._samples = {row["sample_id"]: row for row in dataset.samples.to_pylist()}
        self._row_of = {sample_id: row for row, sample_id in enumerate(self._samples)}
        self._map_files = {
            model: load_maps(dataset.map_paths[model])
            for model in models
            if model in dataset.map_paths
        }
        # The evaluation keeps no maps of baselines, which are cheap to compute.
        self._baselines = {
            model: make_baseline(model)
            for model in models
            if model in _SHOWN_BASELINES and model not in self._map_files
        }

        # Without downloads, no file is known and no card has sound.
        self._clip_paths: dict[str, str | None] = {}
        if dataset.downloads is not None:
            rows = dataset.downloads.select(["clip_id", "path"]).to_pylist()
            self._clip_paths = {row["clip_id"]: row["path"] for row in rows}

    def make_card(self, sample_id: str, roles: Sequence[str]) -> Card:
        """Return the card of a sample; ``roles`` say what it was chosen for.

        What cannot be shown is named, with its reason, in ``absent``.
        """
        sample = self._samples[sample_id]
        card = self._describe(sample, roles)

        # Maps and sound first; the pictures get the bytes that these leave.
        maps = self._find_maps(sample_id)
        card["maps"] = _pack_maps(maps, max_bytes=self._num_bytes // 8)

        # base64 has four characters for three bytes.
        num_used = sum(len(packed["data"]) for packed in card["maps"].values()) * 3 // 4
        num_used += self._add_outlines(card, maps)
        if self._has_sound:
            num_used += self._add_sound(card, sample)
        _add_pictures(card, self._dataset, sample_id, max_bytes=self._num_bytes - num_used)
        return card

    def _find_maps(self, sample_id: str) -> dict[str, np.ndarray]:
        """Return the maps of a sample by model, in the order of the page."""
        found = {}
        for model in self._models:
            file, baseline = self._map_files.get(model), self._baselines.get(model)
            if file is not None and sample_id in file.row_of:
                found[model] = file.maps[file.row_of[sample_id]]
            elif baseline is not None and sample_id in self._scores.values.get(model, {}):
                localization_map = self._predict(baseline, sample_id)
                if localization_map is not None:
                    found[model] = localization_map
        return found

    def _predict(self, baseline: Entrant, sample_id: str) -> np.ndarray | None:
        """Return a baseline's map, or None where what it reads is not on this machine."""
        readers = {name: self._dataset.readers.get(name) for name in baseline.reads}
        if not all(reader is not None and sample_id in reader for reader in readers.values()):
            return None
        try:
            return np.asarray(baseline.predict([sample_id], cast(dict, readers))[0])
        except DataError:
            return None  # the card names the damaged feature itself

    def _add_outlines(self, card: Card, maps: Mapping[str, np.ndarray]) -> int:
        """Add what the protocol marks in each map; return the number of bytes.

        Where many models share the bytes of a sample, the last ones have no outline.
        """
        protocol = PROTOCOLS.get(self._scores.protocol)
        truth = self._find_truth(card["id"])
        if protocol is None or truth is None:
            return 0

        num_bytes = 0
        for model, localization_map in maps.items():
            scored = card["scores"].get(model, {}).get("ciou")
            if scored is None or not np.all(np.isfinite(localization_map)):
                continue
            outline = trace_marked(localization_map, truth, protocol=protocol, scored=scored)
            # Outlines have a sixth of the bytes. One that does not fit is left out.
            has_room = outline is not None and num_bytes + len(outline) <= self._num_bytes // 6
            if outline is not None and has_room:
                card["maps"][model]["outline"] = outline
                num_bytes += len(outline)
        return num_bytes

    def _find_truth(self, sample_id: str) -> GroundTruth | None:
        row = self._dataset.samples.slice(self._row_of[sample_id], 1)
        try:
            truths = ground_truths_of(row, box_rule=load(self._dataset.name).box_rule)
        except DataError:
            return None  # boxes that are not numbers; nothing is scored against them
        return truths.get(sample_id)

    def _describe(self, sample: Mapping, roles: Sequence[str]) -> Card:
        """Return a card with the texts and numbers of a sample."""
        sample_id, splits = sample["sample_id"], list(sample["splits"] or [])
        # a sample is in other splits too; those that are scored say most
        subsets = [name for name in self._subsets if name in splits] or splits

        # The page's JSON has no NaN, and nothing could be drawn of such a box. The boxes of a
        # negative belong to the frame's own sound, which is not the one that is heard.
        attributes = dict(sample["attributes"] or [])
        is_negative = sample["audio_clip_id"] is not None or attributes.get("negative") == "true"
        boxes = [
            [round(float(value), 4) for value in box]
            for box in sample["boxes"] or []
            if np.all(np.isfinite(box)) and not is_negative
        ]

        scores = {
            model: {
                name: round(value, 4)
                for name, value in self._scores.values[model][sample_id].items()
            }
            for model in self._models
            if sample_id in self._scores.values.get(model, {})
        }

        time_seconds = sample["time_seconds"]
        return {
            "id": sample_id,
            "dataset": self._dataset.name,
            "roles": list(roles),
            "subsets": subsets,
            "label": sample["label"] or "",
            "boxes": boxes,
            **({} if boxes or is_negative else _trace_mask(attributes)),
            "clip": sample["clip_id"],
            "time": None if time_seconds is None else round(time_seconds, 2),
            "facts": [
                *(["negative: nothing in the frame makes this sound"] if is_negative else []),
                *describe_facts(attributes, dataset=self._dataset.name, shown=subsets),
            ],
            "scores": scores,
            "absent": [],
        }

    def _add_sound(self, card: Card, sample: Mapping) -> int:
        """Add the sound around the sample's time; return its number of bytes."""
        clips_dir = self._dataset.clips_dir
        # A negative has the sound of another clip.
        path = self._clip_paths.get(sample["audio_clip_id"] or sample["clip_id"])
        if path is None or clips_dir is None or not (clips_dir / path).exists():
            card["absent"].append("sound: the clip is not on this machine")
            return 0

        try:
            waveform = sound.read_window(
                clips_dir / path, sample["time_seconds"], duration_seconds=_SOUND_SECONDS
            )
        except EarshotError as error:
            # Without the full path: the same inputs give the same page in any folder.
            card["absent"].append(f"sound: {error}".replace(str(clips_dir), "clips"))
            return 0

        # quiet clips are made louder; noise below 0.02 stays quiet, silence stays silence
        peak = float(np.max(np.abs(waveform), initial=0.0))
        if peak > 0:
            waveform = waveform * (_PEAK / max(peak, 0.02))

        # Where many samples share the page, sound gets half as many bytes.
        bit_rate = 32_000 if self._num_bytes >= 40_000 else 16_000
        data = sound.encode_mp3(waveform, bit_rate=bit_rate)
        card["sound"] = encode_base64(data)
        return len(data)


def _trace_mask(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the outline of a sample's mask, if it has one, as ``mask`` of its card."""
    if ATTRIBUTE not in attributes:
        return {}
    try:
        return {"mask": trace_region(decode_mask(attributes[ATTRIBUTE], where="mask"))}
    except DataError:
        return {}  # an attribute of this name that is no mask; nothing is scored against it


def _add_pictures(card: Card, dataset: DatasetInputs, sample_id: str, *, max_bytes: int) -> None:
    """Add frame, flow and spectrogram as WebP; they share the bytes 5 : 2 : 3."""
    frame = _read(card, dataset, "frames", sample_id)
    if frame is not None:
        picture = pictures.fit(frame, max_width=320, max_height=240)
        card["size"] = [picture.shape[1], picture.shape[0]]
        card["frame"] = _encode(picture, max_bytes * 5 // 10)

    flow = _read(card, dataset, "flow", sample_id)
    if flow is not None:
        # (2, H, W) to (H, W, 2) for resizing, and back
        channels_last = np.moveaxis(flow, 0, -1).astype(np.float32)
        small = pictures.fit(channels_last, max_width=200, max_height=150)
        picture, full_scale = pictures.colour_flow(np.moveaxis(small, -1, 0))
        card["flow"] = _encode(picture, max_bytes * 2 // 10)
        card["flow_scale"] = round(full_scale, 2)

    spectrogram = _read(card, dataset, "spectrograms", sample_id)
    if spectrogram is not None:
        picture = pictures.resize_shown(
            pictures.colour_spectrogram(spectrogram), width=200, height=150
        )
        card["spectrogram"] = _encode(picture, max_bytes * 3 // 10)


def _read(card: Card, dataset: DatasetInputs, feature: str, sample_id: str) -> np.ndarray | None:
    """Return a sample's array, or add to the card why it is not shown."""
    reader: FeatureArrays | None = dataset.readers.get(feature)
    if reader is None:
        card["absent"].append(f"{feature}: not cached on this machine")
        return None

    try:
        if sample_id in reader:
            return np.asarray(reader.read(sample_id))
        card["absent"].append(f"{feature}: {reader.reason(sample_id)}")
    except DataError as error:
        # not in the index, or damaged: the page says so, the command `verify` repairs it
        card["absent"].append(f"{feature}: {str(error).rpartition('/')[2]}")
    return None


def _encode(picture: np.ndarray, max_bytes: int) -> str:
    """Return base64 WebP of the best quality that fits; a picture that never fits is halved."""
    while True:
        for quality in _QUALITIES:
            data = pictures.encode(picture, ".webp", quality=quality)
            if len(data) <= max_bytes:
                return encode_base64(data)

        # Rather too many bytes than a picture that shows nothing.
        if min(picture.shape[:2]) <= 32:
            return encode_base64(data)

        height, width = picture.shape[:2]
        picture = pictures.resize_shown(picture, width=width // 2, height=height // 2)


def _pack_maps(present: Mapping[str, np.ndarray], *, max_bytes: int) -> dict[str, dict]:
    """Return a sample's maps as 8-bit grids, each scaled to its own range.

    A grid has at most 28 x 28 cells, and fewer if many models share ``max_bytes``.
    """
    # The largest size in which the maps of all models fit; 10 x 10 is the last resort.
    side = next((side for side in (28, 20, 14) if side**2 * len(present) <= max_bytes), 10)

    # The page draws them: 8 bits are more than the eye sees in an overlay.
    packed = {}
    for model, localization_map in present.items():
        grid = pictures.normalize_map(localization_map)
        if max(grid.shape) > side:
            grid = pictures.fit(grid, max_width=side, max_height=side)
        data = np.rint(np.clip(grid, 0.0, 1.0) * 255).astype(np.uint8)
        height, width = data.shape

        # a map without contrast looks like any other once it is scaled: say so
        packed[model] = {"w": width, "h": height, "data": encode_base64(data.tobytes())}
        if not np.all(np.isfinite(localization_map)):
            packed[model]["note"] = "holds NaN"
        elif np.ptp(localization_map) == 0:
            packed[model]["note"] = "constant"
    return packed


def encode_base64(data: bytes) -> str:
    """Return ``data`` as base64 text."""
    return base64.b64encode(data).decode("ascii")
