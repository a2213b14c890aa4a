"""The ``local`` dataset: every file of a folder is accounted for under a stable, safe id."""

import os
from urllib.parse import unquote, urlsplit

import av
import numpy as np
import pytest

from earshot import tables
from earshot.errors import DataError, ParameterError
from pipeline.base.parameters import build
from pipeline.base.project import Project
from pipeline.datasets import local
from tests.helpers.command_helpers import call


def write_video(path, *, num_frames, fps=10):
    """A tiny silent video of ``num_frames / fps`` seconds."""
    with av.open(os.fspath(path), "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), index % 250, np.uint8), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def tables_of(folder, cache_dir, **parameters):
    tables_found = local.build_tables(
        local.Parameters(str(folder), **parameters), cache_dir=cache_dir
    )
    return [table.to_pylist() for table in tables_found]


def test_hostile_names_become_safe_unique_ids_and_urls_that_lead_back(tmp_path):
    folder = tmp_path / "my videos"
    names = [
        "plain.mp4",
        "-rf.mp4",
        "two words.mkv",
        "new\nline.mov",
        "日本語.webm",
        "a/b.mp4",
        "a__b.mp4",
        "%41.mp4",
        "#x?.mp4",
    ]
    names += ["x" * 250 + ".mp4", "README.md", "a/../a/c..mp4"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / os.fsdecode(b"latin\xe9.avi")).write_bytes(b"latin")
    clips, samples = tables_of(folder, tmp_path / "cache")
    assert len(clips) == len(samples) == len(names) + 1
    ids = [row["clip_id"] for row in clips]
    assert len(set(ids)) == len(ids)
    assert {"plain.mp4", "日本語.webm", "README.md", "a__b.mp4"} <= set(ids)
    for row in clips:
        assert "/" not in row["clip_id"]
        assert row["clip_id"][0] not in "-."
        assert len(row["clip_id"].encode()) < 140
        path = unquote(urlsplit(row["url"]).path, errors="surrogateescape")
        content = b"latin" if "latin" in path else os.fsencode(os.path.relpath(path, folder))
        with open(path, "rb") as file:
            assert file.read().replace(b"a/../", b"") == content
    tables.write_table(tmp_path / "clips.parquet", clips, tables.CLIPS)
    tables.write_table(tmp_path / "samples.parquet", samples, tables.SAMPLES)
    assert tables.read_table(tmp_path / "clips.parquet", tables.CLIPS)["clip_id"].to_pylist() == ids
    assert [row["clip_id"] for row in tables_of(folder, tmp_path / "cache")[0]] == ids


def test_links_hidden_files_and_devices(tmp_path):
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.mp4").write_bytes(b"a")
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "alias").symlink_to(folder / "deep")
    (folder / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.mp4").write_bytes(b"b")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / ".hidden.mp4").write_bytes(b"h")
    (folder / "notes.srt").write_bytes(b"s")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "cache" / "local").mkdir(parents=True)
    (folder / "cache" / "local" / "own.mp4").write_bytes(b"o")
    clips, _ = tables_of(folder, folder / "cache" / "local", ignore=("*.srt",))
    assert len(clips) == 3
    assert {row["clip_id"].split("-")[0] for row in clips} == {
        "deep__a.mp4",
        "dangling.mp4",
        "linked__b.mp4",
    }
    assert local.read_listing(folder / "cache" / "local")["skipped"] == {
        ".hidden.mp4": "hidden",
        "cache": "Earshot's own cache",
        "alias": "folder already visited through another path",
        "deep/loop": "folder already visited through another path",
        "notes.srt": "ignored by parameter",
        "pipe.mp4": "neither a file nor a folder",
    }


def test_samples_every_n_seconds(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "long.mkv", num_frames=47)
    write_video(folder / "short.mkv", num_frames=5)
    (folder / "text.txt").write_text("no media")
    _, samples = tables_of(folder, tmp_path / "cache", every_seconds=2.0)
    times = [(row["clip_id"], row["time_seconds"]) for row in samples]
    assert times == [("long.mkv", 1.0), ("long.mkv", 3.0), ("short.mkv", None), ("text.txt", None)]
    assert len({row["sample_id"] for row in samples}) == 4
    assert local.read_listing(tmp_path / "cache")["durations"]["long.mkv"] == pytest.approx(
        4.7, abs=0.11
    )


def test_real_media(tmp_path, shared):
    clips, samples = tables_of(shared("media"), tmp_path, every_seconds=3.0)
    num_samples = {row["clip_id"]: 0 for row in clips}
    for row in samples:
        num_samples[row["clip_id"]] += 1
    assert num_samples["README.md"] == 1
    assert num_samples["big_buck_bunny_0_30.webm"] == 10
    assert num_samples["flipping_a_pancake.mkv"] == 3
    assert num_samples["no_duration.webm"] == 1


