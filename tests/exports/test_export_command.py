"""`export` on the command line: what it prints, the lines of the page, and what it refuses."""

import json
import re

import pytest

from earshot.tables import SAMPLES, read_table, write_table
from pipeline.__main__ import main
from tests.helpers.cache.export_project import DATASET, FIRST, GONE, write_lists
from tests.helpers.paths import ROOT


@pytest.fixture
def run(project, capsys):

    def run(*words):
        code = main(["--root", str(project.root), "export", "--quiet", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_command_says_what_is_there_and_what_is_missing(run, arrays, tmp_path):
    out = tmp_path / "out"
    code, printed, errors = run(DATASET, "--format", "webdataset", "--output", out)
    assert code == 0, errors
    assert "missing 1: frames: removed\n" in printed
    assert f"{out}: 4 of 5 samples of vggsound, 4 shards (4 written now)" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--format", "files"], "DATASET is 'nowhere', expected one of"),
        (
            [DATASET, "--format", "files", "--splits", "tset"],
            "--split is 'tset', expected some of",
        ),
        (
            [DATASET, "--format", "files", "--features", "depth"],
            "depth is not cached; run `dvc rep",
        ),
        ([DATASET, "--format", "webdataset", "--clips"], "clips fit into the format files, not"),
        ([DATASET, "--format", "files", "--shard-samples", "0"], "shard_samples is 0, expected 1"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    run, arrays, tmp_path, words, message
):
    code, _, errors = run(*words, "--output", tmp_path / "out")
    assert code == 2
    assert message in errors and errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_with_anything_else_is_refused(run, arrays, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    words = [DATASET, "--features", "frames", "--output"]
    code, _, errors = run(*words, tmp_path / "mine", "--format", "files")
    assert code == 2 and "holds files that no export wrote" in errors
    assert run(*words, tmp_path / "out", "--format", "files")[0] == 0
    code, _, errors = run(*words, tmp_path / "out", "--format", "webdataset")
    assert code == 2 and "with --format files, expected --format webdataset" in errors
    (tmp_path / "other").mkdir()
    assert run(*words, tmp_path / "other", "--format", "files", "--feature", "flow")[0] == 0
    code, _, errors = run(*words, tmp_path / "other", "--format", "files")
    assert code == 2 and "with --feature frames --feature flow, expected" in errors
    assert (tmp_path / "out" / "export.json").exists()


def test_nothing_to_export_is_an_error(run, arrays, project, tmp_path):
    path = project.samples_table_path(DATASET)
    rows = [row for row in read_table(path, SAMPLES).to_pylist() if row["sample_id"] == GONE]
    write_table(path, rows, SAMPLES)
    code, _, errors = run(DATASET, "--format", "webdataset", "--output", tmp_path / "out")
    assert code == 2
    assert f"none of the 1 samples has everything that --features names, for example {GONE}" in (
        errors
    )


def test_damaged_arrays_are_not_handed_over(run, arrays, project, tmp_path):
    (shard,) = project.feature_dir(DATASET, "flow").glob("*.h5")
    data = bytearray(shard.read_bytes())
    place = bytes(data).index(arrays["flow"][FIRST].tobytes())
    data[place] ^= 1
    shard.write_bytes(data)
    code, _, errors = run(DATASET, "--format", "webdataset", "--output", tmp_path / "out")
    assert code == 2
    assert "bytes differ from their checksum" in errors
    assert not (tmp_path / "out" / "export.json").exists()


def test_the_commands_of_the_page_work(project, arrays, tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "sharing.md").read_text()
    lines = re.findall(r"^    earshot ((?:export|import) .*)$", page, re.M)
    assert len(lines) == 5 and lines[-1].startswith("import ")
    monkeypatch.chdir(project.root)
    for line in lines[:-1]:
        assert main(line.split()) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "vggsound_hf" / "export.json").read_text())["samples"]["ok"] == 4
    monkeypatch.chdir(write_lists(tmp_path / "colleague").root)
    assert main(lines[-1].split()) == 0, capsys.readouterr().err
    assert "2 clips imported, 0 were there" in capsys.readouterr().out
