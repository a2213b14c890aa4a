"""WebDataset: tar files whose members ``KEY.EXTENSION`` with one key are one sample.

A sample has ``KEY.json`` (label, boxes, splits, attributes) and a member for each feature, for
example ``KEY.frames.jpg``, ``KEY.flow.npy``, ``KEY.audio.wav``.
"""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from earshot.files import publish, publish_text
from pipeline.exports.contents import Contents, Item
from pipeline.exports.parameters import ExportParameters
from pipeline.exports.plan import name_sample, name_splits
from pipeline.exports.summary import Summary

_FOLDER = "shards"
_LISTS_FOLDER = "splits"


def find_folders(parameters: ExportParameters) -> tuple[str, ...]:
    """Return the folders of the data."""
    return (_FOLDER, _LISTS_FOLDER)


def write_shard(
    folder: Path, name: str, items: Iterable[Item], contents: Contents
) -> dict[str, tuple[str, ...]]:
    """Write one tar file; equal samples give equal bytes."""
    path = f"{_FOLDER}/{name}.tar"
    samples: dict[str, tuple[str, ...]] = {}

    with publish(folder / path) as temporary_path:
        # PAX: names may be long and have any letters.
        with tarfile.open(temporary_path, "w", format=tarfile.PAX_FORMAT) as tar:
            for item in items:
                sample_id = item.record["sample_id"]
                samples[sample_id] = (path,)
                # A reader takes members of one key as one sample only while they follow each other.
                for suffix, data in _list_members(item):
                    # Owner and date of a TarInfo are zero, so they do not differ between two runs.
                    member = tarfile.TarInfo(f"{_make_key(sample_id)}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))

    # The sound of no sample could be read. WebDataset raises an error for empty shards.
    if not samples:
        (folder / path).unlink()
    return samples


def finish(folder: Path, summary: Summary) -> list[str]:
    """Write a list of tar files for each split: ``splits/NAME.txt``."""
    paths = []
    for split in summary.count_splits():
        names = [f"{_FOLDER}/{shard.name}.tar" for shard in summary.find_shards(split)]
        path = f"{_LISTS_FOLDER}/{name_splits([split])}.txt"
        # Shards by split: training programs take such a list instead of a pattern of names.
        publish_text(folder / path, "".join(f"{name}\n" for name in names))
        paths.append(path)
    return paths


def _list_members(item: Item) -> list[tuple[str, bytes]]:
    parts = [(f"{part.name}.{part.suffix}", part.data) for part in item.parts]
    return [("json", json.dumps(item.record, sort_keys=True).encode()), *parts]


def _make_key(sample_id: str) -> str:
    # WebDataset reads the first dot of a name as the end of the key.
    return name_sample(sample_id).replace(".", "%2E")
