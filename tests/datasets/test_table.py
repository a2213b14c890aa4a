"""A table of the user's own as a dataset: its rows, its errors, and a scored result."""

import contextlib
import csv
import json
import random
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earshot.errors import DataError, ParameterError
from pipeline.base.parameters import build
from pipeline.base.project import Project
from pipeline.datasets.dataset import load
from pipeline.datasets.table import Parameters, build_tables, find_splits, has_changed
from pipeline.lists.column_samples import read_tables
from pipeline.lists.record_columns import UnusualError
from pipeline.lists.selection import read_left_out


def write(folder, *rows) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    path = folder / "birds.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def tables_of(folder, *rows, **parameters) -> tuple[list[dict], list[dict]]:
    built = Parameters(path=write(folder, *rows), **parameters)
    clips, samples = build_tables(built, cache_dir=folder)
    return clips.to_pylist(), samples.to_pylist()


def row(clip_id="a", **values) -> dict:
    return {"id": clip_id, "path": f"{clip_id}.mp4", **values}


def test_rows_become_clips_and_samples(tmp_path):
    web = {"id": "b", "url": "https://www.youtube.com/watch?v=xyz&t=3", "start": 30, "end": "40"}
    rows = [
        row(label="owl", boxes="[[0.1, 0.2, 0.5, 0.6]]", split="train; test", place="forest"),
        {**web, "time": 2.5},
        {**web, "time": 7.5, "label": "tit"},
    ]
    clips, samples = tables_of(tmp_path, *rows)
    first, second = clips
    assert first["url"] == f"file://{tmp_path}/a.mp4"
    assert (first["splits"], first["start_seconds"]) == (["train", "test"], None)
    assert (second["video_id"], second["start_seconds"], second["end_seconds"]) == ("xyz", 30, 40)
    assert second["splits"] == ["table"]
    assert [sample["sample_id"] for sample in samples] == ["a", "b@00002500", "b@00007500"]
    assert samples[0]["boxes"] == [[0.1, 0.2, 0.5, 0.6]] and samples[0]["label"] == "owl"
    assert samples[0]["attributes"] == [("place", "forest")]
    assert samples[1]["label"] is None and samples[2]["time_seconds"] == 7.5


def test_boxes_in_pixels_of_a_frame(tmp_path):
    values = {"boxes": "[[64, 36, 128, 144]]", "frame_width": 640, "frame_height": 360}
    _, samples = tables_of(tmp_path, row(**values))
    assert samples[0]["boxes"] == [[0.1, 0.1, 0.2, 0.4]]


def test_ids_and_limit_choose_clips(tmp_path):
    rows = [row(name, split="test" if name in "ab" else "train;all") for name in "abcd"]
    (tmp_path / "ids.txt").write_text("d\na\n\n")
    ids = str(tmp_path / "ids.txt")
    assert [clip["clip_id"] for clip in tables_of(tmp_path, *rows, ids=ids)[0]] == ["a", "d"]

    # One clip of each split, and of two lists that share clips the same one.
    clips, samples = tables_of(tmp_path, *rows, limit=1)
    assert sorted(clip["splits"] for clip in clips) == [["test"], ["train", "all"]]
    assert [sample["clip_id"] for sample in samples] == [clip["clip_id"] for clip in clips]


def test_an_unknown_id_is_told_with_its_line(tmp_path):
    (tmp_path / "ids.txt").write_text("a\nax\n")
    with pytest.raises(DataError, match=r"ids\.txt, line 2: the dataset has no clip 'ax'"):
        tables_of(tmp_path, row(), ids=str(tmp_path / "ids.txt"))


def test_counts_of_what_was_left_out(tmp_path):
    rows = [row(name) for name in "abcde"]
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    built = Parameters(path=write(tmp_path, *rows), ids=str(tmp_path / "ids.txt"), limit=1)
    clips, _ = build_tables(built, cache_dir=tmp_path)
    assert read_left_out(clips) == {"ids": 2, "limit": 2}
    assert len(clips) == 1


def test_a_changed_video_is_noticed(tmp_path):
    tables_of(tmp_path, row())
    parameters = Parameters(path=str(tmp_path / "birds.csv"))
    assert not has_changed(parameters, cache_dir=tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"now it is there")
    assert has_changed(parameters, cache_dir=tmp_path)


def test_odd_paths_are_files_that_are_not_there(tmp_path):
    parameters = Parameters(path=str(tmp_path / "birds.csv"))
    names = {
        "a\0.mp4": f"{tmp_path}/a\0.mp4",
        "~no-such-user/a.mp4": f"{tmp_path}/~no-such-user/a.mp4",
    }
    for path, file in names.items():
        ((clip,), _) = tables_of(tmp_path, row() | {"path": path})
        assert clip["video_id"] == file
        assert not has_changed(parameters, cache_dir=tmp_path)

    # A folder may have such a name.
    (tmp_path / "~no-such-user").mkdir()
    (tmp_path / "~no-such-user" / "a.mp4").write_bytes(b"now it is there")
    assert has_changed(parameters, cache_dir=tmp_path)


