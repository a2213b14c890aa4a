"""A command that writes a table during a stage must not pass for what the stage has read."""

import pytest

from pipeline.__main__ import main as pipeline_main
from stages.common import find_all_tables, run_stage


@pytest.mark.parametrize("change", ["write", "remove", "add", "touch"])
def test_a_stage_whose_tables_change_while_it_runs_fails(tmp_path, monkeypatch, capsys, change):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage"])
    monkeypatch.setattr("stages.common._check_params_once", lambda project: None)
    (tmp_path / "params.yaml").write_text("datasets: [sample]\n")
    folder = tmp_path / "manifests" / "sample"
    folder.mkdir(parents=True)
    (folder / "downloads.parquet").write_text("before")

    def main(project):
        if change == "write":
            (folder / "downloads.parquet").write_text("after")
        elif change == "remove":
            (folder / "downloads.parquet").unlink()
        elif change == "add":
            (folder / "frames.json").write_text("{}")
        else:
            (folder / "downloads.parquet").write_text("before")

    if change == "touch":
        run_stage(main, inputs=find_all_tables)
        return
    with pytest.raises(SystemExit) as stopped:
        run_stage(main, inputs=find_all_tables)
    assert stopped.value.code == 1
    name = "frames.json" if change == "add" else "downloads.parquet"
    assert f"error: manifests/sample/{name}: changed while the stage ran" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cache", "cache/sample", "manifests/sample", "reports"])
def test_a_folder_of_outputs_that_is_a_link_is_refused_before_the_work(
    tmp_path, monkeypatch, capsys, name
):
    """DVC would say so after the work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage"])
    monkeypatch.setattr("stages.common._check_params_once", lambda project: None)
    (tmp_path / "params.yaml").write_text("datasets: [sample]\n")
    elsewhere = tmp_path / "other disk"
    elsewhere.mkdir()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(elsewhere)

    with pytest.raises(SystemExit) as stopped:
        run_stage(lambda project: pytest.fail("the stage works"))
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {name} is a link to {elsewhere}, expected a folder")
    assert "`storage` in params.local.yaml" in message and message.count("\n") == 1


def test_refresh_keeps_the_tables_of_an_empty_folder_and_of_another_place(
    tmp_path, monkeypatch, capsys
):
    """A disk that is not mounted is an empty folder; `--root` is where relative paths begin."""
    from pipeline.base.project import Project
    from stages import sources

    root, videos = tmp_path / "checkout", tmp_path / "videos"
    root.mkdir()
    videos.mkdir()
    (videos / "a.mp4").write_bytes(b"a video")
    (root / "params.yaml").write_text("datasets: [local]\nsources: {local: {folder: ../videos}}\n")
    monkeypatch.chdir(root)
    sources.main(Project.load(), "local")
    table_path = root / "manifests" / "local" / "clips.parquet"

    # From elsewhere, the folder is the same one, and nothing has changed.
    elsewhere = tmp_path / "deeper" / "elsewhere"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert pipeline_main(["--root", str(root), "refresh"]) == 0
    assert table_path.exists() and capsys.readouterr().out == "local: 1 clips, 1 samples\n"

    videos.rename(tmp_path / "unmounted")
    videos.mkdir()
    assert pipeline_main(["--root", str(root), "refresh"]) == 0
    assert table_path.exists()
    assert "holds no file, expected videos; dataset local stays" in capsys.readouterr().out

    # A file more is a change.
    videos.rmdir()
    (tmp_path / "unmounted").rename(videos)
    (videos / "b.mp4").write_bytes(b"another video")
    assert pipeline_main(["--root", str(root), "refresh"]) == 0
    assert not table_path.exists()
