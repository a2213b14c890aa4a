"""Interrupted runs: what was finished is used, and the result has the same bytes."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from earshot.errors import DataError, RunError
from earshot.reader import FeatureReader
from pipeline.shards.store import CATALOG_NAME, Store, prune_store
from pipeline.shards.verify import verify_feature
from pipeline.shards.workers.cluster import ClusterParameters
from tests.helpers.cache import fake_features
from tests.helpers.cache.fake_cache import TEXTS, build, contents, repair, touched
from tests.helpers.cache.fake_features import make_dataset, make_feature


def _build_in_child(folder, tables, options):
    build(folder, tables, **options)


def _start(folder, tables, *, method="fork", **options):
    process = multiprocessing.get_context(method).Process(
        target=_build_in_child, args=(folder, tables, options)
    )
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
    assert build(undisturbed, tables, companions=[flow]).computed == 59
    duration = time.monotonic() - start
    generator = random.Random(0)
    num_killed = 0
    killed = tmp_path / "killed"
    while num_killed < 20:
        # A run that was not killed in time has finished: start again from the beginning.
        if (killed / "frames" / "index.parquet").exists():
            shutil.rmtree(killed / "store")
            shutil.rmtree(killed / "frames")
        process = _start(killed, tables, companions=[flow])
        process.join(generator.uniform(0.0, 0.5 * duration))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            num_killed += 1
    build(killed, tables, companions=[flow])
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
    process = _start(
        killed, tables, method="spawn", cluster=ClusterParameters(workers=2, dashboard=False)
    )
    deadline = time.monotonic() + 120  # a busy machine starts Dask slowly
    while len(list((killed / "store" / "frames").glob("*.h5"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    touched(killed)
    assert build(killed, tables).computed <= 60 - (8 + 8 + 4)
    assert contents(killed / "frames") == contents(undisturbed / "frames")
    assert not list((killed / "store" / "frames").glob(".crash-log-*"))


def test_finished_shards_are_used_even_if_samples_changed_since(tmp_path):
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


def test_damaged_leftovers_are_not_used(tmp_path):
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


def test_a_shard_that_lost_bytes_or_vanished_is_computed_again(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    expected = contents(tmp_path / "frames")
    shards = sorted((tmp_path / "store" / "frames").glob("*.h5"))
    shards[0].write_bytes(shards[0].read_bytes()[:-1])
    shards[1].unlink()
    shutil.rmtree(tmp_path / "frames")
    assert build(tmp_path, tables).computed == 16
    assert contents(tmp_path / "frames") == expected


def test_a_catalog_that_cannot_be_read_is_rebuilt(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    build(tmp_path, tables)
    catalog = tmp_path / "store" / "frames" / CATALOG_NAME
    content = catalog.read_bytes()
    catalog.write_bytes(content[: len(content) // 2])
    assert build(tmp_path, tables).computed == 0
    assert catalog.read_bytes() == content


def test_shards_of_another_schema_version_are_computed_anew(tmp_path, monkeypatch, capsys):
    tables = make_dataset(tmp_path, TEXTS)
    for module in ("earshot.shard_format", "pipeline.shards.keys"):
        monkeypatch.setattr(f"{module}.SCHEMA_VERSION", 0)
    build(tmp_path, tables)
    monkeypatch.undo()
    (tmp_path / "store" / "frames" / CATALOG_NAME).unlink()  # version 0 had another
    with pytest.raises(
        DataError, match="schema version 0, this Earshot reads version 1; run `dvc repro`"
    ):
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


def test_a_second_run_in_the_same_store_waits_and_computes_nothing(tmp_path, capsys):
    """Two experiments need the same arrays at the same time."""
    tables = make_dataset(tmp_path, {"a": "sleep:2 1"})
    flow = make_feature("flow")
    first = _start(tmp_path, tables, companions=[flow])
    _wait_for_lock(tmp_path / "store" / "frames")
    # Each build locks both stores, in the same order.
    report = build(tmp_path, tables, feature=flow, companions=[make_feature("frames")])
    first.join()
    assert "another run is writing there; this one waits for it to end" in capsys.readouterr().err
    assert (report.computed, report.ok) == (0, 1)


def test_a_command_does_not_wait_for_a_run(tmp_path):
    tables = make_dataset(tmp_path, {"a": "1"})
    build(tmp_path, tables)
    store_dir = tmp_path / "store" / "frames"
    with Store(store_dir).open():
        with pytest.raises(RunError, match="another run is writing there"):
            prune_store(store_dir, [tmp_path / "frames"], is_dry_run=True)


def _wait_for_lock(store_dir):
    deadline = time.monotonic() + 20
    while not (store_dir / ".lock").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)


def _killed_before_change(number, work):
    """Run ``work`` in a child that ends with SIGKILL before its ``number``-th change of names.

    Returns:
        Whether it was killed; False if it had finished before.
    """

    def run():
        num_left = number

        def counting(change):
            def wrapped(*arguments, **options):
                nonlocal num_left
                num_left -= 1
                if num_left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*arguments, **options)

            return wrapped

        for name in ("replace", "link", "unlink"):
            setattr(os, name, counting(getattr(os, name)))
        work()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _copy(source, target):
    """Copy a folder; hard links stay hard links."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", source, target], check=True)


@pytest.mark.parametrize("step", ["build", "change", "repair", "prune"])
def test_killed_before_each_change_of_the_disk_it_ends_with_the_same_bytes(tmp_path, step):
    before, folder = tmp_path / "before", tmp_path / "folder"
    tables = make_dataset(before, dict(list(TEXTS.items())[:20]) | {"clip004": "corrupt"})
    flow = make_feature("flow")
    changed = make_feature(gain=2.0)
    if step != "build":
        build(before, tables)
    if step == "prune":
        build(before, tables, feature=changed)
        build(before, tables)
    if step == "repair":
        original = contents(before / "frames")
        damaged, lost, _ = sorted((before / "frames").glob("*.h5"))
        damaged.write_bytes(damaged.read_bytes()[:-1])
        lost.unlink()
        (before / "store" / "frames" / lost.name).unlink()

    def work():
        if step == "build":
            build(folder, tables, companions=[flow])
        elif step == "change":
            build(folder, tables, feature=changed)
        elif step == "repair":
            repair(folder, tables, verify_if_there_is_an_index(folder / "frames"))
        else:
            prune_store(folder / "store" / "frames", [folder / "frames"], is_dry_run=False)

    names = ("frames", "store/frames", *(["store/flow"] if step == "build" else []))
    _copy(before, folder)
    work()
    expected = [contents(folder / name) for name in names]
    assert (
        step != "repair" or expected[0] == original
    )  # the failure in one of two lost shards is not forgotten
    number = 0
    _copy(before, folder)
    while _killed_before_change(number, work):
        work()
        assert [contents(folder / name) for name in names] == expected, number
        number += 1
        _copy(before, folder)
    assert number >= {"build": 7, "change": 8, "repair": 6, "prune": 4}[step]


def verify_if_there_is_an_index(output_dir):
    """Verify as the command does: without an index there is nothing to compare."""
    return (
        verify_feature(output_dir, is_quiet=True) if (output_dir / "index.parquet").exists() else []
    )