def test_any_name_can_be_a_table_of_the_users_own():
    assert load("birds").name == "birds" and load("birds").parameters is Parameters
    values = {"kind": "table", "path": "birds.csv"}
    assert build(Parameters, values, "sources.birds").path == "birds.csv"
    with pytest.raises(ParameterError, match="datasets has 'my birds', expected one of flickr"):
        load("my birds")


def test_a_dataset_has_no_folder_that_holds_something_else(tmp_path):
    project = Project(tmp_path, {})
    folders = [project.weights_dir, project.training_dir, project.neighbours_dir]
    folders += [project.run_inputs_dir, project.run_dir("m").parent, project.maps_root_dir]
    for path in folders:
        with pytest.raises(ParameterError, match=f"cache/{path.name} holds something else"):
            load(path.name)


@pytest.mark.parametrize("split", ["", " ", "a;;b", "a;"])
def test_a_split_of_the_parameters_that_is_no_name(split):
    with pytest.raises(ParameterError, match=f"sources.birds: split is '{split}', expected a name"):
        build(Parameters, {"kind": "table", "path": "b.csv", "split": split}, "sources.birds")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"id": ""}, "line 2, column id: is empty"),
        ({"id": "a/b"}, "line 2, column id: is 'a/b', expected letters"),
        ({"id": "-a"}, "column id: is '-a'"),
        ({"path": ""}, "line 2, columns url and path: has neither"),
        ({"url": "http://x/a.mp4"}, "columns url and path: has both"),
        ({"path": "", "url": "www.x.org/a"}, "column url: is 'www.x.org/a', expected http"),
        ({"path": "", "url": "http://["}, "column url: is 'http://\\['"),
        ({"start": "one"}, "line 2, column start: is 'one', expected seconds, 0 or more"),
        ({"start": -1}, "column start: is '-1'"),
        ({"start": "nan"}, "column start: is 'nan'"),
        ({"end": "inf"}, "column end: is 'inf'"),
        ({"start": 5, "end": 5}, r"column end: is '5.0', expected more than start \(5\)"),
        ({"end": 0}, r"column end: is '0.0', expected more than start \(0\)"),
        (
            {"start": 5, "end": 15, "time": 11},
            "column time: is '11.0', expected a time in the clip",
        ),
        ({"time": "0:05"}, "column time: is '0:05'"),
        ({"time": "1e306"}, "column time: is '1e306', expected less than"),
        ({"start": "2e9"}, r"column start: is '2e9', expected less than 1e\+09 s"),
        ({"boxes": f"[[0, 0, {10**400}, 1]]"}, "column boxes: is '1000.*', expected parts"),
        ({"boxes": "[" * 9999}, "column boxes: is .*, expected"),
        ({"split": "a;;b"}, "column split: is 'a;;b', expected names"),
        ({"boxes": "0.1 0.2 0.3 0.4"}, "line 2, column boxes: is '0.1 0.2 0.3 0.4', expected"),
        ({"boxes": "[0.1, 0.2, 0.3, 0.4]"}, "column boxes: is .*, expected \\[\\[x1"),
        ({"boxes": "[[0.1, 0.2, 0.3]]"}, "column boxes"),
        ({"boxes": '[["a", 0, 1, 1]]'}, "column boxes: is 'a', expected parts of the frame"),
        ({"boxes": "[[10, 20, 90, 80]]"}, r"is '\[10, 20, 90, 80\]', expected parts of the frame"),
        ({"boxes": "[[0.5, 0.2, 0.3, 0.4]]"}, "expected x1 < x2 and y1 < y2"),
        ({"boxes": "[[0, 0, 1, 1]]", "frame_width": 640}, "has frame_width alone"),
        (
            {"boxes": "[[0, 0, 9, 9]]", "frame_width": 0, "frame_height": 9},
            "column frame_width: is '0', expected pixels",
        ),
        (
            {"boxes": "[[0, 0, 700, 9]]", "frame_width": 640, "frame_height": 9},
            "expected pixels of the frame",
        ),
        ({"boxes": "[[0, 0, true, 1]]"}, "column boxes: is 'True', expected parts"),
        ({"boxes": "[[0, 0, 1, 1]"}, r"column boxes: is '\[\[0, 0, 1, 1\]', expected"),
        ({"boxes": '{"x1": 0}'}, "column boxes: is '.*', expected"),
        ({"end": "10s"}, "column end: is '10s', expected seconds"),
        ({"split": ";"}, "column split: is ';', expected names"),
        ({"path": "", "url": "ftp://x/a.mp4"}, "column url: is 'ftp://x/a.mp4', expected http"),
    ],
)
def test_a_wrong_value_is_told_with_line_column_and_value(tmp_path, values, message):
    with pytest.raises(DataError, match=message):
        tables_of(tmp_path, row() | values)


