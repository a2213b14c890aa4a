"""VGG-Sound from small lists in the published form; what is wrong in them is refused."""

import json
from pathlib import Path

import pytest

from earshot.errors import DataError, ParameterError
from pipeline.base.parameters import build
from pipeline.datasets import vggsound
from pipeline.lists import selection
from tests.helpers.downloads.list_tables import vgg_tables


@pytest.fixture
def small(tmp_path):
    """A folder with a small list of each kind, every file in the published form."""
    folder = tmp_path / "lists"
    (folder / "ezvsl").mkdir(parents=True)
    (folder / "vggss_10k.txt").write_text("--abcdefghi_000010\n_bcdefghijk_000020")
    (folder / "ezvsl" / "vggss_test.csv").write_bytes(
        b"\xef\xbb\xbf-cdefghijkl_000030\r\n\r\n--abcdefghi_000010\r\n"
    )
    boxes = [
        {
            "file": "-cdefghijkl_000030",
            "class": "dog, barking",
            "bbox": [[0.1, 0.2, 0.3, 1.5], [0, 0, 1, 1]],
        },
        {"file": "--abcdefghi_000010", "class": "car", "bbox": [[0.5, 0.5, 0.4, 0.6]]},
    ]
    (folder / "vggss.json").write_text(json.dumps(boxes))
    (folder / "vggss_test_plus_silent.csv").write_bytes(
        b"video,audio,label\r\n-cdefghijkl_000030,_bcdefghijk_000020,non-sounding\r\n"
        b"defghijklmn_000007,defghijklmn_000007,non-sounding\r\n"
    )
    (folder / "vggsound.csv").write_text(
        '--abcdefghi,10,"car, passing by",train\nefghijklmno,5,"dog ""bow""",test\n'
    )
    return folder


def test_one_clip_in_several_lists_is_one_row(small, tmp_path):
    clips, samples = vgg_tables(
        small, tmp_path, "vggss_10k", "vggss_test", "vggss_test_plus_silent"
    )
    assert [row["clip_id"] for row in clips] == [
        "--abcdefghi_000010", "_bcdefghijk_000020", "-cdefghijkl_000030", "defghijklmn_000007"
    ]  # fmt: skip
    assert clips[0] == {
        "clip_id": "--abcdefghi_000010",
        "video_id": "--abcdefghi",
        "url": "https://www.youtube.com/watch?v=--abcdefghi",
        "start_seconds": 10.0,
        "end_seconds": 20.0,
        "splits": ["vggss_10k", "vggss_test", "vggss_test_plus_silent"],
    }
    rows = {row["sample_id"]: row for row in samples}
    assert rows["-cdefghijkl_000030"]["boxes"] == [
        [0.1, 0.2, 0.3, 1.5],
        [0, 0, 1, 1],
    ]  # as published
    assert rows["-cdefghijkl_000030"]["label"] == "dog, barking"
    assert {row["time_seconds"] for row in samples} == {5.0}
    negative = rows["-cdefghijkl_000030+_bcdefghijk_000020"]
    assert (negative["clip_id"], negative["audio_clip_id"]) == (
        "-cdefghijkl_000030",
        "_bcdefghijk_000020",
    )
    assert rows["defghijklmn_000007+defghijklmn_000007"]["audio_clip_id"] is None
    assert "defghijklmn_000007" not in rows


def test_full_vggsound_gives_labels(small, tmp_path):
    clips, samples = vgg_tables(small, tmp_path, "vggsound_train", "vggsound_test")
    assert [(row["sample_id"], row["label"], row["splits"]) for row in samples] == [
        ("--abcdefghi_000010", "car, passing by", ["vggsound_train"]),
        ("efghijklmno_000005", 'dog "bow"', ["vggsound_test"]),
    ]
    assert clips[1]["start_seconds"] == 5.0
    for line, message in (
        ("too,few", "line 1: found 'too,few', expected YTID,start,label,split"),
        (
            "YTID,start,label,split",
            "expected YTID,start,label,split with a whole second as start, and no header",
        ),
        ("--abcdefghi,ten,x,train", "line 1: found"),
        ("--abcdefghi,10,x,valid", "line 1: .*expected a YouTube id and train or test"),
        (
            "--abcdefghi,10,x,train\n--abcdefghi,10,y,test",
            "line 2: clip --abcdefghi_000010 appears twice",
        ),
        ("", "is empty"),
    ):
        (small / "vggsound.csv").write_text(line)
        with pytest.raises(DataError, match=rf"vggsound\.csv.*{message}"):
            vgg_tables(small, tmp_path, "vggsound_train")
    (small / "vggsound.csv").unlink()
    with pytest.raises(DataError, match=r"holds neither vggsound/vggsound\.csv nor vggsound\.csv"):
        vgg_tables(small, tmp_path, "vggsound_train")


