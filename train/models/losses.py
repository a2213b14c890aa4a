"""The contrastive losses of the published methods, on normalized features.

Shapes: ``visual`` (n, c, h, w) and ``audio`` (m, c), both of unit norm over channels; a similarity map is their cosine
at each place. Row i of ``visual`` belongs to row i of ``audio``.
"""

import torch
import torch.nn.functional as F

LVS_TEMPERATURE = 0.07  # of the logits, in the papers' code a constant
# The published code multiplies a clip's own column among the negatives by 1 - 100 instead of leaving it out.
_OWN_COLUMN_FACTOR = -99.0


def own_similarity(visual: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """Cosine map of each frame with its own sound: (n, h, w)."""
    return torch.einsum("nchw,nc->nhw", visual, audio)


def all_similarities(visual: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """Cosine map of each frame with each sound: (n, m, h, w)."""
    return torch.einsum("nchw,mc->nmhw", visual, audio)


def trimap_logits(
    visual: torch.Tensor,
    audio: torch.Tensor,
    *,
    epsilon_positive: float = 0.65,
    epsilon_negative: float = 0.4,
    tau: float = 0.03,
    negatives: str = "weighted",
) -> torch.Tensor:
    """Logits (n, 1 + n + 1) of Chen et al., "Localizing Visual Sounds the Hard Way" (LVS), equations 3 to 6.

    Columns: similarity over the places that a soft threshold takes for sounding; every clip's sound with this frame;
    similarity over the places that surely are not sounding (hard negatives). Places between the two thresholds count
    for neither. ``negatives``: ``weighted`` averages cross-clip maps with their own soft threshold (released code),
    ``mean`` plainly (paper).
    """
    similarities = all_similarities(visual, audio)
    own = own_similarity(visual, audio)
    positive = _soft_mean(own, (own - epsilon_positive) / tau)
    hard_negative = _soft_mean(own, (epsilon_negative - own) / tau)
    if negatives == "weighted":
        others = _soft_mean(similarities, (similarities - epsilon_positive) / tau)
    else:
        others = similarities.flatten(2).mean(2)
    own_column = torch.eye(len(audio), dtype=torch.bool, device=audio.device)
    others = torch.where(own_column, others * _OWN_COLUMN_FACTOR, others)
    return torch.cat([positive[:, None], others, hard_negative[:, None]], 1) / LVS_TEMPERATURE


def trimap_loss(visual: torch.Tensor, audio: torch.Tensor, **options) -> torch.Tensor:
    """Cross entropy of ``trimap_logits`` with the first column as the right one."""
    logits = trimap_logits(visual, audio, **options)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def multiple_instance_loss(
    visual: torch.Tensor, audio: torch.Tensor, *, tau: float = 0.03, matching: str = "max"
) -> torch.Tensor:
    """Contrastive loss of Mo & Morgado, "Localizing Visual Sounds the Easy Way" (EZ-VSL), in both directions.

    ``matching`` (paper, Table 6): a frame matches a sound by its best place (``max``) or by the ``average`` over its
    places; ``pooled`` compares the sound with the mean of the (normalized) features, normalized again.
    """
    if matching == "pooled":
        logits = F.normalize(visual.mean((2, 3)), dim=1) @ audio.T
    else:
        similarities = all_similarities(visual, audio).flatten(2)
        logits = similarities.amax(2) if matching == "max" else similarities.mean(2)
    return _symmetric_cross_entropy(logits / tau, reduction="sum")


def clip_loss(first: torch.Tensor, second: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """CLIP's loss between two sets of embeddings (n, c): mean of both directions, with a learned scale."""
    logits = log_scale.exp() * F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    return _symmetric_cross_entropy(logits, reduction="mean")


def _symmetric_cross_entropy(logits: torch.Tensor, *, reduction: str) -> torch.Tensor:
    target = torch.arange(len(logits), device=logits.device)
    total = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
    return total / 2 if reduction == "mean" else total


def _soft_mean(values: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Mean over the last two axes, weighted by ``sigmoid(logits)``; from logarithms, so that weights which are all
    nearly 0 neither divide 0 by 0 nor give gradients that are not finite."""
    weights = F.logsigmoid(logits.flatten(-2)).softmax(-1)
    return (values.flatten(-2) * weights).sum(-1)