def test_rows_of_a_clip_that_contradict_each_other(tmp_path):
    with pytest.raises(DataError, match=r"line 3: clip 'a' has another source, section or split"):
        tables_of(tmp_path, row(time=1), row(time=2, split="other"))
    with pytest.raises(DataError, match="line 3: sample 'a@00001000' appears twice"):
        tables_of(tmp_path, row(time=1), row(time=1.0001))


def test_lists_of_json_lines_need_no_quotes(tmp_path):
    path = tmp_path / "birds.jsonl"
    path.write_text(json.dumps(row(boxes=[[0, 0, 0.5, 1]], n=3)) + "\n")
    _, samples = build_tables(Parameters(path=str(path)), cache_dir=tmp_path)
    assert samples.to_pylist()[0]["boxes"] == [[0, 0, 0.5, 1]]
    assert samples.to_pylist()[0]["attributes"] == [("n", "3")]


def test_names_that_look_like_a_column_are_told(tmp_path, caplog):
    """Otherwise the whole video would be the clip, in the split of the parameters."""
    values = {"start_seconds": 3, "Split": "test", "bbox": "", "place": "forest", "class": "owl"}
    tables_of(tmp_path, row(label="bird", **values))
    assert [record.getMessage().partition(": column ")[2] for record in caplog.records] == [
        f"'{name}' is an attribute of the samples; if it is meant to be {column}, give it that name"
        for name, column in [("start_seconds", "start"), ("Split", "split")]
    ]


def test_cells_of_json_that_are_no_text(tmp_path):
    path = tmp_path / "birds.jsonl"
    path.write_text(json.dumps(row(split=["train", " test"])) + "\n")
    clips, _ = build_tables(Parameters(path=str(path)), cache_dir=tmp_path)
    assert clips["splits"].to_pylist() == [["train", "test"]]
    assert find_splits(Parameters(path=str(path))) == {"train", "test"}

    wrong = {"split": [], "label": ["owl"], "id": True, "path": ["a.mp4"]}
    for column, value in wrong.items():
        path.write_text(json.dumps(row() | {column: value}) + "\n")
        with pytest.raises(DataError, match=f"line 1, column {column}: is .*, expected") as error:
            build_tables(Parameters(path=str(path)), cache_dir=tmp_path)
        assert str(value) in str(error.value)
    path.write_text('{"id": "a", "path": "a.mp4", "id": "b"}\n')
    with pytest.raises(DataError, match=r"line 1: is not JSON .has 'id' twice"):
        build_tables(Parameters(path=str(path)), cache_dir=tmp_path)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_told(tmp_path, separator):
    path = tmp_path / "birds.csv"
    path.write_text(f"id{separator}path\na{separator}a.mp4\n")
    with pytest.raises(DataError, match=r"line 1: has one column 'id.+path', expected commas"):
        build_tables(Parameters(path=str(path)), cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("url", "video_id"),
    [
        ("https://youtube.com/shorts/abcdefghijk", "abcdefghijk"),
        ("https://www.youtube.com/embed/abcdefghijk?start=3", "abcdefghijk"),
        ("https://music.youtube.com/watch?v=abcdefghijk", "abcdefghijk"),
        ("https://www.youtube-nocookie.com/embed/abcdefghijk", "abcdefghijk"),
        ("https://www.youtube.com/live/abcdefghijk?feature=share", "abcdefghijk"),
        ("https://x.org/v.mp4#t=10,20", "https://x.org/v.mp4"),
        ("https://x.org/#/videos/7", "https://x.org/#/videos/7"),
        ("file:///videos/a%20b.mp4", "/videos/a b.mp4"),  # as in the column path
    ],
)
def test_a_video_has_one_id_whatever_its_address(tmp_path, url, video_id):
    clips, _ = tables_of(tmp_path, {"id": "a", "url": url})
    assert clips[0]["video_id"] == video_id


# Values with which a row is right, some of them in a form that is read row by row.
CHOICES = {
    "url": ["https://x.org/a.mp4#t=3", "https://youtube.com/watch?v=ab-c&t=3", "http://YOUTU.be/q"],
    "path": ["a.mp4", "../b/./c.mp4", "/d/e f.mp4", "g/\u00e9.mp4"],
    "time": ["", "0", "2.5", "1.0005", "0.0015"],
    "label": ["", "owl", "a, b", '"quoted"', "\u00fc"],
    "split": ["", "train", "train; test", "train;test"],
    "boxes": ["", "", "[[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1.005]]", "[]"],
    "place": ["", "forest", "7"],
    "night": ["", "yes"],
}


