"""What features find damaged goes back into the account: read wholly, and missing if refused."""

import pyarrow as pa

from earshot.tables import INDEX, SAMPLES, write_table
from pipeline.downloads.account.doubts import find_doubtful_clips
from pipeline.downloads.account.ledger import read_entries
from tests.helpers.command_helpers import fill, make_project, run
from tests.helpers.downloads.download_helpers import answer, clips_table, download, quick
from tests.helpers.media.hidden_damage import make_damaged_clip

# The packets that the usual check tries: one in a fifth of the clip.
SPARED = (13 / 12, 23 / 12, 33 / 12, 43 / 12)


def write_index(folder, samples, reasons):
    """Write the samples and a feature's index with the reason of each; return their paths."""
    rows = [
        {"sample_id": sample_id, "clip_id": clip_id, "audio_clip_id": sound_id}
        for sample_id, clip_id, sound_id in samples
    ]
    write_table(
        folder / "samples.parquet", pa.Table.from_pylist(rows, schema=SAMPLES.columns), SAMPLES
    )
    rows = [
        {"sample_id": row[0], "status": "failed" if reason else "ok", "reason": reason}
        for row, reason in zip(samples, reasons, strict=True)
    ]
    path = folder / "frames" / "index.parquet"
    path.parent.mkdir(exist_ok=True)
    write_table(path, pa.Table.from_pylist(rows, schema=INDEX.columns), INDEX)
    return folder / "samples.parquet", [path, folder / "absent" / "index.parquet"]


def test_clips_of_damaged_samples_are_doubtful(tmp_path):
    samples = [("s", "a", None), ("t", "b", "c"), ("u", "d", None), ("v", "e", None)]
    paths = write_index(tmp_path, samples, ["corrupt", "corrupt", None, "no_audio"])
    assert find_doubtful_clips(*paths) == {"a", "b", "c"}
    assert find_doubtful_clips(tmp_path / "absent", paths[1]) == set()


def test_a_clip_that_is_damaged_where_the_check_does_not_look(tmp_path, media, server):
    damaged = make_damaged_clip(tmp_path / "hidden.flv", spared_seconds=SPARED)
    clips = clips_table(
        ("own", damaged.as_uri()),
        ("whole", (media / "clip0.mp4").as_uri()),
        ("far", server.add("/far.flv", answer(damaged), answer(media / "clip1.mp4"))),
    )
    parameters = quick(allow_duplicates=True)
    rows = download(tmp_path, clips, parameters=parameters)
    assert {row["status"] for row in rows.values()} == {"ok"}

    # Features found damage in all of them; that of one was about a moment alone.
    rows = download(tmp_path, clips, parameters=parameters, doubtful=set(rows))
    assert rows["whole"]["status"] == "ok"
    for name in ("own", "far"):
        assert (rows[name]["status"], rows[name]["reason"]) == ("missing", "corrupt")
        assert rows[name]["detail"].startswith("found while features were computed: ")
        assert "video packets cannot be decoded" in rows[name]["detail"]
    found = [
        entry for entry in read_entries(tmp_path / "attempts.jsonl") if entry["type"] == "found"
    ]
    assert sorted(entry["clip_id"] for entry in found) == ["far", "own"]

    # It stays so, also when the account is derived anew.
    rows = download(tmp_path, clips, parameters=parameters)
    assert rows["own"]["reason"] == rows["far"]["reason"] == "corrupt"

    # A day later the site is asked again; the user's own file has not changed.
    rows = download(
        tmp_path, clips, parameters=parameters, clock=lambda: found[0]["time"] + 21 * 3600
    )
    assert rows["far"]["status"] == "ok"
    assert rows["own"]["reason"] == "corrupt"


def test_another_attempt_at_such_a_clip_decodes_every_picture(tmp_path, server):
    damaged = make_damaged_clip(tmp_path / "hidden.flv", spared_seconds=SPARED)
    clips = clips_table(("far", server.add("/far.flv", answer(damaged), answer(damaged))))
    assert download(tmp_path, clips)["far"]["status"] == "ok"
    assert download(tmp_path, clips, doubtful={"far"})["far"]["status"] == "missing"
    time = read_entries(tmp_path / "attempts.jsonl")[-1]["time"]
    row = download(tmp_path, clips, clock=lambda: time + 21 * 3600)["far"]
    assert (row["status"], row["reason"]) == ("missing", "corrupt")
    assert server.num_requests["/far.flv"] == 2


def test_a_parameter_decodes_every_picture_at_once(tmp_path):
    damaged = make_damaged_clip(tmp_path / "hidden.flv", spared_seconds=SPARED)
    parameters = quick(validation={"decode": "all"})
    row = download(tmp_path, clips_table(("own", damaged.as_uri())), parameters=parameters)["own"]
    assert (row["status"], row["reason"]) == ("missing", "corrupt")


def test_retry_reads_damaged_clips_again(tmp_path, media, capsys):
    project = make_project(tmp_path / "project")
    damaged = make_damaged_clip(tmp_path / "hidden.flv", spared_seconds=SPARED)
    whole = (media / "clip0.mp4").as_uri()
    fill(project, clips_table(("a", damaged.as_uri()), ("b", whole)))
    manifests_dir = project.manifests_dir("vggsound")
    samples_path, (index_path, _) = write_index(
        tmp_path, [("s", "a", None), ("t", "b", None)], ["corrupt", "corrupt"]
    )
    samples_path.rename(manifests_dir / "samples.parquet")
    folder = project.feature_dir("vggsound", "frames")
    folder.mkdir(parents=True)
    index_path.rename(folder / "index.parquet")

    assert "would attempt 2 clips" in run(capsys, project, "retry", "--damaged", "--dry-run")[1]
    code, printed, _ = run(capsys, project, "retry", "--damaged", "--quiet")
    assert code == 0
    assert "2 clips read again: 1 corrupt, 1 ok" in printed
    assert run(capsys, project, "retry", "--damaged", "--absent")[0] == 2

    # The clip that is whole keeps its file, and the other one is no longer selected.
    printed = run(capsys, project, "retry", "--damaged", "--dry-run")[1]
    assert "would attempt 1 clips again: b" in printed
