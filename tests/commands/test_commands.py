"""The commands status, missing, retry and reclassify, on small and large datasets."""

import csv
import io
import json
import subprocess
import sys

import pyarrow as pa

from earshot.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, read_table, write_table
from pipeline.commands.arguments import protect_ids, render
from pipeline.downloads.counts import count_clips, count_reasons, count_splits
from pipeline.downloads.ledger import Ledger
from pipeline.downloads.reasons import REASONS
from pipeline.shards.sample_counts import count_features
from tests.helpers.command_helpers import fill, make_project, run
from tests.helpers.download_helpers import QUICK, clips_table, make_clip
from tests.helpers.misbehaving_server import Answer, page
from tests.helpers.paths import ROOT


def test_ids_that_begin_with_a_dash_survive_the_command_line():
    assert protect_ids(["retry", "--id", "-abc_000010", "--quiet"]) == [
        "retry",
        "--id=-abc_000010",
        "--quiet",
    ]
    assert protect_ids(["retry", "-hXyz", "--dry-run"]) == ["retry", "--dry-run", "--", "-hXyz"]
    assert protect_ids(["retry", "--id", "--two-dashes", "-h"]) == [
        "retry",
        "--id=--two-dashes",
        "-h",
    ]
    assert protect_ids(["show", "--", "--a", "-b"]) == ["show", "--", "--a", "-b"]
    assert protect_ids(["status", "--format", "csv"]) == ["status", "--format", "csv"]


def test_tables_for_people_and_machines():
    rows = [{"a": "x\ny", "n": 5, "l": ["p", "q"]}, {"a": None, "n": 12, "l": []}]
    assert render(rows, ("a", "n", "l"), "table").split("\n") == [
        "a     n  l",
        "x y   5  p q",
        "-    12",
    ]
    assert list(csv.reader(io.StringIO(render(rows, ("a", "n", "l"), "csv")))) == [
        ["a", "n", "l"],
        ["x\ny", "5", "p q"],
        ["", "12", ""],
    ]
    assert json.loads(render(rows, ("a", "l"), "json")) == [
        {"a": "x\ny", "l": ["p", "q"]},
        {"a": None, "l": []},
    ]


