"""What lies beside the data: the account of all samples, the datasheet, Croissant, the index."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from earshot.files import publish_text, sha256_of
from pipeline.exports.croissant import describe_croissant
from pipeline.exports.datasheet import write_datasheet
from pipeline.exports.plan import name_sample
from pipeline.exports.summary import Summary

INDEX_NAME = "export.json"  # written last: without it an export is unfinished
ACCOUNT_NAME = "samples.csv"
DATASHEET_NAME = "DATASHEET.md"
CROISSANT_NAME = "croissant.json"
ACCOUNT_COLUMNS = {
    "sample_id": "its name",
    "name": "the stem of its files",
    "status": "ok, or missing",
    "reason": "why it is missing",
    "detail": "the same as a sentence",
    "splits": "names, with ; between them",
    "label": "what sounds",
    "boxes": "x1 y1 x2 y2 of each box as parts of the frame, JSON",
    "time_seconds": "where in the clip it lies; empty: at the centre",
    "clip_id": "the clip of its picture",
    "audio_clip_id": "the clip of its sound; empty: the same",
    "url": "where the video of the clip is; empty for a file of the one who made this export",
    "files": "the files that hold it, with ; between them",
}


def write_descriptions(folder: Path, summary: Summary) -> None:
    """Write the account of all samples, the datasheet and the Croissant metadata."""
    # The account first: the metadata hold its size and its hash.
    publish_text(folder / ACCOUNT_NAME, _write_account(summary))
    publish_text(folder / DATASHEET_NAME, write_datasheet(summary))

    account_path = folder / ACCOUNT_NAME
    metadata = describe_croissant(
        summary,
        account_name=ACCOUNT_NAME,
        account_columns=ACCOUNT_COLUMNS,
        account_bytes=account_path.stat().st_size,
        account_sha256=sha256_of(account_path),
    )
    publish_text(folder / CROISSANT_NAME, json.dumps(metadata, indent=1) + "\n")


def write_index(folder: Path, summary: Summary, own_files: list[str]) -> None:
    """Write the index: counts, features, and the hash of every file."""
    names = [*own_files, ACCOUNT_NAME, DATASHEET_NAME, CROISSANT_NAME]
    files: dict[str, dict[str, Any]] = {
        file.path: {"bytes": file.num_bytes, "sha256": file.sha256}
        for shard in summary.shards
        for file in shard.files
    }

    # Shards were hashed when they were written, maybe by an earlier run. These files are new.
    for name in names:
        path = folder / name
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}

    index = {
        "dataset": summary.dataset,
        "format": summary.parameters.format,
        "samples": {"ok": summary.num_exported, "missing": len(summary.obstacles)},
        "reasons": summary.count_reasons(),
        "splits": {
            name: {"listed": listed, "ok": written}
            for name, (listed, written) in summary.count_splits().items()
        },
        "features": summary.features,
        "files": files,
    }

    # The last file: a folder that has it is complete.
    publish_text(folder / INDEX_NAME, json.dumps(index, indent=1) + "\n")


def _write_account(summary: Summary) -> str:
    files = {
        sample_id: paths for shard in summary.shards for sample_id, paths in shard.samples.items()
    }

    buffer = io.StringIO()
    # Otherwise `csv` ends lines with \r\n, which tools such as `cut` keep as a part of the last
    # cell.
    writer = csv.DictWriter(buffer, list(ACCOUNT_COLUMNS), lineterminator="\n")
    writer.writeheader()
    for row in summary.rows:
        sample_id = row["sample_id"]
        obstacle = summary.obstacles.get(sample_id)

        writer.writerow(
            {
                # Facts of the record keep their names. Those that are no text are replaced below.
                **{name: row[name] for name in ACCOUNT_COLUMNS if name in row},
                "name": name_sample(sample_id),
                "status": "ok" if obstacle is None else "missing",
                "reason": obstacle.reason if obstacle else None,
                "detail": obstacle.detail if obstacle else None,
                "splits": ";".join(row["splits"]),
                "boxes": json.dumps(row["boxes"]),
                "files": ";".join(files.get(sample_id, ())),
            }
        )
    return buffer.getvalue()
