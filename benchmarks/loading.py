"""How fast a process loads training samples: from shards, and from files as published.

    python -m benchmarks.loading [--samples N] [--repeats N]

Published (Hear The Flow): a JPEG frame and two JPEG planes of flow at native size through Pillow,
three seconds of a wav file, and SciPy's spectrogram of them (nperseg 512, noverlap 274, log).
Earshot: the cached frame, flow and spectrogram through ``FeatureReader``, in the order of a
shuffled epoch. In the first epoch a process opens each shard, with and without comparing each array
with its checksum; later epochs are measured apart.

Both sides count until the arrays are in host memory, before any crop or normalization, and read
from the page cache. The files are synthetic: pictures as detailed as video frames (JPEG of about
80 kB at 640x360), in a temporary folder.
"""

import argparse
import os
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.signal import spectrogram

from earshot.order import draw_epoch_order
from earshot.reader import INDEX_NAME, FeatureReader
from earshot.shard_format import Row, crc32_of, write_shard
from earshot.tables import INDEX, write_table

_HEIGHT, _WIDTH, _SAMPLE_RATE = 360, 640, 22050
_SHARD_SAMPLES = 64
FEATURES = ("frames", "flow", "spectrograms")


def make_picture(generator: np.random.Generator) -> np.ndarray:
    """Return a uint8 picture (360, 640, 3) with structure at all scales, as a frame has."""
    picture = np.zeros((_HEIGHT, _WIDTH, 3), np.float32)
    for step, strength in ((80, 70), (20, 45), (5, 25), (1, 6)):
        shape = (_HEIGHT // step + 2, _WIDTH // step + 2, 3)
        noise = generator.standard_normal(shape).astype(np.float32)
        picture += strength * cv2.resize(noise, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture + 128, 0, 255).astype(np.uint8)


def make_flow(generator: np.random.Generator) -> np.ndarray:
    """Return smooth float32 flow (360, 640, 2)."""
    noise = generator.standard_normal((_HEIGHT, _WIDTH, 2)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 8) * 40


def write_published_files(
    folder: Path, name: str, *, picture: np.ndarray, flow: np.ndarray, waveform: np.ndarray
) -> None:
    """Write one sample as Hear The Flow stores it."""
    Image.fromarray(picture).save(folder / f"{name}.jpg", quality=90)
    for axis in range(2):
        plane = np.clip(flow[..., axis], 0, 255).astype(np.uint8)
        Image.fromarray(plane).save(folder / f"{name}_flow{'xy'[axis]}.jpg", quality=90)

    with wave.open(str(folder / f"{name}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_SAMPLE_RATE)
        file.writeframes(waveform.tobytes())


def write_feature(folder: Path, arrays: list[np.ndarray]) -> None:
    """Write a feature's shards and index; the samples are called 0, 1, 2, ..."""
    index: list[dict] = []
    for first in range(0, len(arrays), _SHARD_SAMPLES):
        shard_arrays = arrays[first : first + _SHARD_SAMPLES]
        rows = [Row(str(first + i), "k", array) for i, array in enumerate(shard_arrays)]

        path = write_shard(folder, f"{first:012x}", rows, [], {"feature": folder.name})
        index += [
            {
                "sample_id": row.sample_id,
                "status": "ok",
                "shard": path.name,
                "row": i,
                "crc32": crc32_of(row.array),
            }
            for i, row in enumerate(rows)
        ]

    write_table(folder / INDEX_NAME, index, INDEX)


def make_files(folder: Path, num_samples: int) -> None:
    """Write the same samples in both forms: published files, and a folder of shards a feature."""
    generator = np.random.default_rng(0)
    pictures = [make_picture(generator) for _ in range(16)]
    features: dict[str, list[np.ndarray]] = {name: [] for name in FEATURES}

    for i in range(num_samples):
        picture = np.roll(pictures[i % len(pictures)], 7 * i, axis=1)
        flow = make_flow(generator)
        waveform = (3000 * generator.standard_normal(3 * _SAMPLE_RATE)).astype(np.int16)
        write_published_files(folder, str(i), picture=picture, flow=flow, waveform=waveform)

        # The sizes and types of the cache for a picture of 640x360.
        features["frames"].append(cv2.resize(picture, (437, 246), interpolation=cv2.INTER_AREA))
        small = cv2.resize(flow, (219, 123), interpolation=cv2.INTER_AREA)
        features["flow"].append(np.ascontiguousarray(small.transpose(2, 0, 1)).astype(np.float16))
        features["spectrograms"].append(generator.standard_normal((257, 300)).astype(np.float16))

    for name, arrays in features.items():
        write_feature(folder / name, arrays)


def load_published(folder: Path, sample_id: str) -> tuple[np.ndarray, ...]:
    """Return frame, flow and spectrogram as Hear The Flow's loader makes them."""
    frame = np.asarray(Image.open(folder / f"{sample_id}.jpg").convert("RGB"))
    flow = np.stack(
        [np.asarray(Image.open(folder / f"{sample_id}_flow{axis}.jpg")) for axis in "xy"]
    )
    with wave.open(str(folder / f"{sample_id}.wav"), "rb") as file:
        waveform = np.frombuffer(file.readframes(3 * _SAMPLE_RATE), np.int16) / 32768.0
    _, _, power = spectrogram(waveform, _SAMPLE_RATE, nperseg=512, noverlap=274)
    return frame, flow, np.log(power + 1e-7)


def measure_rate(load: Callable[[str], object], sample_ids: Sequence[str]) -> float:
    """Return loaded samples a second."""
    start = time.perf_counter()
    for sample_id in sample_ids:
        load(sample_id)
    return len(sample_ids) / (time.perf_counter() - start)


def measure_epoch(folder: Path, sample_ids: Sequence[str]) -> dict[str, float]:
    """Return samples a second of each way, each with readers that have opened nothing yet."""

    def read_with(readers: list[FeatureReader]) -> Callable[[str], object]:
        return lambda sample_id: [reader.read(sample_id) for reader in readers]

    read_fresh = read_with([FeatureReader(folder / name) for name in FEATURES])
    read_checked = read_with([FeatureReader(folder / name, is_checked=True) for name in FEATURES])
    return {
        "published files": measure_rate(
            lambda sample_id: load_published(folder, sample_id), sample_ids[:128]
        ),
        "shards, first epoch": measure_rate(read_fresh, sample_ids),
        "shards, later epochs": measure_rate(read_fresh, sample_ids),
        "shards, first epoch, checked": measure_rate(read_checked, sample_ids),
    }


def main() -> None:
    """Print the median rate of each way, and its ratio to the published one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)

    with tempfile.TemporaryDirectory(prefix="earshot-loading-") as name:
        folder = Path(name)
        make_files(folder, arguments.samples)
        readers = [FeatureReader(folder / feature) for feature in FEATURES]
        num_bytes = sum(reader.read("0").nbytes for reader in readers)
        jpeg_bytes = (folder / "0.jpg").stat().st_size
        sample_ids = readers[0].sample_ids
        shards = readers[0].shards_of(sample_ids)
        for sample_id in sample_ids[:16]:  # loads what the libraries import
            load_published(folder, sample_id)

        # The ways take turns, so that other work on the machine slows all of them.
        epochs = []
        for epoch in range(arguments.repeats):
            order = draw_epoch_order(shards, seed=0, epoch=epoch)
            epochs.append(measure_epoch(folder, [sample_ids[i] for i in order]))

    print(
        f"{arguments.samples} samples of {num_bytes / 1e6:.2f} MB in shards, "
        f"JPEG frame {jpeg_bytes / 1e3:.0f} kB; medians"
    )
    medians = {way: float(np.median([epoch[way] for epoch in epochs])) for way in epochs[0]}
    for way, rate in medians.items():
        ratio = rate / medians["published files"]
        print(f"{way:<32}{1000 / rate:8.3f} ms a sample{rate:10.0f} samples/s{ratio:8.1f}x")


if __name__ == "__main__":
    main()
