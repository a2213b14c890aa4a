"""SSLalignment (Senocak et al., ICCV 2023): released weights, and a training as we read it.

At test it is the network of LVS, unchanged, on a spectrogram of 257x299 (``spectrogram.preset``
``sslalignment``). Its training code never came: the training here is our reading of the paper.

Recalled from the paper: three views of a frame and of its sound, which are its own, an augmented
one, and that of a clip which looks or sounds alike, among the 1000 nearest by trained networks; two
similarities, of localization (the best place's cosine) and of alignment (the cosine of pooled,
projected features); a contrastive loss over all 3x3 pairs of views, by both similarities.

Ours, since the paper leaves it open or could not be read: both similarities have a loss of their
own, in both directions, and they are added; other clips count in the same pair of views; the
temperature; two layers as projections; the mean over places as pooling; another crop and flip as
the augmented frame, and a band of frequencies and one of times set to the mean as the augmented
sound; views are normalized in separate passes; the encoders that find neighbours; optimizer, batch
and epochs. Validation compares each clip with itself alone.
"""

from dataclasses import dataclass, fields
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from train.models import lvs
from train.models.localizer import full_precision, pool_audio
from train.networks.losses import multiple_instance_loss
from train.networks.sample_draws import SampleDraws

_OWN, _SECOND, _NEAR = "", "second_", "near_"  # before the names of what a view holds
_OF_LVS_LOSS = (
    "epsilon_positive",
    "epsilon_negative",
    "tau",
    "cross_clip_negatives",
    "has_hard_negatives",
    "margin",
    "equivariance_weight",
)
_NUM_DRAWS = 4  # of a mask: width and place along both axes


@dataclass(frozen=True, kw_only=True)
class Parameters(lvs.Parameters):
    """SSLalignment. What the paper does not say is as for LVS; of LVS's loss nothing is left."""

    method: str = "sslalignment"
    init: str = "random"
    # which network finds neighbours: imagenet, or the folder of a run
    frame_encoder: str = "imagenet"
    sound_encoder: str = "cache/runs/lvs"
    num_neighbours: int = 1000
    # of the projections that are aligned; 0: none, as the released weights. Training then is by
    # localization alone
    embedding_size: int = 512
    temperature: float = 0.07  # of both similarities
    mask_width: int = 40  # most rows, and most columns, of the augmented sound that are masked

    def __post_init__(self) -> None:
        super().__post_init__()
        # A key that changes nothing would be a mistake in silence.
        for field in fields(lvs.Parameters):
            value = getattr(self, field.name)
            if field.name in _OF_LVS_LOSS and value != field.default:
                raise ValueError(
                    f"{field.name} ({value}) is of LVS's loss, which sslalignment does not have; "
                    "leave it out"
                )

        for name in ("num_neighbours", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be > 0")
        for name in ("embedding_size", "mask_width"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be >= 0")

    def list_sources(self) -> tuple[str, ...]:
        """Return what the training begins with: also the encoders."""
        return (*super().list_sources(), self.frame_encoder, self.sound_encoder)


class Model(lvs.Model):
    """LVS's network and, unless the weights are released ones, a projection of each side."""

    needs_neighbours: ClassVar[bool] = True
    needs_second_view: ClassVar[bool] = True
    further_parts: ClassVar[tuple[str, ...]] = ("visual_head", "audio_head")
    settings: Parameters

    def __init__(self, parameters: Parameters):
        super().__init__(parameters)
        self._mask_draws = SampleDraws()
        size = parameters.embedding_size
        if size:
            self.visual_head = _make_projection(self.imgnet.num_features, size)
            self.audio_head = _make_projection(self.audnet.num_features, size)

    def embed(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the features of each view, of unit norm over channels.

        They are ``visual`` (n, c, h, w) and ``audio`` (n, c), and projected ``visual_vector`` and
        ``audio_vector`` (n, e). In training also those of the augmented clip (``second_`` before
        the name) and of neighbours (``near_``).
        """
        sounds = self.read_sound(inputs)
        embeddings = self._embed_view(_OWN, inputs["frames"], sounds)
        # At validation there are no other views: the clip is compared with itself alone.
        if "second_frames" in inputs:
            masked = self._mask(sounds)
            embeddings |= self._embed_view(_SECOND, inputs["second_frames"], masked)
        if "neighbour_frames" in inputs:
            near = {name: inputs[f"neighbour_{name}"] for name in self.reads}
            embeddings |= self._embed_view(_NEAR, near["frames"], self.read_sound(near))
        return embeddings

    def _embed_view(
        self, view: str, frames: torch.Tensor, sounds: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        places = full_precision(self.imgnet(frames))
        vectors = full_precision(pool_audio(self.audnet(sounds), self.settings.audio_pooling))
        found = {"visual": places, "audio": vectors}
        if self.settings.embedding_size:
            found["visual_vector"] = full_precision(self.visual_head(places.mean((2, 3))))
            found["audio_vector"] = full_precision(self.audio_head(vectors))
        return {view + name: F.normalize(values, dim=1) for name, values in found.items()}

    def _mask(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """Set a band of rows and one of columns of each (n, 1, bins, times) to its mean."""
        most = self.settings.mask_width
        draws = self._mask_draws(len(spectrograms), _NUM_DRAWS).to(spectrograms)
        rows = _draw_band(draws[:, 0], draws[:, 1], spectrograms.shape[2], most=most)
        columns = _draw_band(draws[:, 2], draws[:, 3], spectrograms.shape[3], most=most)
        is_masked = rows[:, None, :, None] | columns[:, None, None, :]
        return torch.where(is_masked, spectrograms.mean((2, 3), keepdim=True), spectrograms)

    def loss(self, embeddings: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean over all pairs of a view of frames and one of sounds."""
        views = [view for view in (_OWN, _SECOND, _NEAR) if f"{view}visual" in embeddings]
        terms = [self._compare(embeddings, frames, sounds) for frames in views for sounds in views]
        return torch.stack(terms).mean()

    def _compare(
        self, embeddings: dict[str, torch.Tensor], frames: str, sounds: str
    ) -> torch.Tensor:
        """Return the losses of localization and of alignment of two views."""
        tau = self.settings.temperature
        visual, audio = embeddings[f"{frames}visual"], embeddings[f"{sounds}audio"]
        loss = multiple_instance_loss(visual, audio, tau=tau)
        if self.settings.embedding_size:
            # A projected frame has one place, whose cosine is that of alignment.
            vectors = embeddings[f"{frames}visual_vector"][:, :, None, None]
            loss = loss + multiple_instance_loss(
                vectors, embeddings[f"{sounds}audio_vector"], tau=tau
            )
        return loss


def _make_projection(num_features: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_features, num_features), nn.ReLU(), nn.Linear(num_features, size)
    )


def _draw_band(width: torch.Tensor, place: torch.Tensor, size: int, *, most: int) -> torch.Tensor:
    """Return (n, size), True in a band of at most ``most``, from draws (n,) in [0, 1)."""
    widths = (width * (min(most, size) + 1)).floor()
    starts = (place * (size - widths + 1)).floor()
    steps = torch.arange(size, device=width.device)
    return (steps >= starts[:, None]) & (steps < (starts + widths)[:, None])
