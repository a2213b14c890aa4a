"""Find the clips in which features found damage, so that they are read again, every picture."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import DataError
from earshot.tables import INDEX, SAMPLES, read_table

_DAMAGED = "corrupt"  # the reason of a sample, as in `pipeline.downloads.account.reasons`


def find_doubtful_clips(samples_path: Path, index_paths: Iterable[Path]) -> set[str]:
    """Return the clips of which a feature could not read a moment.

    Args:
        samples_path: The table SAMPLES.
        index_paths: The indexes of the features; those of other versions are left out.

    Returns:
        Ids of clips. The moment may be what is wrong, so not every one is damaged.
    """
    damaged: list[pa.ChunkedArray] = []
    for path in sorted(index_paths):
        try:
            index = read_table(path, INDEX, columns=["sample_id", "reason"])
        except (DataError, FileNotFoundError):
            continue
        damaged.append(index.filter(pc.equal(index["reason"], _DAMAGED))["sample_id"])
    # Usually nothing is damaged, and the samples need not be read.
    if not any(len(sample_ids) for sample_ids in damaged):
        return set()

    try:
        columns = ["sample_id", "clip_id", "audio_clip_id"]
        samples = read_table(samples_path, SAMPLES, columns=columns)
    except (DataError, FileNotFoundError):
        return set()

    sample_ids = pa.concat_arrays([chunk for column in damaged for chunk in column.chunks])
    found = samples.filter(pc.is_in(samples["sample_id"], value_set=sample_ids))
    # Picture and sound can come from two clips.
    ids = found["clip_id"].to_pylist() + found["audio_clip_id"].drop_null().to_pylist()
    return set(ids)
