"""Records of CSV, JSON lines and Parquet are the same, and each error names its place."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earshot.errors import DataError
from pipeline.lists import record_files
from pipeline.lists.record_files import read_records


@pytest.mark.parametrize("num_rows", [1, 10_000])
def test_three_formats_give_the_same_records(tmp_path, monkeypatch, num_rows):
    monkeypatch.setattr(record_files, "_ROWS_PER_BATCH", num_rows)
    (tmp_path / "a.csv").write_bytes(
        '\ufeffid,label,path\r\na,,x.mp4\r\n\r\nb,"two, or more",y.mp4\r\n'.encode()
    )
    rows = [{"id": "a", "label": None, "path": "x.mp4"}]
    rows.append({"id": "b", "label": "two, or more", "path": "y.mp4"})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")

    expected = [{"id": "a", "path": "x.mp4"}, rows[1]]
    places = {".csv": ["line 2", "line 4"], ".jsonl": ["line 1", "line 2"]}
    for suffix in (".csv", ".jsonl", ".parquet"):
        path = tmp_path / f"a{suffix}"
        found = list(read_records(path))
        assert [record for _, record in found] == expected
        words = places.get(suffix, ["row 1", "row 2"])
        assert [where for where, _ in found] == [f"{path}, {word}" for word in words]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "not found, expected a table"),
        ("a.txt", b"id\na\n", r"has suffix '\.txt', expected \.csv, \.jsonl, \.parquet"),
        ("a.csv", b"", "a.csv: holds no row"),
        ("a.csv", b"id,label\n", "a.csv: holds no row"),
        ("a.csv", b"id,label\na\n", "line 2: has 1 values, expected 2"),
        ("a.csv", b"id,label\na,b,c\n", "line 2: has 3 values, expected 2"),
        ("a.csv", b"id,id\na,b\n", "line 1: has 'id' twice"),
        ("a.csv", b"id,\na,b\n", "line 1: has a column without a name"),
        ("a.csv", b'id,label\na,"b\n', "line 2: unexpected end"),
        ("a.csv", b"id,label\na,\xff\n", "line 2: not UTF-8"),
        ("a.jsonl", b'{"id": 1}\n{"id"\n', "line 2: is not JSON"),
        ("a.jsonl", b'{"id": 1}\n' + b"[" * 100_000 + b"\n", "line 2: is not JSON"),
        ("a.jsonl", b'{"id": "half of an emoji \\ud83d"}\n', "line 1: is not JSON"),
        ("a.jsonl", b'["id"]\n', "line 1: holds list, expected an object"),
        ("a.parquet", b"PAR1", "is not readable Parquet"),
    ],
)
def test_broken_files_are_told_with_their_place(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_records(tmp_path / name))
