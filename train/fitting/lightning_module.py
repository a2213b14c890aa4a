"""One training step as Lightning wants it: inputs on the device, embeddings, loss, learning rate."""

import math

import lightning
import torch

from train.data.augmentation import prepare_inputs
from train.fitting.collapse import EpochStatistics
from train.fitting.distributed import average_over_processes, gather_embeddings
from train.models.localizer import Localizer, full_precision
from train.models.training_parameters import TrainingParameters

_BIASES_AND_NORMS = 1  # weight decay is for tensors of more dimensions than this
_SGD_MOMENTUM = 0.9


class TrainingModule(lightning.LightningModule):
    """A model with its criterion and optimizer.

    Losses stay on the device until an epoch ends, so that no step waits for them. ``train_statistics`` and
    ``val_statistics`` hold them.
    """

    def __init__(
        self, model: Localizer, parameters: TrainingParameters, *, is_channels_last: bool = False
    ):
        super().__init__()
        self.model, self.criterion = model, model.make_criterion()
        self.train_parameters = parameters
        self.is_channels_last = is_channels_last
        self.embed = model.embed
        self.num_steps_an_epoch = 1  # optimizer steps; set before fitting
        self.plateau_scale = 1.0
        self.train_statistics, self.val_statistics = EpochStatistics(), EpochStatistics()

    def compile_network(self) -> None:
        """Compile the network's forward pass; its parameters and their names stay."""
        self.embed = torch.compile(self.model.embed)

    def _loss(self, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        inputs = prepare_inputs(
            batch, self.model.input_format, is_channels_last=self.is_channels_last
        )
        embeddings = self.embed(inputs)
        if self.train_parameters.negatives == "gathered":
            embeddings = gather_embeddings(embeddings)
        # similarities and softmax in full precision
        with torch.autocast(self.device.type, enabled=False):
            return self.criterion(
                {name: full_precision(values) for name, values in embeddings.items()}
            ), embeddings

    def training_step(self, batch: dict, batch_index: int) -> torch.Tensor:
        loss, embeddings = self._loss(batch)
        self.train_statistics.add(loss, embeddings)
        return loss

    def validation_step(self, batch: dict, batch_index: int) -> None:
        loss, embeddings = self._loss(batch)
        self.val_statistics.add(loss, embeddings)

    def on_train_epoch_start(self) -> None:
        self.train_statistics.start()

    def on_validation_epoch_start(self) -> None:
        self.val_statistics.start()

    def on_train_batch_start(self, batch: dict, batch_index: int) -> None:
        rate = self.learning_rate_at(self.trainer.global_step)
        for group in self.optimizers(use_pl_optimizer=False).param_groups:
            group["lr"] = rate

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of an optimizer step, from the step alone and what plateaus there were."""
        p = self.train_parameters
        rate = p.learning_rate * self.plateau_scale
        num_warmup = p.warmup_epochs * self.num_steps_an_epoch
        if step < num_warmup:
            return rate * (step + 1) / (num_warmup + 1)
        if p.schedule == "cosine":
            progress = (step - num_warmup) / max(p.epochs * self.num_steps_an_epoch - num_warmup, 1)
            rate *= 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
        return rate

    def configure_optimizers(self) -> torch.optim.Optimizer:
        p = self.train_parameters
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        groups = [
            {
                "params": [t for t in trained if t.ndim > _BIASES_AND_NORMS],
                "weight_decay": p.weight_decay,
            },
            {"params": [t for t in trained if t.ndim <= _BIASES_AND_NORMS], "weight_decay": 0.0},
        ]
        if p.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=p.learning_rate, momentum=_SGD_MOMENTUM)
        if (
            p.optimizer == "adam"
        ):  # its weight decay is an L2 penalty on every parameter, as published code uses it
            return torch.optim.Adam(
                trained, lr=p.learning_rate, weight_decay=p.weight_decay, fused=True
            )
        return torch.optim.AdamW(groups, lr=p.learning_rate, fused=True)

    def configure_gradient_clipping(
        self,
        optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm here: Lightning refuses to with fused optimizers in mixed precision, for the sake of float16's
        loss scaling, which bf16 does without.
        """
        if gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["plateau_scale"] = self.plateau_scale
        checkpoint["train_statistics"] = self.train_statistics.state_dict()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.plateau_scale = checkpoint["plateau_scale"]
        self.train_statistics.load_state_dict(checkpoint["train_statistics"])

    def validation_loss(self) -> float:
        """Mean loss of the last validation, over all processes."""
        return float(average_over_processes(self.val_statistics.mean_loss()))
