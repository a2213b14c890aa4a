"""Exports: the formats, the account of all samples, going on after a stop."""

import csv
import io
import json
import shutil
import subprocess
import tarfile

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.io import wavfile

from earshot.errors import DataError, ParameterError
from earshot.files import sha256_of
from earshot.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, read_table, write_table
from pipeline.downloads.account.ledger import read_entries
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.engine import download_clips
from pipeline.downloads.parameters import DownloadParameters
from pipeline.exports import export as export_module
from pipeline.exports.encoding import read_clip_sound
from pipeline.exports.export import export_dataset
from pipeline.exports.parameters import ExportParameters
from pipeline.exports.plan import name_splits
from pipeline.media.files.ffmpeg import find_ffmpeg
from tests.helpers.cache.export_project import (
    DATASET,
    DOTTED,
    FIRST,
    GONE,
    NEGATIVE,
    SAMPLE_SPLITS,
    SECOND,
    import_into,
    write_features,
    write_lists,
)
from tests.helpers.media.clip_factory import make_clip

ALL = ("frames", "flow", "spectrograms", "waveforms")


def export(project, folder, format_name="webdataset", features=ALL, **options):
    parameters = ExportParameters(format=format_name, features=features, **options)
    return export_dataset(project, DATASET, parameters, folder, is_quiet=True)


def read_account(folder):
    with open(folder / "samples.csv", newline="") as file:
        return {row["sample_id"]: row for row in csv.DictReader(file)}


# Every format: the account, the index, the hashes.


@pytest.mark.parametrize("format_name", ["webdataset", "huggingface", "files"])
def test_paths_of_this_machine_are_not_handed_over(project, arrays, tmp_path, format_name):
    path, index_path = (
        project.clips_table_path(DATASET),
        project.feature_dir(DATASET, "frames") / "index.parquet",
    )
    before = {place: place.read_bytes() for place in (path, index_path)}
    try:
        rows = read_table(path, CLIPS).to_pylist()
        assert [row["clip_id"] for row in rows] == [FIRST, SECOND, GONE]
        rows[0]["url"] = "file:///home/somebody/a.mp4"
        rows[2]["url"] = "file:///home/somebody/my%20videos/c.mp4"
        write_table(path, rows, CLIPS)

        index = read_table(index_path, INDEX).to_pylist()
        (row,) = (row for row in index if row["sample_id"] == GONE)
        row["detail"] = (
            f"/home/somebody/my videos/c.mp4: no such file; {project.root}/x.mp4: no such file; "
            "'/home/somebody/else/y.txt' and https://example.org/a/b.mp4 and file:///home/somebody/z"
        )
        write_table(index_path, index, INDEX)
        export(project, tmp_path / "out", format_name)
    finally:
        for place, content in before.items():
            place.write_bytes(content)

    account = read_account(tmp_path / "out")
    assert account[FIRST]["url"] == "" and account[SECOND]["url"].startswith("http")
    assert account[GONE]["detail"].endswith(
        ": c.mp4: no such file; x.mp4: no such file; 'y.txt' and https://example.org/a/b.mp4 and z"
    )
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"somebody" not in file.read_bytes()


@pytest.mark.parametrize("format_name", ["webdataset", "huggingface", "files"])
def test_every_sample_is_accounted_for(project, arrays, tmp_path, format_name):
    folder = tmp_path / "out"
    summary, num_written = export(project, folder, format_name)
    assert (summary.num_exported, num_written) == (4, 4)

    account = read_account(folder)
    assert list(account) == list(SAMPLE_SPLITS)
    assert [row["status"] for row in account.values()] == ["ok"] * 4 + ["missing"]
    assert account[GONE]["reason"] == "frames: removed"
    assert account[GONE]["detail"] == "frames: removed: Video gone"
    assert account[GONE]["files"] == ""
    for row in list(account.values())[:4]:
        assert row["files"] and all((folder / name).is_file() for name in row["files"].split(";"))

    index = json.loads((folder / "export.json").read_text())
    assert index["samples"] == {"ok": 4, "missing": 1}
    assert index["splits"]["train"] == {"listed": 2, "ok": 1}
    on_disk = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and ".export" not in path.parts
    }
    assert on_disk == {*index["files"], "export.json"}
    for name, facts in index["files"].items():
        assert sha256_of(folder / name) == facts["sha256"], name


