"""VGG-Sound and Flickr-SoundNet from their published lists: counts, splits, boxes, frames; bad lists are refused."""

import functools
import hashlib
import http.server
import json
import logging
import pickle
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import lists, tables
from pipeline.annotations import read_flickr_xml, read_frame_choices, read_vggss
from pipeline.datasets import flickr, vggsound
from pipeline.errors import DataError, ParameterError
from pipeline.parameters import build

VGG_LISTS = [name for name in vggsound.SPLITS if name not in vggsound.FULL_SPLITS]


def sizes_of(table):
    sizes = {}
    for splits in table.column("splits").to_pylist():
        for name in splits:
            sizes[name] = sizes.get(name, 0) + 1
    return sizes


def vgg_tables(lists_dir, cache_dir, *splits, **parameters):
    parameters = vggsound.Parameters(splits=splits, lists_dir=str(lists_dir), **parameters)
    clips, samples = vggsound.build_tables(parameters, cache_dir=cache_dir)
    return clips.to_pylist(), samples.to_pylist()


def flickr_tables(lists_dir, cache_dir, *splits, **parameters):
    parameters = flickr.Parameters(splits=splits, lists_dir=str(lists_dir), **parameters)
    clips, samples = flickr.build_tables(parameters, cache_dir=cache_dir)
    return clips.to_pylist(), samples.to_pylist()


@pytest.fixture
def serve(tmp_path):
    """``serve(folder)`` gives the address of a server on this machine; ``serve.log`` has the requested paths."""
    servers = []

    def start(folder):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                start.log.append(self.path)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    start.log = []
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# --- the published lists


def test_all_vggsound_splits_have_their_published_sizes(shared, tmp_path):
    parameters = vggsound.Parameters(splits=tuple(VGG_LISTS), lists_dir=str(shared("lists")))
    clips, samples = vggsound.build_tables(parameters, cache_dir=tmp_path)
    start = time.perf_counter()
    tables.write_table(tmp_path / "clips.parquet", clips, tables.CLIPS)
    tables.write_table(tmp_path / "samples.parquet", samples, tables.SAMPLES)
    assert time.perf_counter() - start < 20
    sizes = sizes_of(clips)
    assert {name: sizes[name] for name in VGG_LISTS if "silent" not in name} == {
        "vggss_10k": 10000,
        "vggss_144k": 144000,
        "vggss_heard": 59468,
        "vggss_test": 5158,
        "vggss_heard_test": 2564,
        "vggss_unheard_test": 2575,
        "htf_vgg_10k": 10000,
        "htf_vgg_144k": 144000,
        "htf_vggss_test": 4670,
    }
    assert sizes_of(samples)["vggss_test_plus_silent"] == 2 * 5158
    ids = clips.column("clip_id").to_pylist()
    assert len(ids) == len(set(ids)) == 190425
    assert sum(clip_id.startswith("-") for clip_id in ids) > 1000
    sample_ids = samples.column("sample_id").to_pylist()
    assert len(sample_ids) == len(set(sample_ids)) == 195204
    rows = {row["sample_id"]: row for row in samples.to_pylist()}
    test = [row for row in rows.values() if "vggss_test" in row["splits"]]
    assert len({row["label"] for row in test}) == 221
    assert sum(len(row["boxes"]) == 1 for row in test) == 4619
    heard = {row["label"] for row in test if "vggss_heard_test" in row["splits"]}
    unheard = {row["label"] for row in test if "vggss_unheard_test" in row["splits"]}
    assert (len(heard), len(unheard), heard & unheard) == (110, 110, set())
    assert rows["zpWuikVorYg_000032"]["boxes"] == [[0.403125, 0.253125, 0.6, 0.75]]
    assert rows["zpWuikVorYg_000032"]["time_seconds"] == 5.0
    negatives = [row for row in rows.values() if dict(row["attributes"]).get("negative") == "true"]
    assert len(negatives) == 5158
    assert sum(row["audio_clip_id"] is None for row in negatives) == 379  # their own sound comes from nothing seen
    assert not any(row["boxes"] for row in negatives)
    known = set(ids)
    assert all(row["clip_id"] in known and (row["audio_clip_id"] or row["clip_id"]) in known for row in negatives)


