"""Measure how fast the training step is, without a loader and without a training."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from train.data.collate import Batch
from train.data.device_copies import move_to
from train.data.feature_readers import open_readers
from train.data.neighbour_draws import NeighbourDraws
from train.data.random_crops import RandomCrops
from train.data.sample_source import SampleSource
from train.fitting.devices import describe_device, plan_trainer, restore_torch_settings
from train.fitting.lightning_module import TrainingModule
from train.models.localizer import Localizer
from train.models.registry import make_model, parameters_of_training
from train.models.training_parameters import HardwareParameters, TrainingParameters
from train.weights.frozen_networks import attach_classifier

_MEASURED_SECONDS = 10.0
_MOST_STEPS = 20
_BYTES_PER_MB = 2**20


@dataclass(frozen=True)
class StepRate:
    """How fast the step of a run is."""

    samples_per_second: float  # of all processes together
    device: str  # the GPU's name, or ``cpu``


class Stepper:
    """The training step of ``TrainingModule`` in a plain loop, on a device.

    Args:
        model: The network.
        parameters: Of the run.
        device: Where it computes.
        is_half: Whether the network computes in bf16.
        is_channels_last: Memory layout of the images.
        clock: Returns seconds.
    """

    def __init__(
        self,
        model: Localizer,
        parameters: TrainingParameters,
        device: torch.device,
        *,
        is_half: bool,
        is_channels_last: bool,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.parameters, self.device = parameters, device
        self._is_half, self._clock = is_half, clock
        model = model.to(device)
        if is_channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.module = TrainingModule(model, parameters, is_channels_last=is_channels_last)
        self.module = self.module.to(device)
        self.optimizer = self.module.configure_optimizers()

    def step(self, batch: Batch) -> None:
        """Make a step on a batch as ``train.data.collate`` makes it."""
        self._descend(lambda: self.module.compute_loss(batch)[0])

    def step_on_inputs(self, inputs: dict[str, torch.Tensor]) -> None:
        """Make a step on inputs that are ready."""
        model = self.module.model
        self._descend(lambda: self.module.criterion(model.embed(inputs)))

    def _descend(self, compute: Callable[[], torch.Tensor]) -> None:
        self.module.model.begin_step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._is_half):
            loss = compute()
        loss.backward()
        self.optimizer.step()

    def rate(
        self,
        batches: Iterator,
        step: Callable,
        num_steps: int,
        *,
        num_first: int = 2,
        seconds: float = float("inf"),
    ) -> float:
        """Return steps a second.

        Args:
            batches: What ``step`` is called with.
            step: Makes a step.
            num_steps: The most steps that are timed.
            num_first: Steps before that, which are not counted.
            seconds: No further step begins after this time.
        """
        for _ in range(num_first):
            step(next(batches))
        self._wait()
        start = self._clock()
        num_timed, is_over = 0, False
        while num_timed < num_steps and not is_over:
            step(next(batches))
            num_timed += 1
            if seconds != float("inf"):
                self._wait()
                is_over = self._clock() - start > seconds
        self._wait()
        return num_timed / (self._clock() - start)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure_step_rate(
    parameters: TrainingParameters,
    features_dirs: Mapping[str, Path],
    sample_ids: Sequence[str],
    *,
    num_samples: int,
    hardware: HardwareParameters,
    weights_dir: Path | None = None,
) -> StepRate:
    """Measure some steps on a few samples that fill a batch again and again.

    The network has random weights. Loading samples, and processes that wait for each other, are not
    in the rate.

    Args:
        parameters: Of the run.
        features_dirs: Feature -> folder of its arrays, of those that the method reads.
        sample_ids: Samples that have all of them.
        num_samples: Of the run. Where so many fit into memory, they are kept as the network reads
            them, which makes its step faster.
        hardware: Where the run will compute.
        weights_dir: Folder for fetched weights, of frozen networks that some methods need.

    Raises:
        ParameterError: The hardware is not there.
        DataError: A feature, labels or weights that the method needs are not there.
    """
    parameters = parameters_of_training(parameters)
    plan = plan_trainer(parameters, hardware)
    device = torch.device("cuda" if plan.is_cuda else "cpu")

    with restore_torch_settings(plan.num_threads):
        model = make_model(parameters)
        model.take_first_weights()
        attach_classifier(model, weights_dir=weights_dir, is_training=True)

        # Each process computes its part of a batch.
        batch_size = parameters.batch_size // plan.num_processes
        source = _open_source(parameters, model, features_dirs, sample_ids)
        num_bytes = source.estimate_bytes() / len(sample_ids) * num_samples
        if num_bytes <= hardware.memory_limit_mb * _BYTES_PER_MB:
            source.load_into_memory(device=device)
        batch = move_to(source[(0, np.arange(batch_size) % len(sample_ids))], device)

        # Convolutions over time have no such layout.
        has_time = any(values.ndim > 4 for values in model.parameters())
        stepper = Stepper(
            model,
            parameters,
            device,
            is_half=plan.options["precision"] == "bf16-mixed",
            is_channels_last=plan.is_channels_last and not has_time,
        )
        steps = stepper.rate(
            itertools.repeat(batch),
            stepper.step,
            _MOST_STEPS,
            num_first=1,
            seconds=_MEASURED_SECONDS,
        )
    return StepRate(steps * batch_size * plan.num_processes, describe_device(device))


def _open_source(
    parameters: TrainingParameters,
    model: Localizer,
    features_dirs: Mapping[str, Path],
    sample_ids: Sequence[str],
) -> SampleSource:
    crops = RandomCrops(
        seed=parameters.seed,
        has_random_crop=parameters.has_random_crop,
        has_flip=parameters.has_flip,
    )
    source = SampleSource(
        sample_ids,
        open_readers(features_dirs, model.reads),
        input_format=model.input_format,
        crops=crops,
        values=model.read_values(list(sample_ids)),
        has_second_view=model.needs_second_view,
    )
    if model.needs_neighbours:
        # Which ones they are does not change what they take.
        first = np.zeros((len(sample_ids), 1), np.int32)
        source.use_neighbours(NeighbourDraws(first, first, parameters.seed))
    return source
