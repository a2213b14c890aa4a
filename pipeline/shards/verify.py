"""Checking a feature's folder against its index, byte for byte.

A shard's name holds the hash of its bytes, so nothing needs to be believed: a byte that changed anywhere, a truncated,
a missing or a foreign file shows. When a shard is damaged, the checksums of the index tell which of its arrays still
are what they were; when all are, the damage lies in the file's tables and concerns all its samples.
"""

import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from earshot.errors import DataError
from earshot.shard_format import INDEX_NAME, crc32_of, has_named_content, read_layout, read_row
from earshot.tables import INDEX, read_table
from pipeline.base.progress import Progress

_READ_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Damage:
    """One file that is not what the index says, and the samples that suffer."""

    path: Path
    problem: str
    sample_ids: tuple[str, ...] = ()


def verify_feature(output_dir: Path, *, is_quiet: bool = False) -> list[Damage]:
    """Compare every shard of a feature's folder with its name and with the index; what is wrong, in index order.

    Raises ``DataError`` when there is no index that can be read: then nothing is known about the shards.
    """
    index = read_table(output_dir / INDEX_NAME, INDEX).to_pylist()
    rows: dict[str, list[dict]] = defaultdict(list)
    for row in index:
        if row["status"] == "ok":
            rows[row["shard"]].append(row)
    damages = []
    with Progress(
        len(rows), f"verify {output_dir.name}", unit="shard", is_quiet=is_quiet
    ) as progress:
        for name, of_shard in rows.items():
            damage = verify_shard(output_dir / name, of_shard)
            damages += [damage] if damage is not None else []
            progress.update(num_failed=damage is not None)
    damages += [
        Damage(path, "no row of the index uses it")
        for path in sorted(output_dir.glob("*.h5"))
        if path.name not in rows
    ]
    return damages


def verify_shard(path: Path, rows: list[Mapping]) -> Damage | None:
    """Compare one shard with its INDEX rows."""
    sample_ids = tuple(row["sample_id"] for row in rows)
    path = path.resolve()
    if not path.is_file():
        return Damage(path, "missing", sample_ids)
    try:
        is_whole = has_named_content(path)
    except OSError as error:  # the disk itself gives up
        return Damage(path, f"cannot be read ({error.strerror})", sample_ids)
    if is_whole:
        try:
            layout = read_layout(path)
        except DataError as error:  # of another schema version
            return Damage(path, str(error).removeprefix(f"{path}: "), sample_ids)
        wrong = tuple(
            row["sample_id"]
            for row in rows
            if not 0 <= row["row"] < len(layout.keys)
            or (layout.keys[row["row"]], layout.crc32[row["row"]]) != (row["key"], row["crc32"])
        )
        return Damage(path, "the index does not fit the shard", wrong) if wrong else None
    good = set(read_good_arrays(path, {row["row"]: row["crc32"] for row in rows}))
    if len(good) == len({row["row"] for row in rows}):
        return Damage(path, "damaged outside of its arrays", sample_ids)
    bad = tuple(row["sample_id"] for row in rows if row["row"] not in good)
    problem = "damaged" if good else "damaged throughout (truncated or foreign)"
    return Damage(path, problem, bad)


def read_good_arrays(path: Path, crc32_by_row: Mapping[int, int]) -> dict[int, tuple]:
    """(array, attributes) of the rows of a damaged shard whose bytes still have these checksums.

    Another process reads the file: damaged tables can crash the HDF5 library.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from pipeline.shards import verify; verify.answer_on_stdout()"],
            input=pickle.dumps((path, dict(crc32_by_row))),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[2],
            timeout=_READ_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}
    return pickle.loads(done.stdout) if done.returncode == 0 else {}


def answer_on_stdout() -> None:
    """The other process: what ``read_good_arrays`` asks on stdin."""
    path, crc32_by_row = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps(_read_good_arrays(path, crc32_by_row)))


def _read_good_arrays(path: Path, crc32_by_row: dict[int, int]) -> dict[int, tuple]:
    try:
        layout = read_layout(path)
    except DataError:
        return {}
    good = {}
    with open(path, "rb") as file:
        for row, crc32 in crc32_by_row.items():
            try:
                array = read_row(file.fileno(), layout, row)
                attributes = layout.row_attributes(row)
            except (DataError, IndexError, ValueError, MemoryError, OSError):
                continue  # its offset or shape is damaged: not among the good ones
            if crc32_of(array) == crc32:
                good[row] = (array, attributes)
    return good