def test_a_sample_of_several_splits_is_written_once(project, arrays, tmp_path):
    summary, _ = export(project, tmp_path / "out")
    assert sum(len(shard.samples) for shard in summary.shards) == 4
    lists = {path.stem: path.read_text() for path in (tmp_path / "out" / "splits").iterdir()}
    both = "shards/vggss_heard_test__vggss_test-000000.tar\n"
    assert lists["vggss_heard_test"] == both
    assert lists["vggss_test"] == f"{both}shards/vggss_test-000000.tar\n"


def test_only_selected_splits_are_exported(project, arrays, tmp_path):
    summary, _ = export(project, tmp_path / "out", splits=("vggss_test",))
    assert [row["sample_id"] for row in summary.rows] == [SECOND, DOTTED]
    assert not summary.obstacles


# Plain files.


def test_frames_and_sounds_lie_where_other_code_reads_them(project, arrays, tmp_path):
    folder = tmp_path / "out"
    export(project, folder, "files", ("frames", "audio"))
    stems = {path.stem for path in (folder / "frames").iterdir()}
    assert stems == {path.stem for path in (folder / "audio").iterdir()}
    assert {FIRST, SECOND} <= stems
    frame = cv2.cvtColor(cv2.imread(str(folder / "frames" / f"{SECOND}.jpg")), cv2.COLOR_BGR2RGB)
    assert np.abs(frame.astype(int) - arrays["frames"][SECOND]).max() <= 4

    # The sound is whole and neither repeated nor cut: that of the second clip ends sooner.
    rate, first = wavfile.read(folder / "audio" / f"{FIRST}.wav")
    assert rate == 16000 and first.dtype == np.int16 and first.ndim == 1
    assert len(first) / rate == pytest.approx(2.0, abs=0.1)
    _, second = wavfile.read(folder / "audio" / f"{SECOND}.wav")
    assert len(second) / rate == pytest.approx(1.5, abs=0.1)
    assert find_pitch(first, rate) == pytest.approx(300, abs=2)
    assert find_pitch(second, rate) == pytest.approx(500, abs=2)
    # A negative has the sound of the other clip.
    account = read_account(folder)
    _, negative = wavfile.read(folder / "audio" / f"{account[NEGATIVE]['name']}.wav")
    np.testing.assert_array_equal(negative, second)
    assert (folder / "splits" / "train.txt").read_text() == f"{FIRST}\n"


def test_a_sound_that_begins_late_keeps_its_place(tmp_path):
    make_clip(tmp_path / "picture.mp4", size="96x64", fps="8", seconds=2, sound=None)
    make_clip(tmp_path / "sound.wav", seconds=1, picture=None)
    words = "-y -v error -i picture.mp4 -itsoffset 0.5 -i sound.wav -c copy late.mkv"
    subprocess.run([find_ffmpeg(), *words.split()], cwd=tmp_path, check=True)
    part = read_clip_sound("audio", tmp_path / "late.mkv")
    rate, waveform = wavfile.read(io.BytesIO(part.data))
    assert len(waveform) / rate == pytest.approx(1.5, abs=0.02)
    loud = np.flatnonzero(np.abs(waveform) > 500)
    assert loud[0] / rate == pytest.approx(0.5, abs=0.01)


def find_pitch(waveform, rate):
    spectrum = np.abs(np.fft.rfft(waveform.astype(float)))
    return np.argmax(spectrum) * rate / len(waveform)


def test_png_keeps_every_bit(project, arrays, tmp_path):
    export(project, tmp_path / "out", "files", ("frames", "flow"), pictures="png")
    path = tmp_path / "out" / "frames" / f"{FIRST}.png"
    frame = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(frame, arrays["frames"][FIRST])
    flow = np.load(tmp_path / "out" / "flow" / f"{FIRST}.npy")
    np.testing.assert_array_equal(flow, arrays["flow"][FIRST])


def test_a_clip_that_is_not_here_lends_its_cached_waveform(project, arrays, tmp_path):
    shutil.rmtree(project.clips_dir(DATASET))
    export(project, tmp_path / "out", "files", ("frames", "audio"))
    rate, sound = wavfile.read(tmp_path / "out" / "audio" / f"{FIRST}.wav")
    assert rate == 16000
    np.testing.assert_array_equal(sound, arrays["waveforms"][FIRST])


