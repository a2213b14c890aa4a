"""Shards: round trips through writer, reader and plain h5py; damaged and foreign files fail."""

import multiprocessing
import os
import pickle
import time
import zlib
from threading import Thread

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from earshot.errors import DataError
from earshot.reader import INDEX_NAME, FeatureReader
from earshot.shard_format import Failure, Row, encode_shard, read_layout, write_shard
from earshot.shard_names import has_named_content, task_of
from earshot.tables import INDEX, read_table, write_table

ATTRIBUTES = {"feature": "frames", "units": "8-bit sRGB", "parameters": "{}", "version": 1}


def make_rows(count, *, dtype=np.uint8, seed=0):
    """Make rows of three axes whose heights and widths differ."""
    generator = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        shape = (5 + i, 9 - i % 4, 3)
        array = generator.integers(0, 255, shape).astype(dtype)
        rows.append(
            Row(f"sample_é{i}", f"{i:032x}", array, {"native_height": 100 + i, "scale": 0.5 * i})
        )
    return rows


def write_folder(folder, shards, *, others=()):
    """Write a feature folder: shards (lists of rows) and an index.

    ``others`` are (sample_id, status, reason) of samples without an array.
    """
    index = []
    for number, rows in enumerate(shards):
        path = write_shard(folder, f"{number:012x}", rows, [], ATTRIBUTES)
        for i, row in enumerate(rows):
            crc32 = zlib.crc32(row.array.tobytes())
            index.append(
                {
                    "sample_id": row.sample_id,
                    "status": "ok",
                    "shard": path.name,
                    "row": i,
                    "key": row.key,
                    "crc32": crc32,
                }
            )
    index += [
        {"sample_id": sample_id, "status": status, "reason": reason}
        for sample_id, status, reason in others
    ]
    write_table(folder / INDEX_NAME, index, INDEX)
    return index


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_every_row_comes_back_through_plain_h5py(tmp_path, dtype):
    rows = make_rows(7, dtype=dtype)
    path = write_shard(
        tmp_path, "ab" * 6, rows, [Failure("x", "k", "no_audio", "ünheard")], ATTRIBUTES
    )
    with h5py.File(path) as file:
        assert file.attrs["feature"] == "frames"
        assert file.attrs["schema_version"] == 1
        for i, row in enumerate(rows):
            start, stop = file["offset"][i : i + 2]
            array = file["data"][start:stop].reshape(file["shape"][i])
            assert array.dtype == dtype
            np.testing.assert_array_equal(array, row.array)
            assert file["sample_id"].asstr()[i] == row.sample_id
            assert file["key"].asstr()[i] == row.key
            assert file["crc32"][i] == zlib.crc32(row.array.tobytes())
            assert file["attributes/native_height"][i] == 100 + i
        assert file["failures/reason"].asstr()[0] == "no_audio"
        assert file["failures/detail"].asstr()[0] == "ünheard"


def test_the_same_rows_give_the_same_bytes_and_other_rows_another_name(tmp_path):
    first = encode_shard(make_rows(3), [], ATTRIBUTES)
    assert first == encode_shard(make_rows(3), [], ATTRIBUTES)
    path = write_shard(tmp_path, "0" * 12, make_rows(3), [], ATTRIBUTES)
    other = write_shard(tmp_path, "0" * 12, make_rows(3, seed=1), [], ATTRIBUTES)
    assert path.name != other.name
    assert task_of(path.name) == task_of(other.name) == "0" * 12
    assert task_of("index.parquet") is None


def test_a_flipped_byte_anywhere_no_longer_fits_the_name(tmp_path):
    path = write_shard(tmp_path, "0" * 12, make_rows(2), [], ATTRIBUTES)
    content = path.read_bytes()
    assert has_named_content(path)
    for place in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert not has_named_content(path), place


def test_rows_of_different_kinds_are_refused():
    rows = [make_rows(1)[0], make_rows(2, dtype=np.float32)[1]]
    with pytest.raises(DataError, match=r"float32.*uint8"):
        encode_shard(rows, [], ATTRIBUTES)


