"""A finished run is brought back whole, or not at all."""

import shutil

import pytest

from train.runs.finished_runs import find_finished, keep_run, obtain_run


def make_folder(path, text):
    path.mkdir()
    (path / "model.ckpt").write_text(text)
    return path


def test_a_kill_while_a_run_replaces_another_leaves_none(tmp_path, monkeypatch):
    kept = tmp_path / "training" / "ezvsl" / "finished"
    keep_run(kept, "old", {"run": make_folder(tmp_path / "old", "old weights")})
    assert find_finished(tmp_path / "training", "old") == kept

    def remove_some(folder, **_):
        (folder / "run" / "model.ckpt").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", remove_some)
    with pytest.raises(KeyboardInterrupt):
        keep_run(kept, "new", {"run": make_folder(tmp_path / "new", "new weights")})
    assert find_finished(tmp_path / "training", "old") is None
    assert find_finished(tmp_path / "training", "new") is None

    monkeypatch.undo()
    keep_run(kept, "new", {"run": tmp_path / "new"})
    found = find_finished(tmp_path / "training", "new")
    assert (found / "run" / "model.ckpt").read_text() == "new weights"


def test_a_copy_without_its_model_is_trained_again(tmp_path):
    """Somebody made room. An empty run was brought back at each ``dvc repro``."""
    training_dir, folders = tmp_path / "training", {"run": tmp_path / "run"}
    keep_run(training_dir / "ezvsl" / "finished", "key", {"run": make_folder(tmp_path / "a", "w")})
    (training_dir / "ezvsl" / "finished" / "run" / "model.ckpt").unlink()

    def train():
        make_folder(tmp_path / "run", "trained again")
        return True

    obtained = obtain_run(training_dir, "ezvsl", "key", folders, train, on_wait=lambda: None)
    assert obtained == ("ezvsl", True)
    found = find_finished(training_dir, "key")
    assert (found / "run" / "model.ckpt").read_text() == "trained again"
