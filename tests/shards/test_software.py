"""Dask workers with other code or libraries compute nothing."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from earshot.errors import RunError
from pipeline.shards import task_run
from pipeline.shards.workers.cluster import ClusterParameters
from pipeline.shards.workers.software import LOADED, read_software, require_software
from tests.helpers.cache.dask_cluster import Cluster
from tests.helpers.cache.fake_cache import build, contents
from tests.helpers.cache.fake_features import make_dataset
from tests.helpers.paths import ROOT

TEXTS = {f"clip{i:03d}": f"text {i}" for i in range(24)}


def test_a_scheduler_outside_of_the_checkout_gets_a_message_where_to_start(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    with Cluster(tmp_path, 0, paths="") as cluster:
        parameters = ClusterParameters(scheduler_address=cluster.address)
        with pytest.raises(
            RunError, match=r"start both in the root of this checkout.*`python -m dask scheduler`"
        ):
            build(tmp_path, tables, cluster=parameters)


def _copy_code(folder: Path) -> Path:
    """Copy the modules that workers import; return the root of the copy."""
    for name in ("earshot", "pipeline", "train"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _age(checkout: Path) -> None:
    """Put the code of before an update into a copy: its arrays would be others."""
    path = checkout / "pipeline" / "features" / "float16.py"
    path.write_text(path.read_text() + "\n_BEFORE_THE_UPDATE = True\n")


def test_a_worker_with_the_code_of_before_an_update_refuses_its_tasks(tmp_path):
    tables = make_dataset(tmp_path, TEXTS)
    checkout = _copy_code(tmp_path / "checkout")
    _age(checkout)
    with Cluster(tmp_path, 1, "--no-nanny", paths=f"{checkout}:{ROOT}") as cluster:
        message = (
            r"worker tcp://127\.0\.0\.1:\d+ cannot compute frames: it has other code "
            r"\(\w{12} instead of \w{12}\); restart the worker in this checkout and run the same "
            "command again; finished shards are kept"
        )
        with pytest.raises(RunError, match=message):
            build(tmp_path, tables, cluster=ClusterParameters(scheduler_address=cluster.address))
    assert not list((tmp_path / "store" / "frames").glob("*.h5"))


def test_a_worker_that_was_not_restarted_after_an_update_is_restarted(tmp_path, capsys):
    """Its process has the old code, the checkout on its disk the new one."""
    from distributed import Client

    tables = make_dataset(tmp_path, TEXTS)
    checkout = _copy_code(tmp_path / "checkout")
    _age(checkout)
    with Cluster(tmp_path, 1, "--nanny", paths=f"{checkout}:{ROOT}") as cluster:
        with Client(cluster.address, set_as_default=False) as client:
            client.wait_for_workers(1)
            client.run(exec, "import pipeline.shards.task_run")
        shutil.copy(
            ROOT / "pipeline" / "features" / "float16.py", checkout / "pipeline" / "features"
        )
        parameters = ClusterParameters(scheduler_address=cluster.address)
        report = build(tmp_path, tables, cluster=parameters)
    assert "has other code or libraries than this run; it is restarted" in capsys.readouterr().err
    assert (report.ok, report.failed) == (24, {})

    make_dataset(tmp_path / "here", TEXTS)
    build(tmp_path / "here", tables)
    assert contents(tmp_path / "frames") == contents(tmp_path / "here" / "frames")


def test_a_restart_that_changes_nothing_ends_the_run(tmp_path, monkeypatch):
    """As when the checkout is edited while its local workers start."""
    monkeypatch.setattr(task_run, "LOADED", dataclasses.replace(LOADED, code="0" * 12))
    tables = make_dataset(tmp_path, TEXTS)
    with pytest.raises(RunError, match=r"it has other code \(\w{12} instead of 000000000000\)"):
        build(tmp_path, tables, cluster=ClusterParameters(workers=1, dashboard=False))


def test_software_differs_by_code_and_by_each_library():
    assert LOADED.describe_difference(LOADED) is None
    assert read_software() == LOADED
    names = {"FFmpeg", "NumPy", "OpenCV", "PyAV", "librosa", "soxr", "scipy"}
    assert names <= {name for name, _ in LOADED.versions}
    for name in sorted(names):
        versions = tuple((one, "0.1" if one == name else v) for one, v in LOADED.versions)
        other = dataclasses.replace(LOADED, versions=versions)
        assert f"{name} 0.1 instead of " in (other.describe_difference(LOADED) or "")
        with pytest.raises(RunError, match=f"{name} .* instead of 0.1; restart the worker"):
            require_software(other, ("flow",), worker="tcp://a")
