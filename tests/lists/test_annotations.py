"""Boxes and frame choices as they are published: XML, JSON, pickles; what is wrong is refused."""

import pickle
from pathlib import Path

import pytest

from earshot.errors import DataError
from pipeline.datasets import vggsound
from pipeline.lists.annotations import read_flickr_xml, read_frame_choices, read_vggss


def test_broken_json_is_refused(tmp_path):
    for content in (b"[{", b"\xff\xfe", b"[" * 200000):
        (tmp_path / "vggss.json").write_bytes(content)
        with pytest.raises(DataError, match=r"vggss\.json: not readable JSON"):
            read_vggss(tmp_path / "vggss.json", pattern=vggsound.CLIP_ID)


def test_a_box_that_no_float_holds_is_refused(tmp_path):
    for number in ("1" + "0" * 400, "NaN", "true"):
        entry = f'[{{"file": "abcdefghijk_000030", "class": "x", "bbox": [[{number}, 0, 1, 1]]}}]'
        (tmp_path / "vggss.json").write_text(entry)
        with pytest.raises(DataError, match=r"entry 0 .*: box .*, expected four numbers"):
            read_vggss(tmp_path / "vggss.json", pattern=vggsound.CLIP_ID)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<a><u/></a>", "holds no bbox element"),
        ("<a><u><bbox><i/><x>1</x><y>2</y><z>3</z></bbox></u>", "not readable XML"),
        ("<a><u><bbox><x>1</x><y>2</y><z>3</z></bbox></u></a>", "annotator 1: a bbox has 3 values"),
        ("<a><u><bbox><x>9</x><y>2</y><z>3</z><w>4</w></bbox></u></a>", "ends before it begins"),
        (
            "<a><u><bbox><x>1</x><y>2</y><z>300</z><w>4</w></bbox></u></a>",
            "xmax is '300', expected an integer",
        ),
        ("<a><u><bbox><x>-1</x><y>2</y><z>3</z><w>4</w></bbox></u></a>", "xmin is '-1'"),
        ("<a><u><bbox><x>nan</x><y>2</y><z>3</z><w>4</w></bbox></u></a>", "xmin is 'nan'"),
        ("<a><u><bbox><x/><y>2</y><z>3</z><w>4</w></bbox></u></a>", "xmin is ''"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares a document type or entities"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "not readable XML"),
    ],
)
def test_wrong_xml_is_refused(tmp_path, content, message):
    (tmp_path / "1.xml").write_text(content)
    with pytest.raises(DataError, match=rf"1\.xml.*{message}"):
        read_flickr_xml(tmp_path / "1.xml")


class Attack:
    """Unpickling this would run a command."""

    def __reduce__(self):
        return Path.touch, (Path("/tmp/earshot-attack"),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps({"1": Attack()}), "operation (STACK_)?GLOBAL"),
        (pickle.dumps({"1": Attack()}, protocol=0), "operation GLOBAL"),
        (pickle.dumps({"1": [1.5]}), "operation BINFLOAT"),
        (pickle.dumps({"1": []}), "entry '1: \\[\\]'"),
        (pickle.dumps({"1": [0]}), "frame numbers from 1"),
        (b"\x80\x02}X\x01\0\0\x001" + b"]" * 9999 + b"a" * 9998 + b"s.", "frame numbers from 1"),
        (pickle.dumps({"a/b": [1]}), "entry"),
        (pickle.dumps([1]), "holds list"),
        (pickle.dumps({"1": [1]})[:-3], "not a readable pickle"),
        (b"", "not a readable pickle"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "memo index"),
        (b"not a pickle", "not a readable pickle|operation"),
    ],
)
def test_wrong_pickles_are_refused(tmp_path, data, message):
    path = tmp_path / "imagetoframe.pickle"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_frame_choices(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_every_protocol_are_read(tmp_path, protocol):
    path = tmp_path / "imagetoframe.pickle"
    path.write_bytes(pickle.dumps({"6289328021": [77, 78], "1": 300}, protocol=protocol))
    assert read_frame_choices(path) == {"6289328021": [77, 78], "1": [300]}