def test_reader_gives_arrays_attributes_and_reasons(tmp_path):
    shards = [
        make_rows(4),
        [Row("late", "f" * 32, np.ones((2, 2, 3), np.uint8), {"native_height": 7, "scale": 1.0})],
    ]
    write_folder(
        tmp_path, shards, others=[("gone", "missing", "removed"), ("bad", "failed", "no_video")]
    )
    reader = FeatureReader(tmp_path)
    assert reader.sample_ids == [row.sample_id for rows in shards for row in rows]
    for row in (row for rows in shards for row in rows):
        np.testing.assert_array_equal(reader.read(row.sample_id), row.array)
        assert reader.read_attributes(row.sample_id) == dict(row.attributes)
        assert row.sample_id in reader
        assert reader.reason(row.sample_id) is None
    batch = reader.read_batch(["late", shards[0][2].sample_id])
    np.testing.assert_array_equal(batch[0], 1)
    np.testing.assert_array_equal(batch[1], shards[0][2].array)
    assert reader.attributes["units"] == "8-bit sRGB"
    assert "gone" not in reader
    assert reader.reason("bad") == "no_video"
    assert reader.shard_of("late") != reader.shard_of(shards[0][0].sample_id)
    with pytest.raises(DataError, match="gone is not cached: removed"):
        reader.read("gone")
    with pytest.raises(DataError, match="no sample 'unknown'"):
        reader.read("unknown")


def test_reader_of_a_folder_where_nothing_is_cached(tmp_path):
    write_folder(tmp_path, [], others=[("gone", "missing", "removed")])
    reader = FeatureReader(tmp_path)
    assert reader.sample_ids == []
    assert reader.attributes == {}
    assert reader.reason("gone") == "removed"


def test_reader_keeps_few_files_open(tmp_path):
    shards = [[Row(f"s{i}", f"{i:032x}", np.full((2, 3), i, np.uint8))] for i in range(20)]
    write_folder(tmp_path, shards)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DataError, match=r"^max_open_files is 0, expected 1 or more$"):
        FeatureReader(tmp_path, max_open_files=0)
    with FeatureReader(tmp_path, max_open_files=4) as reader:
        for i in [*range(20), *range(20)]:
            assert reader.read(f"s{i}")[0, 0] == i
        assert len(os.listdir("/proc/self/fd")) - before <= 4
    assert len(os.listdir("/proc/self/fd")) == before


def _read_many(reader, sample_ids):
    return [int(reader.read(sample_id).astype(np.int64).sum()) for sample_id in sample_ids]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reader_works_in_other_processes(tmp_path, method):
    rows = make_rows(6)
    write_folder(tmp_path, [rows[:3], rows[3:]])
    reader = FeatureReader(tmp_path)
    expected = [int(row.array.astype(np.int64).sum()) for row in rows]
    ids = [row.sample_id for row in rows]
    assert _read_many(reader, ids) == expected  # files are open when the process forks
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(_read_many, [(reader, ids), (reader, ids[::-1])]) == [
            expected,
            expected[::-1],
        ]
    assert _read_many(pickle.loads(pickle.dumps(reader)), ids) == expected


