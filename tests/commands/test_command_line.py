"""The command line: help, mistakes, completion, quick starts, and tables on a terminal."""

import csv
import io
import json
import os
import re
import subprocess
import sys

import pytest

from earshot.tables import CLIPS, DOWNLOADS, SAMPLES, write_table
from pipeline.commands.command_line import COMMANDS, earshot, main
from pipeline.commands.output import render
from tests.helpers.command_helpers import make_project, run
from tests.helpers.paths import ROOT


def run_python(program: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("words", [(), *[(name,) for name in earshot.commands]])
def test_every_command_has_help(words, capsys):
    assert main([*words, "-h"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Usage: {' '.join(['earshot', *words])} ")
    assert all(command.name in printed for command in COMMANDS) or words


@pytest.mark.parametrize("words", [("localize",), ("weights", "import")])
def test_help_imports_no_torch(words):
    program = (
        "import sys; from pipeline.commands import command_line\n"
        f"command_line.main([*{words!r}, '--help'])\n"
        "assert 'torch' not in sys.modules"
    )
    done = run_python(program)
    assert done.returncode == 0 and "Options:" in done.stdout, done.stderr


def test_help_imports_no_command():
    """It takes less than half a second of a slow machine."""
    program = (
        "import sys, time; from pipeline.commands import command_line\n"
        "command_line.main(['--help'])\n"
        "print(time.process_time(), file=sys.stderr)\n"
        "slow = {'numpy', 'pyarrow', 'yaml', 'rich', 'torch', 'h5py'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = run_python(program)
    assert done.returncode == 0, done.stderr
    assert float(done.stderr) < 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("statsu", "no such command 'statsu'. Did you mean 'status'? (see `earshot --help`)"),
        (
            "status --fromat csv",
            "no such option '--fromat'. Did you mean '--format'? (see `earshot status --help`)",
        ),
        ("status --format xml", "invalid value for '--format': 'xml' is not one of 'table', 'csv'"),
        ("status --format", "option '--format' requires an argument"),
        ("status more", "got unexpected extra argument (more) (see `earshot status --help`)"),
        ("show -x", "no such option '-x'"),
        ("export", "missing argument 'DATASET' (see `earshot export --help`)"),
        ("weights imprt", "did you mean 'import'? (see `earshot weights --help`)"),
        ("localize video.mp4", "missing option '--model'"),
        ("--root nowhere status", "params.yaml: not found; run from the root of a checkout"),
    ],
)
def test_mistakes_are_one_sentence(words, message, capsys):
    assert main(words.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message.lower() in printed.err.lower()


def test_without_a_command_there_is_help(capsys):
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_a_reader_that_stops_is_no_error(tmp_path):
    make_project(tmp_path)
    command = [sys.executable, "-m", "pipeline", "--root", str(tmp_path), "status"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)


@pytest.mark.parametrize(
    ("words", "proposals"),
    [
        ("earshot sta", ["status"]),
        ("earshot re", ["retry", "reclassify", "repair", "refresh"]),
        ("earshot clips ", ["drop"]),
        ("earshot status --dataset vgg", ["vggsound"]),
        ("earshot missing --reason age", ["age_restricted"]),
        ("earshot verify --feature spec", ["spectrograms"]),
        ("earshot missing --format ", ["table", "csv", "json"]),
        ("earshot use ezvsl_flickr_1", ["ezvsl_flickr_10k", "ezvsl_flickr_144k"]),
    ],
)
def test_shells_get_proposals(words, proposals):
    program = "from pipeline.commands import command_line; command_line.main()"
    position = str(words.count(" "))
    done = run_python(
        program, _EARSHOT_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=position
    )
    assert [line.partition(",")[2] for line in done.stdout.split()] == proposals, done.stderr


# Tables.

ROWS = [
    {"dataset": "vggsound", "clip_id": f"-{n:010d}_000030", "status": "missing", "count": n}
    | {"splits": ["train"], "detail": "Video unavailable. [removed] by the uploader"}
    for n in range(1, 1003)
]
COLUMNS = ("dataset", "clip_id", "status", "count", "splits", "detail")


@pytest.fixture
def on_terminal(monkeypatch, capsys):
    """Render a table as for a terminal of some columns."""

    def render_table(rows, width, **environment):
        for name, value in {"TERM": "xterm", "COLUMNS": str(width), **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        text = render(rows, COLUMNS, "table")
        return text, re.sub(r"\x1b\[[0-9;]*m", "", text)

    return render_table


def test_a_table_fits_the_terminal(on_terminal):
    for width in (60, 80, 120):
        _, plain = on_terminal(ROWS[:3], width)
        assert max(map(len, plain.splitlines())) <= max(width, 79)  # the note can be longer
        assert all(row["clip_id"] in plain for row in ROWS[:3])  # no id is broken
    assert "no room for" not in plain and "[removed]" in plain

    _, plain = on_terminal(ROWS[:3], 60)
    header, *_, note = plain.splitlines()
    assert header.split() == ["dataset", "clip_id", "status", "count", "detail"]
    assert note == "no room for splits: --format csv has all columns"


def test_a_terminal_gets_the_first_thousand_rows(on_terminal):
    _, plain = on_terminal(ROWS, 140)
    assert len(plain.splitlines()) == 1002
    assert plain.endswith("... and 2 more rows: --format csv has all")


def test_colours_are_for_terminals_that_want_them(on_terminal):
    coloured, plain = on_terminal(ROWS[:1], 120)
    assert coloured != plain and "\x1b[31mmissing" in coloured
    assert "\x1b[31m" not in on_terminal(ROWS[:1], 120, NO_COLOR="1")[0]


def test_a_pipe_gets_whole_lines_without_colours():
    lines = render(ROWS, COLUMNS, "table").split("\n")
    assert len(lines) == 1003 and not any("\x1b" in line for line in lines)
    assert lines[1] == (
        "vggsound  -0000000001_000030  missing      1  train   "
        "Video unavailable. [removed] by the uploader"
    )


@pytest.mark.parametrize("width", [1, 20, 40])
def test_a_terminal_that_is_too_narrow_breaks_lines_and_cuts_no_id(on_terminal, width):
    _, plain = on_terminal(ROWS[:3], width)
    assert all(row["clip_id"] in plain for row in ROWS[:3])


def test_a_width_of_0_is_no_width(on_terminal):
    assert all(row["clip_id"] in on_terminal(ROWS[:3], 0)[1] for row in ROWS[:3])


# Standard output.


def run_shell(text: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", text],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )


def test_a_closed_output_ends_a_command_without_a_traceback():
    done = run_shell('"$PYTHON" -m earshot missing --help >&-; "$PYTHON" -m earshot use >&-')
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_table_for_a_closed_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert render(ROWS[:1], COLUMNS, "table").startswith("dataset")


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8:strict", b"caf\xc3\xa9 \xff\n"),
        ("ascii:strict", b"caf\\xe9 \\udcff\n"),
        ("latin-1:strict", b"caf\xe9 \\udcff\n"),
    ],
)
def test_names_of_files_that_the_output_cannot_hold(encoding, printed):
    program = (
        "from pipeline.base.os_errors import escape_unprintable\n"
        "escape_unprintable(); print('caf\\xe9 \\udcff')"
    )
    done = run_shell(f'"$PYTHON" -c "{program}"', PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout) == (0, printed)


def test_parameters_are_utf8_in_every_locale(tmp_path):
    (tmp_path / "params.yaml").write_bytes("datasets: [sample] # Müll\n".encode())
    done = run_shell(
        f'"$PYTHON" -m earshot --root {tmp_path} status',
        **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert done.returncode == 0 and done.stdout.startswith(b"dataset"), done.stderr


# What is missing.


@pytest.fixture
def lacking(tmp_path):
    """Two missing clips; one is a whole video without a label."""
    project = make_project(tmp_path)
    clips = [
        ("-a", "https://youtu.be/-a", 30.0, 40.0),
        ("b", "https://example.org/b.mp4", None, None),
    ]
    write_table(
        project.clips_table_path("vggsound"),
        [
            dict.fromkeys(CLIPS.columns.names)
            | {"clip_id": clip_id, "url": url, "start_seconds": start, "end_seconds": end}
            | {"splits": ["train"]}
            for clip_id, url, start, end in clips
        ],
        CLIPS,
    )
    write_table(
        project.downloads_table_path("vggsound"),
        [
            dict.fromkeys(DOWNLOADS.columns.names)
            | {"clip_id": clip_id, "status": "missing", "reason": "gone", "detail": "HTTP 404"}
            | {"is_confirmed": False, "attempts": 1}
            for clip_id, *_ in clips
        ],
        DOWNLOADS,
    )
    write_table(
        project.samples_table_path("vggsound"),
        [
            dict.fromkeys(SAMPLES.columns.names)
            | {"sample_id": f"s{n}", "clip_id": "-a", "label": label}
            for n, label in enumerate(["dog", "cat", "dog"])
        ],
        SAMPLES,
    )
    return project


def test_missing_clips_say_where_they_come_from(lacking, tmp_path, capsys, monkeypatch):
    _, printed, _ = run(capsys, lacking, "missing", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [[row[name] for name in ("url", "start", "end", "label")] for row in rows] == [
        ["https://youtu.be/-a", "30.0", "40.0", "dog, cat"],
        ["https://example.org/b.mp4", "", "", ""],
    ]
    table = run(capsys, lacking, "missing")[1]
    assert "youtu.be" not in table and len(table.splitlines()) == 3

    # A file is what would have been printed.
    monkeypatch.chdir(tmp_path)
    assert run(capsys, lacking, "missing", "--output", "out.csv")[:2] == (0, "out.csv: 2 clips\n")
    assert (tmp_path / "out.csv").read_text() == printed
    assert run(capsys, lacking, "missing", "--output", "out.json")[0] == 0
    assert json.loads((tmp_path / "out.json").read_text())[1] == {
        **{name: value or None for name, value in rows[1].items()},
        **{"attempts": 1, "splits": ["train"]},
    }
    for name, message in (
        ("out.xlsx", "--output out.xlsx: ends in '.xlsx', expected .csv or .json"),
        ("out.csv/out.csv", "--output out.csv/out.csv: no file can be made there"),
    ):
        code, printed, error = run(capsys, lacking, "missing", "--output", name)
        assert (code, printed) == (2, "") and message in error
