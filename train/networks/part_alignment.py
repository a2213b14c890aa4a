"""CoarseToFine's second stage: the parts of a feature map that belong to categories, compared."""

import torch
import torch.nn.functional as F

_EPSILON = 1e-10  # of the authors' code, where a count or a sum can be 0
# Rounding can make a squared distance negative, and the gradient of a root at 0 is infinite.
_SMALLEST_SQUARE = 1e-12


def pool_parts(features: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
    """Average features over the places of each category.

    Args:
        features: (n, c, h, w).
        activations: (n, k, h, w), not negative: how much a place belongs to each of k categories.

    Returns:
        (n, c, k). As in the authors' code it is also divided by the number of places. A category
        without a place has the zero vector.
    """
    weights = activations.flatten(2)
    # As published, the number of places divides once more. The unit norm behind it undoes that.
    sums = torch.einsum("ncp,nkp->nck", features.flatten(2), weights) / weights.shape[2]
    return sums / (weights.sum(2)[:, None] + _EPSILON)


def align_parts(
    sounds: torch.Tensor,
    pictures: torch.Tensor,
    is_heard: torch.Tensor,
    is_seen: torch.Tensor,
    *,
    margin: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare the parts of all sounds with those of all pictures.

    Parts match that are of one clip and category. Other categories of the same clip are negatives,
    too. Only categories that are there take part.

    Args:
        sounds: (n, k, c), of unit norm or zero.
        pictures: likewise.
        is_heard: bool (n, k), which categories sound.
        is_seen: bool (n, k), which are in the picture.
        margin: distance beyond which other parts are far enough.

    Returns:
        Two scalars: the mean squared distance of matching parts, and the mean square of how far
        the others are within the margin.
    """
    # (n k, c) each. In row i and column i of their pairs are one clip and one category.
    sounds, pictures = sounds.flatten(0, 1), pictures.flatten(0, 1)
    # Rounding can make the square of nearly equal vectors negative, and its root NaN.
    squares = (2 - 2 * sounds @ pictures.T).clamp_min(_SMALLEST_SQUARE)
    is_used = is_heard.flatten()[:, None] & is_seen.flatten()[None]
    is_own = torch.eye(len(squares), dtype=torch.bool, device=squares.device)
    near = F.relu(margin - squares.sqrt()).square()

    def average(values: torch.Tensor, is_counted: torch.Tensor) -> torch.Tensor:
        return (values * is_counted).sum() / (is_counted.sum() + _EPSILON)

    return average(squares, is_used & is_own), average(near, is_used & ~is_own)
