"""Flickr-SoundNet: addresses, boxes with a typing error, frames."""

import itertools
import json
import logging
import pickle

import pytest

from earshot.errors import DataError
from tests.helpers.downloads.list_tables import flickr_tables


def test_flickr_addresses_come_from_the_public_list(tmp_path, caplog):
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "flickr_10k.txt").write_text("9419455509\n4637976820\n111122223333")
    filler = "http://www.flickr.com/videos/1@N00/5550001111/play/orig/aaaa\n" * 300
    (folder / "urls_public.txt").write_bytes(
        b"http://www.flickr.com/videos/47762553@N00/9419455509/play/orig/8461e78d0d\r\n"
        + filler.encode()
        + b"nonsense\xff\n\n"
        + b"http://www.flickr.com/videos/../../x/4637976820/play/orig/a'b\n"
        + b"http://www.flickr.com/videos/28042570@N08/4637976820/play/orig/5b222e6773"
    )
    clips, samples = flickr_tables(folder, tmp_path, "flickr_10k")
    assert [row["url"] for row in clips] == [
        "https://www.flickr.com/photos/47762553@N00/9419455509/",
        "https://www.flickr.com/photos/28042570@N08/4637976820/",
        "https://www.flickr.com/photo.gne?id=111122223333",
    ]
    assert "2 of 304 lines are no Flickr address (line 302: 'nonsense" in caplog.text
    assert "has no address for 1 of 3 videos" in caplog.text
    assert all(row["time_seconds"] is None and row["boxes"] == [] for row in samples)
    original = "http://www.flickr.com/videos/{user}/{video_id}/play/orig/{secret}"
    clips, _ = flickr_tables(folder, tmp_path, "flickr_10k", video_url=original)
    assert (
        clips[0]["url"]
        == "http://www.flickr.com/videos/47762553@N00/9419455509/play/orig/8461e78d0d"
    )
    (folder / "urls_public.txt").write_text("<html>\n<body>\n503\n</body>\n")
    with pytest.raises(DataError, match="4 of 4 lines are no Flickr address"):
        flickr_tables(folder, tmp_path, "flickr_10k")


def test_flickr_typing_error_boxes_and_frames(tmp_path, caplog):
    folder, annotations = tmp_path / "lists", tmp_path / "xml"
    folder.mkdir()
    annotations.mkdir()
    (folder / "flickr_test.csv").write_bytes(
        b"3908875357,0\r\n12158276143,93\r\n777788889999,1\r\n"
    )
    (folder / "imagetoframe.pickle").write_bytes(
        pickle.dumps({"12158276143": [374, 375], "777788889999": [1]}, protocol=2)
    )
    first = "<bbox><i>0</i><xmin>64</xmin><ymin>0</ymin><xmax>128</xmax><ymax>256</ymax></bbox>"
    second = (
        "<bbox><i>0</i><a>1</a><b>2</b><c>3</c><d>4</d></bbox>"
        "<bbox><i/><a>1</a><b>2</b><c>1</c><d>4</d></bbox>"
    )
    xml = f"<a><filename>x</filename><user1>{first}</user1><user2>{second}</user2></a>"
    (annotations / "3908875357.xml").write_text(xml)
    _, samples = flickr_tables(folder, tmp_path, "flickr_test", annotations_dir=str(annotations))
    rows = {row["sample_id"]: row for row in samples}
    assert list(rows) == ["3908875350", "12158276143", "777788889999"]
    assert rows["3908875350"]["boxes"][0] == [0.25, 0.0, 0.5, 1.0]
    assert rows["3908875350"]["box_annotators"] == [0, 1, 1]
    assert rows["3908875350"]["time_seconds"] is None
    assert rows["12158276143"]["time_seconds"] == pytest.approx(374.5 / 30)  # 375 in HTF's script
    assert rows["777788889999"]["time_seconds"] == pytest.approx(0.5 / 30)
    assert "known typing error 3908875357, read as 3908875350" in caplog.text
    assert "has no XML for 2 of 3 samples" in caplog.text
    assert "says other frames than the published imagetoframe" in caplog.text


def test_frames_do_not_depend_on_the_other_splits(tmp_path, caplog):
    """Training lists share videos with both tables of annotated frames."""
    folder = tmp_path / "lists"
    folder.mkdir()
    lists = {
        "flickr_10k.txt": "11111\n22222\n33333\n44444\n",
        "flickr_test.csv": "11111,0\n55555,0\n",
        "flickr_test_expanded.csv": "22222,0\n",
        "flickr_train_10k.txt": "22222\n33333\n",
    }
    for name, text in lists.items():
        (folder / name).write_text(text)
    tables = {"imagetoframe": {"11111": [31]}, "imagetoframe_expanded": {"11111": 61, "22222": 91}}
    for name, frames in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(frames))

    times = {"11111": 30.5 / 30, "22222": 90.5 / 30}
    splits = ("flickr_10k", "flickr_test", "htf_flickr_test_expanded", "htf_flickr_10k")
    for count in range(1, 5):
        for chosen in itertools.combinations(splits, count):
            _, samples = flickr_tables(folder, tmp_path, *chosen)
            for row in samples:
                assert row["time_seconds"] == times.get(row["sample_id"]), (chosen, row)

    # A folder for training alone may lack them: that is said.
    for name in tables:
        (folder / f"{name}.json").unlink()
    caplog.clear()
    _, samples = flickr_tables(folder, tmp_path, "flickr_10k")
    assert {row["time_seconds"] for row in samples} == {None}
    for name in tables:
        assert f"{name}.json is not in sources.flickr.lists_dir" in caplog.text
    with pytest.raises(DataError, match="holds neither"):
        flickr_tables(folder, tmp_path, "flickr_test")


@pytest.fixture(autouse=True)
def _warnings(caplog):
    caplog.set_level(logging.WARNING)
