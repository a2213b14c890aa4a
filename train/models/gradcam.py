"""Grad-CAM of a network whose score is the inner product of its average-pooled features with a vector.

For such a network the gradient of the score is the same at every place of the last feature map, ``vector / (h * w)``,
so the map is known without a backward pass, for a whole batch at once; a test compares it with autograd, one sample at
a time. The scaling follows the ``grad-cam`` package (twice: before and after upsampling), which the authors used.
"""

import torch
import torch.nn.functional as F

_SCALE_EPSILON = 1e-7  # of the grad-cam package


def grad_cam(
    features: torch.Tensor, vectors: torch.Tensor, *, size: tuple[int, int]
) -> torch.Tensor:
    """``features`` (n, c, h, w) of the last stage, ``vectors`` (n, c) -> maps (n, *size) in 0..1."""
    num_places = features.shape[2] * features.shape[3]
    maps = torch.einsum("nchw,nc->nhw", features.float(), vectors.float() / num_places).relu()
    maps = F.interpolate(_scale(maps)[:, None], size=size, mode="bilinear", align_corners=False)[
        :, 0
    ]
    return _scale(maps)


def keep_upper_half(maps: torch.Tensor) -> torch.Tensor:
    """The authors' cleaning: values up to the median become 0, then each map is brought to 0..1."""
    flat = maps.flatten(1)
    median = flat.sort(1).values[:, (flat.shape[1] - 1) // 2]
    kept = torch.where(maps > median[:, None, None], maps, torch.zeros_like(maps))
    low, high = kept.amin((1, 2), keepdim=True), kept.amax((1, 2), keepdim=True)
    return (kept - low) / (high - low).clamp_min(torch.finfo(kept.dtype).tiny)


def _scale(maps: torch.Tensor) -> torch.Tensor:
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / (_SCALE_EPSILON + maps.amax((1, 2), keepdim=True))
