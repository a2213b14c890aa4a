"""Where a run computes: Lightning's options from ``HardwareParameters``, and torch's settings while it lasts."""

import contextlib
import logging
import os
import warnings

import torch

from earshot.errors import ParameterError
from train.models.training_parameters import HardwareParameters, TrainingParameters

_WORKERS_PER_GPU = 8
_LIGHTNING_PRECISIONS = {"float32": "32-true", "float64": "64-true", "bf16": "bf16-mixed"}


def plan_trainer(
    parameters: TrainingParameters, hardware: HardwareParameters
) -> tuple[dict, bool, int]:
    """Lightning's options, whether a GPU is used, and the number of processes."""
    has_cuda = torch.cuda.is_available()
    if hardware.accelerator == "cuda" and not has_cuda:
        raise ParameterError(
            "hardware.accelerator is cuda, but this machine has no CUDA device; use auto or cpu"
        )
    is_cuda = has_cuda and hardware.accelerator != "cpu"
    devices = count_devices(hardware, is_cuda=is_cuda)
    num_replicas = devices * hardware.num_nodes
    if parameters.batch_size % num_replicas:
        raise ParameterError(
            f"batch_size ({parameters.batch_size}) must be a multiple of the number of processes ({num_replicas})"
        )
    precision = hardware.precision
    if precision == "auto":
        precision = "bf16" if is_cuda else "float32"
    options = {
        "accelerator": "cuda" if is_cuda else "cpu",
        "devices": devices,
        "num_nodes": hardware.num_nodes,
        "strategy": "ddp" if num_replicas > 1 else "auto",
        "precision": _LIGHTNING_PRECISIONS[precision],
        "max_epochs": parameters.epochs,
        "accumulate_grad_batches": parameters.accumulate,
        "gradient_clip_val": parameters.gradient_clip or None,
        "deterministic": hardware.is_deterministic,
        "benchmark": not hardware.is_deterministic,
        "use_distributed_sampler": False,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return options, is_cuda, num_replicas


def count_devices(hardware: HardwareParameters, *, is_cuda: bool) -> int:
    """Processes on this machine: all GPUs, or one on a CPU, unless ``hardware.devices`` says."""
    return hardware.devices or (torch.cuda.device_count() if is_cuda else 1)


def count_workers(hardware: HardwareParameters, *, is_cuda: bool) -> int:
    """Loader processes of each training process; of the cores that this process may use none is promised twice."""
    if hardware.num_workers >= 0:
        return hardware.num_workers
    if not is_cuda:
        return 0
    num_cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(_WORKERS_PER_GPU, num_cores // count_devices(hardware, is_cuda=True)))


def describe_device(device: torch.device) -> str:
    """The GPU's name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@contextlib.contextmanager
def quiet_lightning():
    """Keep Lightning from announcing itself and from advice that does not apply to these loaders."""
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
def torch_settings(num_threads: int):
    """Leave torch's process-wide settings as they were, whatever the run needs."""
    before, was_deterministic = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    benchmarked = torch.backends.cudnn.benchmark
    if num_threads:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(was_deterministic)
        torch.backends.cudnn.benchmark = benchmarked
