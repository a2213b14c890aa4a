"""Verify and repair: a flipped bit anywhere is found, and the same bytes come back."""

import json
import os
import random
import shutil

import h5py
import numpy as np
import pytest

from earshot.errors import DataError
from earshot.reader import FeatureReader
from earshot.shard_format import read_layout
from pipeline.shards import verify
from pipeline.shards.store import CATALOG_NAME, prune_store
from tests.helpers.cache import fake_features
from tests.helpers.cache.fake_cache import build, check, contents, flip, repair, touched
from tests.helpers.cache.fake_features import make_dataset, make_feature

TEXTS = {f"clip{i:03d}": f"text {i}" for i in range(24)} | {"clip005": "corrupt", "clip006": None}


def test_a_whole_cache_passes(tmp_path):
    build(tmp_path, make_dataset(tmp_path, TEXTS))
    assert check(tmp_path) == []


def test_links_to_files_of_other_names_are_whole(tmp_path):
    """DVC with ``cache.type symlink`` puts links there, to files that are named by their md5."""
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    folder, cache = tmp_path / "frames", tmp_path / "dvc"
    cache.mkdir()
    for number, path in enumerate(sorted(folder.glob("*.h5"))):
        shutil.copy(path, cache / f"{number:030x}")
        path.unlink()
        path.symlink_to(cache / f"{number:030x}")
    assert check(tmp_path) == []

    path = sorted(folder.glob("*.h5"))[1]
    before = path.read_bytes()
    flip(path, path.stat().st_size - 1)
    (damage,) = check(tmp_path)
    assert damage.path == path
    assert damage.sample_ids
    assert repair(tmp_path, tables, [damage]).restored == (path.name,)
    assert path.read_bytes() == before
    assert check(tmp_path) == []


