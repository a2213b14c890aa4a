"""``earshot score``: other people's maps, and what they may get wrong."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from earshot.tables import SAMPLES, write_table
from eval.results.files import read_results, read_scores
from eval.score import main
from tests.helpers.paths import ROOT
from tests.helpers.scoring.score_examples import make_row, make_samples


@pytest.fixture
def project(tmp_path):
    write_table(tmp_path / "manifests" / "sample" / "samples.parquet", make_samples(), SAMPLES)
    return tmp_path


def run(project, path, *options):
    return main([str(path), "--root", str(project), "--resamples", "50", *options])


def save(project, name="maps.npz", **arrays):
    np.savez(project / name, **arrays)
    return project / name


IDS = np.array([f"s{i}" for i in range(20)])
MAPS = np.random.default_rng(0).random((20, 7, 7), np.float32)


def test_scores_are_printed_and_written(project, capsys):
    path = save(project, sample_ids=IDS, maps=MAPS)
    options = (
        "--dataset",
        "sample",
        "--protocol",
        "lvs",
        "--protocol",
        "earshot",
        "--output",
        str(project / "out"),
    )
    assert run(project, path, *options) == 0
    printed = capsys.readouterr().out
    assert "maps on sample, protocol lvs: n 20 of 20 (100.0 %)" in printed
    results = read_results(project / "out")["results"]
    assert [r["protocol"] for r in results] == ["lvs", "earshot"]
    assert f"mean_ciou              {results[0]['mean_ciou']:.4f}" in printed
    assert read_scores(project / "out").num_rows == 40


def test_missing_and_spoilt_maps_are_named(project, capsys):
    maps = MAPS[:-8].copy()
    maps[1, 0, 0] = np.inf
    path = save(project, sample_ids=IDS[:-8], maps=maps)
    assert run(project, path, "--dataset", "sample", "--list-missing", "2") == 0
    printed = capsys.readouterr().out
    assert "n 11 of 20 (55.0 %)" in printed
    assert "not scored, no_map: 8: s12, s13, ... (6 more)" in printed
    assert "not scored, not_finite: 1: s1" in printed


def test_a_subset_is_scored_alone_and_says_so(project, capsys):
    path = save(project, sample_ids=IDS, maps=MAPS)
    assert run(project, path, "--dataset", "sample_single") == 0
    printed = capsys.readouterr().out
    assert "note: 10 maps are of samples outside sample_single and are not scored" in printed
    assert "n 10 of 10" in printed
    (project / "mine.txt").write_text("s3\ns4\n")
    (project / "train.txt").write_text("clip-s3\nclip-s9\n")
    options = ("--ids", str(project / "mine.txt"), "--train-list", str(project / "train.txt"))
    assert run(project, path, "--dataset", "sample", *options) == 0
    assert "maps on sample:mine, protocol earshot: n 2 of 2 (100.0 %)" in (
        printed := capsys.readouterr().out
    )
    assert "leakage 1" in printed


def test_a_table_of_ones_own_is_scored_by_its_name(project, capsys):
    (project / "params.yaml").write_text(
        "datasets: [zoo]\nsources: {zoo: {kind: table, path: zoo.csv}}\n"
    )
    path = save(project, sample_ids=IDS, maps=MAPS)
    assert run(project, path, "--dataset", "zoo") == 2
    assert "manifests/zoo/samples.parquet: not found; run `dvc repro sources@zoo`" in (
        capsys.readouterr().err
    )

    write_table(project / "manifests" / "zoo" / "samples.parquet", make_samples(), SAMPLES)
    assert run(project, path, "--dataset", "zoo") == 0  # its splits: single, test, traffic
    assert "maps on zoo_test, protocol earshot: n 20 of 20" in capsys.readouterr().out
    assert run(project, path, "--dataset", "zoo", "--split", "single") == 0
    assert "maps on zoo_single, protocol earshot: n 10 of 10" in capsys.readouterr().out

    for words, message in (
        (("zoo", "--split", "tset"), "--split is 'tset', expected one of single, test, traffic"),
        (("sample", "--split", "test"), "expected none: sample is no dataset of your own"),
    ):
        assert run(project, path, "--dataset", *words) == 2
        assert message in capsys.readouterr().err

    samples = make_samples().to_pylist()
    rows = [{**row, "splits": [f"part_{number % 2}"]} for number, row in enumerate(samples)]
    write_table(project / "manifests" / "zoo" / "samples.parquet", rows, SAMPLES)
    assert run(project, path, "--dataset", "zoo") == 2
    message = "zoo has the splits part_0, part_1; say with --split which one to score"
    assert message in capsys.readouterr().err


def test_a_training_list_in_another_spelling_is_no_all_clear(tmp_path, capsys):
    ids = ["1a2b3c4d5e6_000030", "-a2b3c4d5e6_000000"]
    boxes = [{"file": name, "class": "bell", "bbox": [[0, 0, 1, 0.5]]} for name in ids]
    (tmp_path / "vggss.json").write_text(json.dumps(boxes))
    path = save(tmp_path, sample_ids=np.array(ids), maps=MAPS[:2])
    train_path = tmp_path / "train.txt"
    options = (
        "--dataset",
        "vggss",
        "--annotations",
        str(tmp_path / "vggss.json"),
        "--train-list",
        str(train_path),
    )
    train_path.write_text(f"{ids[1]}\n")
    assert run(tmp_path, path, *options) == 0
    assert "leakage 1" in capsys.readouterr().out
    train_path.write_text("1a2b3c4d5e6_30000_40000\n")
    assert run(tmp_path, path, *options) == 2
    expected = (
        "train.txt, line 1: found '1a2b3c4d5e6_30000_40000', "
        "expected a clip id such as 1a2b3c4d5e6_000030"
    )
    assert expected in capsys.readouterr().err


def test_a_training_list_of_vggsound_counts_in_duets_and_not_in_synthetic_pictures(
    tmp_path, capsys
):
    boxes = [[0.0, 0.0, 1.0, 0.5]]
    rows = [
        make_row("a_b", boxes=boxes, splits=["is3_test"]),
        make_row(
            "-a2b3c4d5e6_000000+1a2b3c4d5e6_000030",
            boxes=boxes,
            splits=["vggsound_duet_test"],
            attributes=[("origin", "-a2b3c4d5e6_000000 1a2b3c4d5e6_000030")],
        ),
    ]
    table_path = tmp_path / "manifests" / "stills" / "samples.parquet"
    write_table(table_path, rows, SAMPLES)
    train_path = tmp_path / "train.txt"
    train_path.write_text("1a2b3c4d5e6_000030\n")

    leakage_of = {}
    for name, row in zip(("is3", "vggsound_duet"), rows, strict=True):
        path = save(tmp_path, sample_ids=np.array([row["sample_id"]]), maps=MAPS[:1])
        options = ("--dataset", name, "--train-list", str(train_path))
        assert run(tmp_path, path, *options) == 0
        leakage_of[name] = capsys.readouterr().out.split("leakage ")[1].splitlines()[0]
    assert leakage_of["vggsound_duet"] == "1"
    assert leakage_of["is3"] == (
        "not known (its pictures are synthetic, and its list does not name the clips of its sounds)"
    )


def test_maps_that_no_sample_of_the_subset_has_are_an_explicit_row(project, capsys):
    path = save(project, sample_ids=IDS[1::2], maps=MAPS[1::2])
    assert run(project, path, "--dataset", "sample_traffic", "--output", str(project / "out")) == 1
    printed, error = capsys.readouterr()
    assert "n 0 of 10 (0.0 %)" in printed
    assert "no sample was scored" in printed
    assert "maps.npz: none of the 10 samples of sample_traffic was scored" in error
    assert read_results(project / "out")["results"][0]["missing"] == {"no_map": 10}


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"sample_ids": IDS[[0, 0]], "maps": MAPS[:2]}, (), "maps.npz: sample id s0 appears twice"),
        (
            {"sample_ids": np.array(["q"]), "maps": MAPS[:1]},
            (),
            "'q' is not in sample (1 such ids); ids there look",
        ),
        (
            {"sample_ids": IDS, "maps": MAPS[:, None]},
            (),
            "maps has shape (20, 1, 7, 7), expected (n, height, width)",
        ),
        ({"sample_ids": IDS, "maps": MAPS[:19]}, (), "19 maps for 20 sample ids"),
        ({"sample_ids": IDS[:0], "maps": MAPS[:0]}, (), "holds no map"),
        ({"sample_ids": IDS, "maps": MAPS + 1j}, (), "maps holds complex64, expected numbers"),
        ({"sample_ids": IDS, "maps": MAPS.astype(str)}, (), "expected numbers"),
        (
            {"sample_ids": IDS.astype(object), "maps": MAPS},
            (),
            "sample_ids holds pickled Python objects, which are",
        ),
        (
            {f"id{i}": MAPS for i in range(9)},
            (),
            "(found id0, id1, id2, id3, id4, ... (4 more)), expected sample_ids",
        ),
        (
            {"sample_ids": IDS, "maps": MAPS},
            ("--annotations", "."),
            "is a folder, expected a samples.parquet",
        ),
        ({"ids": IDS, "maps": MAPS}, (), "has no array 'sample_ids' (found ids, maps)"),
        (
            {"sample_ids": IDS, "maps": MAPS},
            ("--protocol", "lsv"),
            "unknown protocol 'lsv', expected one of earshot",
        ),
        (
            {"sample_ids": IDS, "maps": MAPS},
            ("--dataset", "vgg"),
            "unknown test set 'vgg', expected one of flickr",
        ),
        (
            {"sample_ids": IDS, "maps": MAPS},
            ("--output", __file__),
            "where no folder can be made: File exists",
        ),
        (
            {"sample_ids": IDS, "maps": MAPS},
            ("--resamples", "0"),
            "--resamples is 0, expected at least 1",
        ),
        (
            {"sample_ids": IDS, "maps": MAPS},
            ("--ids", "nowhere.txt"),
            "nowhere.txt: not found, expected a list of ids",
        ),
        (
            {"sample_ids": IDS, "maps": MAPS},
            ("--annotations", "nowhere.parquet"),
            "nowhere.parquet: not found",
        ),
        (
            {"sample_ids": IDS, "maps": MAPS},
            ("--annotations", "nowhere.json"),
            "expected a samples.parquet",
        ),
    ],
)
def test_mistakes_get_one_sentence(project, capsys, arrays, options, message):
    path = save(project, **arrays)
    assert run(project, path, "--dataset", "sample", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_files_that_are_no_npz_are_refused(project, capsys):
    np.save(project / "one.npy", MAPS)
    (project / "text.npz").write_text("maps")
    (project / "cut.npz").write_bytes(save(project, sample_ids=IDS, maps=MAPS).read_bytes()[:300])
    (project / "empty.npz").write_bytes(b"")
    for name, message in {
        "one.npy": "holds a single array, expected an .npz",
        "text.npz": "not a readable .npz file: it is of another format",
        "manifests": "none of its 0 files is a map",
        "cut.npz": "not a readable .npz file",
        "empty.npz": "not a readable .npz file",
        "none.npz": "not found",
    }.items():
        assert run(project, project / name, "--dataset", "sample") == 2
        assert f"{name}: {message}" in capsys.readouterr().err


def test_a_pickle_is_not_run(project, capsys):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(project / "exploded"),)

    (project / "bomb.npz").write_bytes(pickle.dumps(Bomb()))
    assert run(project, project / "bomb.npz", "--dataset", "sample") == 2
    np.savez(project / "inner.npz", sample_ids=np.array([Bomb()], dtype=object), maps=MAPS[:1])
    assert run(project, project / "inner.npz", "--dataset", "sample") == 2
    assert not (project / "exploded").exists()


def test_command_line_on_vggss(shared, tmp_path):
    """Score another system's maps of VGG-SS under the LVS protocol, as a user does.

    None of Earshot's stages runs.
    """
    annotations = shared("lists", "ezvsl", "vggss.json")
    ids = [entry["file"] for entry in json.loads(annotations.read_text())]
    np.savez(
        tmp_path / "theirs.npz",
        sample_ids=np.array(ids),
        maps=np.ones((len(ids), 1, 1), np.float32),
    )
    command = [
        sys.executable,
        "-m",
        "eval.score",
        str(tmp_path / "theirs.npz"),
        "--dataset",
        "vggss",
        "--protocol",
        "lvs",
    ]
    done = subprocess.run(
        [*command, "--annotations", str(annotations), "--root", str(tmp_path), "--resamples", "20"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "n 5158 of 5158 (100.0 %)" in done.stdout
    assert "success_rate           0.2195" in done.stdout
    assert "auc                    0.3125" in done.stdout


def test_lists_are_found_where_params_say(shared, tmp_path, capsys):
    lists_dir = shared("lists", "htf", "vggss_test_trimmed.csv").parent.parent
    (tmp_path / "params.yaml").write_text(f"sources:\n  vggsound:\n    lists_dir: {lists_dir}\n")
    ids = (lists_dir / "htf" / "vggss_test_trimmed.csv").read_text().split()[:3]
    path = save(tmp_path, sample_ids=np.array(ids), maps=MAPS[:3])
    assert run(tmp_path, path, "--dataset", "vggss_htf", "--protocol", "htf") == 0
    assert "maps on vggss_htf, protocol htf: n 3 of 4670" in capsys.readouterr().out
