"""The commands status, missing, retry and reclassify, on small and large datasets."""

import csv
import io
import json
import re
import subprocess
import sys

import pyarrow as pa
import pytest

from earshot.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, write_table
from pipeline.commands.options import protect_ids
from pipeline.commands.output import render
from pipeline.downloads.account.counts import count_clips
from pipeline.downloads.account.ledger import Ledger
from tests.helpers.command_helpers import fill, make_project, run
from tests.helpers.downloads.download_helpers import QUICK, clips_table, make_clip
from tests.helpers.downloads.misbehaving_server import Answer, page
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("retry --id -abc_000010 --quiet", "retry --id -abc_000010 --quiet"),
        ("retry -hXyz --dry-run", "retry --dry-run -- -hXyz"),
        ("retry --id --two-dashes -h", "retry --id --two-dashes -h"),
        ("show -- --a -b", "show -- --a -b"),
        ("retry --id", "retry --id"),
    ],
)
def test_ids_that_begin_with_a_dash_survive_the_command_line(words, expected):
    assert protect_ids(words.split(), {"--id"}) == expected.split()


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
    assert run(capsys, project, "missing", "--reason", "private")[1] == (
        "nothing is missing with these reasons and splits\n"
    )

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


def test_missing_samples_have_the_outlook_of_their_clips(tmp_path, capsys):
    """A confirmed reason is permanent; so is a feature that could not be computed."""
    project = make_project(tmp_path)
    clips = [("sure", "unavailable", True), ("perhaps", "unavailable", False)]
    write_table(
        project.downloads_table_path("vggsound"),
        [
            dict.fromkeys(DOWNLOADS.columns.names)
            | {"clip_id": clip_id, "status": "missing", "reason": reason, "detail": "gone?"}
            | {"is_confirmed": is_confirmed}
            for clip_id, reason, is_confirmed in clips
        ],
        DOWNLOADS,
    )
    samples = {"a": "sure", "b": "perhaps", "c": "fine"}
    write_table(
        project.samples_table_path("vggsound"),
        [
            dict.fromkeys(SAMPLES.columns.names) | {"sample_id": sample_id, "clip_id": clip_id}
            for sample_id, clip_id in samples.items()
        ],
        SAMPLES,
    )
    index = [("a", "missing", "unavailable"), ("b", "missing", "unavailable")]
    index += [("c", "failed", "no_frame")]
    write_table(
        project.feature_dir("vggsound", "flow") / "index.parquet",
        [
            dict.fromkeys(INDEX.columns.names)
            | {"sample_id": sample_id, "status": status, "reason": reason, "detail": "why"}
            for sample_id, status, reason in index
        ],
        INDEX,
    )
    words = ("missing", "--samples", "--dataset", "vggsound", "--format", "json")

    rows = json.loads(run(capsys, project, *words)[1])
    assert [(row["sample_id"], row["outlook"]) for row in rows] == [
        ("a", "permanent"),
        ("b", "confirm"),
        ("c", "permanent"),
    ]
    assert list(rows[0]) == [
        *("dataset", "sample_id", "feature", "status", "reason", "outlook", "splits", "detail"),
        *("url", "start", "end", "label"),
    ]

    # Of a feature that its stage has not computed yet, all samples are pending.
    rows = json.loads(run(capsys, project, *words, "--pending")[1])
    pending = [(row["feature"], row["sample_id"]) for row in rows if row["status"] == "pending"]
    assert pending == [
        *(("frames", name) for name in samples),
        *(("spectrograms", name) for name in samples),
    ]
    assert len(rows) == 9
    code, out, _ = run(capsys, project, "missing", "--samples", "--pending", "--by", "reason")
    assert code == 0
    assert re.search(r"pending +retry +6 +dvc repro", out)

    clips_rows = [
        dict.fromkeys(CLIPS.columns.names) | {"clip_id": clip_id, "splits": ["train"]}
        for clip_id, _, _ in clips
    ]
    write_table(project.clips_table_path("vggsound"), clips_rows, CLIPS)
    rows = json.loads(run(capsys, project, "missing", "--format", "json")[1])
    assert [row["detail"] for row in rows] == ["gone? [settled]", "gone?"]

    # A table says what the mark means, and advises nothing that was tried.
    table = run(capsys, project, "missing")[1]
    assert "gone? [settled]\n" in table
    assert table.endswith(
        "[settled]: seen twice, on different days, or in a file of this machine; another attempt "
        "would not help\n"
    )
    counts = json.loads(run(capsys, project, "missing", "--by", "reason", "--format", "json")[1])
    assert {row["outlook"]: row["what to do"] for row in counts} == {
        "permanent": "nothing, as another attempt would not help; look for a copy and import it",
        "confirm": "one more attempt on another day confirms it",
    }


def test_a_hint_names_the_most_frequent_reasons_and_counts_the_others(tmp_path, capsys):
    project = make_project(tmp_path)
    reasons = ["gone", "private", "drm", "paid", "corrupt", "too_short", "no_audio", "gone"]
    rows = [{"clip_id": str(n), "splits": ["train"]} for n in range(len(reasons))]
    write_table(project.clips_table_path("vggsound"), rows, CLIPS)
    for row, reason in zip(rows, reasons, strict=True):
        row |= {"status": "missing", "reason": reason}
    write_table(project.downloads_table_path("vggsound"), rows, DOWNLOADS)
    printed = run(capsys, project, "status")[1]
    assert "missing: 2 gone, 1 private, " in printed and ", ... (2 more reasons); `ear" in printed

    # The table of downloads can be older than the list: clips that left it do not count.
    write_table(project.clips_table_path("vggsound"), rows[:3], CLIPS)
    assert "missing: 1 gone, 1 private, 1 drm; `ear" in run(capsys, project, "status")[1]


def test_two_hundred_thousand_clips_take_seconds_and_little_memory(tmp_path):
    """`status` and `missing` of a list of VGG-Sound's size, with the start of the interpreter."""
    project, number = make_project(tmp_path), 200_000
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
        assert "50000" in done.stdout or len(done.stdout.split("\n")) == 50_002

        cpu_seconds, peak_kilobytes = map(float, done.stderr.split()[-2:])
        # Other work on the machine does not count; `status` takes about 0.7 s.
        assert cpu_seconds < (2 if words == ["status"] else 6), words
        assert peak_kilobytes < 1_000_000, words


_MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(done.returncode)
"""
