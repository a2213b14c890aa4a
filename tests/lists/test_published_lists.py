"""The published lists of VGG-Sound and Flickr-SoundNet: counts, splits, boxes, frames."""

import gzip
import hashlib
import json
import time

import pytest

from earshot import tables
from earshot.errors import DataError
from pipeline.audit.leakage import find_overlaps, role_of
from pipeline.datasets import flickr, vggsound
from pipeline.lists import vggsound_lists
from pipeline.lists.annotations import read_frame_choices
from pipeline.lists.flickr_lists import FRAMES_CONTENT_SHA256
from pipeline.lists.published_lists import Lists, iter_lines
from tests.helpers.downloads.list_tables import sizes_of

# All but vggsound.csv and SSL-TIE's 190,000 clips, of which nobody here has a copy.
ABSENT = {*vggsound.FULL_SPLITS, "ssltie_vgg_190k"}
VGG_LISTS = [name for name in vggsound.SPLITS if name not in ABSENT]


def test_all_vggsound_splits_have_their_published_sizes(shared, tmp_path):
    parameters = vggsound.Parameters(splits=tuple(VGG_LISTS), lists_dir=str(shared("lists")))
    clips, samples = vggsound.build_tables(parameters, cache_dir=tmp_path)
    start = time.process_time()
    tables.write_table(tmp_path / "clips.parquet", clips, tables.CLIPS)
    tables.write_table(tmp_path / "samples.parquet", samples, tables.SAMPLES)
    assert time.process_time() - start < 20
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
        "fnac_vgg_10k": 10000,
        "fnac_vgg_144k": 144000,
        "ssltie_vgg_10k": 10000,
        "ssltie_vgg_144k": 144000,
        "ssltie_heard": 70000,
        "ssltie_vggss_test": 4911,
        "ssltie_heard_test": 2425,
        "ssltie_unheard_test": 2463,
        "sspl_vggss_test": 4692,
        "sslalignment_vggss_test": 4655,
    }
    assert sizes_of(samples)["vggss_test_plus_silent"] == 2 * 5158
    ids = clips.column("clip_id").to_pylist()
    assert len(ids) == len(set(ids)) == 198001
    assert sum(clip_id.startswith("-") for clip_id in ids) > 1000
    sample_ids = samples.column("sample_id").to_pylist()
    assert len(sample_ids) == len(set(sample_ids)) == 202780
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
    assert (
        sum(row["audio_clip_id"] is None for row in negatives) == 379
    )  # their own sound comes from nothing seen
    assert not any(row["boxes"] for row in negatives)
    known = set(ids)
    assert all(
        row["clip_id"] in known and (row["audio_clip_id"] or row["clip_id"]) in known
        for row in negatives
    )


def test_test_clips_in_the_training_lists_of_each_repository_are_counted(shared, tmp_path):
    splits = [name for name in VGG_LISTS if "silent" not in name]
    parameters = vggsound.Parameters(splits=tuple(splits), lists_dir=str(shared("lists")))
    clips, _ = vggsound.build_tables(parameters, cache_dir=tmp_path)
    overlaps = find_overlaps(
        clips,
        dataset="vggsound",
        train_splits=[name for name in splits if role_of(name) == "train"],
        test_splits=["vggss_test"],
    )
    assert {row.train_split: row.num_shared_clips for row in overlaps} == {
        "vggss_10k": 238,
        "vggss_144k": 3709,
        "vggss_heard": 0,
        "htf_vgg_10k": 0,
        "htf_vgg_144k": 0,
        "fnac_vgg_10k": 229,
        "fnac_vgg_144k": 3715,
        "ssltie_vgg_10k": 0,
        "ssltie_vgg_144k": 0,
        "ssltie_heard": 2306,
    }


def test_lists_of_one_name_are_told_apart_by_their_folder(tmp_path):
    file = vggsound_lists.ID_LISTS["fnac_vgg_10k"]
    (tmp_path / "vggss_10k.txt").write_text("--abcdefghi_000010\n")
    lists = Lists({}, lists_dir=str(tmp_path), cache_dir=tmp_path, parameter="sources.vggsound")
    assert lists.find(file) is None  # EZ-VSL's
    assert lists.find(vggsound_lists.ID_LISTS["vggss_10k"]) == tmp_path / "vggss_10k.txt"
    with pytest.raises(DataError, match=r"holds no fnac/vggss_10k\.txt; add it"):
        lists.get(file)

    (tmp_path / "since2023").mkdir()
    copy = tmp_path / "since2023" / "vggss_144k_fnac.txt.gz"
    copy.write_bytes(gzip.compress(b"\xef\xbb\xbf--abcdefghi_000010\r\n"))
    path = lists.get(vggsound_lists.ID_LISTS["fnac_vgg_144k"])
    assert list(iter_lines(path)) == [(1, "--abcdefghi_000010")]
    copy.write_bytes(copy.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"fnac\.txt\.gz: not readable gzip"):
        list(iter_lines(copy))


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
    assert all(
        row["time_seconds"] is not None
        for row in rows.values()
        if "htf_flickr_test" in row["splits"]
    )
    assert rows["10000130166"]["time_seconds"] == pytest.approx(
        75.5 / 30
    )  # frame 76, HTF takes the one before
    assert rows["5344317532"]["time_seconds"] == pytest.approx(
        73.5 / 30
    )  # replaced in HTF's script
    assert rows["10004743663"]["time_seconds"] is None
    assert clips.num_rows == len(set(clips.column("clip_id").to_pylist()))


def test_published_test_sets_are_known_by_their_ids(shared, tmp_path):
    parameters = vggsound.Parameters(lists_dir=str(shared("lists")))
    known = {
        s.num_clips: s.clip_ids
        for s in vggsound.find_published_test_sets(parameters, cache_dir=tmp_path)
    }
    assert {size: ids and len(ids) for size, ids in known.items()} == {
        5158: 5158, 2564: 2564, 2575: 2575, 4911: 4911, 4692: 4692, 4670: 4670, 4655: 4655,
        2425: 2425, 2463: 2463,
    }  # fmt: skip
    assert all(ids <= known[5158] for ids in known.values())
    assert len(known[2425] & known[2564]) == 1183
    parameters = flickr.Parameters(lists_dir=str(shared("lists")))
    known = {
        s.num_clips: s.clip_ids
        for s in flickr.find_published_test_sets(parameters, cache_dir=tmp_path)
    }
    assert {size: len(ids) for size, ids in known.items()} == {249: 249, 250: 250, 178: 178}
    assert "3908875350" in known[250] - known[249]


def test_published_frames_are_pinned_by_what_they_say(shared):
    choices = read_frame_choices(shared("lists", "htf", "imagetoframe.json"))
    text = json.dumps(choices, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == FRAMES_CONTENT_SHA256["imagetoframe"]
