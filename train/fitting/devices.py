"""Choose where a run computes: Lightning's options for the hardware, and torch's settings."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from earshot.errors import ParameterError
from train.fitting.launcher import (
    CHILD_VARIABLE,
    Launch,
    find_launch,
    make_cluster_environment,
)
from train.models.training_parameters import HardwareParameters, TrainingParameters

_WORKERS_PER_GPU = 8
_NARROWEST_CHANNELS_LAST = 8
# Variables that Lightning sets for the processes that it starts, or that these inherit.
_LAUNCH_VARIABLES = (
    "MASTER_ADDR",
    "MASTER_PORT",
    "NODE_RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "OMP_NUM_THREADS",
    CHILD_VARIABLE,
)
_LIGHTNING_PRECISIONS = {"float32": "32-true", "float64": "64-true", "bf16": "bf16-mixed"}


@dataclass(frozen=True)
class TrainerPlan:
    """How Lightning trains on the hardware at hand."""

    options: dict[str, Any]  # of lightning.Trainer
    is_cuda: bool
    num_processes: int  # of all nodes
    launch: Launch  # the processes that were started already
    num_threads: int  # of torch, in each process
    is_channels_last: bool  # memory layout of the images
    is_compiled: bool

    def list_deciding_settings(self) -> dict[str, Any]:
        """Return the settings that change the losses of a run, even if only by rounding.

        On a GPU the number of CPU threads is not among them.
        """
        return {
            "accelerator": self.options["accelerator"],
            "precision": self.options["precision"],
            "num_processes": self.num_processes,
            "num_threads": None if self.is_cuda else self.num_threads,
            "is_channels_last": self.is_channels_last,
            "is_compiled": self.is_compiled,
            "is_deterministic": self.options["deterministic"],
        }


def plan_trainer(
    parameters: TrainingParameters,
    hardware: HardwareParameters,
    *,
    environment: Mapping[str, str] | None = None,
) -> TrainerPlan:
    """Choose accelerator, processes and precision.

    Args:
        parameters: of the run.
        hardware: what is wanted.
        environment: the variables in which a launcher says how many processes it started; None:
            those of this process.

    Returns:
        The options of Lightning's trainer, and what else the hardware decides.

    Raises:
        ParameterError: the hardware is not there, a launcher started another number of processes,
            or the batch cannot be shared equally.
    """
    has_cuda = torch.cuda.is_available()
    if hardware.accelerator == "cuda" and not has_cuda:
        raise ParameterError(
            "hardware.accelerator is cuda, but this machine has no CUDA device; use auto or cpu"
        )
    is_cuda = has_cuda and hardware.accelerator != "cpu"

    # Each process gets an equal part of each batch.
    launch = find_launch(os.environ if environment is None else environment)
    num_devices = _count_processes_here(hardware, launch, is_cuda=is_cuda)
    num_processes = num_devices * hardware.num_nodes
    _require_planned_number(hardware, launch, num_devices=num_devices)
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
        # Without it, Lightning would guess, and confuse an sbatch script with srun.
        "plugins": [make_cluster_environment(launch)],
        # how
        "precision": _LIGHTNING_PRECISIONS[precision],
        "max_epochs": parameters.epochs,
        "accumulate_grad_batches": parameters.accumulate,
        "gradient_clip_val": parameters.gradient_clip or None,
        "deterministic": hardware.is_deterministic,
        # cuDNN tries kernels and takes the fastest one, which need not be the same each time.
        "benchmark": not hardware.is_deterministic,
        # BatchLoader, StateSaver and StepBar replace what is switched off here.
        "use_distributed_sampler": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return TrainerPlan(
        options,
        is_cuda,
        num_processes,
        launch,
        num_threads=_count_threads(hardware, num_devices),
        is_channels_last=_is_channels_last(parameters, hardware),
        is_compiled=hardware.is_compiled,
    )


def count_devices(hardware: HardwareParameters, *, is_cuda: bool) -> int:
    """Return the number of training processes on this machine, if no launcher started them.

    It is ``hardware.devices``, or else one for each GPU, or one on a CPU.
    """
    return hardware.devices or (torch.cuda.device_count() if is_cuda else 1)


def _count_processes_here(hardware: HardwareParameters, launch: Launch, *, is_cuda: bool) -> int:
    """Return the number of training processes on this machine."""
    num_devices = hardware.devices or launch.num_local or count_devices(hardware, is_cuda=is_cuda)

    num_gpus = torch.cuda.device_count() if is_cuda else num_devices
    if num_devices > num_gpus:
        raise ParameterError(
            f"{num_devices} training processes on this machine need as many GPUs, but each sees "
            f"{num_gpus}; set hardware.devices to that, or let each process see all GPUs "
            "(CUDA_VISIBLE_DEVICES; srun without --gpus-per-task and --gpu-bind)"
        )
    return num_devices


def _require_planned_number(
    hardware: HardwareParameters, launch: Launch, *, num_devices: int
) -> None:
    """Fail unless the started processes and those still to start are as many as planned."""
    num_nodes, planned = hardware.num_nodes, num_devices * hardware.num_nodes
    plan = f"hardware plans {planned} (devices {num_devices} x num_nodes {num_nodes})"

    if launch.is_whole:
        is_uneven = launch.num_local not in (None, num_devices)
        if launch.num_processes != planned or is_uneven:
            where = f" ({launch.num_local} on each machine)" if launch.num_local else ""
            raise ParameterError(
                f"{launch.launcher}: {launch.num_processes} training processes were "
                f"started{where}, but {plan}; start as many, or change hardware.devices and "
                "hardware.num_nodes"
            )
    elif num_nodes > 1 and launch.is_in_slurm:
        raise ParameterError(
            f"one training process was started in a SLURM job, but {plan}; start the stage with "
            f"srun --nodes={num_nodes} --ntasks-per-node={num_devices}"
        )
    elif num_nodes > 1 and launch.address is None:
        raise ParameterError(
            f"one training process was started, but {plan}; start the stage on each node with "
            f"torchrun --nnodes={num_nodes} --nproc-per-node={num_devices}, or set NODE_RANK, "
            "MASTER_ADDR and MASTER_PORT"
        )


def _count_threads(hardware: HardwareParameters, num_devices: int) -> int:
    """Return the number of torch's threads in each process.

    It is ``hardware.num_threads``, or else torch's choice, divided by the processes here.
    """
    if hardware.num_threads:
        return hardware.num_threads

    # This variable is a number for one process. Processes that Lightning starts inherit it.
    is_per_process = bool(os.environ.get("OMP_NUM_THREADS"))
    return max(1, torch.get_num_threads() // (1 if is_per_process else num_devices))


def _is_channels_last(parameters: TrainingParameters, hardware: HardwareParameters) -> bool:
    """Return whether images are in channels-last memory.

    Some CPU kernels of torch 2.15 write past the end of arrays with fewer than eight channels in
    this layout.
    """
    narrowest = min(parameters.width, parameters.audio_width or parameters.width)
    return hardware.is_channels_last and narrowest >= _NARROWEST_CHANNELS_LAST


def count_workers(hardware: HardwareParameters, *, is_cuda: bool) -> int:
    """Return the number of loader processes of each training process.

    It is ``hardware.num_workers``, or else none on a CPU and up to eight for each GPU. All training
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
    """Restore torch's settings, its random state and Lightning's variables when the run ends.

    Args:
        num_threads: of torch during the run.
    """
    previous_num_threads = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    was_benchmark = torch.backends.cudnn.benchmark
    variables = {name: os.environ.get(name) for name in _LAUNCH_VARIABLES}

    # Lightning chooses another number in several processes, unless the variable is set.
    torch.set_num_threads(num_threads)
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    os.environ[CHILD_VARIABLE] = "1"

    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(previous_num_threads)
        torch.use_deterministic_algorithms(was_deterministic)
        torch.backends.cudnn.benchmark = was_benchmark
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