def test_all_flickr_splits_have_their_published_sizes(shared, tmp_path):
    parameters = flickr.Parameters(splits=flickr.SPLITS, lists_dir=str(shared("lists")))
    clips, samples = flickr.build_tables(parameters, cache_dir=tmp_path)
    sizes = sizes_of(samples)
    assert sizes == {
        "flickr_10k": 10000,
        "flickr_144k": 144000,
        "flickr_test": 249,
        "flickr_sup_train": 4750,
        "htf_flickr_10k": 10000,
        "htf_flickr_144k": 144000,
        "htf_flickr_test": 178,
        "htf_flickr_test_expanded": 1666,
        "flickr_test_250": 250,
        "flickr_test_plus_silent": 500,
    }
    rows = {row["sample_id"]: row for row in samples.to_pylist()}
    assert len(rows) == samples.num_rows
    of_250 = {key for key, row in rows.items() if "flickr_test_250" in row["splits"]}
    assert [key for key in of_250 if "flickr_test" not in rows[key]["splits"]] == ["3908875350"]
    test = [row for row in rows.values() if "flickr_test" in row["splits"]]
    assert sum(row["time_seconds"] is not None for row in test) == 178
    assert all(row["time_seconds"] is not None for row in rows.values() if "htf_flickr_test" in row["splits"])
    assert rows["10000130166"]["time_seconds"] == pytest.approx(75.5 / 30)  # frame 76, HTF takes the one before
    assert rows["5344317532"]["time_seconds"] == pytest.approx(73.5 / 30)  # replaced in HTF's script
    assert rows["10004743663"]["time_seconds"] is None
    assert clips.num_rows == len(set(clips.column("clip_id").to_pylist()))


def test_published_test_sets_are_known_by_their_ids(shared, tmp_path):
    parameters = vggsound.Parameters(lists_dir=str(shared("lists")))
    known = {s.num_clips: s.clip_ids for s in vggsound.published_test_sets(parameters, cache_dir=tmp_path)}
    assert {size: ids and len(ids) for size, ids in known.items()} == {
        5158: 5158, 2564: 2564, 2575: 2575, 4911: None, 4692: None, 4670: 4670
    }  # fmt: skip
    parameters = flickr.Parameters(lists_dir=str(shared("lists")))
    known = {s.num_clips: s.clip_ids for s in flickr.published_test_sets(parameters, cache_dir=tmp_path)}
    assert {size: len(ids) for size, ids in known.items()} == {249: 249, 250: 250, 178: 178}
    assert "3908875350" in known[250] - known[249]


def test_lists_are_fetched_once_with_their_hashes(shared, tmp_path, serve, caplog):
    site = tmp_path / "site"
    shutil.copytree(shared("lists"), site)
    (site / "vggss").mkdir()
    shutil.copy(site / "ezvsl" / "vggss.json", site / "vggss")
    url = serve(site)
    parameters = vggsound.Parameters(
        splits=("htf_vgg_10k", "vggss_heard_test"),
        limit=20,
        **{f"{name}_url": f"{url}/{name}" for name in ("ezvsl", "htf", "slavc", "vggss", "vggsound")},
        video_url=f"{url}/watch?v={{video_id}}",
    )
    clips, samples = vggsound.build_tables(parameters, cache_dir=tmp_path / "cache")
    assert sizes_of(clips) == {"htf_vgg_10k": 20, "vggss_heard_test": 20}
    assert clips.column("url")[0].as_py().startswith(f"{url}/watch?v=")
    assert all(row["boxes"] for row in samples.to_pylist() if "vggss_heard_test" in row["splits"])
    num_requests = len(serve.log)
    assert vggsound.build_tables(parameters, cache_dir=tmp_path / "cache")[0] == clips
    assert len(serve.log) == num_requests
    assert not list((tmp_path / "cache").rglob(".tmp-*"))
    # A cached list that was damaged is fetched again; other bytes at the source are refused and publish nothing.
    cached_path = tmp_path / "cache" / "lists" / "htf" / "vgg_train_10k.txt"
    cached_path.write_text("half a li")
    assert vggsound.build_tables(parameters, cache_dir=tmp_path / "cache")[0] == clips
    cached_path.unlink()
    (site / "htf" / "vgg_train_10k.txt").write_text("0123456789a_000001\n")
    with pytest.raises(DataError, match=r"vgg_train_10k\.txt: has sha256 .*, expected 2dc8.*lists_dir"):
        vggsound.build_tables(parameters, cache_dir=tmp_path / "cache")
    assert not cached_path.exists()
    (site / "htf" / "vgg_train_10k.txt").write_text(" <!DOCTYPE html><html>log in first</html>")
    with pytest.raises(DataError, match=r"vgg_train_10k\.txt: the server sent a web page"):
        vggsound.build_tables(parameters, cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match="answered 404"):
        vggsound.build_tables(replace(parameters, htf_url=f"{url}/nowhere"), cache_dir=tmp_path / "cache")
    # The extra lists for the coverage audit are no condition.
    caplog.clear()
    (site / "ezvsl" / "vggss_test.csv").unlink()
    parameters = replace(parameters, splits=("vggss_10k",))
    vggsound.build_tables(parameters, cache_dir=tmp_path / "other")
    assert "coverage of vggss_test cannot be told" in caplog.text