def test_a_byte_of_an_array_names_its_sample_and_is_restored(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    before = contents(tmp_path / "frames")
    touched(tmp_path)
    reader = FeatureReader(tmp_path / "frames")
    path = tmp_path / "frames" / reader.shard_of("clip010_0")
    row = reader.index.column("row")[10].as_py()
    start, stop = read_layout(path).span(row)
    flip(path, (start + stop) // 2, bit=7)
    (damage,) = check(tmp_path)
    assert (damage.path, damage.sample_ids) == (path, ("clip010_0",))
    report = repair(tmp_path, tables, [damage])
    assert (report.restored, report.replaced) == ((path.name,), ())
    in_shard = [
        sample_id for sample_id in reader.sample_ids if reader.shard_of(sample_id) == path.name
    ]
    assert touched(tmp_path) == [f"{sample_id} frames" for sample_id in in_shard]
    assert contents(tmp_path / "frames") == before
    assert (tmp_path / "store" / "frames" / path.name).read_bytes() == before[path.name]
    assert check(tmp_path) == []


def test_a_flipped_bit_anywhere_is_found_and_restored(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    before = contents(tmp_path / "frames")
    path = sorted((tmp_path / "frames").glob("*.h5"))[0]
    layout = read_layout(path)
    size = path.stat().st_size
    generator = random.Random(1)
    header, tail = range(0, layout.data_offset), range(layout.span(len(layout.keys) - 1)[1], size)
    places = [0, 8, size - 1, *generator.sample(header, 3), *generator.sample(tail, 2)]
    for place in places:
        flip(path, place, bit=place % 8)
        (damage,) = check(tmp_path)
        assert damage.path == path
        assert set(damage.sample_ids) <= set(layout.sample_ids)
        assert damage.sample_ids, place
        report = repair(tmp_path, tables, [damage])
        assert (report.restored, report.replaced) == ((path.name,), ()), place
        assert contents(tmp_path / "frames") == before, place


def test_every_bit_of_a_small_shard_matters(tmp_path, monkeypatch):
    # The shard has one sample, which suffers from any damage. So there is no need to look inside.
    monkeypatch.setattr(verify, "_find_good_rows", lambda path, crc32_by_row: set())
    build(tmp_path, make_dataset(tmp_path, {"a": "1"}))
    path = next((tmp_path / "frames").glob("*.h5"))
    for place in range(0, path.stat().st_size, 301):
        flip(path, place)
        (damage,) = check(tmp_path)
        assert damage.sample_ids == ("a_0",)
        flip(path, place)
    assert check(tmp_path) == []


def test_lost_shards_come_back_in_their_own_groups(tmp_path):
    """Built without their history, the lost samples would make shards of eight."""
    tables = make_dataset(tmp_path, {f"clip{i:03d}": f"text {i}" for i in range(200)})
    build(tmp_path, tables, shard_samples=64)
    before = contents(tmp_path / "frames")
    catalog = (tmp_path / "store" / "frames" / CATALOG_NAME).read_bytes()
    shards = sorted((tmp_path / "frames").glob("*.h5"))
    assert {len(read_layout(path).keys) for path in shards} == {13, 5}
    flip(shards[0], shards[0].stat().st_size - 1)
    shards[1].unlink()
    (tmp_path / "store" / "frames" / shards[1].name).unlink()
    report = repair(tmp_path, tables, check(tmp_path), shard_samples=64)
    assert report.restored == tuple(path.name for path in shards[:2])
    assert contents(tmp_path / "frames") == before
    assert (tmp_path / "store" / "frames" / CATALOG_NAME).read_bytes() == catalog


@pytest.mark.parametrize("damage", ["truncated", "foreign", "missing", "swapped"])
def test_other_damage(tmp_path, damage):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    before = contents(tmp_path / "frames")
    first, second = sorted((tmp_path / "frames").glob("*.h5"))[:2]
    with h5py.File(first) as file:
        ids = set(file["sample_id"].asstr()[:])
    if damage == "truncated":
        os.truncate(first, first.stat().st_size // 2)
    elif damage == "foreign":
        first.write_bytes(b"something else entirely")
    elif damage == "missing":
        first.unlink()
        (tmp_path / "store" / "frames" / first.name).unlink()
    else:
        content = second.read_bytes()
        first.unlink()
        first.write_bytes(content)
    (found,) = check(tmp_path)
    assert set(found.sample_ids) == ids
    report = repair(tmp_path, tables, [found])
    assert report.restored == (first.name,)
    # Where only the output's file was replaced, the store still has the shard.
    assert (report.build.computed == 0) == (damage == "swapped")
    assert contents(tmp_path / "frames") == before
    assert check(tmp_path) == []


def test_a_file_that_no_row_uses_is_removed(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    (tmp_path / "frames" / "stray.h5").write_bytes(b"")
    (damage,) = check(tmp_path)
    assert (damage.path.name, damage.sample_ids) == ("stray.h5", ())
    assert repair(tmp_path, tables, [damage]).removed == ("stray.h5",)
    assert check(tmp_path) == []


def test_without_the_store_that_made_it(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    before = contents(tmp_path / "frames")
    shutil.rmtree(tmp_path / "store")
    # The shard that also remembers the failure of clip005_0.
    path = tmp_path / "frames" / FeatureReader(tmp_path / "frames").shard_of("clip004_0")
    flip(path, path.stat().st_size - 1)
    report = repair(tmp_path, tables, check(tmp_path))
    assert report.restored == (path.name,)
    assert contents(tmp_path / "frames") == before


def test_an_index_that_does_not_fit(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    before = contents(tmp_path / "frames")
    index = tmp_path / "frames" / "index.parquet"
    from earshot.tables import INDEX, read_table, write_table

    rows = read_table(index, INDEX).to_pylist()
    rows[0]["row"], rows[1]["crc32"] = 7, 0
    write_table(index, rows, INDEX)
    (damage,) = check(tmp_path)
    assert damage.sample_ids == ("clip000_0", "clip001_0")
    assert repair(tmp_path, tables, [damage]).build.computed == 0
    assert contents(tmp_path / "frames") == before
    index.write_bytes(b"no table")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        check(tmp_path)
    repair(tmp_path, tables, [])
    assert contents(tmp_path / "frames") == before


def test_other_software_makes_another_shard(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    path = sorted((tmp_path / "frames").glob("*.h5"))[0]
    start, _ = read_layout(path).span(0)
    sample_id = read_layout(path).sample_ids[0]
    flip(path, start)

    def extract(path, moments, features):
        for outcome in fake_features.extract(path, moments, features):
            outcome["frames"].array[:] = 77
            yield outcome

    report = repair(tmp_path, tables, check(tmp_path), extract=extract)
    assert (report.restored, report.replaced) == ((), (path.name,))
    assert not path.exists()
    assert check(tmp_path) == []
    np.testing.assert_array_equal(FeatureReader(tmp_path / "frames").read(sample_id), 77)


def test_shards_record_the_libraries_that_decide_their_bits(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    recorded = json.loads(FeatureReader(tmp_path / "frames").attributes["software"])
    assert {"av", "librosa", "numpy", "scipy", "soxr"} <= recorded.keys()


def test_repairing_with_other_parameters_is_refused(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    path = sorted((tmp_path / "frames").glob("*.h5"))[0]
    flip(path, read_layout(path).span(0)[0])
    with pytest.raises(
        DataError,
        match=r"23 of 24 samples were computed with other parameters .* run `dvc repro` first",
    ):
        repair(tmp_path, tables, check(tmp_path), feature=make_feature(gain=3.0))


def test_repairing_with_other_parameters_is_refused_also_without_an_index(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    (tmp_path / "frames" / "index.parquet").unlink()
    touched(tmp_path)
    with pytest.raises(
        DataError,
        match=r"nothing in its store was computed with the parameters and clips of now; run",
    ):
        repair(tmp_path, tables, [], feature=make_feature(gain=3.0))
    assert touched(tmp_path) == []
    assert repair(tmp_path, tables, []).build.computed == 0
    assert check(tmp_path) == []


def test_a_lost_shard_beside_those_of_other_parameters_comes_back(tmp_path):
    tables = make_dataset(tmp_path, {"a": "1"})
    build(tmp_path, tables, feature=make_feature(gain=3.0))
    build(tmp_path, tables)
    before = contents(tmp_path / "frames")
    (path,) = (tmp_path / "frames").glob("*.h5")
    os.truncate(path, 100)
    assert repair(tmp_path, tables, check(tmp_path)).restored == (path.name,)
    assert contents(tmp_path / "frames") == before


@pytest.mark.parametrize("kind", ["another version", "another table"])
def test_an_index_of_another_version_is_found_and_written_again(tmp_path, kind):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    before = contents(tmp_path / "frames")
    index = tmp_path / "frames" / "index.parquet"
    from earshot.tables import INDEX, Schema, read_table, write_table

    other = (
        Schema("index", 99, INDEX.columns)
        if kind == "another version"
        else Schema("clips", 1, INDEX.columns)
    )
    write_table(index, read_table(index, INDEX), other)
    with pytest.raises(
        DataError,
        match=rf"holds table {other.name} version {other.version}, expected index version 1",
    ):
        check(tmp_path)
    repair(tmp_path, tables, [])
    assert contents(tmp_path / "frames") == before


@pytest.mark.parametrize("version", [0, 2])
def test_shards_of_another_schema_version_are_found_and_replaced(tmp_path, monkeypatch, version):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    arrays = FeatureReader(tmp_path / "frames")
    expected = [arrays.read(sample_id) for sample_id in arrays.sample_ids]
    shutil.rmtree(tmp_path / "frames")
    shutil.rmtree(tmp_path / "store")
    monkeypatch.setattr("earshot.shard_format.SCHEMA_VERSION", version)
    build(tmp_path, tables)
    monkeypatch.undo()
    (tmp_path / "store" / "frames" / CATALOG_NAME).unlink()  # that version had another
    found = check(tmp_path)
    assert len(found) == 3
    assert all(
        f"shard of schema version {version}, this Earshot reads version 1" in item.problem
        for item in found
    )
    assert sum(len(item.sample_ids) for item in found) == 22
    report = repair(tmp_path, tables, found)
    assert (len(report.restored), len(report.replaced)) == (0, 3)
    assert check(tmp_path) == []
    reader = FeatureReader(tmp_path / "frames")
    for sample_id, array in zip(arrays.sample_ids, expected, strict=True):
        np.testing.assert_array_equal(reader.read(sample_id), array)


def test_pruning_keeps_what_the_index_uses(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables, feature=make_feature(gain=5.0))
    build(tmp_path, tables)
    before, store = contents(tmp_path / "frames"), tmp_path / "store" / "frames"
    report = prune_store(store, [tmp_path / "frames"], is_dry_run=True)
    assert (len(report.removed), report.num_kept) == (3, 3)
    assert len(list(store.glob("*.h5"))) == 6
    report = prune_store(store, [tmp_path / "frames"], is_dry_run=False)
    assert report.num_bytes > 0
    assert {path.name for path in store.glob("*.h5")} == set(before) - {"index.parquet"}
    assert build(tmp_path, tables).computed == 0
    assert contents(tmp_path / "frames") == before
    assert build(tmp_path, tables, feature=make_feature(gain=5.0)).computed == 23
