"""Cross-modal retrieval: whether a sound finds its own frame among all, and back."""

from collections.abc import Hashable, Sequence

import numpy as np

from earshot.errors import DataError
from eval.scoring.bootstrap import number_groups


def compute_recalls(
    similarities: np.ndarray,
    *,
    at: tuple[int, ...] = (1, 5, 10),
    recordings: Sequence[Hashable] | None = None,
) -> dict[int, float]:
    """Return R@k: the share of queries whose own item is among the k most similar ones.

    An item of equal similarity counts as more similar, so that constant features score no hit by
    the order of the rows. Items of the query's own recording do not count: two rows of IS3 are one
    picture, and five frames of AVSBench have one sound, so they would always be equally similar.

    Args:
        similarities: ``(n, n)``: rows are queries, column i is the item of query i. Transpose it
            for the other direction.
        at: the ranks k.
        recordings: ``(n,)``: the recording or picture of each item; None: all differ.

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
    is_ahead = similarities >= np.diag(similarities)[:, None]
    if recordings is not None:
        codes = number_groups(recordings)
        if len(codes) != len(similarities):
            raise DataError(
                f"{len(codes)} recordings for {len(similarities)} items, expected one for each"
            )
        is_ahead &= codes[:, None] != codes
        np.fill_diagonal(is_ahead, True)
    ranks = np.sum(is_ahead, axis=1)
    return {k: float(np.mean(ranks <= k)) for k in at}