def test_unreachable_server_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(lists.time, "sleep", lambda _: None)
    parameters = vggsound.Parameters(splits=("vggss_10k",), ezvsl_url="http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/vggss_10k\.txt: cannot be fetched: .*lists_dir"):
        vggsound.build_tables(parameters, cache_dir=tmp_path)
    with pytest.raises(DataError, match="is not an address"):
        vggsound.build_tables(replace(parameters, ezvsl_url="file:///etc"), cache_dir=tmp_path)


# --- small lists


@pytest.fixture
def small(tmp_path):
    """A folder with a small list of each kind, every file in the published form."""
    folder = tmp_path / "lists"
    (folder / "ezvsl").mkdir(parents=True)
    (folder / "vggss_10k.txt").write_text("--abcdefghi_000010\n_bcdefghijk_000020")
    (folder / "ezvsl" / "vggss_test.csv").write_bytes(b"\xef\xbb\xbf-cdefghijkl_000030\r\n\r\n--abcdefghi_000010\r\n")
    boxes = [
        {"file": "-cdefghijkl_000030", "class": "dog, barking", "bbox": [[0.1, 0.2, 0.3, 1.5], [0, 0, 1, 1]]},
        {"file": "--abcdefghi_000010", "class": "car", "bbox": [[0.5, 0.5, 0.4, 0.6]]},
    ]
    (folder / "vggss.json").write_text(json.dumps(boxes))
    (folder / "vggss_test_plus_silent.csv").write_bytes(
        b"video,audio,label\r\n-cdefghijkl_000030,_bcdefghijk_000020,non-sounding\r\n"
        b"defghijklmn_000007,defghijklmn_000007,non-sounding\r\n"
    )
    (folder / "vggsound.csv").write_text('--abcdefghi,10,"car, passing by",train\nefghijklmno,5,"dog ""bow""",test\n')
    return folder


