"""Choose where a run computes: Lightning's options for the hardware, and torch's settings."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from earshot.errors import ParameterError
from train.models.training_parameters import HardwareParameters, TrainingParameters

_WORKERS_PER_GPU = 8
_LIGHTNING_PRECISIONS = {"float32": "32-true", "float64": "64-true", "bf16": "bf16-mixed"}


@dataclass(frozen=True)
class TrainerPlan:
    """How Lightning trains on the hardware at hand."""

    options: dict[str, Any]  # of lightning.Trainer
    is_cuda: bool
    num_processes: int  # of all nodes


def plan_trainer(parameters: TrainingParameters, hardware: HardwareParameters) -> TrainerPlan:
    """Choose accelerator, processes and precision.

    Raises:
        ParameterError: the hardware is not there, or the batch cannot be shared equally.
    """
    has_cuda = torch.cuda.is_available()
    if hardware.accelerator == "cuda" and not has_cuda:
        raise ParameterError(
            "hardware.accelerator is cuda, but this machine has no CUDA device; use auto or cpu"
        )
    is_cuda = has_cuda and hardware.accelerator != "cpu"

    # Each process gets an equal part of each batch.
    num_devices = count_devices(hardware, is_cuda=is_cuda)
    num_processes = num_devices * hardware.num_nodes
    if parameters.batch_size % num_processes:
        raise ParameterError(
            f"batch_size ({parameters.batch_size}) must be a multiple of the number of processes "
            f"({num_processes})"
        )

    # Half precision is faster on GPUs and slower on CPUs.
    precision = hardware.precision
    if precision == "auto":
        precision = "bf16" if is_cuda else "float32"

    options = {
        # where
        "accelerator": "cuda" if is_cuda else "cpu",
        "devices": num_devices,
        "num_nodes": hardware.num_nodes,
        "strategy": "ddp" if num_processes > 1 else "auto",
        # how
        "precision": _LIGHTNING_PRECISIONS[precision],
        "max_epochs": parameters.epochs,
        "accumulate_grad_batches": parameters.accumulate,
        "gradient_clip_val": parameters.gradient_clip or None,
        "deterministic": hardware.is_deterministic,
        "benchmark": not hardware.is_deterministic,
        # BatchLoader, StateSaver, History and StepBar do what is switched off here.
        "use_distributed_sampler": False,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return TrainerPlan(options, is_cuda, num_processes)


def count_devices(hardware: HardwareParameters, *, is_cuda: bool) -> int:
    """Return the number of training processes on this machine.

    Unless ``hardware.devices`` says it: one for each GPU, or one on a CPU.
    """
    return hardware.devices or (torch.cuda.device_count() if is_cuda else 1)


def count_workers(hardware: HardwareParameters, *, is_cuda: bool) -> int:
    """Return the number of loader processes of each training process.

    Unless ``hardware.num_workers`` says it: none on a CPU, up to eight for each GPU. All training
    processes together never have more loader processes than there are cores.
    """
    if hardware.num_workers >= 0:
        return hardware.num_workers
    if not is_cuda:
        return 0

    # A container or a scheduler may allow this process fewer cores than there are.
    has_affinity = hasattr(os, "sched_getaffinity")
    num_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    num_cores_per_gpu = num_cores // count_devices(hardware, is_cuda=True)
    return max(1, min(_WORKERS_PER_GPU, num_cores_per_gpu))


def describe_device(device: torch.device) -> str:
    """Return the GPU's name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@contextlib.contextmanager
def silence_lightning() -> Iterator[None]:
    """Silence Lightning's announcements, and its advice that does not apply to our loaders."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def restore_torch_settings(num_threads: int) -> Iterator[None]:
    """Restore torch's process-wide settings when the run ends.

    Args:
        num_threads: of torch during the run; 0 keeps the present number.
    """
    previous_num_threads = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    was_benchmark = torch.backends.cudnn.benchmark

    if num_threads:
        torch.set_num_threads(num_threads)

    try:
        yield
    finally:
        torch.set_num_threads(previous_num_threads)
        torch.use_deterministic_algorithms(was_deterministic)
        torch.backends.cudnn.benchmark = was_benchmark
