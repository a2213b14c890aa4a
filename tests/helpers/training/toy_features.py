"""Cached features of a toy world for training tests: a coloured blob that moves and hums, beside a
still one.

Sample i has its class's colour at a random place, flow there, and a spectrogram with a line in the
class's bin.
"""

import json
import zlib
from pathlib import Path

import numpy as np

from earshot.reader import INDEX_NAME
from earshot.shard_format import Row, write_shard
from earshot.tables import INDEX, write_table

NUM_CLASSES = 4
COLOURS = np.array([[230, 40, 40], [40, 220, 60], [50, 70, 235], [230, 220, 40]], np.uint8)


def write_features(
    folder: Path,
    num_samples: int,
    *,
    seed: int = 0,
    sizes=((48, 64), (48, 48)),
    shard_rows: int = 16,
):
    """Write frames, sequences, flow, spectrograms and waveforms below ``folder``.

    Returns (features_dirs, ids, centres (n, 2)).
    """
    generator = np.random.default_rng(seed)
    rows = {"frames": [], "flow": [], "spectrograms": [], "waveforms": [], "sequences": []}
    ids, centres = [], []
    for number in range(num_samples):
        sample_id = f"toy{seed}_{number:04d}"
        height, width = sizes[number % len(sizes)]
        kind, other = generator.permutation(NUM_CLASSES)[:2]
        y, x = generator.uniform(0.2, 0.8, 2)
        other_y, other_x = (y + 0.5) % 1, (x + 0.5) % 1
        frame = generator.integers(90, 110, (height, width, 3)).astype(np.uint8)
        frame[_disc(height, width, other_y, other_x)] = COLOURS[other]
        disc = _disc(height, width, y, x)
        frame[disc] = COLOURS[kind]
        flow = np.zeros((2, height // 2, width // 2), np.float16)
        flow[:, _disc(height // 2, width // 2, y, x)] = generator.uniform(-6, 6, (2, 1))
        spectrogram = generator.normal(-6, 0.5, (257, 300)).astype(np.float16)
        spectrogram[30 + 50 * kind : 36 + 50 * kind] += 5
        times = np.arange(4000) / 16000
        waveform = 0.3 * np.sin(2 * np.pi * (400 + 900 * kind) * times) + generator.normal(
            0, 0.01, times.size
        )
        arrays = {
            "frames": frame,
            "flow": flow,
            "spectrograms": spectrogram,
            "waveforms": waveform.astype(np.float16),
            # The blob moves one pixel a frame.
            "sequences": np.stack([np.roll(frame[:48, :48], step, axis=1) for step in range(9)]),
        }
        for feature, array in arrays.items():
            attributes = (
                {"native_height": 2 * height, "native_width": 2 * width}
                if feature == "flow"
                else {}
            )
            rows[feature].append(Row(sample_id, f"{number:032x}", array, attributes))
        ids.append(sample_id)
        centres.append((y, x))
    for feature, feature_rows in rows.items():
        _write_folder(folder / feature, feature_rows, feature, shard_rows)
    return {feature: folder / feature for feature in rows}, ids, np.array(centres)


def _write_folder(folder: Path, rows: list[Row], feature: str, shard_rows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    attributes = {"feature": feature, "units": "toy", "parameters": json.dumps({}), "version": 1}
    index = []
    for first in range(0, len(rows), shard_rows):
        part = rows[first : first + shard_rows]
        path = write_shard(folder, f"{first:012x}", part, [], attributes)
        for number, row in enumerate(part):
            crc32 = zlib.crc32(row.array.tobytes())
            index.append(
                {
                    "sample_id": row.sample_id,
                    "status": "ok",
                    "shard": path.name,
                    "row": number,
                    "key": row.key,
                    "crc32": crc32,
                }
            )
    write_table(folder / INDEX_NAME, index, INDEX)


def _disc(height: int, width: int, y: float, x: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (rows - y * height) ** 2 + (columns - x * width) ** 2 < (0.16 * height) ** 2
