"""The engine: everything accounted for, nothing computed twice, the same bytes whatever happens on the way."""

import errno
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import fake_features
import h5py
import numpy as np
import pyarrow as pa
import pytest
from fake_features import make_dataset, make_feature

from pipeline.cache import build_feature
from pipeline.cluster import ClusterParameters
from pipeline.errors import DataError, RunError
from pipeline.features import Moment
from pipeline.plan import ClipWork, available_clips
from pipeline.shard_tasks import attempt_clip
from pipeline.shards import FeatureReader
from pipeline.store import CATALOG_NAME
from pipeline.tables import DOWNLOADS, INDEX, SAMPLES, read_table

HERE = ClusterParameters(workers=0)
TEXTS = {f"clip{i:03d}": f"text {i}" for i in range(60)}


def build(folder, tables, *, feature=None, **options):
    """``build_feature`` below ``folder``, in this process unless told otherwise."""
    feature = feature or make_feature()
    samples, downloads = tables
    options = {"cluster": HERE, "extract": fake_features.extract, "is_quiet": True, "shard_samples": 8} | options
    return build_feature(
        feature,
        samples=samples,
        downloads=downloads,
        clips_dir=folder / "clips",
        store_dir=folder / "store" / feature.name,
        output_dir=folder / feature.name,
        **options,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Names and bytes of all files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


def touched(folder: Path) -> list[str]:
    """What the extractor has been asked for since the last look."""
    path = folder / "touched.txt"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    path.write_text("")
    return sorted(lines)


def test_every_sample_is_accounted_for(tmp_path):
    texts = TEXTS | {"clip003": None, "clip004": "corrupt", "clip005": "bug", "clip006": "fine after all"}
    samples, downloads = make_dataset(tmp_path, texts, samples_per_clip=2)
    stray = pa.Table.from_pylist([{"sample_id": "stray", "clip_id": "nowhere"}], schema=SAMPLES.columns)
    report = build(tmp_path, (pa.concat_tables([samples, stray]), downloads))
    assert (report.requested, report.ok, report.missing, report.failed) == (121, 114, 3, {"corrupt": 2, "error": 2})
    assert (report.reused, report.computed) == (0, 118)
    index = read_table(tmp_path / "frames" / "index.parquet", INDEX).to_pylist()
    assert [row["sample_id"] for row in index] == [*samples.column("sample_id").to_pylist(), "stray"]
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


def test_two_folders_and_any_number_of_workers_give_the_same_bytes(tmp_path):
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


def test_other_parameters_are_other_work_and_going_back_is_none(tmp_path):
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


def test_the_same_media_under_another_name_is_the_same_work(tmp_path):
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
    also = [(feature, tmp_path / "store" / feature.name) for feature in (flow, spectrograms)]
    build(tmp_path, tables, also=also)
    assert touched(tmp_path) == sorted(f"{clip_id}_0 frames+flow+spectrograms" for clip_id in texts)
    assert build(tmp_path, tables, feature=flow).computed == 0
    report = build(tmp_path, tables, feature=spectrograms)
    assert (report.computed, report.failed) == (0, {"no_audio": 1})
    assert touched(tmp_path) == []
    alone = tmp_path / "alone"
    build(alone, make_dataset(alone, texts), feature=flow)
    assert contents(alone / "flow") == contents(tmp_path / "flow")
    changed = make_feature("flow", gain=2.0)
    build(tmp_path, tables, also=[(changed, tmp_path / "store" / "flow")])  # frames are there: no pass to share
    assert touched(tmp_path) == []
    assert build(tmp_path, tables, feature=changed).computed == 60


def test_sound_from_another_clip_is_taken_there(tmp_path):
    tables = make_dataset(tmp_path, {"a": "1", "b": "2", "gone": None})
    rows = [row | {"audio_clip_id": audio} for row, audio in zip(tables[0].to_pylist(), ["b", None, "a"], strict=True)]
    samples = pa.Table.from_pylist(rows, schema=SAMPLES.columns)
    spectrograms = make_feature("spectrograms")
    also = [(spectrograms, tmp_path / "store" / "spectrograms")]
    assert build(tmp_path, (samples, tables[1]), also=also).missing == 1
    report = build(tmp_path, (samples, tables[1]), feature=spectrograms)
    assert (report.ok, report.missing) == (3, 0)
    reader = FeatureReader(tmp_path / "spectrograms")
    np.testing.assert_array_equal(reader.read("a_0"), reader.read("b_0"))
    assert reader.index.column("key")[0] != FeatureReader(tmp_path / "frames").index.column("key")[0]


def test_failures_are_remembered_until_asked_for(tmp_path):
    tables = make_dataset(tmp_path, {"a": "1", "b": "bug", "c": "corrupt"})
    build(tmp_path, tables)
    touched(tmp_path)
    report = build(tmp_path, tables)
    assert (report.failed, report.computed) == ({"error": 1, "corrupt": 1}, 0)
    report = build(tmp_path, tables, retry_reasons=["error"])
    assert (report.failed, report.computed) == ({"error": 1, "corrupt": 1}, 1)
    assert touched(tmp_path) == ["b_0 frames"]

    def mended(path, moments, features):
        for moment in moments:
            yield {feature.name: fake_features._compute(feature, "mended", moment) for feature in features}

    report = build(tmp_path, tables, retry_reasons=["error"], extract=mended)
    assert (report.ok, report.failed, report.computed) == (2, {"corrupt": 1}, 1)
    report = build(tmp_path, tables)
    assert (report.ok, report.failed, report.computed) == (2, {"corrupt": 1}, 0)
    (tmp_path / "store" / "frames" / CATALOG_NAME).unlink()
    report = build(tmp_path, tables)
    assert (report.ok, report.failed) == (2, {"corrupt": 1})


def test_clip_files_that_vanished_or_changed_are_told_and_tried_again(tmp_path):
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
        RunError, match=r"frames: 2 of 3 samples failed \(.*error 1.*\), more than max_failed_fraction 0.5"
    ):
        build(tmp_path, tables, max_failed_fraction=0.5)
    assert FeatureReader(tmp_path / "frames").sample_ids == ["a_0"]
    assert build(tmp_path, tables, max_failed_fraction=0.7).computed == 0


