"""A dataset folder of Hugging Face: Parquet files, and a card that names splits and columns.

``datasets.load_dataset(FOLDER)`` reads it. A sample in several splits is stored once: its Parquet
file is named for each of them.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from earshot.errors import ParameterError
from earshot.files import publish, publish_text
from pipeline.exports.contents import Contents, Item
from pipeline.exports.encoding import Part
from pipeline.exports.parameters import ExportParameters
from pipeline.exports.plan import name_splits
from pipeline.exports.summary import Summary

_FOLDER = "data"
_CARD_NAME = "README.md"
_ROW_GROUP_SAMPLES = 100  # the viewer and streaming read one group at a time
_MAX_VALUES = 2**31 - 1  # of a list column
_METADATA_KEY = b"huggingface"

_BINARY = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_RECORD_COLUMNS: dict[str, pa.DataType] = {
    "sample_id": pa.string(),
    "clip_id": pa.string(),
    "audio_clip_id": pa.string(),
    "time_seconds": pa.float64(),
    "splits": pa.list_(pa.string()),
    "label": pa.string(),
    "boxes": pa.list_(pa.list_(pa.float64())),
    "box_annotators": pa.list_(pa.int64()),
    "attributes": pa.string(),  # JSON: each dataset has others
    "url": pa.string(),
    "start_seconds": pa.float64(),
    "end_seconds": pa.float64(),
}


def find_folders(parameters: ExportParameters) -> tuple[str, ...]:
    """Return the folders of the data."""
    return (_FOLDER,)


def write_shard(
    folder: Path, name: str, items: Iterable[Item], contents: Contents
) -> dict[str, tuple[str, ...]]:
    """Write one Parquet file."""
    # Parquet stores columns, so unlike a tar file it needs all samples of the shard at once.
    rows = list(items)
    # The sound of every sample can turn out to be damaged. Without a row, no type is known.
    if not rows:
        return {}

    path = f"{_FOLDER}/{name}.parquet"
    table = _make_table(rows)
    with publish(folder / path) as temporary_path:
        pq.write_table(table, temporary_path, compression="zstd", row_group_size=_ROW_GROUP_SAMPLES)
    return {item.record["sample_id"]: (path,) for item in rows}


def finish(folder: Path, summary: Summary) -> list[str]:
    """Write the card."""
    # All shards have the same columns, so any of them can describe them.
    shard = next(shard for shard in summary.shards if shard.samples)
    schema = pq.read_schema(folder / _FOLDER / f"{shard.name}.parquet")
    features = json.loads((schema.metadata or {})[_METADATA_KEY])["info"]["features"]

    header = yaml.safe_dump(_describe(summary, features), sort_keys=False, allow_unicode=True)
    publish_text(folder / _CARD_NAME, f"---\n{header}---\n\n{_write_body(summary)}")
    return [_CARD_NAME]


def _make_table(items: Sequence[Item]) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name, column_type in _RECORD_COLUMNS.items():
        values = [item.record[name] for item in items]
        if name == "attributes":
            values = [json.dumps(value, sort_keys=True) for value in values]
        columns[name] = pa.array(values, column_type)

    features = {name: _describe_type(column.type) for name, column in columns.items()}
    for place, first in enumerate(items[0].parts):
        parts = [item.parts[place] for item in items]
        ids = [item.record["sample_id"] for item in items]

        columns[first.name], features[first.name] = _make_column(parts, ids)

        attributes = [item.record["feature_attributes"][first.name] for item in items]
        # All arrays of a feature have attributes of the same names.
        for name in attributes[0]:
            column = pa.array([values.get(name) for values in attributes])
            columns[f"{first.name}_{name}"] = column
            features[f"{first.name}_{name}"] = _describe_type(column.type)

    table = pa.table(columns)
    # `datasets` takes the types from here. Parquet alone does not say that bytes are a picture.
    info = json.dumps({"info": {"features": features}})
    return table.replace_schema_metadata({_METADATA_KEY: info})


def _make_column(parts: Sequence[Part], ids: Sequence[str]) -> tuple[pa.Array, dict[str, Any]]:
    """Return the column of one feature, and its type in the words of ``datasets``."""
    if parts[0].kind == "array":
        arrays = [np.load(io.BytesIO(part.data), allow_pickle=False) for part in parts]
        column = nest_arrays(arrays)
        return column, _describe_type(column.type)

    values = [
        # `path` names no file here; its suffix says what kind of file the bytes are.
        {"bytes": part.data, "path": f"{sample_id}.{part.suffix}"}
        for part, sample_id in zip(parts, ids, strict=True)
    ]
    kind = "Image" if parts[0].kind == "picture" else "Audio"
    return pa.array(values, _BINARY), {"_type": kind}


def nest_arrays(arrays: Sequence[np.ndarray]) -> pa.Array:
    """Return arrays, whose shapes may differ, as nested lists: one value an array.

    ``datasets`` has array types, but in these only the first side may differ.
    """
    # All values in a row first. Each axis then groups them, from the innermost to the outermost.
    column = pa.array(np.concatenate([array.ravel() for array in arrays]))
    for axis in reversed(range(arrays[0].ndim)):
        # All lists of this depth: as many as the outer sides multiply to, each as long as the axis.
        lengths = [
            np.full(int(np.prod(array.shape[:axis], dtype=np.int64)), array.shape[axis])
            for array in arrays
        ]
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        # A list column counts its values with 32 bits.
        if offsets[-1] > _MAX_VALUES:
            raise ParameterError(
                f"--shard-samples: {len(arrays)} arrays have {offsets[-1]} values, expected at "
                f"most {_MAX_VALUES} in a shard; name a smaller number"
            )
        column = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), column)
    return column


def _describe_type(column_type: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(column_type):
        # The name that all versions of `datasets` know.
        return {"_type": "Sequence", "feature": _describe_type(column_type.value_type)}

    # Arrow's names of floats differ from those of `datasets`; the names of integers do not.
    names = {"halffloat": "float16", "float": "float32", "double": "float64"}
    return {"_type": "Value", "dtype": names.get(str(column_type), str(column_type))}


def _describe(summary: Summary, features: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header of the card."""
    splits, files = [], []
    for split in _list_splits(summary):
        shards = [
            shard for shard in summary.shards if _holds(shard.splits, split) and shard.samples
        ]
        if not shards:
            continue

        name = name_splits([split]) if split else "no_split"
        # The six digits of the shard's number become a star, so the card stays short.
        paths = dict.fromkeys(f"{_FOLDER}/{shard.name[:-6]}*.parquet" for shard in shards)
        files.append({"split": name, "path": list(paths)})
        splits.append(
            {
                "name": name,
                "num_bytes": sum(file.num_bytes for shard in shards for file in shard.files),
                # A sample of several splits counts in each, as `load_dataset` will give it in each.
                "num_examples": sum(len(shard.samples) for shard in shards),
            }
        )

    return {
        "license": "other",
        "pretty_name": summary.dataset,
        "tags": ["sound source localization", "audio-visual"],
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": {
            "features": [_to_yaml(name, value) for name, value in features.items()],
            "splits": splits,
            "download_size": summary.num_bytes,
            "dataset_size": summary.num_bytes,
        },
    }


