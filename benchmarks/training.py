"""How fast training is: from shards, from data that lie on the device, and as published.

    python -m benchmarks.training [--methods lvs ezvsl htf] [--small] [--samples N] [--batch N]

Prints samples a second, all in one run, on synthetic data of the cached shapes:

- ``resident``: the training step (crop, flip, normalization, forward, backward, optimizer) on one
  batch that lies on the device, again and again. No loader can be faster.
- ``streamed``: the same step, fed from the shards by worker processes.
- ``memory``: the same step, fed from data that are kept in memory.
- ``fit``: what ``train.fitting.fit`` reaches with everything around it (Lightning; validation is
  not counted).
- ``published``: plain float32, and a loader as the authors wrote it, in worker processes: JPEG
  through Pillow, crop and normalization on the CPU, the spectrogram of a wav file.

The defaults are ResNet-18 at 224 and batches of 128. ``--small`` is the narrow configuration for
CPUs. Peak memory is printed as well.
"""

import argparse
import io
import json
import platform
import resource
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.v2 as transforms
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from earshot.reader import INDEX_NAME
from earshot.shard_format import Row, write_shard
from earshot.tables import INDEX, write_table
from train.data.device_copies import move_to
from train.data.feature_readers import open_readers
from train.data.loader import BatchLoader
from train.data.random_crops import RandomCrops
from train.data.sample_source import SampleSource
from train.fitting.fit import FitFolders, fit
from train.fitting.training_data import TrainingData
from train.models.localizer import IMAGENET_MEAN, IMAGENET_STD
from train.models.registry import build_parameters, make_model
from train.models.training_parameters import HardwareParameters
from train.step_rate import Stepper

_SHARD_SAMPLES = 64
_FRAME = (246, 437)
_FLOW = (123, 219)
_SAMPLE_RATE = 22050
SMALL = {
    "width": 16,
    "image_size": 112,
    "map_stride": 16,
    "spectrogram_pooling": 3,
}


def write_samples(folder: Path, num_samples: int) -> tuple[dict[str, Path], list[str]]:
    """Write shards of random frames, flow and spectrograms; return their folders and the ids."""
    generator = np.random.default_rng(0)
    ids = [f"sample{number:06d}" for number in range(num_samples)]
    shapes = {"frames": (*_FRAME, 3), "flow": (2, *_FLOW), "spectrograms": (257, 300)}

    for feature, shape in shapes.items():
        index = []
        (folder / feature).mkdir(parents=True)

        for first in range(0, num_samples, _SHARD_SAMPLES):
            rows = []
            for number in range(first, min(first + _SHARD_SAMPLES, num_samples)):
                if feature == "frames":
                    array = generator.integers(0, 256, shape, dtype=np.uint8)
                else:
                    array = generator.standard_normal(shape, np.float32).astype(np.float16)
                rows.append(
                    Row(
                        ids[number],
                        f"{number:032x}",
                        array,
                        {"native_height": 360, "native_width": 640},
                    )
                )

            path = write_shard(
                folder / feature,
                f"{first:012x}",
                rows,
                [],
                {"feature": feature, "parameters": "{}"},
            )
            index += [
                {
                    "sample_id": row.sample_id,
                    "status": "ok",
                    "shard": path.name,
                    "row": number,
                    "key": row.key,
                    "crc32": zlib.crc32(row.array.tobytes()),
                }
                for number, row in enumerate(rows)
            ]
        write_table(folder / feature / INDEX_NAME, index, INDEX)
    return {feature: folder / feature for feature in shapes}, ids


