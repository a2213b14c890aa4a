"""``verify`` and ``repair`` on real media: what they print, and their exit codes."""

import dataclasses
import errno
import json
import os
import shutil

import numpy as np
import pytest

from earshot.errors import DataError, ParameterError, RunError
from earshot.files import sha256_of
from earshot.shard_format import read_layout
from earshot.tables import CLIPS, INDEX, read_table, write_table
from pipeline.features import detections
from pipeline.features.configure import configure_feature
from pipeline.features.detections import Detections
from pipeline.shards.account import account_path, write_account
from tests.helpers.cache.fake_cache import flip
from tests.helpers.cache.tiny_project import PARAMS, build_as_stages_do, make_tiny_project
from tests.helpers.command_helpers import call


@pytest.fixture
def project(tmp_path):
    return make_tiny_project(tmp_path)


def test_verify_names_the_sample_and_repair_restores_it(project, capsys):
    assert call(project, "verify") == 0
    assert "tiny/frames: 5 samples, whole" in capsys.readouterr().out
    (path,) = project.feature_dir("tiny", "frames").glob("*.h5")
    before = path.read_bytes()
    flip(path, read_layout(path).span(3)[0] + 5)
    assert call(project, "verify") == 1
    output = capsys.readouterr().out
    assert f"sample3: cache/tiny/frames/{path.name}: damaged\n" in output
    assert "sample2" not in output
    assert "earshot repair" in output
    assert call(project, "repair") == 0
    assert "1 shards restored byte for byte, 0 replaced by others" in capsys.readouterr().out
    assert path.read_bytes() == before
    assert call(project, "verify") == 0
    assert call(project, "repair") == 0
    assert "nothing to repair" in capsys.readouterr().out


def test_a_reason_for_which_nothing_failed_is_named(project, capsys):
    assert call(project, "repair", "--failed", "crashd") == 0
    message = "no sample failed with 'crashd'; reasons of failed samples: none\n"
    assert capsys.readouterr().out.startswith(message)


def test_a_damaged_index_over_a_damaged_shard(project, capsys):
    folder = project.feature_dir("tiny", "frames")
    (path,) = folder.glob("*.h5")
    before = {item.name: item.read_bytes() for item in folder.iterdir()}
    flip(path, path.stat().st_size - 1)
    (folder / "index.parquet").write_bytes(b"PAR1 no more")
    assert call(project, "verify") == 1
    assert "index.parquet: not a readable Parquet file" in capsys.readouterr().out
    assert call(project, "repair") == 0
    assert {item.name: item.read_bytes() for item in folder.iterdir()} == before


def test_an_index_that_is_gone_is_damage_and_comes_back(project, capsys):
    folder = project.feature_dir("tiny", "frames")
    before = {item.name: item.read_bytes() for item in folder.iterdir()}
    (folder / "index.parquet").unlink()
    assert call(project, "verify") == 1
    assert "cache/tiny/frames/index.parquet: missing" in capsys.readouterr().out
    assert call(project, "status", "--dataset", "tiny") == 0
    advice = "tiny/frames: its index is gone; `earshot repair --dataset tiny --feature frames`"
    assert advice in capsys.readouterr().out
    # The advice holds for a dataset that was taken out of params.yaml.
    others = dataclasses.replace(project, params={**PARAMS, "datasets": []})
    assert call(others, "repair", "--dataset", "tiny", "--feature", "frames") == 0
    assert {item.name: item.read_bytes() for item in folder.iterdir()} == before
    # Without the folder only the account of the last run tells that there was something.
    shutil.rmtree(folder)
    assert call(project, "verify") == 0
    write_text_account(project, "0" * 64)
    assert call(project, "verify") == 1
    assert call(project, "repair") == 0
    assert {item.name: item.read_bytes() for item in folder.iterdir()} == before


def write_text_account(project, index_sha256):
    account_path(project, "tiny", "frames").write_text(json.dumps({"index_sha256": index_sha256}))


def test_a_bit_of_the_index_that_still_reads_is_found_by_the_account(project, capsys):
    index_path = project.feature_dir("tiny", "frames") / "index.parquet"
    write_account(project, "tiny", "frames", num_bytes=1)
    account = account_path(project, "tiny", "frames").read_bytes()
    before = index_path.read_bytes()
    rows = read_table(index_path, INDEX).to_pylist()
    rows[1]["detail"] = "not what was written"
    write_table(index_path, rows, INDEX)
    assert call(project, "verify") == 1
    assert (
        "index.parquet: not the index that manifests/tiny/frames.json counts"
        in capsys.readouterr().out
    )
    assert call(project, "repair") == 0
    assert index_path.read_bytes() == before
    assert json.loads(account_path(project, "tiny", "frames").read_text())[
        "index_sha256"
    ] == sha256_of(index_path)
    assert json.loads(account)["ok"] == 5
    assert call(project, "verify") == 0