def test_one_clip_in_several_lists_is_one_row(small, tmp_path):
    clips, samples = vgg_tables(small, tmp_path, "vggss_10k", "vggss_test", "vggss_test_plus_silent")
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
    assert rows["-cdefghijkl_000030"]["boxes"] == [[0.1, 0.2, 0.3, 1.5], [0, 0, 1, 1]]  # as published
    assert rows["-cdefghijkl_000030"]["label"] == "dog, barking"
    negative = rows["-cdefghijkl_000030+_bcdefghijk_000020"]
    assert (negative["clip_id"], negative["audio_clip_id"]) == ("-cdefghijkl_000030", "_bcdefghijk_000020")
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
        ("--abcdefghi,ten,x,train", "line 1: found"),
        ("--abcdefghi,10,x,valid", "line 1: .*expected a YouTube id and train or test"),
        ("--abcdefghi,10,x,train\n--abcdefghi,10,y,test", "line 2: clip --abcdefghi_000010 is there twice"),
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
    few, more = lists.select(ids, 50), lists.select(ids, 200)
    assert len(few) == 50
    assert set(few) < set(more)
    assert few == sorted(few)
    assert ids.index(few[-1]) > 800  # not the first lines
    assert lists.select(ids[:10], 50) == ids[:10]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\r\n", "is empty"),
        (b"<!DOCTYPE html>\n<html>", r"line 1: found '<!DOCTYPE html>', expected a clip id"),
        (b"--abcdefghi_000010\n--abcdefghi_000010\n", "line 2: --abcdefghi_000010 is there twice, first in line 1"),
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
        (b"video,audio,label\n-cdefghijkl_000030,x,non-sounding", "line 2: .*expected two of a clip id"),
        (b"video,audio,label\n-cdefghijkl_000030,_bcdefghijk_000020,quiet", "line 2: label is 'quiet'"),
        (b"video,audio,label\n" + 2 * b"-cdefghijkl_000030,_bcdefghijk_000020,non-sounding\n", "line 3: .*twice"),
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
        (lambda e: e.append(e[0]), r"entry 2 \(-cdefghijkl_000030\): this clip is there twice"),
        (lambda e: e[1].pop("bbox"), "entry 1: found"),
        (lambda e: e[1].update(file="../x"), "entry 1: file is '../x'"),
        (lambda e: e[1].update({"class": ""}), "entry 1 .*class is ''"),
        (lambda e: e[1].update(bbox=[]), "entry 1 .*expected a list of boxes"),
        (lambda e: e[1].update(bbox=[[0, 1, 2]]), r"entry 1 .*box '\[0, 1, 2\]', expected four numbers"),
        (lambda e: e[1].update(bbox=[[0, 1, 2, float("nan")]]), "entry 1 .*expected four numbers"),
        (lambda e: e[1].update(bbox=[[0, 1, 2, True]]), "entry 1 .*expected four numbers"),
        (lambda e: e[1].update(file="zzzzzzzzzzz_000001"), "test clip --abcdefghi_000010 has no boxes"),
    ],
)
def test_wrong_boxes_are_refused(small, tmp_path, change, message):
    entries = json.loads((small / "vggss.json").read_text())
    change(entries)
    (small / "vggss.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match=message):
        vgg_tables(small, tmp_path, "vggss_test")


def test_broken_json_is_refused(tmp_path):
    for content in (b"[{", b"\xff\xfe", b"[" * 200000):
        (tmp_path / "vggss.json").write_bytes(content)
        with pytest.raises(DataError, match=r"vggss\.json: not readable JSON"):
            read_vggss(tmp_path / "vggss.json", pattern=vggsound.CLIP_ID)


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


# --- Flickr


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
    assert clips[0]["url"] == "http://www.flickr.com/videos/47762553@N00/9419455509/play/orig/8461e78d0d"
    (folder / "urls_public.txt").write_text("<html>\n<body>\n503\n</body>\n")
    with pytest.raises(DataError, match="4 of 4 lines are no Flickr address"):
        flickr_tables(folder, tmp_path, "flickr_10k")


def test_flickr_typing_error_boxes_and_frames(tmp_path, caplog):
    folder, annotations = tmp_path / "lists", tmp_path / "xml"
    folder.mkdir()
    annotations.mkdir()
    (folder / "flickr_test.csv").write_bytes(b"3908875357,0\r\n12158276143,93\r\n777788889999,1\r\n")
    (folder / "imagetoframe.pickle").write_bytes(
        pickle.dumps({"12158276143": [374, 375], "777788889999": [1]}, protocol=2)
    )
    first = "<bbox><i>0</i><xmin>64</xmin><ymin>0</ymin><xmax>128</xmax><ymax>256</ymax></bbox>"
    second = "<bbox><i>0</i><a>1</a><b>2</b><c>3</c><d>4</d></bbox><bbox><i/><a>1</a><b>2</b><c>1</c><d>4</d></bbox>"
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<a><u/></a>", "holds no bbox element"),
        ("<a><u><bbox><i/><x>1</x><y>2</y><z>3</z></bbox></u>", "not readable XML"),
        ("<a><u><bbox><x>1</x><y>2</y><z>3</z></bbox></u></a>", "annotator 1: a bbox has 3 values"),
        ("<a><u><bbox><x>9</x><y>2</y><z>3</z><w>4</w></bbox></u></a>", "ends before it begins"),
        ("<a><u><bbox><x>1</x><y>2</y><z>300</z><w>4</w></bbox></u></a>", "xmax is '300', expected an integer"),
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


def test_published_frames_are_pinned_by_what_they_say(shared):
    choices = read_frame_choices(shared("lists", "htf", "imagetoframe.json"))
    text = json.dumps(choices, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == flickr._FRAMES_CONTENT_SHA256["imagetoframe"]


@pytest.fixture(autouse=True)
def _warnings(caplog):
    caplog.set_level(logging.WARNING)
