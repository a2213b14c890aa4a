"""The contrastive losses of the published methods, on normalized features.

Shapes: ``visual`` (n, c, h, w) and ``audio`` (m, c), both of unit norm over channels. A similarity
map is the cosine between a sound and the features at each place of a frame. Row i of ``visual``
belongs to row i of ``audio``.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F

LVS_TEMPERATURE = 0.07  # of the logits; a constant in the published code

# LVS's code multiplies a clip's own column among the negatives by 1 - 100, and does not leave it
# out. If the similarity is positive, its logit becomes so small that it counts for nothing.
_OWN_COLUMN_FACTOR = -99.0
_DISTANCE_EPSILON = 1e-9  # of DMC's code, so that a root has a gradient
_RANGE_EPSILON = 1e-5  # of FNAC's code: a map that is constant has a range of 0


def own_similarity(visual: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """Return the cosine map of each frame with its own sound, (n, h, w).

    Args:
        visual: (n, c, h, w), of unit norm over channels.
        audio: (n, c), of unit norm; row i is the sound of frame i.
    """
    # Mixed precision would round both to three digits, and maps differ in the second one.
    with torch.autocast(visual.device.type, enabled=False):
        return torch.einsum("nchw,nc->nhw", visual, audio)


def all_similarities(visual: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """Return the cosine map of each frame with each sound, (n, m, h, w)."""
    with torch.autocast(visual.device.type, enabled=False):
        return torch.einsum("nchw,mc->nmhw", visual, audio)


def trimap_logits(
    visual: torch.Tensor,
    audio: torch.Tensor,
    *,
    epsilon_positive: float = 0.65,
    epsilon_negative: float = 0.4,
    tau: float = 0.03,
    negatives: Literal["weighted", "mean"] = "weighted",
    margin: float = 0.0,
    has_hard_negatives: bool = True,
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
        margin: is subtracted from the similarity of the sounding places, as in MarginNCE.
        has_hard_negatives: whether the last column is there; without it, only the sounds of other
            clips are negatives.

    Returns:
        (n, 1 + n + 1): the mean similarity of the sounding places; of this frame with every
        clip's sound, of which its own counts for nothing (``mean``: it is minus infinity); of the
        places that surely do not sound (hard negatives).
    """
    # (n, n, h, w): frame i with sound j.
    similarities = all_similarities(visual, audio)
    own = own_similarity(visual, audio)

    # the frame with its own sound: positives and hard negatives
    positive = _soft_mean(own, (own - epsilon_positive) / tau)
    hard_negative = _soft_mean(own, (epsilon_negative - own) / tau)

    # the frame with the sounds of other clips
    own_column = torch.eye(len(audio), dtype=torch.bool, device=audio.device)
    if negatives == "weighted":
        others = _soft_mean(similarities, (similarities - epsilon_positive) / tau)
        others = torch.where(own_column, others * _OWN_COLUMN_FACTOR, others)
    else:
        # A plain mean is often negative, and the factor would make it the largest logit.
        others = similarities.flatten(2).mean(2).masked_fill(own_column, -torch.inf)

    columns = [positive[:, None] - margin, others]
    if has_hard_negatives:
        columns.append(hard_negative[:, None])
    return torch.cat(columns, 1) / LVS_TEMPERATURE