def test_no_flipped_bit_changes_what_a_table_says(project):
    """A flipped bit is refused or has no effect: pages have checksums, columns have a schema."""
    index_path = project.feature_dir("tiny", "frames") / "index.parquet"
    content, rows = index_path.read_bytes(), read_table(index_path, INDEX).to_pylist()
    num_refused = 0
    for place in range(len(content)):
        index_path.write_bytes(
            content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]
        )
        try:
            found = read_table(index_path, INDEX)
        except DataError:
            num_refused += 1
        else:
            assert found.select(INDEX.columns.names).to_pylist() == rows, place
    assert num_refused > len(content) // 2


def test_an_index_without_an_account_is_compared_with_the_manifest(project, capsys):
    index_path = project.feature_dir("tiny", "frames") / "index.parquet"
    before = index_path.read_bytes()
    rows = read_table(index_path, INDEX).to_pylist()
    rows[1]["sample_id"], rows[2]["sample_id"] = rows[2]["sample_id"], rows[1]["sample_id"]
    rows[4] |= {
        "status": "missing",
        "reason": "removed",
        "shard": None,
        "row": None,
        "key": None,
        "crc32": None,
    }
    write_table(index_path, rows, INDEX)
    assert call(project, "verify") == 1
    output = capsys.readouterr().out
    for name in ("sample1", "sample2", "sample4"):
        assert (
            f"{name}: cache/tiny/frames/index.parquet: its row is not of this sample's clip"
            in output
        )
    assert "sample0: " not in output
    assert call(project, "repair") == 0
    assert index_path.read_bytes() == before
    assert call(project, "verify") == 0


@pytest.mark.parametrize("damage", ["number", "half", "list"])
def test_a_damaged_account_is_named_and_written_again(project, capsys, damage):
    path = account_path(project, "tiny", "frames")
    shards = project.feature_dir("tiny", "frames").glob("*.h5")
    write_account(
        project, "tiny", "frames", num_bytes=sum(shard.stat().st_size for shard in shards)
    )
    before = path.read_bytes()
    assert call(project, "verify") == 0
    path.write_bytes(
        {"number": before.replace(b'"ok": 5', b'"ok": 4'), "half": before[:40], "list": b"[]\n"}[
            damage
        ]
    )
    assert call(project, "verify") == 1
    assert "manifests/tiny/frames.json: damaged" in capsys.readouterr().out
    assert call(project, "repair") == 0
    assert path.read_bytes() == before


def test_a_disk_that_is_full_for_the_account_gives_one_sentence(project, monkeypatch):
    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pipeline.shards.account.publish_text", full)
    with pytest.raises(
        RunError,
        match=r"manifests/tiny: no space left on the device; .* run the same command again",
    ):
        write_account(project, "tiny", "frames", num_bytes=1)


@pytest.mark.parametrize("table", ["clips", "samples", "downloads"])
def test_a_damaged_table_of_the_manifest_is_named(project, capsys, table):
    write_table(project.clips_table_path("tiny"), [{"clip_id": "clip0"}], CLIPS)
    assert call(project, "verify") == 0
    path = project.manifests_dir("tiny") / f"{table}.parquet"
    flip(path, 60)
    assert call(project, "verify") == 1
    output = capsys.readouterr().out
    assert f"manifests/tiny/{table}.parquet: not a readable Parquet file: " in output
    assert "`dvc repro` writes it again" in output
    assert "tiny/frames: 5 samples, whole" in output


@pytest.mark.parametrize("bit", [0, 7])
def test_no_flipped_bit_of_an_index_escapes_as_a_traceback(project, bit):
    index_path = project.feature_dir("tiny", "frames") / "index.parquet"
    content = index_path.read_bytes()
    messages = []
    for place in range(0, len(content), 5):
        index_path.write_bytes(
            content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
        )
        try:
            read_table(index_path, INDEX).to_pylist()
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all(
        message.startswith(f"{index_path}: ") and "\n" not in message for message in messages
    )


