"""``prune``: what it removes, and what it keeps when nothing says what is in use."""

import dataclasses
import hashlib
import shutil

import pytest

from earshot.errors import DataError
from pipeline.features import frames
from pipeline.shards.account import account_path, write_account
from tests.helpers.cache.tiny_project import build, build_as_stages_do, make_tiny_project
from tests.helpers.command_helpers import call


@pytest.fixture
def project(tmp_path):
    return make_tiny_project(tmp_path)


def test_prune_says_what_it_would_remove_and_removes_it(project, capsys):
    samples = [{"sample_id": "sample0", "clip_id": "clip0"}]
    path = project.clips_dir("tiny") / "clip0.mp4"
    downloads = [
        {
            "clip_id": "clip0",
            "status": "ok",
            "path": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    ]
    build(project, samples, downloads, short_side=16)
    assert call(project, "prune", "--dry-run") == 0
    assert "1 shards would be removed" in capsys.readouterr().out
    assert call(project, "prune") == 0
    assert "1 shards removed" in capsys.readouterr().out
    assert call(project, "prune") == 0
    assert "0 shards removed (0.0 MB), 1 in use" in capsys.readouterr().out


def test_a_lost_index_of_a_variant_that_is_not_chosen(project, capsys):
    folder = project.feature_dir("tiny", "frames")
    (folder / "index.parquet").unlink()
    folder.rename(folder.with_name("frames-small"))
    assert call(project, "status", "--dataset", "tiny") == 0
    advice = "put frames-small back into `variants` of params.yaml, or remove its folder"
    assert advice in capsys.readouterr().out
    build_as_stages_do(project, frames.make_feature(frames.Parameters(short_side=32)))
    with pytest.raises(DataError, match=rf"tiny/frames-small: its index is gone, .*; {advice}"):
        call(project, "prune")
    # Its shards are those of the feature, which still uses them.
    write_account(project, "tiny", "frames", num_bytes=1)
    account = account_path(project, "tiny", "frames")
    shutil.copy(account, account.with_name("frames-small.json"))
    shutil.rmtree(folder.with_name("frames-small"))
    assert call(project, "prune") == 0
    assert "tiny/frames: 0 shards removed (0.0 MB), 1 in use" in capsys.readouterr().out


def test_a_variant_that_is_not_chosen_is_named(project, capsys):
    folder = project.feature_dir("tiny", "frames")
    shutil.copytree(folder, folder.with_name("frames-small"))
    assert call(project, "verify") == 0
    line = "tiny/frames-small: left alone, because `variants` of params.yaml lacks it\n"
    assert line in capsys.readouterr().out
    assert call(project, "verify", "--feature", "frames") == 0
    assert "frames-small" not in capsys.readouterr().out


def test_prune_keeps_all_shards_of_a_checkout_whose_outputs_are_gone(project):
    """A clone with a shared storage has accounts and no outputs: nothing says what is in use."""
    write_account(project, "tiny", "frames", num_bytes=1)
    store_dir = project.store_dir("tiny", "frames")
    before = sorted(path.name for path in store_dir.glob("*.h5"))
    shutil.rmtree(project.feature_dir("tiny", "frames"))
    with pytest.raises(DataError, match=r"tiny/frames: its index is gone, .*`earshot repair"):
        call(project, "prune")
    # Here the store lies elsewhere, so the folder of the dataset is gone, too.
    stored = project.root / "stored" / "tiny"
    stored.parent.mkdir()
    project.dataset_cache_dir("tiny").rename(stored)
    local = dataclasses.replace(project.local, storage=str(stored.parent))
    with pytest.raises(DataError, match=r"tiny/frames: its index is gone, .*`earshot repair"):
        call(dataclasses.replace(project, local=local), "prune")
    assert before == sorted(path.name for path in (stored / "store/frames").glob("*.h5"))


def test_prune_without_a_catalog_keeps_what_an_index_names(project, capsys):
    store_dir = project.store_dir("tiny", "frames")
    before = sorted(path.name for path in store_dir.glob("*.h5"))
    (store_dir / "catalog.parquet").unlink()
    assert call(project, "prune") == 0
    assert "tiny/frames: 0 shards removed (0.0 MB), 1 in use" in capsys.readouterr().out
    assert before == sorted(path.name for path in store_dir.glob("*.h5"))
