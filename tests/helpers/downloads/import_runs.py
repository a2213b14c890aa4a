"""Run an import of clips as the command does, in this process."""

import pyarrow as pa

from earshot.tables import CLIPS
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.imports.import_clips import ImportParameters, import_clips
from pipeline.media.validate import ValidationParameters


def run_import(tmp_path, clips, *sources, table_path=None, **parameters):
    return import_clips(
        [tmp_path / source for source in sources],
        clips,
        AccountPaths(tmp_path / "clips", tmp_path / "attempts.jsonl", table_path),
        parameters=ImportParameters(**parameters),
        validation=ValidationParameters(),
        is_quiet=True,
    )


def clips_table(*ids, seconds=4.0):
    """Return clips like those of VGG-Sound (four seconds) or, for digits, like Flickr's (whole)."""
    rows = []
    for clip_id in ids:
        is_flickr = clip_id.isdigit()
        start = None if is_flickr else float(clip_id[12:])
        rows.append(
            {
                "clip_id": clip_id,
                "video_id": clip_id if is_flickr else clip_id[:11],
                "url": f"http://127.0.0.1:9/{clip_id}",
                "start_seconds": start,
                "end_seconds": None if is_flickr else start + seconds,
                "splits": ["train"],
            }
        )
    return pa.Table.from_pylist(rows, schema=CLIPS.columns)
