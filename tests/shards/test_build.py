"""Building: all samples are counted, nothing is computed twice, the bytes are the same."""

import shutil

import h5py
import numpy as np
import pyarrow as pa
import pytest

from earshot.errors import DataError, RunError
from earshot.reader import FeatureReader
from earshot.tables import DOWNLOADS, INDEX, SAMPLES, read_table
from pipeline.shards.store import CATALOG_NAME, Store
from pipeline.shards.workers.cluster import ClusterParameters
from tests.helpers.cache import fake_features
from tests.helpers.cache.fake_cache import TEXTS, build, contents, touched
from tests.helpers.cache.fake_features import make_dataset, make_feature


def test_every_sample_is_accounted_for(tmp_path):
    texts = TEXTS | {
        "clip003": None,
        "clip004": "corrupt",
        "clip005": "bug",
        "clip006": "fine after all",
    }
    samples, downloads = make_dataset(tmp_path, texts, samples_per_clip=2)
    stray = pa.Table.from_pylist(
        [{"sample_id": "stray", "clip_id": "nowhere"}], schema=SAMPLES.columns
    )
    report = build(tmp_path, (pa.concat_tables([samples, stray]), downloads))
    assert (report.requested, report.ok, report.missing, report.failed) == (
        121,
        114,
        3,
        {"corrupt": 2, "error": 2},
    )
    assert (report.reused, report.computed) == (0, 118)
    index = read_table(tmp_path / "frames" / "index.parquet", INDEX).to_pylist()
    assert [row["sample_id"] for row in index] == [
        *samples.column("sample_id").to_pylist(),
        "stray",
    ]
    reasons = {row["sample_id"]: (row["status"], row["reason"], row["detail"]) for row in index}
    assert reasons["clip003_1"] == ("missing", "removed", "gone")
    assert reasons["clip004_0"] == ("failed", "corrupt", "clip004.txt: broken on purpose")
    assert reasons["clip005_0"] == ("failed", "error", "ZeroDivisionError: a bug of ours")
    assert reasons["stray"][:2] == ("missing", "pending")
    for row in index:
        if row["status"] == "ok":
            with h5py.File(tmp_path / "frames" / row["shard"]) as file:
                assert file["sample_id"].asstr()[row["row"]] == row["sample_id"]
                assert file["key"].asstr()[row["row"]] == row["key"]
                assert file["crc32"][row["row"]] == row["crc32"]
    used = {row["shard"] for row in index} - {None}
    assert {path.name for path in (tmp_path / "frames").glob("*.h5")} == used
    assert report.bytes == sum((tmp_path / "frames" / name).stat().st_size for name in used)
    assert not list((tmp_path / "store" / "frames").glob(".tmp-*"))