def test_all_parquet_files_have_the_same_columns(project, arrays, tmp_path):
    (project.clips_dir(DATASET) / f"{FIRST}.mp4").unlink()
    export(project, tmp_path / "out", "huggingface", ("frames", "audio"))
    tables = {
        path.stem: pq.read_table(path) for path in sorted((tmp_path / "out" / "data").iterdir())
    }
    first, *others = (table.schema for table in tables.values())
    assert len(others) == 3
    assert all(first.equals(other, check_metadata=True) for other in others)
    origins = {name: table["audio_read_from"].to_pylist() for name, table in tables.items()}
    assert origins["train-000000"] == ["waveforms"]
    assert origins["vggss_test-000000"] == ["clip"]
    assert tables["train-000000"]["audio_start_seconds"].to_pylist() == [0.25]


def test_a_sample_without_any_sound_is_missing_with_a_sentence(project, arrays, tmp_path):
    shutil.rmtree(project.feature_dir(DATASET, "waveforms"))
    (project.clips_dir(DATASET) / f"{FIRST}.mp4").unlink()
    export(project, tmp_path / "out", "files", ("frames", "audio"))
    row = read_account(tmp_path / "out")[FIRST]
    assert (row["status"], row["reason"]) == ("missing", "audio: no file")
    assert row["detail"] == (
        f"audio: the file {FIRST}.mp4 of clip {FIRST} is not on this machine, and no waveform is "
        "cached"
    )
    assert not (tmp_path / "out" / "frames" / f"{FIRST}.jpg").exists()


def test_a_sound_that_cannot_be_read_is_missing(project, arrays, media, tmp_path):
    path = project.clips_dir(DATASET) / f"{FIRST}.mp4"
    path.write_bytes(b"no media" * 100)
    summary, _ = export(project, tmp_path / "out", "files", ("frames", "audio"))
    row = read_account(tmp_path / "out")[FIRST]
    assert (row["status"], row["reason"]) == ("missing", "audio: corrupt")
    # The negative has the picture of this clip, which is cached, and the sound of the other one.
    assert read_account(tmp_path / "out")[NEGATIVE]["status"] == "ok"
    assert summary.num_exported == 3

    # A clip that was put right is tried again.
    shutil.copy(media / path.name, path)
    summary, num_written = export(project, tmp_path / "out", "files", ("frames", "audio"))
    assert (summary.num_exported, num_written) == (4, 1)


@pytest.mark.parametrize("format_name", ["files", "huggingface", "webdataset"])
def test_no_sound_that_can_be_read_is_an_error(project, arrays, tmp_path, format_name):
    for path in project.clips_dir(DATASET).glob("*.mp4"):
        path.write_bytes(b"no media" * 100)
    with pytest.raises(DataError, match="none of the 5 samples has everything"):
        export(project, tmp_path / "out", format_name, ("frames", "audio"))
    assert not (tmp_path / "out" / "export.json").exists()


# An export comes back.


def test_the_clips_of_an_export_come_back_through_import(project, arrays, tmp_path):
    folder = tmp_path / "out"
    export(project, folder, "files", ("frames", "audio"), has_clips=True)

    colleague = write_lists(tmp_path / "colleague")
    report = import_into(colleague, folder)
    assert sorted(report.imported) == [FIRST, SECOND]
    assert not report.rejected
    tables = [
        read_table(which.downloads_table_path(DATASET), DOWNLOADS).to_pylist()
        for which in (project, colleague)
    ]
    for table in tables:
        for row in table:
            del row["last_attempt"]
    assert tables[0] == tables[1]
    # The stage of downloads finds nothing to fetch of what was exported.
    clips = read_table(colleague.clips_table_path(DATASET), CLIPS)
    num_entries = len(list(read_entries(colleague.ledger_path(DATASET))))
    download_clips(
        clips.slice(0, 2),
        AccountPaths(colleague.clips_dir(DATASET), colleague.ledger_path(DATASET)),
        parameters=colleague.parameters(DownloadParameters, "download"),
        dataset=DATASET,
        is_quiet=True,
    )
    assert len(list(read_entries(colleague.ledger_path(DATASET)))) == num_entries == 2


def test_frames_and_sounds_alone_come_back_as_still_clips(project, arrays, tmp_path):
    export(project, tmp_path / "out", "files", ("frames", "audio"))
    colleague = write_lists(tmp_path / "colleague")
    report = import_into(colleague, tmp_path / "out")
    assert sorted(report.imported) == [FIRST, SECOND] and not report.rejected
    rows = read_table(colleague.downloads_table_path(DATASET), DOWNLOADS).to_pylist()
    assert ["still" in (row["flags"] or ()) for row in rows] == [True, True, False]