def test_missing_retry_and_reclassify_on_a_small_dataset(tmp_path, capsys, server):
    """What is missing and why, one more attempt that succeeds, reasons classified again."""
    good = Answer(body=make_clip(tmp_path / "good.mp4").read_bytes())
    clips = clips_table(
        ("-ok", server.add("/ok.mp4", good)),
        ("-down", server.add("/down.mp4", Answer(status=500), good)),
        ("gone", server.add("/gone.mp4", Answer(status=404))),
        ("odd", server.add("/odd.mp4", page("Something that nobody has seen before"))),
    )
    project = make_project(
        tmp_path / "project", download=QUICK | {"num_quick_attempts": 1, "allow_duplicates": True}
    )
    fill(project, clips)

    code, out, _ = run(capsys, project, "missing", "--format", "json")
    rows = {row["clip_id"]: row for row in json.loads(out)}
    assert code == 0
    assert {name: (row["reason"], row["outlook"]) for name, row in rows.items()} == {
        "-down": ("network", "retry"),
        "gone": ("gone", "permanent"),
        "odd": ("unknown", "retry"),
    }
    _, out, _ = run(capsys, project, "missing", "--by", "reason", "--format", "csv")
    assert {tuple(line[:4]) for line in csv.reader(io.StringIO(out))} == {
        ("dataset", "reason", "outlook", "count"),
        ("vggsound", "network", "retry", "1"),
        ("vggsound", "gone", "permanent", "1"),
        ("vggsound", "unknown", "retry", "1"),
    }
    _, out, _ = run(
        capsys, project, "missing", "--reason", "gone", "--split", "train", "--dataset", "vggsound"
    )
    assert out.split("\n")[1].split()[:4] == ["vggsound", "gone", "missing", "gone"]
    for command in ("missing", "retry"):
        code, out, err = run(capsys, project, command, "--split", "trian")
        assert (code, out, err.split(", expected")[0]) == (2, "", "error: --split is 'trian'")
    assert run(capsys, project, "missing", "--reason", "private")[1] == "nothing is missing\n"
    code, _, err = run(capsys, project, "missing", "--reason", "nonsense")
    assert (code, err.split(", expected")[0]) == (2, "error: --reason is 'nonsense'")

    _, out, _ = run(capsys, project, "status")
    assert out.split("\n")[1].split()[:6] == ["vggsound", "clips", "4", "1", "3", "0"]

    before = server.num_requests.copy()
    code, out, _ = run(capsys, project, "retry", "--reason", "network", "--dry-run")
    assert "would attempt 1 clips again: -down" in out
    code, out, _ = run(capsys, project, "retry", "--reason", "network", "--later")
    assert "1 clips will be attempted again by `dvc repro`" in out
    assert count_clips(project, "vggsound").num_pending == 1
    assert server.num_requests == before
    code, out, _ = run(capsys, project, "retry", "--id", "-down", "--quiet")
    assert (code, out) == (
        0,
        "vggsound: 1 clips attempted again: 1 ok; `dvc repro` goes on with what arrived\n",
    )
    assert {path: server.num_requests[path] - before[path] for path in before} == {
        "/ok.mp4": 0,
        "/down.mp4": 1,
        "/gone.mp4": 0,
        "/odd.mp4": 0,
    }
    account = count_clips(project, "vggsound")
    assert (account.num_ok, account.reasons) == (2, {"gone": 1, "unknown": 1})
    code, out, _ = run(capsys, project, "retry", "--id", "gone", "--quiet")
    assert "1 clips attempted again: 1 gone" in out
    assert server.num_requests["/gone.mp4"] == before["/gone.mp4"] + 1
    code, _, err = run(capsys, project, "retry", "-nope")
    assert (code, err) == (2, "error: --id is '-nope', which is no clip of vggsound\n")

    # A new pattern would know the text; here the raw text in the ledger is changed instead.
    assert "no reason changed" in run(capsys, project, "reclassify")[1]
    path = project.ledger_path("vggsound")
    path.write_text(
        path.read_text().replace(
            "Something that nobody has seen before", "This video is DRM protected"
        )
    )
    assert "1 clips: unknown -> drm" in run(capsys, project, "reclassify", "--dry-run")[1]
    assert count_clips(project, "vggsound").reasons == {"gone": 1, "unknown": 1}
    assert "1 clips: unknown -> drm" in run(capsys, project, "reclassify")[1]
    assert count_clips(project, "vggsound").reasons == {"gone": 1, "drm": 1}
    with Ledger(path):
        code, _, err = run(capsys, project, "reclassify")
    assert (code, "another process is downloading" in err) == (1, True)


