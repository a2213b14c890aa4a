"""Plain files, in the folders that the code of many papers reads.

``frames/ID.jpg`` and ``audio/ID.wav`` hold the same samples. Other features are ``flow/ID.npy``.
With clips, ``clips/ID.mp4`` are the media files themselves. ``splits/NAME.txt`` lists the ids of a
split, one a line.
"""

from collections.abc import Iterable
from pathlib import Path

from earshot.files import publish_bytes, publish_text
from pipeline.base.disk import link_file
from pipeline.exports.contents import Contents, Item
from pipeline.exports.parameters import ExportParameters
from pipeline.exports.plan import name_sample, name_splits
from pipeline.exports.summary import Summary

_CLIPS_FOLDER = "clips"
_LISTS_FOLDER = "splits"


def find_folders(parameters: ExportParameters) -> tuple[str, ...]:
    """Return the folders of the data: one for each feature."""
    return (*parameters.features, _CLIPS_FOLDER, _LISTS_FOLDER)


def write_shard(
    folder: Path, name: str, items: Iterable[Item], contents: Contents
) -> dict[str, tuple[str, ...]]:
    """Write a file for each feature of each sample."""
    samples = {}
    for item in items:
        stem = name_sample(item.record["sample_id"])

        paths = []
        for part in item.parts:
            path = f"{part.name}/{stem}.{part.suffix}"
            publish_bytes(folder / path, part.data)

            paths.append(path)
        if contents.parameters.has_clips:
            paths += _link_clips(folder, item, contents)

        samples[item.record["sample_id"]] = tuple(paths)
    return samples


def finish(folder: Path, summary: Summary) -> list[str]:
    """Write the names of each split's samples: ``splits/NAME.txt``."""
    paths = []
    for split in summary.count_splits():
        ids = [row["sample_id"] for row in summary.rows if split in row["splits"]]
        # Stems of files, not ids: the lists are read to open files.
        lines = [f"{name_sample(name)}\n" for name in ids if name not in summary.obstacles]

        path = f"{_LISTS_FOLDER}/{name_splits([split])}.txt"
        publish_text(folder / path, "".join(lines))
        paths.append(path)
    return paths


def _link_clips(folder: Path, item: Item, contents: Contents) -> list[str]:
    """Give the clips of a sample's picture and sound a second name in the export."""
    paths = []
    for clip_id in (item.record["clip_id"], item.record["audio_clip_id"]):
        # A sample with its own sound has one clip, and a clip may be gone since it was downloaded.
        source = contents.find_clip_file(clip_id) if clip_id is not None else None
        if source is not None:
            path = f"{_CLIPS_FOLDER}/{name_sample(clip_id)}{source.suffix}"
            (folder / _CLIPS_FOLDER).mkdir(exist_ok=True)
            # A second name takes no space. On another file system, where there can be none, it is a
            # copy.
            link_file(source, folder / path, otherwise="copy")
            paths.append(path)
    return paths