def test_limit_is_fair_and_nested():
    ids = [f"{index:011d}_{index:06d}" for index in range(1000)]
    few, more = selection.select(ids, 50), selection.select(ids, 200)
    assert len(few) == 50
    assert set(few) < set(more)
    assert few == sorted(few)
    assert ids.index(few[-1]) > 800  # not the first lines
    assert selection.select(ids[:10], 50) == ids[:10]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\r\n", "is empty"),
        (b"<!DOCTYPE html>\n<html>", r"line 1: found '<!DOCTYPE html>', expected a clip id"),
        (
            b"--abcdefghi_000010\n--abcdefghi_000010\n",
            "line 2: --abcdefghi_000010 appears twice, first in line 1",
        ),
        (b"--abcdefghi_000010\n\n../../etc/passwd\n", "line 3: found '../../etc/passwd'"),
        (b"--abcdefghi_10", "line 1"),
        (b"--abcdefghi_000010,5", "line 1"),
        (b"--abcdefghi_000010\nabcdefghij\xff_000010", "line 2: not UTF-8"),
        (b"\xff\xfe-\x00-\x00", "line 1: not UTF-8"),
        ("--abcdefghi_00001\u0660".encode(), "line 1"),
    ],
)
def test_wrong_lists_are_refused(small, tmp_path, content, message):
    (small / "vggss_10k.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"vggss_10k\.txt.*{message}"):
        vgg_tables(small, tmp_path, "vggss_10k")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"-cdefghijkl_000030,_bcdefghijk_000020,non-sounding", "line 1: .*expected the header"),
        (b"video,audio,label\n", "holds no negative"),
        (
            b"video,audio,label\n-cdefghijkl_000030,x,non-sounding",
            "line 2: .*expected two of a clip id",
        ),
        (
            b"video,audio,label\n-cdefghijkl_000030,_bcdefghijk_000020,quiet",
            "line 2: label is 'quiet'",
        ),
        (
            b"video,audio,label\n" + 2 * b"-cdefghijkl_000030,_bcdefghijk_000020,non-sounding\n",
            "line 3: .*twice",
        ),
    ],
)
def test_wrong_negatives_are_refused(small, tmp_path, content, message):
    (small / "vggss_test_plus_silent.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        vgg_tables(small, tmp_path, "vggss_test_plus_silent")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.clear(), "expected a list of entries"),
        (lambda e: e.append(e[0]), r"entry 2 \(-cdefghijkl_000030\): this clip appears twice"),
        (lambda e: e[1].pop("bbox"), "entry 1: found"),
        (lambda e: e[1].update(file="../x"), "entry 1: file is '../x'"),
        (lambda e: e[1].update({"class": ""}), "entry 1 .*class is ''"),
        (lambda e: e[1].update(bbox=[]), "entry 1 .*expected a list of boxes"),
        (
            lambda e: e[1].update(bbox=[[0, 1, 2]]),
            r"entry 1 .*box '\[0, 1, 2\]', expected four numbers",
        ),
        (lambda e: e[1].update(bbox=[[0, 1, 2, float("nan")]]), "entry 1 .*expected four numbers"),
        (lambda e: e[1].update(bbox=[[0, 1, 2, True]]), "entry 1 .*expected four numbers"),
        (
            lambda e: e[1].update(file="zzzzzzzzzzz_000001"),
            "test clip --abcdefghi_000010 has no boxes",
        ),
    ],
)
def test_wrong_boxes_are_refused(small, tmp_path, change, message):
    entries = json.loads((small / "vggss.json").read_text())
    change(entries)
    (small / "vggss.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match=message):
        vgg_tables(small, tmp_path, "vggss_test")


def test_parameters_name_what_is_wrong():
    for values, message in (
        ({"splits": ["vggss_1k"]}, "splits has 'vggss_1k', expected some of vggss_10k, vggss_144k"),
        ({"splits": []}, "splits is empty"),
        ({"splits": ["vggss_10k", "vggss_10k"]}, "twice"),
        ({"limit": 0}, "limit is 0"),
        ({"video_url": "https://x/"}, "expected a place for {video_id}"),
    ):
        with pytest.raises(ParameterError, match=message):
            build(vggsound.Parameters, values, "sources.vggsound")
    with pytest.raises(DataError, match="found no such folder"):
        vgg_tables("/nonexistent", Path("/nonexistent"), "vggss_10k")
