"""One training step for Lightning: inputs on the device, embeddings, loss, learning rate."""

import math
from typing import Any

import lightning
import numpy as np
import torch

from train.data.augmentation import prepare_inputs
from train.data.collate import Batch
from train.fitting.distributed import gather_embeddings
from train.fitting.epoch_statistics import EpochStatistics
from train.models.localizer import Localizer, full_precision
from train.models.training_parameters import TrainingParameters

_SGD_MOMENTUM = 0.9


class TrainingModule(lightning.LightningModule):
    """A model with its loss and its optimizer.

    ``train_statistics`` and ``val_statistics`` hold the losses of the current epoch on the device,
    so that no step waits for them.

    Args:
        model: the network to train.
        parameters: of the run.
        is_channels_last: memory layout of the images.
    """

    def __init__(
        self, model: Localizer, parameters: TrainingParameters, *, is_channels_last: bool = False
    ):
        super().__init__()
        self.model, self.criterion = model, model.make_criterion()
        self.embed = model.embed  # ``compile_network`` replaces it
        self.train_parameters = parameters
        self.is_channels_last = is_channels_last

        self.num_steps_per_epoch = 1  # optimizer steps; set before fitting
        self.plateau_scale = 1.0  # of the learning rate; each plateau lowers it
        self.train_statistics, self.val_statistics = EpochStatistics(), EpochStatistics()

    def compile_network(self) -> None:
        """Compile the forward pass of the network; its parameters keep their names."""
        self.embed = torch.compile(self.model.embed)

    def compute_loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of a batch (scalar) and the embeddings that it compares."""
        inputs = prepare_inputs(
            batch, self.model.input_format, is_channels_last=self.is_channels_last
        )
        embeddings = self.embed(inputs)

        # The samples of other processes are negatives, too.
        if self.train_parameters.negatives == "gathered":
            embeddings = gather_embeddings(embeddings)

        # Similarities and softmax need full precision.
        with torch.autocast(self.device.type, enabled=False):
            precise = {name: full_precision(values) for name, values in embeddings.items()}
            return self.criterion(precise), embeddings

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Return the loss of a training batch."""
        loss, embeddings = self.compute_loss(batch)
        self.train_statistics.add(loss, embeddings)
        return loss * self._weigh(batch_index)

    def _weigh(self, batch_index: int) -> float:
        """Return the weight of a batch in the gradient of its optimizer step.

        Lightning divides each loss by ``accumulate``, also in the last step of an epoch, which may
        have fewer batches.
        """
        accumulate = self.train_parameters.accumulate
        first = batch_index // accumulate * accumulate
        return accumulate / min(accumulate, int(self.trainer.num_training_batches) - first)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add the loss of a validation batch to the statistics."""
        loss, embeddings = self.compute_loss(batch)
        self.val_statistics.add(loss, embeddings)

    def on_train_epoch_start(self) -> None:
        """Begin new statistics."""
        self.train_statistics.reset()

    def on_validation_epoch_start(self) -> None:
        """Begin new statistics."""
        self.val_statistics.reset()

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Set the learning rate, the random state and the epoch of this step."""
        # Do this before each step, because a run can resume in the middle of an epoch.
        self.model.set_epoch(self.current_epoch)
        # The weights do not change between the batches of one optimizer step.
        if batch_index % self.train_parameters.accumulate == 0:
            self.model.begin_step()

        # Stochastic depth draws from the global generator, which no state keeps. It is the same in
        # all processes, see ``share_randomness``.
        place = (self.train_parameters.seed, self.current_epoch, batch_index)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))

        rate = self.compute_learning_rate(self.trainer.global_step)
        for group in self.optimizers(use_pl_optimizer=False).param_groups:
            group["lr"] = rate * group["factor"]

    def compute_learning_rate(self, step: int) -> float:
        """Return the learning rate of an optimizer step; plateaus so far are included."""
        p = self.train_parameters
        rate = p.learning_rate * self.plateau_scale

        # Warm-up: the rate grows linearly with the step.
        num_warmup = p.warmup_epochs * self.num_steps_per_epoch
        if step < num_warmup:
            # Not 0 in the first step, and not yet the full rate in the last one.
            return rate * (step + 1) / (num_warmup + 1)

        # Cosine: from the full rate after the warm-up to 0 at the last step.
        if p.schedule == "cosine":
            num_steps = p.epochs * self.num_steps_per_epoch - num_warmup
            progress = (step - num_warmup) / max(num_steps, 1)
            rate *= 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
        return rate

    def lower_learning_rate(self) -> None:
        """Multiply the learning rate by ``plateau_factor``, but not below ``plateau_floor``."""
        p = self.train_parameters
        lowest = p.plateau_floor / p.learning_rate
        # A rate that begins below the floor is not raised.
        self.plateau_scale = min(
            self.plateau_scale, max(self.plateau_scale * p.plateau_factor, lowest)
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer that the parameters name."""
        p = self.train_parameters
        groups = self._group_parameters()
        # `fused` updates all weights in one kernel: faster, and only the rounding differs.
        if p.optimizer == "adam":
            return torch.optim.Adam(groups, lr=p.learning_rate, fused=True)
        if p.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=p.learning_rate, momentum=_SGD_MOMENTUM)
        return torch.optim.AdamW(groups, lr=p.learning_rate, fused=True)

    def _group_parameters(self) -> list[dict[str, Any]]:
        """Group what is trained by its weight decay and its share of the learning rate."""
        p = self.train_parameters
        groups: dict[tuple[bool, float], list[torch.nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            # Adam's weight decay is an L2 penalty on every parameter, as in the published code.
            # Elsewhere biases and normalization layers (tensors of one dimension) do not decay.
            own_name = name.removeprefix("model.")
            is_weight = parameter.ndim > 1 and self.model.has_decay(own_name)
            is_decayed = p.optimizer == "adam" or is_weight
            factor = self.model.learning_rate_factor(own_name)
            groups.setdefault((is_decayed, factor), []).append(parameter)

        # In a fixed order: the state of an optimizer knows its groups by their place.
        return [
            {
                "params": parameters,
                "weight_decay": p.weight_decay if is_decayed else 0.0,
                "factor": factor,
            }
            for (is_decayed, factor), parameters in sorted(
                groups.items(), key=lambda item: item[0], reverse=True
            )
        ]

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the gradient.

        Lightning refuses to do this with fused optimizers in mixed precision, because of the loss
        scaling of float16. bf16 has no loss scaling.
        """
        if gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know to a checkpoint."""
        checkpoint["plateau_scale"] = self.plateau_scale
        checkpoint["train_statistics"] = self.train_statistics.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.plateau_scale = checkpoint["plateau_scale"]
        self.train_statistics.load_state_dict(checkpoint["train_statistics"])

    def compute_validation_loss(self) -> float:
        """Return the mean loss of the last validation, over all processes."""
        return float(self.val_statistics.compute_mean_loss())
