"""Loading a training sample from shards against the published way, samples a second of one process.

    python -m benchmarks.loading [--samples N] [--repeats N]

Published (HTF): a JPEG frame and two JPEG flow planes of the native size through Pillow, three seconds of a wav file
and SciPy's spectrogram of them (nperseg 512, noverlap 274, log). Here: the cached frame, flow and spectrogram through
``FeatureReader``, in the order of a shuffled epoch: the first one, when a process opens each shard (with and without
comparing each array with its checksum), and later ones. Both count until the arrays lie in host memory, before any
crop or normalization, and both read from the page cache (the files are made first). Files are made up: pictures with
the detail of video frames (JPEG of ~80 kB at 640x360), in a temporary folder.
"""

import argparse
import os
import tempfile
import time
import wave
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.signal import spectrogram

from earshot.reader import INDEX_NAME, FeatureReader
from earshot.shard_format import Row, write_shard
from earshot.tables import INDEX, write_table
from train.data.order import draw_epoch_order

_HEIGHT, _WIDTH, _SAMPLE_RATE = 360, 640, 22050
_SHARD_SAMPLES = 64


def make_picture(generator: np.random.Generator) -> np.ndarray:
    """uint8 ``(360, 640, 3)`` with structure at all scales, like a frame."""
    picture = np.zeros((_HEIGHT, _WIDTH, 3), np.float32)
    for step, strength in ((80, 70), (20, 45), (5, 25), (1, 6)):
        noise = generator.standard_normal((_HEIGHT // step + 2, _WIDTH // step + 2, 3)).astype(
            np.float32
        )
        picture += strength * cv2.resize(noise, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture + 128, 0, 255).astype(np.uint8)


def make_files(folder: Path, num_samples: int) -> None:
    """The same samples in both forms: published files, and a folder of shards a feature."""
    generator = np.random.default_rng(0)
    pictures = [make_picture(generator) for _ in range(16)]
    features = {"frames": [], "flow": [], "spectrograms": []}
    for i in range(num_samples):
        picture = np.roll(pictures[i % 16], 7 * i, axis=1)
        Image.fromarray(picture).save(folder / f"{i}.jpg", quality=90)
        flow = (
            cv2.GaussianBlur(
                generator.standard_normal((_HEIGHT, _WIDTH, 2)).astype(np.float32), (0, 0), 8
            )
            * 40
        )
        for axis in range(2):
            plane = np.clip(flow[..., axis], 0, 255).astype(np.uint8)
            Image.fromarray(plane).save(folder / f"{i}_flow{'xy'[axis]}.jpg", quality=90)
        waveform = (3000 * generator.standard_normal(3 * _SAMPLE_RATE)).astype(np.int16)
        with wave.open(str(folder / f"{i}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(_SAMPLE_RATE)
            file.writeframes(waveform.tobytes())
        features["frames"].append(cv2.resize(picture, (437, 246), interpolation=cv2.INTER_AREA))
        small = cv2.resize(flow, (219, 123), interpolation=cv2.INTER_AREA)
        features["flow"].append(np.ascontiguousarray(small.transpose(2, 0, 1)).astype(np.float16))
        features["spectrograms"].append(generator.standard_normal((257, 300)).astype(np.float16))
    for name, arrays in features.items():
        index = []
        for first in range(0, num_samples, _SHARD_SAMPLES):
            rows = [
                Row(str(first + i), "k", array)
                for i, array in enumerate(arrays[first : first + _SHARD_SAMPLES])
            ]
            path = write_shard(folder / name, f"{first:012x}", rows, [], {"feature": name})
            for i, row in enumerate(rows):
                crc32 = zlib.crc32(row.array.tobytes())
                index.append(
                    {
                        "sample_id": row.sample_id,
                        "status": "ok",
                        "shard": path.name,
                        "row": i,
                        "crc32": crc32,
                    }
                )
        write_table(folder / name / INDEX_NAME, index, INDEX)


def load_published(folder: Path, sample_id: str) -> tuple[np.ndarray, ...]:
    """Frame, flow and spectrogram as HTF's loader makes them, until they are arrays."""
    frame = np.asarray(Image.open(folder / f"{sample_id}.jpg").convert("RGB"))
    flow = np.stack(
        [np.asarray(Image.open(folder / f"{sample_id}_flow{axis}.jpg")) for axis in "xy"]
    )
    with wave.open(str(folder / f"{sample_id}.wav"), "rb") as file:
        waveform = np.frombuffer(file.readframes(3 * _SAMPLE_RATE), np.int16) / 32768.0
    _, _, power = spectrogram(waveform, _SAMPLE_RATE, nperseg=512, noverlap=274)
    return frame, flow, np.log(power + 1e-7)


def rate(load, sample_ids: list[str]) -> float:
    """Samples a second."""
    start = time.perf_counter()
    for sample_id in sample_ids:
        load(sample_id)
    return len(sample_ids) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="earshot-loading-") as name:
        folder = Path(name)
        make_files(folder, arguments.samples)
        names = ("frames", "flow", "spectrograms")
        readers = [FeatureReader(folder / feature) for feature in names]
        size = sum(reader.read("0").nbytes for reader in readers)
        jpeg = (folder / "0.jpg").stat().st_size
        shards, ids = readers[0].shards_of(readers[0].sample_ids), readers[0].sample_ids
        rates: dict[str, list[float]] = {
            "published files": [],
            "shards, first epoch": [],
            "shards, later epochs": [],
        }
        rates["shards, first epoch, checked"] = []
        rate(
            lambda sample_id: load_published(folder, sample_id), ids[:16]
        )  # lets the libraries warm up
        for epoch in range(
            arguments.repeats
        ):  # interleaved: whatever else the machine does hits all alike
            order = [ids[i] for i in draw_epoch_order(shards, seed=0, epoch=epoch)]
            fresh = [FeatureReader(folder / feature) for feature in names]
            checked = [FeatureReader(folder / feature, is_checked=True) for feature in names]
            rates["published files"].append(
                rate(lambda sample_id: load_published(folder, sample_id), order[:128])
            )
            for way in ("shards, first epoch", "shards, later epochs"):
                rates[way].append(
                    rate(lambda sample_id: [r.read(sample_id) for r in fresh], order)  # noqa: B023
                )
            rates["shards, first epoch, checked"].append(
                rate(lambda sample_id: [reader.read(sample_id) for reader in checked], order)  # noqa: B023
            )
    base = np.median(rates["published files"])
    print(
        f"{arguments.samples} samples of {size / 1e6:.2f} MB in shards, JPEG frame {jpeg / 1e3:.0f} kB; medians"
    )
    for way, values in rates.items():
        value = float(np.median(values))
        print(
            f"{way:<32}{1000 / value:8.3f} ms a sample{value:10.0f} samples/s{value / base:8.1f}x"
        )


if __name__ == "__main__":
    main()
