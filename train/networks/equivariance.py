"""SSL-TIE's equivariance (Liu et al., ACM MM 2022): a moved frame has the moved map.

A transform turns each frame by its own angle, shrinks all frames of a batch or none, and mirrors
all or none. The map of the moved frame should be the moved map of the frame.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

_LARGEST_ANGLE = 30  # degrees, a whole number
_SMALL_SCALE = 0.5


@dataclass(frozen=True)
class Transform:
    """What is done to the frames of a batch. All tensors are (n,)."""

    angles: torch.Tensor  # in degrees, positive is counter-clockwise
    is_mirrored: torch.Tensor  # 1 or 0, the same for all frames of a batch
    scale: float  # 1 or 0.5


def draw_transform(angle_draws: torch.Tensor) -> Transform:
    """Draw a transform.

    Args:
        angle_draws: (n,) uniform in [0, 1), one for each frame. Scale and mirroring are drawn from
            torch's generator.

    Returns:
        A transform of n frames, with whole angles from -30 to 30 degrees.
    """
    # As published, whole degrees.
    angles = (angle_draws * (2 * _LARGEST_ANGLE + 1)).floor() - _LARGEST_ANGLE
    # Both hold for the whole batch, so that its frames keep one size.
    is_small, is_mirrored = (torch.rand(2) < 0.5).tolist()
    return Transform(
        angles,
        torch.full_like(angles, float(is_mirrored)),
        _SMALL_SCALE if is_small else 1.0,
    )


def make_matrices(angles: torch.Tensor, *, scale: float, size: int) -> torch.Tensor:
    """Make the matrices (n, 2, 3) that map pixels of the frame to pixels of the moved frame.

    As in the authors' code the centre is at ``size / 2``, half a pixel beside the middle of the
    pixels 0 to ``size - 1``.
    """
    radians = angles.deg2rad()
    a, b, centre = scale * radians.cos(), scale * radians.sin(), size / 2
    first = torch.stack([a, b, centre * (1 - a) - centre * b], 1)
    second = torch.stack([-b, a, centre * b + centre * (1 - a)], 1)
    return torch.stack([first, second], 1)


def move(images: torch.Tensor, transform: Transform, *, size: int) -> torch.Tensor:
    """Apply a transform to frames or maps.

    As in the authors' code the scale counts twice: the content shrinks within the frame, and the
    frame itself is shrunk, so a scale of 0.5 leaves a quarter.

    Args:
        images: (n, c, h, h).
        transform: of the n frames.
        size: of the frames in pixels. Maps are enlarged to it first.

    Returns:
        (n, c, scale * h, scale * h).
    """
    moved_size = round(images.shape[-1] * transform.scale)
    # Maps are enlarged to the size of the frame, moved there, and get a size of their own again.
    images = _warp(_resize(images, size), transform)
    images = _resize(images, moved_size)
    is_mirrored = transform.is_mirrored[:, None, None, None] > 0
    return torch.where(is_mirrored, images.flip(-1), images)


def _warp(images: torch.Tensor, transform: Transform) -> torch.Tensor:
    """Turn and shrink (n, c, s, s) about the centre; zeros come in from outside."""
    size = images.shape[-1]
    matrices = make_matrices(transform.angles, scale=transform.scale, size=size).to(images)
    rotation, shift = matrices[:, :, :2], matrices[:, :, 2:]

    # Each pixel of the result looks up where it comes from, in coordinates -1 to 1.
    steps = torch.arange(size, device=images.device, dtype=images.dtype)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    targets = torch.stack([x.flatten(), y.flatten()])
    # The inverse of a rotation times a scale is its transpose over the square of the scale.
    sources = rotation.transpose(1, 2) @ (targets - shift) / transform.scale**2
    # With `align_corners` the centres of the first and the last pixel are -1 and 1.
    grid = (sources * 2 / (size - 1) - 1).transpose(1, 2).unflatten(1, (size, size))
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _resize(images: torch.Tensor, size: int) -> torch.Tensor:
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
