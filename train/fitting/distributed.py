"""Several processes as if they were one: gathered embeddings and statistics over the whole batch."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import nn

from train.networks.waveform_encoder import WaveformEncoder

_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def num_processes() -> int:
    """Processes that train together; 1 when torch.distributed is not in use."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first_process(environment: Mapping[str, str]) -> bool:
    """Whether a process is the first of those that a launcher (Lightning, torchrun, SLURM) or nobody started.

    Lightning starts the same command once more for every further device.
    """
    return not any(environment.get(name, "0") not in ("", "0") for name in _RANK_VARIABLES)


def gather_embeddings(embeddings: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The embeddings of all processes, in the order of ranks; gradients flow back to each process's own.

    With every process computing the whole loss, the mean of their gradients (what DDP takes) is the gradient of that
    loss in one process.
    """
    if num_processes() == 1:
        return embeddings
    if not torch.is_grad_enabled():
        return _gather_uneven(embeddings)
    return {name: _Gather.apply(values) for name, values in embeddings.items()}


def _gather_uneven(embeddings: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Where nothing is trained, processes may hold different numbers of samples of a last batch."""
    own = next(iter(embeddings.values()))
    counts = [torch.zeros(1, dtype=torch.long, device=own.device) for _ in range(num_processes())]
    dist.all_gather(counts, torch.tensor([len(own)], device=own.device))
    counts = [int(count) for count in counts]
    gathered = {}
    for name, values in embeddings.items():
        padded = values.new_zeros((max(counts), *values.shape[1:]))
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        gathered[name] = torch.cat(
            [part[:count] for part, count in zip(parts, counts, strict=True)]
        )
    return gathered


class _Gather(torch.autograd.Function):
    """all_gather along the first axis. Backward sums what every process wants of this process's part."""

    @staticmethod
    def forward(context, values):
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context, gradient):
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        share = len(gradient) // dist.get_world_size()
        return gradient[dist.get_rank() * share : (dist.get_rank() + 1) * share]


class _Sum(torch.autograd.Function):
    """Sum over processes; so is its gradient."""

    @staticmethod
    def forward(context, values):
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient):
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def average_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Mean of a tensor over all processes (no gradient)."""
    if num_processes() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / num_processes()


def synchronize_statistics(model: nn.Module, *, is_cuda: bool) -> nn.Module:
    """Let BatchNorm (and the standardization of spectrograms) see the batch of all processes."""
    for module in model.modules():
        if isinstance(module, WaveformEncoder):
            module.compute_moments = global_moments
    if is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d
    return model


def global_moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (n - 1) over the values of all processes, which hold equally many."""
    count = values.numel() * num_processes()
    mean = _Sum.apply(values.sum()) / count
    variance = _Sum.apply((values - mean).square().sum()) / (count - 1)
    return mean, variance.sqrt()


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the batch of all processes, for CPUs (torch's SyncBatchNorm is for GPUs only)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or num_processes() == 1:
            return super().forward(x)
        count = x.numel() // x.shape[1] * num_processes()
        mean = _Sum.apply(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]
