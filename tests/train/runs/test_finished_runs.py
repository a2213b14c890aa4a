"""A finished run is brought back whole, or not at all."""

import shutil

import pytest

from train.runs.finished_runs import find_finished, keep_run


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
