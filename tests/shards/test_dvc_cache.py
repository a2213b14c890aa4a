"""The cache under DVC: no-op runs, repaired files in DVC's cache, and features that were pulled."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from earshot.errors import DataError, RunError
from earshot.shard_names import has_named_content
from pipeline.shards.dvc_cache import find_cached_files
from tests.helpers.cache import fake_features
from tests.helpers.cache.fake_cache import HERE, build, check, contents, flip, repair
from tests.helpers.cache.fake_features import make_dataset, make_feature
from tests.helpers.paths import ROOT

DVC = Path(sys.executable).with_name("dvc")
TEXTS = {f"clip{i:03d}": f"text {i}" for i in range(30)}
STAGE = f"""
import json, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
from tests.helpers.cache.fake_cache import build
from tests.helpers.cache.fake_features import make_dataset
here = Path.cwd()
texts = json.loads(Path("texts.json").read_text())
print(build(here, make_dataset(here, texts)).describe())
"""


def dvc(folder, *words):
    done = subprocess.run(
        [DVC, *words], cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose one stage caches a feature, run once and pushed."""
    folder = tmp_path_factory.mktemp("dvc") / "project"
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    dvc(folder, "init", "-q")
    (folder / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n    autostage = false\n"
        "    remote = local\n[cache]\n    type = hardlink,copy\n"
        f"['remote \"local\"']\n    url = {folder.parent / 'remote'}\n"
    )
    (folder / "stage.py").write_text(STAGE)
    (folder / "texts.json").write_text(json.dumps(TEXTS))
    (folder / "dvc.yaml").write_text(
        f"stages:\n  frames:\n    cmd: {sys.executable} stage.py\n    deps: [texts.json]\n"
        "    outs: [frames]\n"
    )
    dvc(folder, "repro", "-q")
    dvc(folder, "push", "-q")
    return folder


def test_the_cache_lies_on_the_disk_once(project):
    cached = find_cached_files(project / "frames")
    assert set(cached) == set(contents(project / "frames"))
    for path in (project / "frames").glob("*.h5"):
        assert path.samefile(cached[path.name])
        assert path.samefile(project / "store" / "frames" / path.name)


def test_nothing_to_do_runs_nothing(project):
    assert "didn't change, skipping" in dvc(project, "repro")


def test_a_repaired_shard_comes_into_dvcs_cache_with_the_next_run(project):
    tables = make_dataset(project, TEXTS)
    path = sorted((project / "frames").glob("*.h5"))[0]
    flip(path, path.stat().st_size - 1)  # under all its names
    assert not has_named_content(find_cached_files(project / "frames")[path.name], path.name)
    report = repair(project, tables, check(project))
    assert report.restored == (path.name,)
    assert path.name not in find_cached_files(project / "frames")  # so DVC cannot bring it back
    assert "; 0 computed, 30 from the cache" in dvc(project, "repro")
    assert path.samefile(find_cached_files(project / "frames")[path.name])
    assert "didn't change, skipping" in dvc(project, "repro")
    shutil.rmtree(project / "frames")
    dvc(project, "checkout", "-q")
    assert check(project) == []


def test_a_colleague_who_pulled_computes_only_what_is_new(project):
    colleague = project.parent / "colleague"
    shutil.copytree(
        project,
        colleague,
        ignore=shutil.ignore_patterns("frames", "store", "cache", "tmp", "clips"),
    )
    dvc(colleague, "pull", "-q")
    assert "didn't change, skipping" in dvc(colleague, "repro")
    assert contents(colleague / "frames") == contents(project / "frames")
    (colleague / "texts.json").write_text(json.dumps(TEXTS | {"more": "text"}))
    assert "; 1 computed, 30 from the cache" in dvc(colleague, "repro")


def test_a_colleague_without_the_clips_keeps_the_feature(project, monkeypatch):
    """A changed parameter would replace every pulled array by a failure."""
    colleague = project.parent / "without_clips"
    ignored = shutil.ignore_patterns("frames", "store", "cache", "tmp", "clips")
    shutil.copytree(project, colleague, ignore=ignored)
    dvc(colleague, "pull", "-q")
    before = contents(colleague / "frames")

    # The tables of now, and no clips. DVC has emptied the folder, as it does before each stage.
    samples, downloads = make_dataset(colleague.parent / "elsewhere", TEXTS)
    shutil.rmtree(colleague / "frames")
    changed = make_feature(gain=2.0)
    with pytest.raises(RunError, match=r"30 of 30 samples must be computed.*retry --absent"):
        build(colleague, (samples, downloads), feature=changed)
    assert contents(colleague / "frames") == before

    # The same parameters need no clips.
    assert build(colleague, (samples, downloads)).computed == 0


@pytest.mark.parametrize("level", ["--global", "--system", "--local", "--project"])
def test_dvcs_cache_is_found_wherever_it_is_configured(project, tmp_path, monkeypatch, level):
    """As `dvc cache dir LEVEL PATH` writes it."""
    moved = tmp_path / "moved"
    shutil.copytree(project, moved, ignore=shutil.ignore_patterns("store", "tmp", "clips"))
    shutil.move(moved / ".dvc" / "cache", tmp_path / "far" / "cache")
    for name in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"DVC_{name}_CONFIG_DIR", str(tmp_path / name))
    dvc(moved, "cache", "dir", level, str(tmp_path / "far" / "cache"))
    assert set(find_cached_files(moved / "frames")) == set(contents(project / "frames"))


def test_a_damaged_configuration_of_dvc_is_one_sentence(project, tmp_path):
    shutil.copytree(project / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("cache"))
    shutil.copy(project / "dvc.lock", tmp_path)
    (tmp_path / ".dvc" / "config.local").write_text("[cac\n")
    with pytest.raises(DataError, match=r"DVC's configuration: .*at line 1"):
        find_cached_files(tmp_path / "frames")


def test_outside_of_dvc_nothing_is_found(tmp_path):
    assert find_cached_files(tmp_path / "frames") == {}
    tables = make_dataset(tmp_path, TEXTS)
    assert (
        build(
            tmp_path, tables, feature=make_feature(), cluster=HERE, extract=fake_features.extract
        ).computed
        == 30
    )