def _list_splits(summary: Summary) -> list[str]:
    """Return the splits; the empty name stands for the samples that are in none."""
    has_others = any(not shard.splits for shard in summary.shards)
    return [*summary.count_splits(), *([""] if has_others else [])]


def _holds(splits: Sequence[str], split: str) -> bool:
    return split in splits if split else not splits


def _to_yaml(name: str, feature: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, **_yaml_type(feature)}


def _yaml_type(feature: Mapping[str, Any]) -> dict[str, Any]:
    # The header writes a list of plain values as `sequence: float32`, other lists as a type.
    if feature["_type"] == "Sequence":
        inner = _yaml_type(feature["feature"])
        is_plain = "dtype" in inner
        return {"sequence": inner["dtype"] if is_plain else inner}

    if feature["_type"] in ("Image", "Audio"):
        return {"dtype": feature["_type"].lower()}
    return {"dtype": feature["dtype"]}


def _write_body(summary: Summary) -> str:
    return f"""# {summary.dataset}

{summary.num_exported} samples for visual sound source localization, exported by Earshot. Sources,
licences, coverage and what is missing: [DATASHEET.md](DATASHEET.md). `samples.csv` accounts for
every sample.

    import datasets

    dataset = datasets.load_dataset("PATH/OF/THIS/FOLDER")

Sounds are decoded by torchcodec (`pip install torchcodec`). Without it, read the WAV bytes:
`dataset.cast_column("audio", datasets.Audio(decode=False))`.

A sample can be in several splits; its column `splits` names them all. `boxes` are `x1 y1 x2 y2` as
parts of the frame. `flow` is in pixels of the native frame; see `flow_native_height`.
"""
