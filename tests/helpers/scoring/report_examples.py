"""A small checkout for the report and `show`: real shards, tables, clips and maps of noise."""

import hashlib
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import yaml

from earshot import tables
from earshot.shard_format import Row, crc32_of, write_shard
from eval.published.test_sets import find_subset_ids
from eval.results.files import write_results
from eval.results.model_results import evaluate_model
from eval.results.model_scores import ModelMaps
from pipeline.base.project import Project
from tests.helpers.scoring.made_up_results import (
    compare_all,
    make_breakdowns,
    make_further,
    make_negative_audio,
    make_notes,
    make_seeds,
)

TRAINED_MODELS = ("htf", "ezvsl")
MODELS = (*TRAINED_MODELS, "other", "flow", "untrained_htf", "centre", "random")
SHOWN_MODELS = MODELS[:4]  # those whose maps the gallery shows at first
_NUM_DISTINCT = 40  # features drawn; more samples repeat them
_QUALITY = {
    "htf": 0.72,
    "ezvsl": 0.6,
    "other": 0.5,
    "flow": 0.45,
    "untrained_htf": 0.3,
    "centre": 0.28,
    "random": 0.2,
}
_KINDS = {
    "other": "external",
    "flow": "baseline",
    "untrained_htf": "untrained",
    "centre": "trivial",
    "random": "trivial",
}
_CLASSES = ("bell", "dog & cat", "drum", "engine", "siren", "whistle")


