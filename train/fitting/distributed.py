"""Let several processes compute the same as one.

They exchange embeddings, so that the loss sees the negatives of the whole batch, and the statistics
of normalization layers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import lightning
import torch
import torch.distributed as dist
from torch import nn
from torchvision.ops import StochasticDepth

from earshot.errors import RunError
from train.networks.encoders.waveform_encoder import WaveformEncoder
from train.networks.sample_draws import SampleDraws

_STEPS_BETWEEN_WAITS = 50


def count_processes() -> int:
    """Return how many processes train together; 1 when torch.distributed is not in use."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def require_agreement(facts: Mapping[str, Any], *, what: str) -> None:
    """Fail in all processes unless they have the same facts.

    Args:
        facts: of this process.
        what: the processes, for the message.

    Raises:
        RunError: a fact differs.
    """
    if count_processes() == 1:
        return

    received: list[Any] = [None] * count_processes()
    dist.all_gather_object(received, dict(facts))
    different = [name for name in facts if len({other[name] for other in received}) > 1]
    if different:
        raise RunError(
            f"{what} do not agree on {', '.join(different)}; start all of them on the same files, "
            "with the same parameters and number of threads (hardware.num_threads)"
        )


def is_waiting_step(trainer: lightning.Trainer, batch_index: int) -> bool:
    """Return whether callbacks may wait for the GPU and the other processes after this batch.

    A single CPU process has nothing to wait for. In all other cases a wait costs time, so callbacks
    wait only after every 50th batch.
    """
    is_free = trainer.world_size == 1 and trainer.strategy.root_device.type == "cpu"
    return is_free or (batch_index + 1) % _STEPS_BETWEEN_WAITS == 0


def gather_embeddings(embeddings: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Collect the embeddings of all processes, in the order of their ranks.

    Gradients flow back to each process's own part. Every process computes the whole loss, and DDP
    takes the mean of their gradients. That equals the gradient of this loss in one process.

    Args:
        embeddings: name -> (n, ...). When training, n is the same in all processes.

    Returns:
        name -> (n of all processes, ...).
    """
    if count_processes() == 1:
        return embeddings
    if not torch.is_grad_enabled():
        return _gather_uneven(embeddings)
    return {name: _Gather.apply(values) for name, values in embeddings.items()}


def _gather_uneven(embeddings: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gather in validation, where processes may have different numbers of samples."""
    # Tell each other how many samples there are.
    own = next(iter(embeddings.values()))
    received = [
        torch.zeros(1, dtype=torch.long, device=own.device) for _ in range(count_processes())
    ]
    dist.all_gather(received, torch.tensor([len(own)], device=own.device))
    counts = [int(count) for count in received]

    # all_gather needs equal shapes: pad, gather, and cut the padding off again.
    gathered = {}
    for name, values in embeddings.items():
        padded = values.new_zeros((max(counts), *values.shape[1:]))
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        kept = [part[:count] for part, count in zip(parts, counts, strict=True)]
        gathered[name] = torch.cat(kept)
    return gathered


class _Gather(torch.autograd.Function):
    """all_gather along the first axis."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        # Sum the gradients of all processes with respect to this process's part.
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        share = len(gradient) // dist.get_world_size()
        return gradient[dist.get_rank() * share : (dist.get_rank() + 1) * share]


class _Sum(torch.autograd.Function):
    """Sum over processes; its gradient is summed in the same way."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def sum_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes (no gradient)."""
    if count_processes() == 1:
        return value
    # `all_reduce` works in place, and the caller keeps its own part.
    value = value.clone()
    dist.all_reduce(value)
    return value


def average_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over all processes (no gradient)."""
    return sum_over_processes(value) / count_processes()


def synchronize_statistics(model: nn.Module, *, is_cuda: bool) -> nn.Module:
    """Let normalization layers see the batch of all processes.

    This changes BatchNorm and the standardization of spectrograms in ``WaveformEncoder``.

    Args:
        model: changed in place, or replaced by torch's SyncBatchNorm layers on GPUs.
        is_cuda: whether the model trains on GPUs.

    Returns:
        The model to train.
    """
    for module in model.modules():
        if isinstance(module, WaveformEncoder):
            module.compute_moments = compute_global_moments

    if is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)

    # Change the class of the layers, so that their weights and names stay.
    for module in model.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.__class__ = GlobalBatchNorm
    return model


def compute_global_moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (n - 1) of the values of all processes."""
    # In validation the parts of a batch can differ by a sample.
    count = sum_over_processes(torch.tensor(values.numel(), device=values.device))
    mean = _Sum.apply(values.sum()) / count
    # From deviations: the difference of two large sums of squares would lose digits.
    variance = _Sum.apply((values - mean).square().sum()) / (count - 1)
    return mean, variance.sqrt()


def share_randomness(model: nn.Module) -> None:
    """Give each sample the random numbers that it would get in one process with the whole batch.

    This changes stochastic depth and ``SampleDraws``, which dropout uses.

    Args:
        model: changed in place. Each process must have the same random state before a step.
    """
    # Change the class of the layers, so that the names of their parents' weights stay.
    for module in model.modules():
        if type(module) is StochasticDepth:
            module.__class__ = GlobalStochasticDepth
        elif type(module) is SampleDraws:
            module.__class__ = GlobalSampleDraws


class GlobalSampleDraws(SampleDraws):
    """Random values for the samples of a batch of all processes."""

    def draw(self, num_samples: int, draw: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """Draw for the whole batch, and keep this process's part."""
        drawn = draw(num_samples * count_processes())
        return drawn.chunk(count_processes())[dist.get_rank()] if count_processes() > 1 else drawn


class GlobalStochasticDepth(StochasticDepth):
    """Stochastic depth over the batch of all processes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop samples of (n, ...), or with mode ``batch`` all of them."""
        if not self.training or self.p == 0 or count_processes() == 1:
            return super().forward(x)

        # Draw for the whole batch, as torchvision draws, and keep this process's part.
        num_rows = len(x) * count_processes() if self.mode == "row" else 1
        factors = x.new_empty((num_rows, *([1] * (x.ndim - 1)))).bernoulli_(1 - self.p)
        # With p = 1 everything is dropped, and there is nothing to scale.
        if self.p < 1:
            factors.div_(1 - self.p)
        if self.mode == "row":
            factors = factors.chunk(count_processes())[dist.get_rank()]
        return x * factors


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the batch of all processes on CPUs (torch's SyncBatchNorm needs GPUs)."""

    def _check_input_dim(self, x: torch.Tensor) -> None:
        """Take arrays of any number of dimensions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize (n, c, ...)."""
        if not self.training or count_processes() == 1:
            return super().forward(x)

        # Moments of the whole batch.
        count = x.numel() // x.shape[1] * count_processes()
        axes, shape = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
        mean = _Sum.apply(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count

        # Running statistics as torch keeps them: the mean, and the variance with n - 1.
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)

        scale = (variance + self.eps).rsqrt()
        if not self.affine:
            return centred * scale.view(shape)
        return centred * (self.weight * scale).view(shape) + self.bias.view(shape)