class PublishedSamples(Dataset):
    """Samples as the authors' loaders read them: JPEG and wav files, on the CPU, in float32."""

    def __init__(self, num_samples: int, *, image_size: int, has_flow: bool):
        generator = np.random.default_rng(0)
        blurred = generator.integers(0, 256, (36, 64, 3), dtype=np.uint8)
        picture = Image.fromarray(blurred).resize((640, 360), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=95)
        self._jpeg = buffer.getvalue()

        self._wave = (
            (generator.standard_normal(10 * _SAMPLE_RATE) * 3000).astype(np.int16).tobytes()
        )
        self._num_samples, self._has_flow = num_samples, has_flow

        self._transform = transforms.Compose(
            [
                transforms.Resize(
                    round(image_size * 1.1), interpolation=transforms.InterpolationMode.BICUBIC
                ),
                transforms.RandomCrop(image_size),
                transforms.RandomHorizontalFlip(),
                transforms.PILToTensor(),
                transforms.ToDtype(torch.float32, scale=True),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return self._num_samples

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        picture = Image.open(io.BytesIO(self._jpeg)).convert("RGB")
        sample = {
            "frames": self._transform(picture),
            "spectrograms": torch.from_numpy(self._spectrogram())[None],
        }
        if self._has_flow:
            sample["flow"] = self._transform(Image.open(io.BytesIO(self._jpeg)).convert("RGB"))[:2]
        return sample

    def _spectrogram(self) -> np.ndarray:
        wave = np.frombuffer(self._wave, np.int16).astype(np.float32) / 32768
        start = len(wave) // 2 - 3 * _SAMPLE_RATE // 2
        wave = wave[start : start + 3 * _SAMPLE_RATE]
        windows = np.lib.stride_tricks.sliding_window_view(wave, 512)[::238] * np.hanning(
            512
        ).astype(np.float32)
        power = np.abs(np.fft.rfft(windows - windows.mean(1, keepdims=True), axis=1)) ** 2
        return (np.log(power.T + 1e-7) / 12).astype(np.float32)


def forever(make_iterable):
    """Yield the batches of one epoch after another."""
    epoch = 0
    while True:
        yield from make_iterable(epoch)
        epoch += 1


def measure(method: str, options, dirs, ids, folder: Path) -> dict:
    """Return all rates of one method."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    is_cuda = device.type == "cuda"
    values = {
        "method": method,
        "init": "random",
        "batch_size": options.batch,
        "epochs": 2,
        **(SMALL if options.small else {}),
    }
    if method == "htf":
        values["freeze_vision"] = False

    parameters = build_parameters(values | {"select_on": "last"}, method)
    num_workers = options.workers if options.workers >= 0 else (8 if is_cuda else 0)
    reads = make_model(parameters).reads
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    result = {"method": method, "batch_size": options.batch}

    if is_cuda:
        torch.cuda.reset_peak_memory_stats()

    source_options = {"input_format": make_model(parameters).input_format, "crops": RandomCrops()}
    stepper = Stepper(
        make_model(parameters),
        parameters,
        device,
        is_half=is_cuda,
        is_channels_last=True,
        clock=clock,
    )
    source = SampleSource(ids, open_readers(dirs, reads), **source_options)
    resident = move_to(source[(0, np.arange(options.batch) % len(ids))], device)
    kept = SampleSource(ids, open_readers(dirs, reads), **source_options)
    kept.load_into_memory(device=device)
    resident_kept = kept[(0, np.arange(options.batch) % len(ids))]

    def load_forever(samples, **further):
        loader = BatchLoader(
            samples, batch_size=options.batch, shuffle_seed=0, keeps_last=False, **further
        )

        def iterate(epoch):
            loader.set_epoch(epoch)
            return loader

        return forever(iterate)

    streams = {
        "resident": (lambda: forever(lambda _: [resident]), stepper.step),
        "streamed": (
            lambda: load_forever(source, num_workers=num_workers, device=device),
            stepper.step,
        ),
        "resident_memory": (lambda: forever(lambda _: [resident_kept]), stepper.step),
        "memory": (lambda: load_forever(kept), stepper.step),
    }
    rates = {name: [] for name in streams}
    opened = {name: make() for name, (make, _) in streams.items()}

    # They take turns, so that other work on the machine slows all of them.
    for _ in range(options.repeats):
        for name, (_, step) in streams.items():
            steps = stepper.rate(opened[name], step, options.steps)
            rates[name].append(steps * options.batch)
    result |= {name: float(np.median(values)) for name, values in rates.items()}
    if is_cuda:
        result["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20

    if options.published:
        plain = Stepper(
            make_model(parameters),
            parameters,
            device,
            is_half=False,
            is_channels_last=False,
            clock=clock,
        )
        samples = PublishedSamples(
            options.batch * (options.steps + 2),
            image_size=parameters.image_size,
            has_flow=method == "htf",
        )
        published = DataLoader(
            samples, batch_size=options.batch, num_workers=num_workers, drop_last=True
        )
        batches = forever(lambda _: (move_to(batch, device) for batch in published))
        steps = plain.rate(batches, plain.step_on_inputs, options.steps)
        result["published"] = steps * options.batch

    hardware = HardwareParameters(num_workers=num_workers)
    data = TrainingData(features_dirs=dirs, train_ids=ids)
    folders = FitFolders(run_dir=folder / f"run_{method}")
    history = fit(parameters, data, folders, hardware=hardware, is_quiet=True).history
    result["fit"] = history[-1]["samples_per_second"]
    result["peak_process_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def main() -> None:
    """Print one line a method and, with ``--json``, write all figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["lvs", "ezvsl", "htf"])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=-1)
    parser.add_argument("--published", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: on a busy machine, --workers 0",
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"CPU, {torch.get_num_threads()} threads"
    )
    print(f"{device}; torch {torch.__version__}, {platform.machine()}")

    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dirs, ids = write_samples(folder, max(options.samples, options.batch))
        for method in options.methods:
            result = measure(method, options, dirs, ids, folder)
            results.append(result)
            ratios = f"streamed {result['streamed'] / result['resident']:.3f} of resident"
            ratios += f", memory {result['memory'] / result['resident_memory']:.3f}"
            if "published" in result:
                ratios += f", {result['streamed'] / result['published']:.1f}x published"
            figures = ", ".join(
                f"{key} {value:.1f}" for key, value in result.items() if isinstance(value, float)
            )
            print(f"{method}: {figures}; {ratios}", flush=True)

    if options.json:
        options.json.write_text(json.dumps({"device": device, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
