"""DMC's clustering: soft k-means of the places of a feature map, without parameters."""

import torch

_SOFTNESS = 30.0  # of the assignments, in units of distance
_NUM_ITERATIONS = 4
_SMALLEST_SQUARE = 1e-10  # of a distance, so that its root has a gradient


def cluster_places(features: torch.Tensor, num_clusters: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Assign the places of feature maps to clusters.

    The first centres are places at equal steps. Gradients flow through all iterations.

    Args:
        features: (n, c, places), not normalized.
        num_clusters: k.

    Returns:
        Centres (n, k, c), and the assignments (n, k, places) from which they were made. The
        assignments of a place sum to 1.
    """
    # (n, places, c).
    places = features.transpose(1, 2)
    step = places.shape[1] // num_clusters
    centres = places[:, : step * num_clusters : max(step, 1)]
    assignments = places.new_zeros(0)

    for _ in range(_NUM_ITERATIONS):
        # Over the clusters. Features are not normalized, so most values are nearly 0 or 1.
        assignments = (-_SOFTNESS * measure_distances(centres, places)).softmax(1)
        weights = assignments / assignments.sum(2, keepdim=True)
        centres = weights @ places
    return centres, assignments


def measure_distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean distances (n, k, m) between two sets of vectors.

    Args:
        first: (n, k, c).
        second: (n, m, c), compared with ``first`` of the same sample.
    """
    squares = (
        first.square().sum(2)[:, :, None]
        - 2 * first @ second.transpose(1, 2)
        + second.square().sum(2)[:, None, :]
    )
    # Rounding can make squares negative, and the root of 0 has no finite gradient.
    return squares.clamp_min(_SMALLEST_SQUARE).sqrt()
