"""FNAC, false negative aware contrastive learning (Sun et al., CVPR 2023).

EZ-VSL's network with dropout before the visual projection, and a loss that expects clips of a batch
to be alike.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from train.models import ezvsl
from train.models.localizer import full_precision, pool_audio
from train.networks.losses import false_negative_terms
from train.networks.sample_draws import SampleDraws, SampleDropout


@dataclass(frozen=True, kw_only=True)
class Parameters(ezvsl.Parameters):
    """FNAC. The defaults are the published settings."""

    method: str = "fnac"
    batch_size: int = 256
    epochs: int = 30
    weight_decay: float = 1e-4
    has_flip: bool = False
    num_contrast_epochs: int = 5  # at first the loss is EZ-VSL's alone
    affinity_weight: float = 100.0  # of each of the three other terms
    foreground_threshold: float = 0.6  # of a map scaled to 0..1: larger values sound
    dropout: float = 0.9  # of single values of the visual features
    # Widest band of frequencies and of times that is masked in a training spectrogram. 0: none.
    mask_width: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout ({self.dropout}) must be in [0, 1)")
        # A key that changes nothing would be a mistake in silence.
        if self.matching != "max":
            raise ValueError(f"matching ({self.matching}) must be max: fnac compares best places")
        for name in ("num_contrast_epochs", "affinity_weight", "mask_width"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be >= 0")


class Model(ezvsl.Model):
    """EZ-VSL's network; released weights have the same names."""

    settings: Parameters

    def __init__(self, parameters: Parameters):
        super().__init__(parameters)
        self._is_contrast_alone = False
        # Drawn for the whole batch, so that several processes mask and drop as one would.
        self._mask_draws = SampleDraws()
        self._dropout = SampleDropout(parameters.dropout)

    def set_epoch(self, epoch: int) -> None:
        """Add the terms of affinity after the first epochs."""
        self._is_contrast_alone = epoch < self.settings.num_contrast_epochs

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``visual`` (n, c, h, w) and ``audio`` (n, c), of unit norm over channels."""
        spectrograms = inputs["spectrograms"]
        if self.training and self.settings.mask_width:
            spectrograms = self._mask(spectrograms)

        # As published: single values are dropped, not whole channels.
        visual = self.img_proj(self._dropout(self.imgnet(inputs["frames"])))
        audio = self.aud_proj(pool_audio(self.audnet(spectrograms), self.settings.audio_pooling))
        return {
            "visual": F.normalize(full_precision(visual), dim=1),
            "audio": F.normalize(full_precision(audio), dim=1),
        }

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the contrastive loss plus the weighted distances of affinities."""
        p = self.settings
        terms = false_negative_terms(
            embeddings["visual"],
            embeddings["audio"],
            tau=p.tau,
            foreground_threshold=p.foreground_threshold,
            margin=p.margin,
        )
        # As published, the first epochs train the contrast alone. Validation has all terms from the
        # first epoch on: with fewer terms the loss is smaller, and such an epoch would be kept.
        if self._is_contrast_alone and self.training:
            return terms[0]
        return terms[0] + p.affinity_weight * terms[1:].sum()

    def _mask(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """Set a band of rows and a band of columns of each spectrogram to the logarithm 0.

        In log power 0 is loud. As in the authors' code, the first row is drawn from the number of
        columns and the first column from the number of rows, so that some bands lie outside.
        """
        p = self.settings
        num_samples, _, num_rows, num_columns = spectrograms.shape

        def draw_band(size: int, start_below: int) -> torch.Tensor:
            return self._mask_draws.draw(
                num_samples,
                lambda number: _draw_band(
                    number, size, start_below=start_below, width=p.mask_width
                ),
            )

        rows = draw_band(num_rows, num_columns)
        columns = draw_band(num_columns, num_rows)
        masked = (rows[:, None, :, None] | columns[:, None, None, :]).to(spectrograms.device)
        # Inputs are standardized, so the logarithm 0 is another number here.
        level = (0.0 - p.spectrogram_mean) / p.spectrogram_std
        return spectrograms.masked_fill(masked, level)


def _draw_band(num_samples: int, size: int, *, start_below: int, width: int) -> torch.Tensor:
    """Return bool (num_samples, size): one band of up to ``width`` places in each row."""
    widths = torch.randint(0, width + 1, (num_samples, 1))
    starts = (torch.rand(num_samples, 1) * (start_below - widths).clamp(min=1)).long()
    places = torch.arange(size)
    return (places >= starts) & (places < starts + widths)
