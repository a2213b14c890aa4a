"""Check a feature's folder against its index, byte for byte.

A shard's name holds the hash of its bytes. So this finds every changed byte, and every file that is
truncated, missing or foreign. The checksums in the index tell which arrays of a damaged shard are
still good. If all of them are good, the shard's tables are damaged, which concerns all its samples.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.errors import DataError
from earshot.shard_format import INDEX_NAME, crc32_of, read_layout, read_row
from earshot.shard_names import has_named_content
from earshot.tables import INDEX, read_table
from pipeline.base.progress import Progress

_READ_TIMEOUT_SECONDS = 120.0
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Damage:
    """One file that is not what the index says."""

    path: Path
    problem: str
    sample_ids: tuple[str, ...] = ()  # that cannot be trusted; empty: no sample uses the file


def verify_feature(output_dir: Path, *, is_quiet: bool = False) -> list[Damage]:
    """Compare every shard of a feature's folder with its name and with the index.

    Args:
        output_dir: The folder with the shards and ``index.parquet``.
        is_quiet: Show no progress.

    Returns:
        What is wrong, in the order of the index; last the files that no row of the index uses.

    Raises:
        DataError: There is no readable index, so nothing is known about the shards.
    """
    # Only samples with an array are in a row of a shard.
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    lost = []
    for row in read_table(output_dir / INDEX_NAME, INDEX).to_pylist():
        if row["status"] == "ok" and (row["shard"] is None or row["row"] is None):
            lost.append(row["sample_id"])
        elif row["status"] == "ok":
            rows[row["shard"]].append(row)

    damages = []
    if lost:
        problem = "calls samples ok, and names no row of a shard"
        damages.append(Damage((output_dir / INDEX_NAME).absolute(), problem, tuple(lost)))
    description = f"verify {output_dir.name}"
    with Progress(len(rows), description, unit="shard", is_quiet=is_quiet) as progress:
        for name, of_shard in rows.items():
            damage = _verify_shard(output_dir / name, of_shard)
            if damage is not None:
                damages.append(damage)
            progress.update(num_failed=damage is not None)

    # DVC would keep such files as part of the output, so they are reported as well.
    unused = [path for path in sorted(output_dir.glob("*.h5")) if path.name not in rows]
    return damages + [Damage(path, "no row of the index uses it") for path in unused]


def _verify_shard(path: Path, rows: Sequence[Mapping[str, Any]]) -> Damage | None:
    """Compare one shard with its rows of the table INDEX; return None if it is whole."""
    sample_ids = tuple(row["sample_id"] for row in rows)

    # Do not resolve links: DVC can put links here to files with other names. The path is absolute,
    # because another process may read the file.
    path = path.absolute()
    if not path.is_file():
        return Damage(path, "missing", sample_ids)
    try:
        is_whole = has_named_content(path)
    except OSError as error:  # the disk itself fails
        return Damage(path, f"cannot be read ({error.strerror})", sample_ids)
    if is_whole:
        return _compare_tables(path, rows)

    # Some byte is wrong. Find out which samples that concerns.
    good = _find_good_rows(path, {row["row"]: row["crc32"] for row in rows})
    if len(good) == len({row["row"] for row in rows}):
        return Damage(path, "damaged outside of its arrays", sample_ids)

    bad = tuple(row["sample_id"] for row in rows if row["row"] not in good)
    problem = "damaged" if good else "damaged throughout (truncated or foreign)"
    return Damage(path, problem, bad)


def _compare_tables(path: Path, rows: Sequence[Mapping[str, Any]]) -> Damage | None:
    """Compare the tables of a whole shard with the index."""
    try:
        layout = read_layout(path)
    except DataError as error:  # it has another schema version
        problem = str(error).removeprefix(f"{path}: ")
        return Damage(path, problem, tuple(row["sample_id"] for row in rows))

    wrong = []
    for row in rows:
        # The index itself can be damaged, so its row numbers are checked, too.
        number = row["row"]
        is_in_shard = 0 <= number < len(layout.keys)
        expected = (row["key"], row["crc32"])
        if not is_in_shard or (layout.keys[number], layout.crc32[number]) != expected:
            wrong.append(row["sample_id"])
    return Damage(path, "the index does not fit the shard", tuple(wrong)) if wrong else None


def _find_good_rows(path: Path, crc32_by_row: Mapping[int, int]) -> set[int]:
    """Return the rows of a damaged shard whose bytes still have these checksums.

    Another process reads the file, because damaged tables can crash the HDF5 library.
    """
    question = json.dumps({"path": str(path), "rows": list(crc32_by_row.items())})
    try:
        process = subprocess.run(
            [sys.executable, "-m", "pipeline.shards.verify"],
            input=question.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            timeout=_READ_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return set()

    # A crash of that process shows that the tables are damaged: no row can be trusted then.
    return set(json.loads(process.stdout)) if process.returncode == 0 else set()


def _answer() -> None:
    """Check the rows that ``_find_good_rows`` sends on stdin; runs in the other process."""
    question = json.load(sys.stdin)
    path = Path(question["path"])
    good: list[int] = []
    try:
        layout = read_layout(path)
    except DataError:
        print(json.dumps(good))
        return

    with open(path, "rb") as file:
        for row, crc32 in question["rows"]:
            try:
                # The table of offsets can point anywhere, also beyond the file.
                array = read_row(file.fileno(), layout, row)
            except (DataError, IndexError, ValueError, MemoryError, OSError):
                continue  # its offset or its shape is damaged
            if crc32_of(array) == crc32:
                good.append(row)
    print(json.dumps(good))


if __name__ == "__main__":
    _answer()