def test_tables_that_contradict_themselves_are_refused(tmp_path):
    samples, downloads = make_dataset(tmp_path, {"a": "1"})
    with pytest.raises(DataError, match="a_0 is there twice"):
        build(tmp_path, (pa.concat_tables([samples, samples]), downloads))
    broken = pa.Table.from_pylist([{"clip_id": "a", "status": "ok"}], schema=DOWNLOADS.columns)
    with pytest.raises(DataError, match="clip a is ok but has no path"):
        build(tmp_path, (samples, broken))


def test_a_dataset_without_samples(tmp_path):
    report = build(tmp_path, make_dataset(tmp_path, {}))
    assert (report.requested, report.ok) == (0, 0)
    assert FeatureReader(tmp_path / "frames").sample_ids == []


# Interruptions


def _build_in_child(folder, tables, options):
    build(folder, tables, **options)


def _start(folder, tables, *, method="fork", **options):
    process = multiprocessing.get_context(method).Process(target=_build_in_child, args=(folder, tables, options))
    process.start()
    return process


def test_killed_at_random_instants_and_resumed_it_ends_with_the_same_bytes(tmp_path):
    texts = {clip_id: f"sleep:0.004 {text}" for clip_id, text in TEXTS.items()} | {
        "clip004": "corrupt",
        "clip030": None,
    }
    flow = make_feature("flow")
    for folder in (tmp_path / "undisturbed", tmp_path / "killed"):
        make_dataset(folder, texts)
    tables = make_dataset(tmp_path / "undisturbed", texts)
    undisturbed = tmp_path / "undisturbed"
    start = time.monotonic()
    assert build(undisturbed, tables, also=[(flow, undisturbed / "store" / "flow")]).computed == 59
    duration = time.monotonic() - start
    generator = random.Random(0)
    num_killed = 0
    killed = tmp_path / "killed"
    while num_killed < 20:
        if (killed / "frames" / "index.parquet").exists():  # it came through: once more from the beginning
            shutil.rmtree(killed / "store")
            shutil.rmtree(killed / "frames")
        process = _start(killed, tables, also=[(flow, killed / "store" / "flow")])
        process.join(generator.uniform(0.0, 0.5 * duration))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            num_killed += 1
    build(killed, tables, also=[(flow, killed / "store" / "flow")])
    for folder in (undisturbed, killed):
        assert build(folder, tables, feature=flow).computed == 0
    for name in ("frames", "flow", "store/frames", "store/flow"):
        assert contents(killed / name) == contents(undisturbed / name)


