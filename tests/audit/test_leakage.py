"""Overlap of training and test splits, and coverage of the published test sets."""

import csv
import io
import json

import pyarrow as pa
import pytest

from earshot.errors import ParameterError, RunError
from earshot.tables import CLIPS, DOWNLOADS, SAMPLES, write_table
from pipeline.audit.coverage import audit_coverage, describe_coverages, find_coverage
from pipeline.audit.leakage import (
    AuditParameters,
    audit_leakage,
    check_leakage,
    describe_overlaps,
    find_overlaps,
    read_test_splits,
    role_of,
    splits_of_role,
)
from pipeline.base.project import Project
from pipeline.datasets import flickr, vggsound
from pipeline.datasets.dataset import PublishedTestSet, load
from tests.helpers.command_helpers import call


def clips_table(*rows):
    names = ("clip_id", "video_id", "splits")
    rows = [dict.fromkeys(CLIPS.columns.names) | dict(zip(names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(rows, schema=CLIPS.columns)


CLIPS_EXAMPLE = clips_table(
    ("a_1", "a", ["train", "test"]),
    ("a_2", "a", ["test"]),
    ("b_1", "b", ["test"]),
    ("b_2", "b", ["other_train"]),
    ("c_1", "c", ["val"]),
    ("d_1", "d", ["train"]),
)


def overlaps_by_name(clips, dataset="x"):
    """The overlaps of the splits whose names say what they are for."""
    return find_overlaps(
        clips,
        dataset=dataset,
        train_splits=splits_of_role(clips, "train"),
        test_splits=splits_of_role(clips, "test"),
    )


def test_overlap_by_clip_and_by_video():
    overlaps = {(o.train_split, o.test_split): o for o in overlaps_by_name(CLIPS_EXAMPLE)}
    assert set(overlaps) == {("train", "test"), ("other_train", "test")}
    first, second = overlaps["train", "test"], overlaps["other_train", "test"]
    assert (first.num_test_clips, first.num_shared_clips, first.num_shared_video_clips) == (3, 1, 2)
    assert first.examples == ("a_1",)
    assert (second.num_shared_clips, second.num_shared_video_clips, second.examples) == (
        0,
        1,
        ("b_1",),
    )
    assert second.is_leakage  # another part of a training video is enough
    chosen = find_overlaps(
        CLIPS_EXAMPLE, dataset="x", train_splits=["val"], test_splits=["test", "absent"]
    )
    assert [(o.test_split, o.num_test_clips, o.is_leakage) for o in chosen] == [
        ("test", 3, False),
        ("absent", 0, False),
    ]


def test_the_bytes_of_a_training_clip_under_another_id_are_leakage():
    sha256_of = {"a_1": "1", "d_1": "2", "b_1": "2", "c_1": None}
    chosen = {"train_splits": ["train"], "test_splits": ["test"]}
    [overlap] = find_overlaps(CLIPS_EXAMPLE, dataset="x", sha256_of=sha256_of, **chosen)
    assert (overlap.num_shared_clips, overlap.num_shared_video_clips, overlap.examples) == (
        2,
        3,
        ("a_1", "b_1"),
    )


def test_leakage_is_an_error_unless_allowed():
    overlaps = overlaps_by_name(CLIPS_EXAMPLE)
    with pytest.raises(
        RunError,
        match=r"x: training split train has 1 of the 3 clips of test split test .*a_1.*allow",
    ):
        check_leakage(overlaps, AuditParameters())
    check_leakage(overlaps, AuditParameters(allow_leakage=True))
    check_leakage([o for o in overlaps if not o.is_leakage], AuditParameters())


@pytest.mark.parametrize(
    ("split", "role"),
    [
        ("vggss_144k", "train"),
        ("vggss_heard", "train"),
        ("vggss_heard_test", "test"),
        ("htf_flickr_test_expanded", "test"),
        ("flickr_test_plus_silent", "test"),
        ("urbansas_unlabelled", "train"),
        ("urbansas_test", "test"),
        ("single", "test"),
        ("traffic", "test"),
        ("val", "val"),
        ("flickr_sup_train", "train"),
        ("local", "train"),
    ],
)
def test_roles(split, role):
    assert role_of(split, test_splits=load("sample").test_splits) == role


def test_published_lists_leak_as_known(shared, tmp_path):
    splits = ("vggss_144k", "vggss_10k", "htf_vgg_10k", "htf_vgg_144k", "vggss_test")
    parameters = vggsound.Parameters(splits=splits, lists_dir=str(shared("lists")))
    clips, _ = vggsound.build_tables(parameters, cache_dir=tmp_path)
    found = {
        o.train_split: (o.num_shared_clips, o.num_shared_video_clips)
        for o in overlaps_by_name(clips)
    }
    assert found == {
        "vggss_144k": (3709, 3784),
        "vggss_10k": (238, 252),
        "htf_vgg_10k": (0, 0),
        "htf_vgg_144k": (0, 0),
    }
    splits = ("flickr_144k", "flickr_10k", "htf_flickr_144k", "htf_flickr_10k", "flickr_test")
    parameters = flickr.Parameters(splits=splits, lists_dir=str(shared("lists")))
    clips, _ = flickr.build_tables(parameters, cache_dir=tmp_path)
    found = {o.train_split: o.num_shared_clips for o in overlaps_by_name(clips)}
    assert found == {"flickr_144k": 20, "flickr_10k": 1, "htf_flickr_144k": 0, "htf_flickr_10k": 0}


def test_coverage_and_its_bounds():
    ids = [f"clip{index}" for index in range(10)]
    sets = [
        PublishedTestSet("whole", "A", 10, frozenset(ids)),
        PublishedTestSet("part", "B", 4, frozenset(ids[:4])),
        PublishedTestSet("elsewhere", "D", 8),
    ]
    rows = {
        c.test_set: c
        for c in find_coverage(sets, dataset="x", clip_ids=ids[:9], ok_clip_ids=[*ids[2:9], "else"])
    }
    assert (rows["whole"].num_requested, rows["whole"].num_ok, rows["whole"].percent) == (
        9,
        7,
        70.0,
    )
    assert rows["whole"].note == "1 of its clips are in no selected split"
    assert rows["part"].percent == 50.0
    elsewhere = rows["elsewhere"]  # of 7 clips that are there at most 2 are not in it
    assert (elsewhere.percent, elsewhere.percent_low, elsewhere.percent_high) == (None, 62.5, 87.5)
    assert elsewhere.note == "its list is not on this machine: bounds from whole"


@pytest.fixture
def project(tmp_path):
    """VGG-SS in small: one of two test clips is there, one training clip is a test clip."""
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "vggss_10k.txt").write_text("--abcdefghi_000010\n_bcdefghijk_000020")
    (folder / "vggss_test.csv").write_text("--abcdefghi_000010\n-cdefghijkl_000030\n")
    boxes = [
        {"file": f, "class": "x", "bbox": [[0, 0, 1, 1]]}
        for f in ("--abcdefghi_000010", "-cdefghijkl_000030")
    ]
    (folder / "vggss.json").write_text(json.dumps(boxes))
    section = {"lists_dir": str(folder), "splits": ["vggss_10k", "vggss_test"]}
    project = Project(tmp_path, {"datasets": ["vggsound"], "sources": {"vggsound": section}})
    clips, _ = vggsound.build_tables(
        vggsound.Parameters(**section), cache_dir=project.dataset_cache_dir("vggsound")
    )
    write_table(project.clips_table_path("vggsound"), clips, CLIPS)
    rows = [
        dict.fromkeys(DOWNLOADS.columns.names) | {"clip_id": "--abcdefghi_000010", "status": "ok"}
    ]
    write_table(project.downloads_table_path("vggsound"), rows, DOWNLOADS)
    return project


def test_still_pictures_are_compared_with_the_lists_they_are_made_from(project, capsys):
    """A duet of a training clip, a frame of a training video, and a picture of unknown origin."""
    rows = [
        ("duet", "vggsound_duet_test", [("origin", "--abcdefghi_000010 -cdefghijkl_000030")]),
        ("clean", "vggsound_duet_test", [("origin", "-cdefghijkl_000030 -cdefghijkl_000040")]),
        ("frame", "avs_s4_test", [("origin", "_bcdefghijk")]),
        ("drawn", "is3_test", []),
    ]
    clips = clips_table(*((name, name, [split]) for name, split, _ in rows))
    write_table(project.clips_table_path("stills"), clips, CLIPS)
    nothing = dict.fromkeys(SAMPLES.columns.names)
    samples = [
        nothing | {"sample_id": name, "clip_id": name, "splits": [split], "attributes": attributes}
        for name, split, attributes in rows
    ]
    write_table(project.samples_table_path("stills"), samples, SAMPLES)

    # Only where the lists are there, too.
    assert audit_leakage(Project(project.root, {"datasets": ["stills"]}), "stills") == []
    overlaps = {overlap.test_split: overlap for overlap in audit_leakage(project, "stills")}
    found = {
        name: (o.num_test_clips, o.num_shared_clips, o.num_shared_video_clips, o.num_unknown_clips)
        for name, o in overlaps.items()
    }
    assert found == {
        "avs_s4_test": (1, 0, 1, 0),
        "is3_test": (1, 0, 0, 1),
        "vggsound_duet_test": (2, 1, 1, 0),
    }
    assert {o.train_split for o in overlaps.values()} == {"vggsound/vggss_10k"}
    assert overlaps["vggsound_duet_test"].examples == ("duet",)
    notes = describe_overlaps(overlaps[name] for name in ("is3_test", "vggsound_duet_test"))
    assert "1 of 1 test clips it is not known, since its pictures are synthetic" in notes[0]["text"]
    assert not notes[0]["title"].startswith("No overlap")
    assert "1 of 2 test clips are made from training clips" in notes[1]["text"]
    with pytest.raises(RunError, match="training split vggsound/vggss_10k has 1 of the 2 clips"):
        check_leakage(overlaps.values(), AuditParameters())


def run_audit(project, *options):
    return call(project, "audit", *options)


def test_the_command_in_all_formats(project, capsys):
    assert run_audit(project, "--allow-leakage") == 0
    text = capsys.readouterr().out
    assert "Overlap of training and test splits" in text
    assert "SSL-TIE" in text
    assert "never published" not in text
    assert text.count("its list is not on this machine") == 8
    run_audit(project, "--allow-leakage", "--format", "json")
    content = json.loads(capsys.readouterr().out)
    assert content["overlaps"][0]["num_shared_clips"] == 1
    by_name = {row["test_set"]: row for row in content["coverage"]}
    assert by_name["vggss_test"]["num_ok"] == 1
    assert by_name["htf_vggss_test"]["num_ok"] is None  # its list is not here
    run_audit(project, "--allow-leakage", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["audit"] for row in rows] == ["overlap"] + ["coverage"] * 9
    assert rows[0]["examples"] == "--abcdefghi_000010"


def test_findings_in_words(project):
    notes = describe_overlaps(audit_leakage(project, "vggsound"))
    notes += describe_coverages(audit_coverage(project, "vggsound"))
    assert notes[0] == {
        "title": "Leakage between vggss_10k and vggss_test (vggsound):",
        "text": "1 of 2 test clips are training clips; of 1 the video has a training clip.",
    }
    assert [note["title"] for note in notes[1:3]] == [
        "Coverage of vggss_test:",
        "Coverage of vggss_heard_test:",
    ]
    assert (
        "0.0 % of the 5,158 clips that LVS, EZ-VSL, SLAVC report on are here (5156 of its"
        in notes[1]["text"]
    )
    notes = describe_overlaps(audit_leakage(project, "vggsound", train_splits=["other"]))
    assert notes[0]["title"] == "No overlap of other and vggss_test (vggsound):"


def test_the_command_fails_on_leakage(project, capsys):
    with pytest.raises(RunError, match="vggss_10k has 1 of the 2 clips of test split vggss_test"):
        run_audit(project)
    assert "vggss_10k" in capsys.readouterr().out  # the tables are printed all the same
    project.params["audit"] = {"allow_leakage": True}
    assert run_audit(project) == 0


@pytest.mark.parametrize("option", ["train", "test"])
def test_a_split_that_is_not_there_is_no_all_clear(project, option):
    with pytest.raises(
        ParameterError, match=f"--{option} is 'vgss_10k', expected one of vggss_10k, vggss_test"
    ):
        run_audit(project, f"--{option}", "vgss_10k")


def test_the_lists_of_parts_of_vggss_are_read_where_they_are(project, capsys):
    """SSL-TIE names clips, SSPL has a second column, SSLalignment gives milliseconds."""
    folder = project.root / "lists"
    (folder / "ssltie").mkdir()
    (folder / "ssltie" / "test_vggss_4911.txt").write_text("--abcdefghi_000010.mp4\n")
    (folder / "vggss_test_4692.csv").write_text("--abcdefghi_000010,125\n-cdefghijkl_000030,125")
    (folder / "ours_vggss.txt").write_text("-cdefghijkl_30000_40000\n--abcdefghi_10000_20000\n")
    found = {row.num_clips: row for row in audit_coverage(project, "vggsound")}
    counts = {size: (found[size].num_requested, found[size].num_ok) for size in (4911, 4692, 4655)}
    assert counts == {4911: (1, 1), 4692: (2, 1), 4655: (2, 1)}
    assert "SSLalignment" in found[4655].used_by

    (folder / "ours_vggss.txt").write_text("x\n")
    capsys.readouterr()
    audit_coverage(project, "vggsound")
    printed = capsys.readouterr().err
    assert "ours_vggss.txt, line 1: found 'x', expected a clip id" in printed


def test_published_parts_of_vggss_are_those_of_its_test_clips(project, shared, tmp_path):
    names = {
        "test_vggss_4911.txt": "vggss_test_4911_ssltie.txt",
        "vggss_test_4692.csv": "vggss_test_4692_sspl.csv",
        "ours_vggss.txt": "vggss_test_4655_sslalignment.txt",
    }
    for name, source in names.items():
        text = shared("lists", "since2023", source).read_text()
        (project.root / "lists" / name).write_text(text)
    whole = (shared("lists", "ezvsl", "vggss_test.csv")).read_text()
    (project.root / "lists" / "vggss_test.csv").write_text(whole)
    section = project.params["sources"]["vggsound"]
    sets = vggsound.find_published_test_sets(vggsound.Parameters(**section), cache_dir=tmp_path)
    ids = {row.num_clips: row.clip_ids for row in sets}
    for size in (4911, 4692, 4655):
        assert len(ids[size]) == size
        assert ids[size] <= ids[5158]


@pytest.mark.parametrize(
    ("subsets", "message"),
    [
        ({"vggsound": "vggss_test"}, "vggsound is 'vggss_test', expected a list of splits"),
        ({"vggsound": None}, "vggsound is None, expected a list of splits"),
        ({"vggsound": [["vggss_test"]]}, "expected a list of splits"),
        ({"vggsond": ["vggss_test"]}, "names the dataset 'vggsond', expected some of flickr"),
        (["vggss_test"], "subsets is .'vggss_test'., expected datasets with lists of splits"),
        (
            {"vggsound": ["vggss_test", "vgss_test"]},
            "has 'vgss_test', which no clip is in; splits of the clips: vggss_10k, vggss_test",
        ),
    ],
)
def test_test_sets_that_would_be_empty_are_no_all_clear(project, subsets, message):
    project.params["evaluate"] = {"subsets": subsets}
    with pytest.raises(ParameterError, match=message):
        read_test_splits(project, "vggsound")


def test_the_test_set_of_every_clip_is_not_empty(project):
    project.params["evaluate"] = {"subsets": {"vggsound": ["all", "vggss_test"]}}
    test_splits = read_test_splits(project, "vggsound")
    overlaps = audit_leakage(
        project, "vggsound", train_splits=["vggss_10k"], test_splits=test_splits
    )
    assert [(o.test_split, o.num_test_clips, o.num_shared_clips) for o in overlaps] == [
        ("all", 3, 2),
        ("vggss_test", 2, 1),
    ]