def test_files_are_closed_also_when_python_ends(tmp_path, monkeypatch):
    """The names of a module are None by then; a notebook printed an error for each open file."""
    write_folder(tmp_path, [[Row("s", "0" * 32, np.zeros(3, np.uint8))]])
    reader = FeatureReader(tmp_path)
    reader.read("s")
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr("earshot.reader.os", None)
    del reader
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_threads_share_a_reader(tmp_path):
    """With one file open at a time, each thread still gets the array of its own sample."""
    shards = [[Row(f"s{i}", f"{i:032x}", np.full((64, 64), i, np.uint8))] for i in range(8)]
    write_folder(tmp_path, shards)
    before = len(os.listdir("/proc/self/fd"))
    reader = FeatureReader(tmp_path, max_open_files=1)
    results = []

    def read_some(thread: int) -> None:
        places = np.random.default_rng(thread).integers(0, 8, 8000)
        results.append(all((reader.read(f"s{place}") == place).all() for place in places))

    # A list of open files that is not safe for threads hung all of them within 50,000 reads.
    # Daemons, because a thread that hangs would keep this process from ending.
    threads = [Thread(target=read_some, args=(i,), daemon=True) for i in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    for thread in threads:
        thread.join(timeout=max(0, deadline - time.monotonic()))
    assert results == [True] * 8

    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_two_readers_of_one_folder_across_a_fork(tmp_path):
    rows = make_rows(6)
    write_folder(tmp_path, [rows[:3], rows[3:]])
    ids = [row.sample_id for row in rows]
    first, second = FeatureReader(tmp_path), FeatureReader(tmp_path)
    expected = _read_many(first, ids)
    assert _read_many(second, ids) == expected
    with multiprocessing.get_context("fork").Pool(1) as pool:
        # The first one is closed here while the second one is read there.
        reading = pool.starmap_async(_read_many, [(second, ids)] * 5)
        first.close()
        assert reading.get(timeout=60) == [expected] * 5
    assert _read_many(first, ids) == _read_many(second, ids) == expected


def test_a_feature_that_is_computed_anew_under_a_reader(tmp_path):
    old, new = make_rows(6)[:3], make_rows(6)[3:]
    write_folder(tmp_path, [old[:1], old[1:]])
    reader = FeatureReader(tmp_path)
    expected = reader.read(old[0].sample_id)

    # As DVC does it: the old shards go, then new ones come.
    for path in tmp_path.glob("*.h5"):
        path.unlink()
    write_folder(tmp_path, [new])
    copy = pickle.loads(pickle.dumps(reader))
    assert (reader.read(old[0].sample_id) == expected).all()  # its file is still open here
    for broken in (reader, copy):
        for read in (broken.read, broken.read_attributes):
            with pytest.raises(DataError, match=r"computed anew .*; open it again when that has"):
                read(old[1].sample_id)
    assert FeatureReader(tmp_path).read(new[0].sample_id).shape == new[0].array.shape


def test_an_index_with_a_sample_in_two_rows_is_refused(tmp_path):
    index = write_folder(tmp_path, [make_rows(3)])
    write_table(tmp_path / INDEX_NAME, [*index, index[1]], INDEX)
    with pytest.raises(DataError, match=rf"has {index[1]['sample_id']!r} more than once"):
        FeatureReader(tmp_path)


def test_reader_notices_damaged_bytes(tmp_path):
    rows = make_rows(3)
    write_folder(tmp_path, [rows])
    path = next(tmp_path.glob("*.h5"))
    layout = read_layout(path)
    start, _ = layout.span(1)
    content = bytearray(path.read_bytes())
    content[start] ^= 255
    path.write_bytes(content)
    reader = FeatureReader(tmp_path, is_checked=True)
    reader.read(rows[0].sample_id)
    with pytest.raises(
        DataError, match=rf"{rows[1].sample_id}: bytes differ from their checksum.*repair"
    ):
        reader.read(rows[1].sample_id)
    assert FeatureReader(tmp_path).read(rows[1].sample_id).shape == rows[1].array.shape


@pytest.mark.parametrize("damage", ["truncated", "foreign", "absent", "other hdf5"])
def test_files_that_are_no_whole_shard_are_refused_in_one_sentence(tmp_path, damage):
    rows = make_rows(3)
    write_folder(tmp_path, [rows])
    path = next(tmp_path.glob("*.h5"))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "foreign":
        path.write_bytes(b"not HDF5 at all" * 100)
    elif damage == "absent":
        path.unlink()
    else:
        with h5py.File(path, "w") as file:
            file.attrs["schema_version"] = 1
    with pytest.raises(DataError, match=rf"{path.name}: (not a whole shard|not found)") as caught:
        FeatureReader(tmp_path).read(rows[0].sample_id)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", [3, -2, 1_000_000])
def test_an_index_that_names_a_row_which_is_not_there(tmp_path, row):
    index = write_folder(tmp_path, [make_rows(3)])
    index[1]["row"] = row
    write_table(tmp_path / INDEX_NAME, index, INDEX)
    reader = FeatureReader(tmp_path)
    sample_id = index[1]["sample_id"]
    with pytest.raises(
        DataError,
        match=rf"{sample_id}: row {row}: the shard has 3 rows; run `python -m pipeline rep",
    ):
        reader.read(sample_id)
    with pytest.raises(
        DataError, match=rf"{sample_id}: found no row {row}, which the index names; run `python -m"
    ):
        reader.read_attributes(sample_id)


def test_a_shard_that_vanishes_under_a_reader_and_shapes_that_lie(tmp_path):
    rows = make_rows(3)
    write_folder(tmp_path, [rows])
    reader = FeatureReader(tmp_path)
    reader.read(rows[0].sample_id)
    reader.close()
    (path,) = tmp_path.glob("*.h5")
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(
        DataError, match=rf"{path.name}: not found; `python -m pipeline repair` rebuilds"
    ):
        reader.read(rows[1].sample_id)
    path.write_bytes(content)
    for shape in [
        (-5, 9, 3),
        (2**31 - 1, 2**31 - 1, 2**31 - 1),
    ]:  # nobody's memory holds the second
        with h5py.File(path, "r+") as file:
            file["shape"][1] = shape
        with pytest.raises(DataError, match=r"row 1: shape \(.*\) does not fit its \d+ bytes"):
            FeatureReader(tmp_path).read(rows[1].sample_id)


def test_unknown_and_repeated_ids(tmp_path):
    rows = make_rows(2)
    write_folder(tmp_path, [rows], others=[("gone", "missing", "removed")])
    reader = FeatureReader(tmp_path)
    first = rows[0].sample_id
    assert [array.tobytes() for array in reader.read_batch([first, first])] == [
        rows[0].array.tobytes()
    ] * 2
    assert reader.read_batch([]) == []
    for call in (reader.read, reader.read_attributes, reader.reason, reader.shard_of):
        with pytest.raises(DataError, match=r"index.parquet: no sample 'nobody'"):
            call("nobody")
    with pytest.raises(DataError, match=r"gone is not cached: removed"):
        reader.read("gone")
    assert "nobody" not in reader


def test_another_schema_version_is_refused(tmp_path):
    write_folder(tmp_path, [make_rows(1)])
    path = next(tmp_path.glob("*.h5"))
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 0
    with pytest.raises(
        DataError, match=r"schema version 0, this Earshot reads version 1; run `dvc repro`"
    ):
        FeatureReader(tmp_path).read("sample_é0")


def test_arrays_without_elements_and_shards_without_rows(tmp_path):
    path = write_shard(
        tmp_path, "0" * 12, [Row("a", "k", np.zeros((0, 3), np.float16))], [], ATTRIBUTES
    )
    assert read_layout(path).shape.tolist() == [[0, 3]]
    path = write_shard(tmp_path, "1" * 12, [], [Failure("a", "k", "no_audio")], ATTRIBUTES)
    assert read_layout(path).failures == (Failure("a", "k", "no_audio"),)


def test_a_table_that_is_replaced_while_it_is_read_stays_whole(tmp_path, monkeypatch):
    """The end of the old file with the bytes of the new one was "damaged" in one read of 200."""
    path = tmp_path / "index.parquet"
    write_table(path, [{"sample_id": "old"}] * 3, INDEX)
    read_schema = pq.read_schema

    def replace_and_read(file):
        write_table(path, [{"sample_id": "new"}], INDEX)
        return read_schema(file)

    monkeypatch.setattr(pq, "read_schema", replace_and_read)
    assert read_table(path, INDEX)["sample_id"].to_pylist() == ["old"] * 3
    assert read_table(path, INDEX)["sample_id"].to_pylist() == ["new"]
