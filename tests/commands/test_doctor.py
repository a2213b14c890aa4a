"""``doctor``: is this machine ready; each check, and all of them without a network."""

import dataclasses
import datetime

import pytest

from pipeline.base.parameters import build
from pipeline.base.project import Project
from pipeline.commands.doctor import diagnose
from pipeline.commands.doctor_checks import (
    check_compiled,
    check_dvc,
    check_ffmpeg,
    check_js_runtime,
    check_scheduler,
    check_yt_dlp,
)
from pipeline.commands.doctor_sources import check_video
from pipeline.datasets import vggsound
from pipeline.downloads.parameters import DownloadParameters
from pipeline.kernels import farneback
from tests.helpers.command_helpers import make_project, run
from tests.helpers.downloads.download_helpers import QUICK, make_clip
from tests.helpers.downloads.misbehaving_server import Answer


def test_doctor_judges_tools():
    day = datetime.date(2026, 9, 1)
    assert check_yt_dlp("2026.08.19", today=day).level == "ok"

    old = check_yt_dlp("2026.01.01", today=day)
    assert (old.level, "243 days old" in old.text, "make update-downloader" in old.advice) == (
        "warn",
        True,
        True,
    )
    assert check_yt_dlp(None, today=day).level == "FAIL"

    versions = {"/deno": "2.1.0", "/node": "24.0.1"}
    assert check_js_runtime({"deno": "/deno", "node": "/node"}, versions.get).text.startswith(
        "node 24.0.1"
    )
    assert check_js_runtime({"deno": "/deno"}, versions.get).level == "warn"
    assert check_js_runtime({}).text.startswith("none found")
    assert check_ffmpeg("/nowhere/ffmpeg").level == "FAIL"
    assert check_scheduler(None).level == "ok"

    refused = check_scheduler("tcp://127.0.0.1:9")
    assert (refused.level, "no scheduler answers at tcp://127.0.0.1:9" in refused.text) == (
        "FAIL",
        True,
    )
    assert check_scheduler("nonsense").level == "FAIL"


def test_doctor_finds_files_that_a_kill_of_dvc_left_half_written(tmp_path):
    assert check_dvc(tmp_path).level == "ok"  # before the first run
    lock = "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    deps:\n    - path: p\n  b:\n    cmd: y\n"
    (tmp_path / "dvc.lock").write_text(lock)
    assert check_dvc(tmp_path).level == "ok"

    # DVC accepts other beginnings of the file, and runs a stage more.
    for end in (0, 5, lock.index("stages") + 7, lock.index("cmd"), lock.index("b:") + 3):
        (tmp_path / "dvc.lock").write_text(lock[:end])
        check = check_dvc(tmp_path)
        assert (check.level, "run cache" in check.advice) == ("FAIL", True), lock[:end]
    (tmp_path / "dvc.lock").write_bytes(lock.encode() + "é".encode()[:1])  # half a letter
    assert check_dvc(tmp_path).level == "FAIL"

    (tmp_path / "dvc.lock").write_text(lock)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_text("")
    assert "rwlock is half a file" in check_dvc(tmp_path).text


def test_doctor_expands_the_home_folder(tmp_path, monkeypatch):
    """As downloads do."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cookies.txt").write_text("# Netscape HTTP Cookie File\n")
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'ffmpeg version 7.0.2'\n")
    program.chmod(0o755)

    section = {"cookies_path": "~/cookies.txt", "ffmpeg": "~/ffmpeg"}
    checks = {check.name: check for check in diagnose(Project(tmp_path, {"download": section}), [])}
    assert "cookies" not in checks
    assert checks["ffmpeg"].text == f"7.0.2 ({program})"


@pytest.mark.parametrize(
    ("version", "level"),
    [("8.1", "warn"), ("n8.1.2", "warn"), ("8.10", "ok"), ("7.0.2-static", "ok")],
)
def test_doctor_notices_the_ffmpeg_that_breaks_sections(tmp_path, version, level):
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!/bin/sh\necho 'ffmpeg version {version} Copyright (c) the FFmpeg developers'\n"
    )
    program.chmod(0o755)
    check = check_ffmpeg(str(program))
    assert (check.level, "16546" in check.text) == (level, level == "warn")


@pytest.mark.parametrize(
    ("flow", "level", "words"),
    [
        (object(), "ok", "the same bits as OpenCV's"),
        (None, "warn", "OpenCV's own is used for optical flow, two"),
    ],
)
def test_doctor_says_which_compiled_code_is_in_use(monkeypatch, flow, level, words):
    monkeypatch.setattr(farneback, "load_refine_level", lambda: flow)
    check = check_compiled()
    assert check.level == level
    assert words in check.text


@pytest.mark.timeout(90)  # it must not wait for what does not answer
def test_doctor_without_network_says_so_in_one_line_a_source(tmp_path, capsys, monkeypatch):
    """Every address of this project leads to a closed port; the local folder needs none."""
    monkeypatch.setattr(farneback, "load_refine_level", lambda: None)  # it may compile for long
    nowhere = "http://127.0.0.1:9"
    names = [field.name for field in dataclasses.fields(vggsound.Parameters)]
    lists = {name: nowhere for name in names if name.endswith("_url")}
    project = make_project(
        tmp_path / "project",
        datasets=["vggsound", "urbansas", "local", "flickr", "sample"],
        sources={
            "vggsound": lists | {"video_url": nowhere + "/{video_id}"},
            "urbansas": {"record_url": nowhere},
            "flickr": {"lists_dir": str(tmp_path / "absent")},
            "local": {"folder": str(tmp_path)},
            "sample": {},
        },
    )
    code, out, _ = run(capsys, project, "doctor")
    lines = {line.split(":")[0].split()[-1]: line for line in out.strip().split("\n")}

    assert code == 1
    assert lines["vggsound"].startswith(
        "FAIL  vggsound: no network: 127.0.0.1:9: Connection refused"
    )
    assert lines["urbansas"].startswith("FAIL  urbansas: no network")
    assert "sources.flickr.lists_dir" in lines["flickr"]
    assert lines["local"].startswith("ok")
    assert lines["sample"].startswith("ok")
    assert all(line.count("\n") == 0 for line in lines.values())
    assert lines["boxes"].startswith("warn  boxes: flickr: the boxes of its test images are a dow")
    assert len(out.strip().split("\n")) == 14

    quiet = run(capsys, project, "doctor", "--quiet", "--dataset", "local")[1]
    assert "local" not in quiet


def test_the_canary_video_is_read_through_yt_dlp(tmp_path, server):
    parameters = build(DownloadParameters, QUICK, "download")
    good = server.add("/good.mp4", Answer(body=make_clip(tmp_path / "good.mp4").read_bytes()))
    assert check_video("x", good, parameters, limit_seconds=30).level == "ok"
    bad = check_video("x", server.add("/bad.mp4", Answer(status=429)), parameters, limit_seconds=30)
    assert (bad.level, "fails with rate_limit" in bad.text) == ("FAIL", True)