def test_killed_with_its_local_cluster_it_resumes(tmp_path):
    texts = {clip_id: f"sleep:0.02 {text}" for clip_id, text in TEXTS.items()}
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    make_dataset(killed, texts)
    tables = make_dataset(undisturbed, texts)
    build(undisturbed, tables)
    touched(killed)
    process = _start(killed, tables, method="spawn", cluster=ClusterParameters(workers=2, dashboard=False))
    deadline = time.monotonic() + 30
    while len(list((killed / "store" / "frames").glob("*.h5"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    touched(killed)
    assert build(killed, tables).computed <= 60 - (8 + 8 + 4)
    assert contents(killed / "frames") == contents(undisturbed / "frames")
    assert not list((killed / "store" / "frames").glob(".attempts-*"))


def test_interrupted_then_changed_what_was_finished_is_still_used(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)

    def stops_in_the_middle(path, moments, features):
        if Path(path).name == "clip030.txt":
            raise KeyboardInterrupt
        yield from fake_features.extract(path, moments, features)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, tables, extract=stops_in_the_middle)
    assert not (tmp_path / "frames").exists()
    tables = make_dataset(tmp_path, {"aaa": "shifts every group"} | TEXTS)
    report = build(tmp_path, tables)
    assert (report.ok, report.computed) == (61, 61 - 24)


def test_damaged_leftovers_are_not_believed(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    expected = contents(tmp_path / "frames")
    (tmp_path / "store" / "frames" / CATALOG_NAME).unlink()
    shards = sorted((tmp_path / "store" / "frames").glob("*.h5"))
    shutil.rmtree(tmp_path / "frames")
    content = bytearray(shards[0].read_bytes())
    content[-1] ^= 1
    shards[0].write_bytes(content)
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    assert build(tmp_path, tables).computed == 16
    assert contents(tmp_path / "frames") == expected


def test_a_shard_that_lost_bytes_or_vanished_is_made_again(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    expected = contents(tmp_path / "frames")
    shards = sorted((tmp_path / "store" / "frames").glob("*.h5"))
    shards[0].write_bytes(shards[0].read_bytes()[:-1])
    shards[1].unlink()
    shutil.rmtree(tmp_path / "frames")
    assert build(tmp_path, tables).computed == 16
    assert contents(tmp_path / "frames") == expected


def test_a_catalog_that_cannot_be_read_is_made_again(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    catalog = tmp_path / "store" / "frames" / CATALOG_NAME
    content = catalog.read_bytes()
    catalog.write_bytes(content[: len(content) // 2])
    assert build(tmp_path, tables).computed == 0
    assert catalog.read_bytes() == content


def test_shards_of_another_schema_version_are_computed_anew(tmp_path, monkeypatch, capsys):
    tables = make_dataset(tmp_path, TEXTS)
    for module in ("shard_format", "keys"):
        monkeypatch.setattr(f"pipeline.{module}.SCHEMA_VERSION", 0)
    build(tmp_path, tables)
    monkeypatch.undo()
    (tmp_path / "store" / "frames" / CATALOG_NAME).unlink()  # version 0 had another
    with pytest.raises(DataError, match="schema version 0, this Earshot reads version 1; run `dvc repro`"):
        FeatureReader(tmp_path / "frames").read("clip000_0")
    assert build(tmp_path, tables).computed == 60
    assert "8 shards are not of schema version 1" in capsys.readouterr().err
    assert FeatureReader(tmp_path / "frames").read("clip000_0").shape[0] == 8


def test_shards_that_were_pulled_are_used_without_a_store(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    expected = contents(tmp_path / "frames")
    shutil.rmtree(tmp_path / "store")
    report = build(tmp_path, tables)
    assert (report.computed, report.ok) == (0, 60)
    assert contents(tmp_path / "frames") == expected


def test_a_second_run_in_the_same_store_is_refused(tmp_path):
    tables = make_dataset(tmp_path, {"a": "sleep:20 1"})
    process = _start(tmp_path, tables)
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "store" / "frames" / ".lock").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        with pytest.raises(RunError, match="another run is writing there"):
            build(tmp_path, tables)
    finally:
        process.kill()
        process.join()


def test_a_full_disk_is_told_in_one_sentence_and_breaks_nothing(tmp_path, monkeypatch):
    tables = make_dataset(tmp_path, TEXTS)
    write_bytes, num_written = Path.write_bytes, 0

    def fills_up(path, data):
        nonlocal num_written
        num_written += path.name.endswith(".h5")
        if num_written > 3:
            write_bytes(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", fills_up)
    with pytest.raises(RunError, match=r"store/frames: no space left on the device; .* make room and run the same"):
        build(tmp_path, tables)
    monkeypatch.undo()
    assert not list((tmp_path / "store" / "frames").glob(".tmp-*"))

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pipeline.cache.write_table", full)  # of the index: everything else is there by then
    with pytest.raises(RunError, match=r"no space left on the device"):
        build(tmp_path, tables)
    monkeypatch.undo()
    assert not (tmp_path / "frames" / "index.parquet").exists()
    report = build(tmp_path, tables)
    assert (report.ok, report.computed) == (60, 0)


@pytest.mark.parametrize(
    ("code", "words"), [(errno.EACCES, "this user may not write there"), (errno.EROFS, "the file system is read-only")]
)
def test_a_folder_that_may_not_be_written_is_told_in_one_sentence(tmp_path, monkeypatch, code, words):
    tables = make_dataset(tmp_path, TEXTS)

    def refuse(path, data):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(RunError, match=rf"store/frames: {words}; .* kept: make it writable and run the same"):
        build(tmp_path, tables)
    monkeypatch.undo()
    assert build(tmp_path, tables).ok == 60


def test_a_disk_that_is_full_when_progress_is_noted_is_no_fault_of_the_clip(tmp_path):
    samples, downloads = make_dataset(tmp_path, {"a": "1"}, samples_per_clip=3)
    clips, absent = available_clips(downloads, tmp_path / "clips")
    work = ClipWork(clips["a"], tuple(Moment(row["sample_id"], row["time_seconds"]) for row in samples.to_pylist()))

    class FullDisk:
        def begin_clip(self, clip_id):
            self.clip_id = clip_id

        def note_progress(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert not absent
    with pytest.raises(OSError, match="No space left"):
        attempt_clip(work, [make_feature()], fake_features.extract, set_aside=None, attempt=FullDisk())


def test_a_clip_that_may_not_be_read_now_is_tried_again(tmp_path, monkeypatch):
    tables = make_dataset(tmp_path, {"a": "1", "b": "2"})

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("pipeline.shard_tasks.sha256_of", refuse)
    assert build(tmp_path, tables).failed == {"no_file": 2}
    detail = read_table(tmp_path / "frames" / "index.parquet", INDEX).column("detail")[0].as_py()
    assert detail == "a.txt: cannot be read (Permission denied)"
    monkeypatch.undo()
    report = build(tmp_path, tables)
    assert (report.ok, report.failed, report.computed) == (2, {}, 2)


def _build_with_small_files(folder, tables, queue):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        build(folder, tables)
    except RunError as error:
        queue.put(str(error))


def test_the_systems_own_refusal_to_write_is_told_too(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_build_with_small_files, args=(tmp_path, tables, queue))
    process.start()
    assert "limit on the size of files is too small" in queue.get(timeout=30)
    process.join()
    assert not list((tmp_path / "store" / "frames").glob("*.h5"))
    assert build(tmp_path, tables).computed == 60