def test_bad_parameters_and_folders(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*found nothing, expected a folder"):
        tables_of(tmp_path / "nowhere", tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="found a file"):
        tables_of(tmp_path / "file", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        tables_of(tmp_path / "empty", tmp_path / "cache")
    with pytest.raises(ParameterError, match="every_seconds is 0"):
        build(local.Parameters, {"folder": "x", "every_seconds": 0}, "sources.local")


def test_refresh_removes_the_table_only_when_the_folder_changed(tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"a")
    project = Project(
        tmp_path, {"datasets": ["local"], "sources": {"local": {"folder": str(folder)}}}
    )
    table_path = project.clips_table_path("local")

    def build_and_refresh(*options):
        return call(project, "refresh", *options)

    assert build_and_refresh() == 0  # nothing was built yet: nothing to say
    clips, _ = tables_of(folder, project.dataset_cache_dir("local"))
    tables.write_table(table_path, clips, tables.CLIPS)
    tables.write_table(project.downloads_table_path("local"), [], tables.DOWNLOADS)
    assert build_and_refresh() == 0
    assert table_path.exists()
    (folder / "a.mp4").write_bytes(b"another video of this name")
    assert build_and_refresh("--dataset", "sample") == 0
    assert table_path.exists()
    assert capsys.readouterr().out == ""
    folder.rename(tmp_path / "unplugged")
    assert build_and_refresh() == 0
    assert table_path.exists()
    assert "dataset local stays as it was listed" in capsys.readouterr().out
    (tmp_path / "unplugged").rename(folder)
    assert build_and_refresh() == 0
    assert not table_path.exists()
    # The list of names is as it was, so that DVC would not look at the files, but for this.
    assert not project.downloads_table_path("local").exists()
    assert "changed since they were listed" in capsys.readouterr().out


def write_annotations(folder, *lines: str) -> str:
    (folder.parent / "boxes.csv").write_text("\n".join(lines) + "\n")
    return str(folder.parent / "boxes.csv")


@pytest.fixture
def three_files(tmp_path):
    folder = tmp_path / "videos"
    (folder / "day 1").mkdir(parents=True)
    for name in ("day 1/a.mp4", "b.mp4", "c.mp4"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_table_beside_the_folder_gives_labels_and_boxes(three_files, tmp_path):
    path = write_annotations(
        three_files,
        "path,time,label,split,boxes,frame_width,frame_height,weather",
        'day 1/a.mp4,0.5,owl,test,"[[8, 8, 32, 32]]",64,64,rain',
        "day 1/a.mp4,1.5,owl,test,,,,",
        "./b.mp4,,tit,,,,,",
    )
    clips, samples = tables_of(three_files, tmp_path / "cache", annotations=path)
    by_path = {dict(row["attributes"])["path"]: row for row in samples}
    assert [clip["splits"] for clip in clips] == [["local"], ["local"], ["test"]]
    # A file without a row has its sample at the centre, as without the table.
    assert len(samples) == 4 and by_path["c.mp4"]["time_seconds"] is None
    assert by_path["b.mp4"]["label"] == "tit" and by_path["b.mp4"]["splits"] == ["local"]
    first, second = [row for row in samples if row["splits"] == ["test"]]
    assert (first["boxes"], first["time_seconds"]) == ([[0.125, 0.125, 0.5, 0.5]], 0.5)
    assert dict(first["attributes"]) == {"path": "day 1/a.mp4", "weather": "rain"}
    assert second["boxes"] == [] and second["sample_id"].endswith("@00001500")

    parameters = local.Parameters(str(three_files), annotations=path)
    assert local.find_splits(parameters) == {"local", "test"}


def test_names_that_look_like_a_column_of_the_table_are_told(three_files, tmp_path, caplog):
    path = write_annotations(three_files, "path,class,bbox,start_seconds", "b.mp4,owl,,3")
    tables_of(three_files, tmp_path / "cache", annotations=path)
    (record,) = caplog.records
    assert "column 'class' is an attribute" in record.getMessage()
    assert "meant to be label" in record.getMessage()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("path,label", "d.mp4,owl"), "line 2, column path: is 'd.mp4', expected a file of /"),
        (("label", "owl"), "line 2, column path: is '', expected a file of /"),
        (("path,start", "b.mp4,3"), "line 2, column start: is '3', expected no such column"),
        (("path,id", "b.mp4,b"), "line 2, column id: is 'b', expected no such column"),
        (("path,boxes", 'b.mp4,"[[1, 2]]"'), r"line 2, column boxes: is '\[\[1, 2\]\]', expected"),
        (("path,time", "b.mp4,-1"), "line 2, column time: is '-1', expected seconds, 0 or more"),
        (("path,time", "b.mp4,1", "b.mp4,1"), "line 3: sample 'b.mp4@00001000' appears twice"),
        (
            ("path,time,split", "b.mp4,1,test", "b.mp4,2,train"),
            "'b.mp4' is in other splits in another row",
        ),
    ],
)
def test_a_wrong_row_is_told_with_line_column_and_value(three_files, tmp_path, lines, message):
    path = write_annotations(three_files, *lines)
    with pytest.raises(DataError, match=message):
        tables_of(three_files, tmp_path / "cache", annotations=path)


def test_ids_and_limit_choose_files(three_files, tmp_path):
    (tmp_path / "ids.txt").write_text("b.mp4\nc.mp4\n")
    clips, samples = tables_of(three_files, tmp_path / "cache", ids=str(tmp_path / "ids.txt"))
    assert [row["clip_id"] for row in clips] == ["b.mp4", "c.mp4"] and len(samples) == 2
    clips, _ = tables_of(three_files, tmp_path / "cache", limit=1)
    assert len(clips) == 1