def test_accounts_reconcile_and_split_by_split(tmp_path):
    project = make_project(tmp_path)
    clips = [
        {
            "clip_id": str(n),
            "video_id": str(n),
            "url": "",
            "start_seconds": None,
            "end_seconds": None,
        }
        | {"splits": ["train", "all"] if n % 2 else ["all"]}
        for n in range(10)
    ]
    statuses = (
        [("ok", None)] * 4
        + [("missing", "gone")] * 3
        + [("missing", "network")]
        + [("pending", None)] * 2
    )
    downloads = [
        dict.fromkeys(DOWNLOADS.columns.names)
        | {
            "clip_id": str(n),
            "status": status,
            "reason": reason,
            "attempts": 1,
            "bytes": 10 if status == "ok" else None,
        }
        for n, (status, reason) in enumerate(statuses)
    ]
    write_table(project.clips_table_path("vggsound"), clips, CLIPS)
    assert count_clips(project, "vggsound").num_pending == 10
    write_table(project.downloads_table_path("vggsound"), downloads, DOWNLOADS)
    index = [
        {
            "sample_id": str(n),
            "status": status,
            "reason": None,
            "detail": None,
            "shard": None,
            "row": n,
            "key": "k",
            "crc32": 0,
        }
        for n, status in enumerate(["ok", "ok", "missing", "failed"])
    ]
    write_table(project.feature_dir("vggsound", "flow") / "index.parquet", index, INDEX)
    (project.feature_dir("vggsound", "flow") / "0.h5").write_bytes(b"12345")
    samples = [
        dict.fromkeys(SAMPLES.columns.names)
        | {
            "sample_id": str(n),
            "clip_id": str(n),
            "splits": ["all"],
            "boxes": [],
            "box_annotators": [],
            "attributes": {},
        }
        for n in range(5)
    ]
    write_table(project.samples_table_path("vggsound"), samples, SAMPLES)
    account = count_clips(project, "vggsound")
    assert account.num_requested == account.num_ok + account.num_missing + account.num_pending == 10
    assert (account.num_bytes, account.reasons) == (40, {"gone": 3, "network": 1})
    [feature] = count_features(project, "vggsound")
    assert (
        feature.num_requested,
        feature.num_ok,
        feature.num_missing,
        feature.num_failed,
        feature.num_absent,
    ) == (
        5,
        2,
        1,
        1,
        1,
    )
    assert feature.num_bytes == 5
    tables = [read_table(project.clips_table_path("vggsound"), CLIPS)]
    tables.append(read_table(project.downloads_table_path("vggsound"), DOWNLOADS))
    assert count_splits(*tables) == {
        "all": {"requested": 10, "ok": 4, "missing": 4, "pending": 2, "gone": 3, "network": 1},
        "train": {"requested": 5, "ok": 2, "missing": 2, "pending": 1, "gone": 1, "network": 1},
    }
    assert [(row["reason"], row["clips"], row["share"]) for row in count_reasons(tables[1])] == [
        ("gone", 3, 0.3),
        ("network", 1, 0.1),
    ]
    confirmed = [("unavailable", True), ("corrupt", True), ("unavailable", False)]
    rows = [
        {"status": "missing", "reason": reason, "is_confirmed": is_confirmed}
        for reason, is_confirmed in confirmed
    ]
    outlooks = {row["reason"]: row["outlook"] for row in count_reasons(pa.Table.from_pylist(rows))}
    assert outlooks == {"unavailable": "confirm", "corrupt": "permanent"}
    assert REASONS["unavailable"].outlook() == "confirm"
    assert REASONS["unavailable"].outlook(is_confirmed=True) == "permanent"


def test_a_hundred_thousand_clips_take_seconds_and_little_memory(tmp_path):
    """`status` and `missing` of a list of VGG-Sound's size, with the start of the interpreter."""
    project, number = make_project(tmp_path), 100_000
    ids = [f"-{n:010d}_000030" for n in range(number)]
    columns = {
        name: pa.nulls(number, DOWNLOADS.columns.field(name).type)
        for name in DOWNLOADS.columns.names
    }
    columns |= {
        "clip_id": pa.array(ids),
        "status": pa.array(["ok", "ok", "ok", "missing"] * (number // 4)),
        "reason": pa.array([None, None, None, "unavailable"] * (number // 4)),
        "detail": pa.array([None, None, None, "Video unavailable"] * (number // 4)),
        "attempts": pa.array([1] * number, pa.int32()),
        "bytes": pa.array([1000] * number),
    }
    write_table(project.downloads_table_path("vggsound"), pa.table(columns), DOWNLOADS)
    clips = {name: pa.nulls(number, CLIPS.columns.field(name).type) for name in CLIPS.columns.names}
    clips |= {"clip_id": pa.array(ids), "splits": pa.array([["vggss_144k"]] * number)}
    write_table(project.clips_table_path("vggsound"), pa.table(clips), CLIPS)
    for words in (
        ["status"],
        ["missing", "--format", "csv"],
        ["missing", "--by", "split"],
        ["missing", "--by", "reason"],
    ):
        command = [sys.executable, "-m", "pipeline", "--root", str(tmp_path), *words]
        # A small process starts the command and measures it: a child's peak memory begins with
        # the size of its parent.
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, words
        assert "25000" in done.stdout or len(done.stdout.split("\n")) == 25_002
        cpu_seconds, peak_kilobytes = map(float, done.stderr.split()[-2:])
        assert cpu_seconds < 6, words  # other work on the machine does not count; about 1 s
        assert peak_kilobytes < 1_000_000, words


_MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(done.returncode)
"""
