"""Say of missing clips and samples what they are: address, section of the video, label."""

import pyarrow as pa
import pyarrow.compute as pc

from earshot.tables import CLIPS, SAMPLES, read_table
from pipeline.base.project import Project

_COLUMNS = ("url", "start", "end", "label")


def add_origins(project: Project, dataset: str, rows: pa.Table) -> pa.Table:
    """Add the columns ``url start end label``.

    Args:
        project: the checkout.
        dataset: its name.
        rows: a table with the column ``clip_id``, or with ``sample_id``.

    Returns:
        The table. ``start`` and ``end`` are seconds of the video, null for the whole video. What no
        table says is null. Several labels of a clip are joined by commas.
    """
    key = "clip_id" if "clip_id" in rows.column_names else "sample_id"
    clip_of: dict[str, str] = {}
    labels: dict[str, dict[str, None]] = {}

    # A clip has the labels of all its samples, each once. A dict keeps their order.
    path = project.samples_table_path(dataset)
    if path.exists():
        samples = read_table(path, SAMPLES, columns=["sample_id", "clip_id", "label"])
        for sample in samples.to_pylist():
            clip_of[sample[key]] = sample["clip_id"]
            if sample["label"] is not None:
                labels.setdefault(sample[key], {})[sample["label"]] = None

    # A copy of the cache alone has no list.
    path = project.clips_table_path(dataset)
    clips = read_table(path, CLIPS) if path.exists() else CLIPS.columns.empty_table()
    names = rows[key].to_pylist()

    # The facts of each row's clip; null where the clip is not in the list.
    clip_ids = pa.array([clip_of.get(name, name) for name in names], pa.string())
    places = pc.index_in(clip_ids, clips["clip_id"].combine_chunks())
    found = clips.combine_chunks().take(places)

    values = (
        found["url"],
        found["start_seconds"],
        found["end_seconds"],
        pa.array([", ".join(labels.get(name, ())) or None for name in names], pa.string()),
    )
    for name, value in zip(_COLUMNS, values, strict=True):
        rows = rows.append_column(name, value)
    return rows
