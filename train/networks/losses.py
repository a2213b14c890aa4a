"""The contrastive losses of the published methods, on normalized features.

Shapes: ``visual`` (n, c, h, w) and ``audio`` (m, c), both of unit norm over channels. A similarity
map is the cosine between a sound and the features at each place of a frame. Row i of ``visual``
belongs to row i of ``audio``.
"""

from typing import Literal

import torch
import torch.nn.functional as F

LVS_TEMPERATURE = 0.07  # of the logits; a constant in the published code

# The published code multiplies a clip's own column among the negatives by 1 - 100 instead of
# leaving it out. The factor makes its logit so small that it counts for nothing.
_OWN_COLUMN_FACTOR = -99.0


def own_similarity(visual: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """Return the cosine map of each frame with its own sound, (n, h, w)."""
    return torch.einsum("nchw,nc->nhw", visual, audio)


def all_similarities(visual: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """Return the cosine map of each frame with each sound, (n, m, h, w)."""
    return torch.einsum("nchw,mc->nmhw", visual, audio)


def trimap_logits(
    visual: torch.Tensor,
    audio: torch.Tensor,
    *,
    epsilon_positive: float = 0.65,
    epsilon_negative: float = 0.4,
    tau: float = 0.03,
    negatives: Literal["weighted", "mean"] = "weighted",
) -> torch.Tensor:
    """Compute the logits of LVS, equations 3 to 6 of Chen et al., CVPR 2021.

    A soft threshold divides a frame into three parts: places that sound, places that surely do
    not, and places between the two, which count for neither.

    Args:
        visual: (n, c, h, w), of unit norm over channels.
        audio: (n, c), of unit norm.
        epsilon_positive: places with a higher similarity sound.
        epsilon_negative: places with a lower similarity do not.
        tau: softness of both thresholds.
        negatives: how maps of a frame with another clip's sound are averaged. ``weighted``: with
            their own soft threshold (released code); ``mean``: plainly (paper).

    Returns:
        (n, 1 + n + 1): the mean similarity of the sounding places; of this frame with every
        clip's sound; of the places that surely do not sound (hard negatives).
    """
    similarities = all_similarities(visual, audio)
    own = own_similarity(visual, audio)

    # the frame with its own sound: positives and hard negatives
    positive = _soft_mean(own, (own - epsilon_positive) / tau)
    hard_negative = _soft_mean(own, (epsilon_negative - own) / tau)

    # the frame with the sounds of other clips
    if negatives == "weighted":
        others = _soft_mean(similarities, (similarities - epsilon_positive) / tau)
    else:
        others = similarities.flatten(2).mean(2)
    own_column = torch.eye(len(audio), dtype=torch.bool, device=audio.device)
    others = torch.where(own_column, others * _OWN_COLUMN_FACTOR, others)

    return torch.cat([positive[:, None], others, hard_negative[:, None]], 1) / LVS_TEMPERATURE


def trimap_loss(visual: torch.Tensor, audio: torch.Tensor, **options) -> torch.Tensor:
    """Compute the cross entropy of ``trimap_logits``; the first column is the right one."""
    logits = trimap_logits(visual, audio, **options)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def multiple_instance_loss(
    visual: torch.Tensor,
    audio: torch.Tensor,
    *,
    tau: float = 0.03,
    matching: Literal["max", "average", "pooled"] = "max",
) -> torch.Tensor:
    """Compute the loss of EZ-VSL (Mo & Morgado, ECCV 2022), in both directions.

    Args:
        visual: (n, c, h, w), of unit norm over channels.
        audio: (n, c), of unit norm.
        tau: temperature of the logits.
        matching: how a frame matches a sound (paper, Table 6). ``max``: by its best place;
            ``average``: by the mean over its places; ``pooled``: by the mean of its features,
            normalized again.

    Returns:
        A scalar, the sum of the cross entropies of frames against sounds and of sounds against
        frames.
    """
    if matching == "pooled":
        logits = F.normalize(visual.mean((2, 3)), dim=1) @ audio.T
    else:
        similarities = all_similarities(visual, audio).flatten(2)
        logits = similarities.amax(2) if matching == "max" else similarities.mean(2)
    return _symmetric_cross_entropy(logits / tau, reduction="sum")


def clip_loss(first: torch.Tensor, second: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Compute CLIP's loss between two sets of embeddings (n, c), the mean of both directions.

    ``log_scale`` is the logarithm of the factor of the logits, which CLIP learns.
    """
    logits = log_scale.exp() * F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    return _symmetric_cross_entropy(logits, reduction="mean")


def _symmetric_cross_entropy(logits: torch.Tensor, *, reduction: str) -> torch.Tensor:
    target = torch.arange(len(logits), device=logits.device)
    total = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
    return total / 2 if reduction == "mean" else total


def _soft_mean(values: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Average over the last two axes with the weights ``sigmoid(logits)``."""
    # In logarithms: weights that are all nearly 0 would divide 0 by 0, or give gradients that are
    # not finite.
    weights = F.logsigmoid(logits.flatten(-2)).softmax(-1)
    return (values.flatten(-2) * weights).sum(-1)