def test_files_that_are_no_part_of_the_cache(project, capsys):
    folder = project.feature_dir("tiny", "frames")
    (folder / "notes.txt").write_text("mine")
    assert call(project, "verify") == 0
    assert "cache/tiny/frames/notes.txt: is no part of the cache" in capsys.readouterr().out
    (folder / "x.h5").mkdir()
    assert call(project, "verify") == 1
    with pytest.raises(DataError, match=r"x\.h5: is a folder among shards; move it away"):
        call(project, "repair")
    (folder / "x.h5").rmdir()
    assert call(project, "verify") == 0


@pytest.mark.parametrize("column", ["shard", "row"])
def test_a_row_that_names_no_place_is_damage(project, capsys, column):
    path = project.feature_dir("tiny", "frames") / "index.parquet"
    before = path.read_bytes()
    rows = read_table(path, INDEX).to_pylist()
    rows[1][column] = None
    write_table(path, rows, INDEX)
    assert call(project, "verify") == 1
    line = "sample1: cache/tiny/frames/index.parquet: calls samples ok, and names no row"
    assert line in capsys.readouterr().out
    assert call(project, "repair") == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 300, "a/b"])
def test_a_name_that_is_none_of_a_dataset_is_refused(project, name):
    (project.root / "manifests" / "a" / "b").mkdir(parents=True)
    for command in (("status",), ("verify",), ("prune",), ("missing",), ("clips", "drop")):
        with pytest.raises(ParameterError, match="--dataset "):
            call(project, *command, "--dataset", name)


def test_features_that_are_not_cached_are_named(project, capsys):
    assert call(project, "verify", "--feature", "flow") == 0
    assert "tiny/flow: not cached yet" in capsys.readouterr().out
    shutil.rmtree(project.root / "cache" / "tiny")
    assert call(project, "verify") == 0
    assert capsys.readouterr().out == "tiny: no features cached yet; `dvc repro` does that\n"
    with pytest.raises(ParameterError, match="--dataset nothing: not known here; known: tiny"):
        call(project, "verify", "--dataset", "nothing")


def detect_brightness(rgb):
    """Seven boxes whose score is the brightness of the frame."""
    scores = np.full(7, rgb.mean() / 255)
    return Detections(np.tile([0.0, 0.0, 0.5, 0.5], (7, 1)), np.full(7, 3), scores)


def test_detections_are_verified_without_their_network_and_their_stage_repairs_them(
    project, capsys
):
    assert call(project, "verify") == 0
    assert "detections" not in capsys.readouterr().out  # not asked for, not there
    assert call(project, "verify", "--feature", "detections") == 0
    assert (
        "tiny/detections: not cached yet; `dvc repro` does that for the datasets in "
        "`detections.datasets`"
    ) in capsys.readouterr().out

    weights_path = project.root / "weights.pth"
    weights_path.write_bytes(b"weights")
    project.params["detections"]["detector"]["weights"] = str(weights_path)
    parameters = project.parameters(detections.Parameters, "detections.detector")
    feature = detections.make_feature(
        parameters, weights_dir=project.root, detect=detect_brightness
    )
    yesterday = detections.make_feature(
        detections.Parameters(weights=str(weights_path)),
        weights_dir=project.root,
        detect=detect_brightness,
    )
    build_as_stages_do(project, yesterday)
    build_as_stages_do(project, feature)
    (path,) = project.feature_dir("tiny", "detections").glob("*.h5")
    before = path.read_bytes()
    assert call(project, "verify") == 0

    flip(path, read_layout(path).span(2)[0] + 1)
    assert call(project, "verify") == 1
    output = capsys.readouterr().out
    assert f"sample2: cache/tiny/detections/{path.name}: damaged\n" in output
    assert "tiny/frames: 5 samples, whole" in output
    assert call(project, "repair") == 1
    assert (
        "tiny/detections: 1 damaged shards removed; `dvc repro detections@tiny` computes them again"
    ) in capsys.readouterr().out
    assert not path.exists()
    build_as_stages_do(project, feature)
    assert path.read_bytes() == before

    assert call(project, "prune") == 0
    assert "tiny/detections: 1 shards removed" in capsys.readouterr().out
    assert call(project, "verify") == 0


def test_without_weights_detections_have_no_keys(project):
    with pytest.raises(
        DataError, match=r"none.pth: found no such file of weights, .* `detections`"
    ):
        configure_feature(project, "detections")