def test_arrays_are_those_that_the_extractor_gave(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    reader = FeatureReader(tmp_path / "frames")
    for sample in tables[0].to_pylist():
        moment = fake_features.Moment(sample["sample_id"], sample["time_seconds"])
        path = tmp_path / "clips" / f"{sample['clip_id']}.txt"
        (expected,) = fake_features.extract(path, [moment], [make_feature()])
        np.testing.assert_array_equal(reader.read(sample["sample_id"]), expected["frames"].array)
        assert reader.read_attributes(sample["sample_id"]) == expected["frames"].attributes


def test_any_number_of_workers_gives_the_same_bytes(tmp_path):
    results = []
    for workers in (0, 3):
        folder = tmp_path / f"workers{workers}"
        tables = make_dataset(folder, TEXTS | {"clip004": "corrupt", "clip009": "bug"})
        build(folder, tables, cluster=ClusterParameters(workers=workers, dashboard=False))
        results.append((contents(folder / "frames"), contents(folder / "store" / "frames")))
    assert results[0] == results[1]
    assert len(results[0][0]) == 9  # 60 samples by 8, and the index


def test_nothing_is_computed_twice(tmp_path):
    tables = make_dataset(tmp_path, TEXTS | {"clip004": "corrupt"})
    touched(tmp_path)
    build(tmp_path, tables)
    assert len(touched(tmp_path)) == 60
    before = contents(tmp_path / "frames")
    inodes = {path.name: path.stat().st_ino for path in (tmp_path / "frames").glob("*.h5")}
    shutil.rmtree(tmp_path / "frames")  # as DVC does before each run
    report = build(tmp_path, tables)
    assert (report.computed, report.reused, report.failed) == (0, 60, {"corrupt": 1})
    assert touched(tmp_path) == []
    assert contents(tmp_path / "frames") == before
    assert {path.name: path.stat().st_ino for path in (tmp_path / "frames").glob("*.h5")} == inodes


def test_other_parameters_are_computed_and_earlier_ones_are_remembered(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    before = contents(tmp_path / "frames")
    assert build(tmp_path, tables, feature=make_feature(gain=2.0)).computed == 60
    assert build(tmp_path, tables, feature=make_feature(version=2)).computed == 60
    assert set(contents(tmp_path / "frames")).isdisjoint(set(before) - {"index.parquet"})
    assert build(tmp_path, tables).computed == 0
    assert contents(tmp_path / "frames") == before


def test_more_clips_cost_only_themselves(tmp_path):
    build(tmp_path, make_dataset(tmp_path, TEXTS))
    before = {path.name: path.stat() for path in (tmp_path / "frames").glob("*.h5")}
    touched(tmp_path)
    tables = make_dataset(tmp_path, {"aaa": "new"} | TEXTS | {"clip030b": "newer"})
    report = build(tmp_path, tables)
    assert (report.ok, report.computed, report.reused) == (62, 2, 60)
    assert touched(tmp_path) == ["aaa_0 frames", "clip030b_0 frames"]
    after = {path.name: path.stat() for path in (tmp_path / "frames").glob("*.h5")}
    assert len(after) == len(before) + 1
    assert all(after[name].st_ino == before[name].st_ino for name in before)
    assert all(after[name].st_mtime_ns == before[name].st_mtime_ns for name in before)


def test_fewer_clips_cost_nothing(tmp_path):
    build(tmp_path, make_dataset(tmp_path, TEXTS))
    report = build(tmp_path, make_dataset(tmp_path, dict(list(TEXTS.items())[:10])))
    assert (report.requested, report.ok, report.computed) == (10, 10, 0)
    assert len(list((tmp_path / "frames").glob("*.h5"))) == 2


def test_the_same_media_under_another_name_is_computed_once(tmp_path):
    tables = make_dataset(tmp_path, {"a": "same", "b": "same", "c": "other"})
    report = build(tmp_path, tables)
    assert (report.ok, report.computed) == (3, 2)
    reader = FeatureReader(tmp_path / "frames")
    np.testing.assert_array_equal(reader.read("a_0"), reader.read("b_0"))
    report = build(tmp_path, make_dataset(tmp_path, {"z": "other", "b": "same"}))
    assert (report.ok, report.computed) == (2, 0)


def test_a_clip_stays_in_one_shard_unless_it_is_too_large(tmp_path):
    tables = make_dataset(tmp_path, {"a": "1", "b": "2", "c": "3", "d": "4"}, samples_per_clip=5)
    build(tmp_path, tables, shard_samples=8)
    reader = FeatureReader(tmp_path / "frames")
    for clip_id in "abcd":
        assert len({reader.shard_of(f"{clip_id}_{i}") for i in range(5)}) == 1
    tables = make_dataset(tmp_path, {"long": "5"}, samples_per_clip=20)
    build(tmp_path, tables, shard_samples=8)
    assert len(list((tmp_path / "frames").glob("*.h5"))) == 3


def test_features_that_share_a_pass_find_their_arrays(tmp_path):
    texts = TEXTS | {"clip007": "mute"}
    tables = make_dataset(tmp_path, texts)
    flow, spectrograms = make_feature("flow"), make_feature("spectrograms")
    touched(tmp_path)
    build(tmp_path, tables, companions=[flow, spectrograms])
    assert touched(tmp_path) == sorted(f"{clip_id}_0 frames+flow+spectrograms" for clip_id in texts)
    assert build(tmp_path, tables, feature=flow).computed == 0
    report = build(tmp_path, tables, feature=spectrograms)
    assert (report.computed, report.failed) == (0, {"no_audio": 1})
    assert touched(tmp_path) == []
    alone = tmp_path / "alone"
    build(alone, make_dataset(alone, texts), feature=flow)
    assert contents(alone / "flow") == contents(tmp_path / "flow")
    changed = make_feature("flow", gain=2.0)
    build(tmp_path, tables, companions=[changed])  # frames are there: no pass to share
    assert touched(tmp_path) == []
    assert build(tmp_path, tables, feature=changed).computed == 60


def test_sound_from_another_clip_is_taken_there(tmp_path):
    tables = make_dataset(tmp_path, {"a": "1", "b": "2", "gone": None})
    rows = [
        row | {"audio_clip_id": audio}
        for row, audio in zip(tables[0].to_pylist(), ["b", None, "a"], strict=True)
    ]
    samples = pa.Table.from_pylist(rows, schema=SAMPLES.columns)
    spectrograms = make_feature("spectrograms")
    assert build(tmp_path, (samples, tables[1]), companions=[spectrograms]).missing == 1
    report = build(tmp_path, (samples, tables[1]), feature=spectrograms)
    assert (report.ok, report.missing) == (3, 0)
    reader = FeatureReader(tmp_path / "spectrograms")
    np.testing.assert_array_equal(reader.read("a_0"), reader.read("b_0"))
    assert (
        reader.index.column("key")[0] != FeatureReader(tmp_path / "frames").index.column("key")[0]
    )


def test_failures_are_remembered_until_a_retry_is_asked_for(tmp_path):
    tables = make_dataset(tmp_path, {"a": "1", "b": "bug", "c": "corrupt"})
    build(tmp_path, tables)
    touched(tmp_path)
    report = build(tmp_path, tables)
    assert (report.failed, report.computed) == ({"error": 1, "corrupt": 1}, 0)
    report = build(tmp_path, tables, retry_reasons=["error"])
    assert (report.failed, report.computed) == ({"error": 1, "corrupt": 1}, 1)
    assert touched(tmp_path) == ["b_0 frames"]

    def extract_repaired(path, moments, features):
        for moment in moments:
            yield {
                feature.name: fake_features._compute(feature, "repaired", moment)
                for feature in features
            }

    report = build(tmp_path, tables, retry_reasons=["error"], extract=extract_repaired)
    assert (report.ok, report.failed, report.computed) == (2, {"corrupt": 1}, 1)
    report = build(tmp_path, tables)
    assert (report.ok, report.failed, report.computed) == (2, {"corrupt": 1}, 0)
    (tmp_path / "store" / "frames" / CATALOG_NAME).unlink()
    report = build(tmp_path, tables)
    assert (report.ok, report.failed) == (2, {"corrupt": 1})


def test_clip_files_that_vanished_or_changed_fail_and_are_tried_again(tmp_path):
    tables = make_dataset(tmp_path, {"a": "1", "b": "2", "c": "3"})
    (tmp_path / "clips" / "a.txt").unlink()
    (tmp_path / "clips" / "b.txt").write_text("X")
    report = build(tmp_path, tables)
    assert (report.ok, report.failed) == (1, {"no_file": 1, "changed_file": 1})
    assert build(tmp_path, tables).failed == {"no_file": 1, "changed_file": 1}
    make_dataset(tmp_path, {"a": "1", "b": "2", "c": "3"})
    report = build(tmp_path, tables)
    assert (report.ok, report.failed, report.computed) == (3, {}, 2)


def test_too_many_failures_fail_the_run_but_lose_nothing(tmp_path):
    tables = make_dataset(tmp_path, {"a": "1", "b": "bug", "c": "corrupt", "d": None})
    with pytest.raises(
        RunError,
        match=r"frames: 2 of 3 samples failed \(.*error 1.*\), more than max_failed_fraction 0.5",
    ):
        build(tmp_path, tables, max_failed_fraction=0.5)
    assert FeatureReader(tmp_path / "frames").sample_ids == ["a_0"]
    assert build(tmp_path, tables, max_failed_fraction=0.7).computed == 0


def test_tables_that_contradict_themselves_are_refused(tmp_path):
    samples, downloads = make_dataset(tmp_path, {"a": "1"})
    with pytest.raises(DataError, match="a_0 appears twice"):
        build(tmp_path, (pa.concat_tables([samples, samples]), downloads))
    broken = pa.Table.from_pylist([{"clip_id": "a", "status": "ok"}], schema=DOWNLOADS.columns)
    with pytest.raises(DataError, match="clip a is ok but has no path"):
        build(tmp_path, (samples, broken))


def test_a_dataset_without_samples(tmp_path):
    report = build(tmp_path, make_dataset(tmp_path, {}))
    assert (report.requested, report.ok) == (0, 0)
    assert FeatureReader(tmp_path / "frames").sample_ids == []


def test_of_overlapping_shards_the_same_one_counts_whatever_came_first(tmp_path):
    """Colleagues computed lists that share clips; their shards are pulled one after the other."""
    names = [f"clip{i:03d}" for i in range(18)]
    pulled = []
    for number, part in enumerate((names[:12], names[6:])):
        folder = tmp_path / f"colleague{number}"
        build(folder, make_dataset(folder, {name: f"text {name}" for name in part}))
        pulled.append({path.name: path for path in (folder / "frames").glob("*.h5")})

    found = []
    for number, order in enumerate((pulled, pulled[::-1])):
        with Store(tmp_path / f"store{number}").open() as store:
            for paths in order:
                store.adopt_copies(paths)
            found.append({key: entry.shard for key, entry in store.by_key.items()})
            store.publish()
        with Store(tmp_path / f"store{number}").open() as store:
            found.append({key: entry.shard for key, entry in store.by_key.items()})
    assert len(found[0]) == len(names)
    assert found[0] == found[1] == found[2] == found[3]