def write_project(
    root: Path,
    *,
    num_samples: int = 12,
    dataset: str = "sample",
    labels=_CLASSES,
    ids=None,
    seed: int = 0,
    has_maps=True,
    num_negatives: int = 0,
) -> Project:
    """Write a checkout below ``root``.

    It has ``num_samples`` test samples, three clips that are not there, and the maps and scores of
    ``MODELS``. The last ``num_negatives`` samples have the sound of another clip.
    """
    rng = np.random.default_rng(seed)
    params = {"datasets": [dataset], "seed": seed, "report": {"num_gallery_samples": num_samples}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    project = Project.load(root)

    ids = ids or [f"s{number:05d}" for number in range(num_samples)]
    samples = [_sample(rng, sample_id, number, labels) for number, sample_id in enumerate(ids)]
    for sample in samples[len(samples) - num_negatives :]:
        sample["audio_clip_id"] = samples[0]["clip_id"]
    _write_manifests(project, dataset, samples)
    _write_features(project, dataset, samples, rng)

    # all clips have the same tone
    clips_dir = project.clips_dir(dataset)
    clips_dir.mkdir(parents=True, exist_ok=True)
    tone = encode_clip(220.0)
    for sample in samples:
        (clips_dir / _file_name(sample["clip_id"])).write_bytes(tone)

    if has_maps:
        _write_scores(project, dataset, samples, rng)
    return project


def encode_clip(frequency: float, *, seconds: float = 4.0, sample_rate: int = 16000) -> bytes:
    """Return a WAV clip with a tone, enough for the sound of the gallery."""
    buffer = io.BytesIO()
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    samples = np.rint(0.4 * 32767 * np.sin(2 * np.pi * frequency * times)).astype(np.int16)
    with av.open(buffer, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=sample_rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = sample_rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def _file_name(clip_id: str) -> str:
    return hashlib.sha256(clip_id.encode()).hexdigest()[:16] + ".wav"


def _sample(rng, sample_id: str, number: int, labels) -> dict:
    """Return a row of the samples table: even numbers have one box, odd ones up to three."""
    subset = "single" if number % 2 == 0 else "traffic"
    boxes = []
    for _ in range(1 if subset == "single" else 1 + number % 3):
        x, y = rng.uniform(0.02, 0.6, 2)
        width, height = rng.uniform(0.12, 0.38, 2)
        boxes.append([x, y, x + width, y + height])

    return {
        "sample_id": sample_id,
        "clip_id": f"clip_{sample_id}",
        "time_seconds": 2.0,
        "splits": ["test", subset],
        "label": labels[number % len(labels)],
        "boxes": boxes,
        "box_annotators": [0] * len(boxes),
        "attributes": {
            "source_is_moving": "yes" if number % 3 else "no",
            "num_distractors": str(number % 3),
            # Two samples of several sources are two sounds of one picture.
            **({"picture": f"p{number // 4}"} if subset == "traffic" else {}),
        },
    }


def _write_manifests(project: Project, dataset: str, samples: list[dict]) -> None:
    """Write the tables: clips of the samples, two that are missing, one that is pending."""
    broken = (
        ("gone_1", "removed", "Video unavailable. <b>removed</b> by the uploader"),
        ("gone_2", "network", "time-out"),
    )
    clips = [
        {
            "clip_id": s["clip_id"],
            "video_id": s["clip_id"],
            "url": "https://example.org/v",
            "splits": s["splits"],
        }
        for s in samples
    ]
    clips += [
        {"clip_id": name, "video_id": name, "url": "file:///x", "splits": ["train"]}
        for name, *_ in broken
    ]
    clips += [
        {"clip_id": "later_1", "video_id": "later_1", "url": "file:///y", "splits": ["train"]}
    ]

    downloads = [
        {
            "clip_id": s["clip_id"],
            "status": "ok",
            "attempts": 1,
            "path": _file_name(s["clip_id"]),
            "duration_seconds": 4.0,
        }
        for s in samples
    ]
    downloads += [
        {"clip_id": name, "status": "missing", "reason": reason, "detail": detail, "attempts": 2}
        for name, reason, detail in broken
    ]
    downloads += [
        {
            "clip_id": "later_1",
            "status": "pending",
            "reason": "rate_limit",
            "detail": "HTTP error 429",
        }
    ]

    missing = [
        {"sample_id": name, "clip_id": name, "splits": ["train"], "boxes": []}
        for name, *_ in broken
    ]
    tables.write_table(project.clips_table_path(dataset), clips, tables.CLIPS)
    tables.write_table(project.samples_table_path(dataset), [*samples, *missing], tables.SAMPLES)
    tables.write_table(project.downloads_table_path(dataset), downloads, tables.DOWNLOADS)


def _write_features(project: Project, dataset: str, samples: list[dict], rng) -> None:
    """Write frames, flow and spectrograms: one shard each, and an index with two absent samples."""
    arrays = {"frames": [], "flow": [], "spectrograms": []}
    for sample in samples[:_NUM_DISTINCT]:
        frame, flow = _draw_frame_and_flow(sample, rng)
        arrays["frames"].append(frame)
        arrays["flow"].append(flow)
        arrays["spectrograms"].append(_draw_spectrogram(rng))

    for feature, values in arrays.items():
        folder = project.feature_dir(dataset, feature)
        rows = [
            Row(s["sample_id"], "00" * 16, values[n % len(values)]) for n, s in enumerate(samples)
        ]
        attributes = dict.fromkeys(("units", "software_versions"), "none")
        attributes |= {"feature": feature, "parameters": "{}"}
        path = write_shard(folder, "ab" * 6, rows, [], attributes)

        index = [
            {
                "sample_id": row.sample_id,
                "status": "ok",
                "shard": path.name,
                "row": number,
                "key": row.key,
                "crc32": crc32_of(row.array),
            }
            for number, row in enumerate(rows)
        ]
        index += [
            {"sample_id": "gone_1", "status": "missing", "reason": "removed"},
            {"sample_id": "gone_2", "status": "failed", "reason": "corrupt", "detail": "broken"},
        ]
        tables.write_table(folder / "index.parquet", index, tables.INDEX)


def _draw_frame_and_flow(sample: dict, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame ``(246, 328, 3)`` and its flow ``(2, 246, 328)``; what is in a box moves."""
    height, width = 246, 328
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    colours = rng.uniform(40, 220, (3, 3))
    frame = np.stack(
        [c[0] + (c[1] - c[0]) * x / width + (c[2] - c[0]) * y / height for c in colours], axis=-1
    )
    noise = rng.normal(0, 8, (height // 6, width // 8, 1))
    frame += noise.repeat(6, 0).repeat(8, 1)[:height, :width]

    flow = rng.normal(0, 0.05, (2, height, width)).astype(np.float32)
    for x1, y1, x2, y2 in sample["boxes"]:
        rows = slice(int(y1 * height), int(y2 * height))
        columns = slice(int(x1 * width), int(x2 * width))
        frame[rows, columns] = rng.uniform(0, 255, 3)
        flow[:, rows, columns] += rng.uniform(-3, 3, (2, 1, 1))
    return np.clip(frame, 0, 255).astype(np.uint8), flow.astype(np.float16)


def _draw_spectrogram(rng) -> np.ndarray:
    """Return a log spectrogram ``(257, 300)`` of a tone with four harmonics in noise."""
    pitch = rng.integers(10, 60)
    spectrogram = rng.normal(-8, 1.0, (257, 300))
    for harmonic in range(1, 5):
        spectrogram[min(pitch * harmonic, 256), :] += 9 - harmonic
    return spectrogram.astype(np.float16)


def _write_scores(project: Project, dataset: str, samples: list[dict], rng) -> None:
    """Write maps of all models, their scores and results, and two trainings."""
    table = tables.read_table(project.samples_table_path(dataset), tables.SAMPLES)
    subsets = [
        name
        for name in ("single", "traffic")
        if any(name in sample["splits"] for sample in samples)
    ]

    scores, results = [], []
    for model in MODELS:
        maps, sample_ids = _write_maps(project, dataset, samples, model, rng)
        about = {"seed": 0, "selection": "val", "train_clip_ids": ["elsewhere"]}
        kind = _KINDS.get(model, "model")
        training = about if model in TRAINED_MODELS else {}
        found = evaluate_model(
            ModelMaps(model, dataset, sample_ids, maps, kind=kind, **training),
            table,
            test_sets={subset: find_subset_ids(table, subset) for subset in subsets},
            protocols=("earshot", "lvs"),
            num_resamples=100,
        )
        scores += found[0]
        results += found[1]

    # The comparisons are computed; the other lists are made up.
    ids_of = {
        subset: [one["sample_id"] for one in samples if subset in one["splits"]]
        for subset in subsets
    }
    ceilings = [
        {"dataset": dataset, "subset": "single", "protocol": "lvs", "n": len(ids_of["single"])}
        | {"success_rate": 0.62, "auc": 0.55, "mean_ciou": 0.54}
    ]
    write_results(
        project.reports_dir,
        scores=scores,
        results=results,
        breakdowns=make_breakdowns(results),
        comparisons=compare_all(scores, ids_of),
        ceilings=ceilings,
        seeds=[make_seeds(row) for row in results if row["model"] == "ezvsl"],
        negative_audio=[
            make_negative_audio(dataset, "single", model, rng) for model in TRAINED_MODELS
        ],
        further=make_further(
            dataset, "traffic", {name: _KINDS.get(name, "model") for name in MODELS[:4]}
        ),
        notes=make_notes(dataset),
    )

    for model in TRAINED_MODELS:
        _write_training(project, model, rng)


def _write_maps(project: Project, dataset: str, samples: list[dict], model: str, rng):
    """Write the maps of a model; return them and the ids of their samples."""
    sample_ids = [sample["sample_id"] for sample in samples]
    maps = np.stack([_draw_map(rng, sample, model) for sample in samples])
    path = project.maps_path(dataset, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, sample_ids=np.array(sample_ids), maps=maps)
    return maps, sample_ids


def _write_training(project: Project, model: str, rng) -> None:
    """Write run.json and the curves of three metrics over twelve epochs."""
    run_dir = project.run_dir(model)
    run_dir.mkdir(parents=True, exist_ok=True)
    run = {"model": model, "method": model, "seed": 0, "num_epochs": 12, "selection": "val"}
    (run_dir / "run.json").write_text(json.dumps(run))

    for name, start in (("train/loss", 2.0), ("val/loss", 2.2), ("val/adaptive_ciou", None)):
        path = project.curves_dir(model) / "plots" / "metrics" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"step\t{name.split('/')[-1]}"]
        for step in range(12):
            # a loss falls, a score rises
            value = start * np.exp(-step / 5) if start else 0.7 * (1 - np.exp(-step / 4))
            lines.append(f"{step}\t{value + rng.normal(0, 0.02):.5f}")
        path.write_text("\n".join(lines) + "\n")


def _draw_map(rng, sample: dict, model: str) -> np.ndarray:
    """Return noise, with a bump on the first box as often as the model is good."""
    side = 14 if model == "flow" else 7
    grid = rng.uniform(0, 0.4, (side, side)).astype(np.float32)
    x1, y1, x2, y2 = sample["boxes"][0]
    if rng.uniform() < _QUALITY[model]:
        grid[int(y1 * side) : int(y2 * side) + 1, int(x1 * side) : int(x2 * side) + 1] += 0.6
    return grid


class PageParser(HTMLParser):
    """Collect the tags and texts of a page, and the content of its JSON block."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.stack, self.unclosed, self.texts = [], [], [], [], []
        self._void = {"meta", "link", "img", "input", "br", "wbr", "hr"}
        self._in_json, self.json_text = False, ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self._void:
            self.stack.append(tag)
        self._in_json = tag == "script" and ("id", "gallery-data") in attrs

    def handle_endtag(self, tag):
        if not self.stack or self.stack[-1] != tag:
            self.unclosed.append((tag, self.stack[-3:]))
        else:
            self.stack.pop()

    def handle_data(self, data):
        if self._in_json:
            self.json_text += data
        else:
            self.texts.append(data)


def parse(text: str) -> PageParser:
    """Return the tags and texts of a page."""
    parser = PageParser()
    parser.feed(text)
    parser.close()
    return parser