def trimap_loss(visual: torch.Tensor, audio: torch.Tensor, **options) -> torch.Tensor:
    """Compute the cross entropy of ``trimap_logits``.

    The right answer is the first column: the places that sound.

    Args:
        visual: (n, c, h, w), of unit norm over channels.
        audio: (n, c), of unit norm.
        options: further arguments of ``trimap_logits``.

    Returns:
        The mean over the frames, a scalar.
    """
    logits = trimap_logits(visual, audio, **options)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def hard_positive_parts(
    visual: torch.Tensor, audio: torch.Tensor, *, epsilon: float = 0.65, tau: float = 0.03
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how well frames fit their sounds where they do, and where they do not.

    Args:
        visual: (n, c, h, w), of unit norm over channels.
        audio: (n, c), of unit norm.
        epsilon: places with a higher similarity sound; all others do not.
        tau: softness of the threshold.

    Returns:
        (n,) the mean similarity of the sounding places, and of the others.
    """
    own = own_similarity(visual, audio)
    logits = (own - epsilon) / tau
    return _soft_mean(own, logits), _soft_mean(own, -logits)


def hard_positive_loss(
    visual: torch.Tensor,
    audio: torch.Tensor,
    near_visual: torch.Tensor,
    near_audio: torch.Tensor,
    *,
    epsilon_positive: float = 0.65,
    epsilon_negative: float = 0.65,
    tau: float = 0.03,
    negatives: Literal["weighted", "mean"] = "mean",
    margin: float = 0.0,
    has_hard_negatives: bool = True,
) -> torch.Tensor:
    """Compute the loss of HardPos (Senocak et al., ICASSP 2022), as we read it.

    The first logit is the mean of four positives: a frame or its neighbour, with a sound or its
    neighbour. Negatives are the frame with the sounds of other clips, and of each pair the places
    that do not sound.

    Args:
        visual: (n, c, h, w), of unit norm over channels.
        audio: (n, c), of unit norm.
        near_visual: of a neighbour of each clip by frame.
        near_audio: of a neighbour by sound.
        epsilon_positive: places with a higher similarity sound.
        epsilon_negative: places with a lower one do not.
        tau: softness of both thresholds.
        negatives, margin, has_hard_negatives: as for ``trimap_logits``.

    Returns:
        A scalar.
    """
    options: dict[str, Any] = {
        "epsilon_positive": epsilon_positive,
        "epsilon_negative": epsilon_negative,
    }
    pairs = [(frame, sound) for frame in (visual, near_visual) for sound in (audio, near_audio)]
    positives = [hard_positive_parts(*pair, epsilon=epsilon_positive, tau=tau)[0] for pair in pairs]
    # The columns of other clips are those of LVS.
    others = trimap_logits(visual, audio, tau=tau, negatives=negatives, **options)[:, 1:-1]
    columns = [(torch.stack(positives).mean(0)[:, None] - margin) / LVS_TEMPERATURE, others]

    if has_hard_negatives:
        hard = [hard_positive_parts(*pair, epsilon=epsilon_negative, tau=tau)[1] for pair in pairs]
        columns.append(torch.stack(hard, 1) / LVS_TEMPERATURE)
    logits = torch.cat(columns, 1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def multiple_instance_loss(
    visual: torch.Tensor,
    audio: torch.Tensor,
    *,
    tau: float = 0.03,
    matching: Literal["max", "average", "pooled"] = "max",
    margin: float = 0.0,
) -> torch.Tensor:
    """Compute the loss of EZ-VSL (Mo & Morgado, ECCV 2022), in both directions.

    Args:
        visual: (n, c, h, w), of unit norm over channels.
        audio: (n, c), of unit norm.
        tau: temperature of the logits.
        matching: how a frame matches a sound (paper, Table 6). ``max``: by its best place;
            ``average``: by the mean over its places; ``pooled``: by the mean of its features,
            normalized again.
        margin: is subtracted from the similarity of a frame with its own sound (MarginNCE, Park et
            al., ICASSP 2023). A negative margin makes the decision laxer.

    Returns:
        A scalar, the sum of the cross entropies of frames against sounds and of sounds against
        frames.
    """
    if matching == "pooled":
        similarities = F.normalize(visual.mean((2, 3)), dim=1) @ audio.T
    else:
        maps = all_similarities(visual, audio).flatten(2)
        similarities = maps.amax(2) if matching == "max" else maps.mean(2)

    return _contrast(similarities, tau=tau, margin=margin)


def _contrast(similarities: torch.Tensor, *, tau: float, margin: float) -> torch.Tensor:
    """Return the cross entropies of (n, n) similarities in both directions, summed."""
    # MarginNCE: only the true pair has a margin. A negative one makes its similarity larger.
    if margin:
        similarities = similarities - margin * torch.eye(len(similarities)).to(similarities)
    return _symmetric_cross_entropy(similarities / tau, reduction="sum")


def false_negative_terms(
    visual: torch.Tensor,
    audio: torch.Tensor,
    *,
    tau: float = 0.03,
    foreground_threshold: float = 0.6,
    margin: float = 0.0,
) -> torch.Tensor:
    """Compute the four terms of FNAC's loss (Sun et al., CVPR 2023).

    Clips of a batch that sound or look alike are false negatives. The last three terms therefore
    compare how alike the clips are by sound, by picture, by what sounds in the picture, and across.

    Args:
        visual: (n, c, h, w), of unit norm over channels.
        audio: (n, c), of unit norm.
        tau: temperature of all logits.
        foreground_threshold: places whose own similarity, scaled to 0..1, is larger sound.
        margin: of EZ-VSL's loss, as for ``multiple_instance_loss``.

    Returns:
        (4,): EZ-VSL's loss; mean absolute difference of the affinities by sound and across; by
        sound and by what sounds in the picture; by picture and across.
    """
    # How well each frame fits each sound at its best place, (n, n).
    across = all_similarities(visual, audio).flatten(2).amax(2)
    contrast = _contrast(across, tau=tau, margin=margin)

    # The part of each frame that sounds; the mean is over all places, not those that are kept.
    own = own_similarity(visual, audio)
    low, high = own.amin((1, 2), keepdim=True), own.amax((1, 2), keepdim=True)
    is_foreground = (own - low) / (high - low + _RANGE_EPSILON) > foreground_threshold
    foreground = (visual * is_foreground[:, None]).mean((2, 3))
    # Means of unit vectors are shorter than 1. As in the authors' code they stay so.
    whole = visual.mean((2, 3))

    def affinity(similarities: torch.Tensor) -> torch.Tensor:
        return (similarities / tau).softmax(1)

    by_sound, by_cross = affinity(audio @ audio.T), affinity(across)
    by_foreground, by_picture = affinity(foreground @ foreground.T), affinity(whole @ whole.T)
    # As in the authors' code, gradients flow into both sides of each distance.
    distances = (by_sound - by_cross, by_sound - by_foreground, by_picture - by_cross)
    return torch.stack([contrast, *(distance.abs().mean() for distance in distances)])


def simultaneous_loss(
    online: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    momentum: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    *,
    tau: float = 0.03,
) -> torch.Tensor:
    """Compute the loss of SLAVC (Mo & Morgado, NeurIPS 2022).

    A place matches a sound if it corresponds to it more than to other sounds, and if it lies where
    the sound is localized. Each term compares one modality with the momentum copy of the other.

    Args:
        online: visual features of correspondence and localization (n, c, h, w), then audio
            features of both (n, c); of unit norm over channels.
        momentum: the same of the momentum networks.
        tau: temperature of all logits.

    Returns:
        A scalar.
    """
    visual_1, visual_2, audio_1, audio_2 = online
    momentum_visual_1, momentum_visual_2, momentum_audio_1, momentum_audio_2 = momentum
    frames = _log_joint(visual_1, momentum_audio_1, visual_2, momentum_audio_2, tau=tau)
    sounds = _log_joint(momentum_visual_1, audio_1, momentum_visual_2, audio_2, tau=tau)

    # As in the authors' code: rows are frames in both terms, and the cross entropy normalizes once
    # more over the sounds.
    target = torch.arange(len(frames), device=frames.device)
    return F.cross_entropy(frames, target) + F.cross_entropy(sounds, target)


def _log_joint(
    visual_1: torch.Tensor,
    audio_1: torch.Tensor,
    visual_2: torch.Tensor,
    audio_2: torch.Tensor,
    *,
    tau: float,
) -> torch.Tensor:
    """Return the logarithm (n, m) of how well frame n matches sound m, summed over places."""
    # A probability over sounds at each place, times one over the places of each pair.
    correspondence = (all_similarities(visual_1, audio_1) / tau).log_softmax(1).flatten(2)
    localization = (all_similarities(visual_2, audio_2) / tau).flatten(2).log_softmax(2)
    return (correspondence + localization).logsumexp(2)


def clip_loss(first: torch.Tensor, second: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Compute CLIP's loss between two sets of embeddings.

    Args:
        first: (n, c); embeddings are normalized here.
        second: (n, c); row i belongs to row i of ``first``.
        log_scale: scalar, the logarithm of the factor of the logits, which CLIP learns.

    Returns:
        The mean over rows and over both directions, a scalar.
    """
    logits = log_scale.exp() * F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    return _symmetric_cross_entropy(logits, reduction="mean")


def contrast_distances(own: torch.Tensor, other: torch.Tensor, *, margin: float) -> torch.Tensor:
    """Compute the contrastive loss of pairs by their distance.

    Args:
        own: (n,) squared distances of sounds and their own pictures.
        other: (n,) those of sounds and other pictures.
        margin: distance beyond which another picture is far enough.

    Returns:
        A scalar, the mean over all pairs of both kinds.
    """
    near = F.relu(margin - (other + _DISTANCE_EPSILON).sqrt()).square()
    # Each sound makes two pairs, so the mean is over 2 n of them.
    return torch.cat([own, near]).mean() / 2


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