# Going on.


def test_a_second_run_writes_nothing_and_an_undisturbed_one_the_same_bytes(
    project, arrays, tmp_path
):
    export(project, tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a" / "shards").iterdir()}
    _, num_written = export(project, tmp_path / "a")
    assert num_written == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}

    export(project, tmp_path / "b")
    for path in before:
        assert path.read_bytes() == (tmp_path / "b" / "shards" / path.name).read_bytes()


@pytest.mark.parametrize("format_name", ["webdataset", "huggingface", "files"])
def test_a_stopped_export_has_no_index_and_goes_on(
    project, arrays, tmp_path, monkeypatch, format_name
):
    folder = tmp_path / "out"
    write_shard, calls = export_module._write_shard, []

    def stop_at_the_third(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write_shard(*arguments)

    monkeypatch.setattr(export_module, "_write_shard", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        export(project, folder, format_name)
    assert not (folder / "export.json").exists()

    monkeypatch.setattr(export_module, "_write_shard", write_shard)
    _, num_written = export(project, folder, format_name)
    assert num_written == 2
    assert (folder / "export.json").exists()


@pytest.mark.parametrize("damage", ["", "[]", '{"name": "x"}', '{"name": "x", "splits": 1}'])
def test_a_shard_whose_record_is_damaged_is_written_again(project, arrays, tmp_path, damage):
    export(project, tmp_path / "out", "files", ("frames",))
    paths = sorted((tmp_path / "out" / ".export").glob("*-*.json"))
    before = [path.read_bytes() for path in paths]
    paths[0].write_text(damage)
    _, num_written = export(project, tmp_path / "out", "files", ("frames",))
    assert num_written == 1
    assert [path.read_bytes() for path in paths] == before

    (tmp_path / "out" / ".export" / "about.json").write_text("[]")
    with pytest.raises(ParameterError, match="holds files that no export wrote"):
        export(project, tmp_path / "out", "files", ("frames",))


def test_a_dataset_without_code_is_refused_before_anything_is_written(project, arrays, tmp_path):
    shutil.copytree(project.manifests_dir(DATASET), project.manifests_dir("Other-1"))
    shutil.copytree(project.dataset_cache_dir(DATASET), project.dataset_cache_dir("Other-1"))
    parameters = ExportParameters(format="files", features=("frames",))
    with pytest.raises(ParameterError, match="'Other-1', expected one of"):
        export_dataset(project, "Other-1", parameters, tmp_path / "out", is_quiet=True)
    assert not (tmp_path / "out").exists()


def test_only_what_changed_is_written_again(project, arrays, tmp_path):
    folder = tmp_path / "out"
    export(project, folder, "files", ("frames", "audio"))
    # One sample leaves the list, another one gets a new label.
    path = project.samples_table_path(DATASET)
    rows = [row for row in read_table(path, SAMPLES).to_pylist() if row["sample_id"] != DOTTED]
    for row in rows:
        if row["sample_id"] == SECOND:
            row["label"] = "cat"
    write_table(path, rows, SAMPLES)
    (folder / "frames" / ".tmp-left-over.jpg").write_bytes(b"")

    _, num_written = export(project, folder, "files", ("frames", "audio"))
    assert num_written == 1
    account = read_account(folder)
    assert DOTTED not in account and account[SECOND]["label"] == "cat"
    assert len(list((folder / "frames").iterdir())) == 3


def test_a_file_that_is_gone_or_arrays_that_changed_are_written_again(project, arrays, tmp_path):
    folder = tmp_path / "out"
    export(project, folder)
    (folder / "shards" / "train-000000.tar").unlink()
    assert export(project, folder)[1] == 1
    changed = write_features(project, seed=1)
    assert export(project, folder)[1] == 4
    with tarfile.open(folder / "shards" / "train-000000.tar") as tar:
        flow = np.load(io.BytesIO(tar.extractfile(f"{FIRST}.flow.npy").read()))
    np.testing.assert_array_equal(flow, changed["flow"][FIRST])


def test_other_splits_have_other_names():
    assert name_splits(["train"]) == "train"
    names = [name_splits(splits) for splits in (["a-b"], ["a_b"], ["a b"], [], ["x" * 80])]
    assert len(set(names)) == 5
    assert all(name.replace("_", "").isalnum() and len(name) < 80 for name in names)
