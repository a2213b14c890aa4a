"""Cross-modal retrieval: whether a sound finds its own frame among all, and back."""

import numpy as np

from earshot.errors import DataError


def compute_recalls(
    similarities: np.ndarray, *, at: tuple[int, ...] = (1, 5, 10)
) -> dict[int, float]:
    """Return R@k: the share of queries whose own item is among the k most similar ones.

    An item of equal similarity counts as more similar, so that constant features score no hit by
    the order of the rows.

    Args:
        similarities: ``(n, n)``: rows are queries, column i is the item of query i. Transpose it
            for the other direction.
        at: the ranks k.

    Returns:
        The recall by k.

    Raises:
        DataError: the matrix is not square, is empty or holds a value that is not a number.
    """
    similarities = np.asarray(similarities)
    if similarities.ndim != 2 or similarities.shape[0] != similarities.shape[1]:
        raise DataError(f"similarities have shape {similarities.shape}, expected (n, n)")
    if similarities.size == 0 or not np.isfinite(similarities).all():
        raise DataError("similarities are empty or hold a value that is not finite")

    # `>=`, so that an equally similar item counts against the model.
    ranks = np.sum(similarities >= np.diag(similarities)[:, None], axis=1)
    return {k: float(np.mean(ranks <= k)) for k in at}
