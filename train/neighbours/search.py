"""Find the nearest of many vectors, exactly and in bounded memory."""

import torch

from pipeline.base.progress import Progress

# Vectors that are compared at once: 64 MB of similarities.
_NUM_ROWS, _NUM_COLUMNS = 1024, 16384


def find_nearest(
    vectors: torch.Tensor,
    num_nearest: int,
    *,
    num_rows: int = _NUM_ROWS,
    num_columns: int = _NUM_COLUMNS,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Return for each vector the others with the largest scalar product, nearest first.

    Every pair is compared. Beside the vectors and the result, memory is needed for one block of
    similarities alone. Of equal ones at the end of a list any may be chosen.

    Args:
        vectors: (n, c), of unit norm; the result is then by cosine.
        num_nearest: how many others, less than n.
        num_rows: vectors of a block whose nearest are found.
        num_columns: vectors of a block with which they are compared.
        progress: counts the vectors.

    Returns:
        int32 (n, num_nearest), on the CPU.
    """
    nearest = torch.empty((len(vectors), num_nearest), dtype=torch.int32)
    for first in range(0, len(vectors), num_rows):
        queries = vectors[first : first + num_rows]
        nearest[first : first + num_rows] = _search_block(
            vectors, queries, first, num_nearest=num_nearest, num_columns=num_columns
        )
        if progress is not None:
            progress.update(len(queries))
    return nearest


def _search_block(
    vectors: torch.Tensor,
    queries: torch.Tensor,
    first: int,
    *,
    num_nearest: int,
    num_columns: int,
) -> torch.Tensor:
    own = torch.arange(first, first + len(queries), device=vectors.device)
    best = queries.new_empty((len(queries), 0))
    places = own.new_empty((len(queries), 0))

    for start in range(0, len(vectors), num_columns):
        part = vectors[start : start + num_columns]
        columns = torch.arange(start, start + len(part), device=vectors.device)
        similarities = queries @ part.T
        # No vector is its own neighbour.
        similarities.masked_fill_(own[:, None] == columns, -torch.inf)

        # The best of this block and of those before it.
        best = torch.cat([best, similarities], 1)
        places = torch.cat([places, columns.expand(len(queries), -1)], 1)
        best, chosen = best.topk(min(num_nearest, best.shape[1]), dim=1)
        places = places.gather(1, chosen)
    return places.int().cpu()
