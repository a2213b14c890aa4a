"""Decide which samples go into which shard of an export.

A sample is written once, although it can be in several splits. Samples that are in the same splits
share shards; a split is then a set of whole shards.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.downloads.clip_files import make_file_stem
from pipeline.exports.contents import Contents, Obstacle, Row

_UNSAFE = re.compile(r"[^A-Za-z0-9_]+")
_MAX_NAME = 60
VERSION = 1  # of what is written; raise it when finished shards must be written again


@dataclass(frozen=True)
class Shard:
    """Some samples that are written together."""

    name: str  # ``train-000000``
    splits: tuple[str, ...]
    rows: tuple[Row, ...]
    fingerprint: str  # of all that decides its bytes


@dataclass(frozen=True)
class Plan:
    """Every sample: in a shard, or with the obstacle to it."""

    shards: tuple[Shard, ...]
    obstacles: dict[str, Obstacle]  # by sample id


def plan_export(contents: Contents) -> Plan:
    """Divide the samples into shards; the same samples and arrays give the same plan."""
    obstacles: dict[str, Obstacle] = {}
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in contents.samples:
        obstacle = contents.find_obstacle(row)
        if obstacle is not None:
            obstacles[row["sample_id"]] = obstacle
        else:
            # Sorted, because the order in which a list names the splits means nothing.
            groups.setdefault(tuple(sorted(row["splits"] or ())), []).append(row)

    size = contents.parameters.shard_samples
    encoding = json.dumps([VERSION, contents.parameters.encoding], sort_keys=True)
    shards = []

    for splits, rows in groups.items():
        for number, first in enumerate(range(0, len(rows), size)):
            # A changed sample changes the fingerprint of its shard only; the other shards stay.
            part = tuple(rows[first : first + size])
            content = [encoding, *(contents.fingerprint(row) for row in part)]
            fingerprint = hashlib.sha256("\n".join(content).encode()).hexdigest()[:32]
            # Six digits: names in the order of the alphabet are in the order of the shards.
            shards.append(Shard(f"{name_splits(splits)}-{number:06d}", splits, part, fingerprint))
    return Plan(tuple(shards), obstacles)


def name_splits(splits: Iterable[str]) -> str:
    """Return a name of letters, digits and ``_`` for some splits; other splits, another name."""
    joined = "__".join(splits)
    name = _UNSAFE.sub("_", joined)[:_MAX_NAME]
    if name == joined and name:
        return name
    # Something was lost, so a hash tells such names apart.
    return f"{name or 'no_split'}_{hashlib.sha256(joined.encode()).hexdigest()[:8]}"


def name_sample(sample_id: str) -> str:
    """Return the stem of a sample's files, for example ``frames/STEM.jpg``.

    ``import`` knows it as the name of the clip where sample and clip have one id.
    """
    return make_file_stem(sample_id)
