"""Grad-CAM without a backward pass, for networks that compare pooled features with a vector.

The score of such a network is the inner product of its average-pooled features with a vector. The
gradient of that score is the same at every place of the last feature map, ``vector / (h * w)``. So
the map follows from the features directly, for a whole batch at once. A test compares it with
autograd, one sample at a time.

Maps are scaled as in the package ``grad-cam``, which the authors of RCGrad used: before and after
upsampling.
"""

import torch
import torch.nn.functional as F

_SCALE_EPSILON = 1e-7  # of the package grad-cam


def grad_cam(
    features: torch.Tensor, vectors: torch.Tensor, *, size: tuple[int, int]
) -> torch.Tensor:
    """Compute Grad-CAM maps.

    Args:
        features: (n, c, h, w), the feature map of the last stage.
        vectors: (n, c), what the pooled features are compared with.
        size: height and width of the maps.

    Returns:
        (n, *size), values 0..1.
    """
    # Through a mean over places, each of them has the gradient vector / num_places. So Grad-CAM is
    # a product, and nothing is propagated back.
    num_places = features.shape[2] * features.shape[3]
    maps = torch.einsum("nchw,nc->nhw", features.float(), vectors.float() / num_places).relu()

    maps = _scale(maps)[:, None]
    maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[:, 0]
    return _scale(maps)


def keep_upper_half(maps: torch.Tensor) -> torch.Tensor:
    """Clean maps (n, h, w) as the authors of RCGrad do.

    Values up to the median become 0. Then each map is scaled to 0..1.
    """
    flat = maps.flatten(1)
    # Of two middle values the lower one, as `torch.median` has it.
    median = flat.sort(1).values[:, (flat.shape[1] - 1) // 2]
    kept = torch.where(maps > median[:, None, None], maps, torch.zeros_like(maps))

    low, high = kept.amin((1, 2), keepdim=True), kept.amax((1, 2), keepdim=True)
    # A map of one value becomes 0, not NaN.
    return (kept - low) / (high - low).clamp_min(torch.finfo(kept.dtype).tiny)


def _scale(maps: torch.Tensor) -> torch.Tensor:
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / (_SCALE_EPSILON + maps.amax((1, 2), keepdim=True))