def make_rows(generator: random.Random, num_rows: int) -> list[dict[str, str]]:
    """Return rows of some clips, each of which has one source, section and split."""
    clips = {
        f"c{number}": {
            "id": f"c{number}",
            generator.choice(["url", "path"]): str(number),
            "split": generator.choice(CHOICES["split"]),
            **generator.choice([{}, {"start": "3"}, {"start": "1.5", "end": "9.25"}]),
        }
        for number in range(num_rows // 2)
    }
    for clip in clips.values():
        source = "url" if "url" in clip else "path"
        clip[source] = generator.choice(CHOICES[source])

    rows = {}
    for _ in range(num_rows):
        clip = generator.choice(list(clips.values()))
        others = {
            name: generator.choice(CHOICES[name]) for name in list(CHOICES)[2:] if name != "split"
        }
        rows[clip["id"], others["time"]] = {
            **dict.fromkeys([*CHOICES, "start", "end"], ""),
            **others,
            **clip,
        }
    # Samples of one clip that are nearer than a millisecond would have one id.
    return [row for row in rows.values() if row["time"] != "0.0015" or row["id"] < "c3"]


def write_as(folder, suffix: str, rows: list[dict]) -> str:
    """Write rows as a table of one of the formats."""
    if suffix == ".csv":
        return write(folder, *rows)
    values = [{name: value or None for name, value in row.items()} for row in rows]
    path = folder / f"birds{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in values))
    else:
        pq.write_table(pa.Table.from_pylist(values), path)
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("chosen", [{}, {"limit": 4}])
def test_columns_give_the_tables_that_rows_give(tmp_path, monkeypatch, suffix, chosen):
    """Large tables are read in columns. What is unusual there is read row by row."""
    monkeypatch.setattr("pipeline.lists.record_columns._NUM_ROWS", 7)
    monkeypatch.setattr("pipeline.datasets.table._ROWS_PER_BATCH", 4)
    generator = random.Random(suffix)
    num_fast = 0
    for _ in range(20):
        path = write_as(tmp_path, suffix, make_rows(generator, 30))
        parameters = Parameters(path=path, **chosen)
        with contextlib.suppress(UnusualError):
            read_tables(Path(path), default_split="table")
            num_fast += 1
        found = build_tables(parameters, cache_dir=tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.datasets.table.read_tables", raise_unusual)
            expected = build_tables(parameters, cache_dir=tmp_path)
        for table, other in zip(found, expected, strict=True):
            assert table.to_pylist() == other.to_pylist()
            assert table.schema == other.schema
        assert find_splits(parameters) == {
            s for row in expected[0].to_pylist() for s in row["splits"]
        }
    assert num_fast == 20


def raise_unusual(*_, **__):
    raise UnusualError


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        # Arrow would take these for 1.0.
        ({"time": 1.5}, {"time": True}, "line 2, column time: is 'True'"),
        (
            {"boxes": [[0, 0, 1, 0.5]]},
            {"boxes": [[0, 0, 1, True]]},
            "line 2, column boxes: is 'True'",
        ),
        ({"\ud800": "x"}, {"\ud800": "x"}, "line 1: is not JSON"),
        ({"n": "NESTED"}, {"n": "x"}, "line 1: is not JSON"),
    ],
)
def test_wrong_json_is_told_also_where_columns_could_take_it(tmp_path, first, second, message):
    path = tmp_path / "birds.jsonl"
    lines = [json.dumps(row("a") | first), json.dumps(row("b") | second)]
    path.write_text("\n".join(lines).replace('"NESTED"', "[" * 9999 + "]" * 9999))
    with pytest.raises(DataError, match=message):
        build_tables(Parameters(path=str(path)), cache_dir=tmp_path)


def test_decimals_are_read_as_python_reads_them(tmp_path):
    """Arrow's conversion of this decimal to a float differs in the last bit."""
    path = tmp_path / "birds.parquet"
    pq.write_table(pa.Table.from_pylist([row(time=Decimal("3154.400000"))]), path)
    _, samples = build_tables(Parameters(path=str(path)), cache_dir=tmp_path)
    assert samples["time_seconds"].to_pylist() == [3154.4]


def test_numbers_of_json_and_parquet_need_no_quotes_in_columns_either(tmp_path):
    rows = [{"id": number, "path": "a.mp4", "time": number / 4, "n": number} for number in range(9)]
    for suffix in (".jsonl", ".parquet"):
        path = tmp_path / f"numbers{suffix}"
        if suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)
        _, samples = read_tables(path, default_split="all")
        assert samples["sample_id"].to_pylist()[1] == "1@00000250"
        assert samples["attributes"].to_pylist()[2] == [("n", "2")]
        assert samples["splits"].to_pylist()[3] == ["all"]
