"""No secret is in anything that a run writes, prints or lets DVC and Git keep."""

import gzip
import json
import subprocess
import sys

import pyarrow.parquet as pq
import yaml

from earshot.tables import CLIPS, write_table
from eval.report.data.inputs import load_inputs
from pipeline.base.project import Project
from pipeline.downloads.account.ledger import read_entries
from tests.helpers.checkouts import skip_check
from tests.helpers.command_helpers import make_project, run
from tests.helpers.downloads.download_helpers import QUICK, clips_table, make_clip
from tests.helpers.downloads.misbehaving_server import Answer
from tests.helpers.paths import ROOT

PASSWORD, COOKIE, FOLDER = "pa55-w0rd", "session-c00kie", "pr1vate-folder"


def _read_all(root) -> str:
    """Return everything that lies below a folder, tables and packed objects in plain text."""
    texts = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.name in ("params.local.yaml", "cookies.txt"):
            continue
        data = path.read_bytes()
        if data[:4] == b"PAR1":
            texts.append(str(pq.read_table(path).to_pylist()))
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        texts.append(f"{path}\n{data.decode(errors='replace')}")
    return "\n".join(texts)


def test_a_run_with_a_proxy_and_cookies_keeps_them_to_itself(tmp_path, capsys, server):
    """The proxy serves one clip and refuses another with words that quote what it was told."""
    good = Answer(body=make_clip(tmp_path / "good.mp4").read_bytes())
    told = Answer(
        body=f"user:{PASSWORD} is wrong; Cookie: SID={COOKIE}".encode(),
        status=403,
        content_type="text/plain",
    )
    server.add("http://clips.invalid/a.mp4", good)
    server.add("http://clips.invalid/b.mp4", told)
    clips = clips_table(
        ("a", "http://clips.invalid/a.mp4"),
        ("b", "http://clips.invalid/b.mp4"),
        ("c", "file:///nowhere.mp4"),
    )

    home = tmp_path / "home" / FOLDER
    home.mkdir(parents=True)
    (home / "cookies.txt").write_text(
        f"# Netscape HTTP Cookie File\nclips.invalid\tFALSE\t/\tFALSE\t0\tSID\t{COOKIE}\n"
    )
    root = tmp_path / "project"
    project = make_project(root, download=QUICK | {"num_quick_attempts": 1})
    write_table(project.clips_table_path("vggsound"), clips, CLIPS)
    skip_check(root)
    host = server.url_of("").removeprefix("http://")
    local = {
        "proxy": f"http://user:{PASSWORD}@{host}",
        "cookies_path": str(home / "cookies.txt"),
    }
    (root / "params.local.yaml").write_text(yaml.safe_dump({"download": local}))
    (root / ".gitignore").write_text("params.local.yaml\n")
    stage = {
        "cmd": f"{sys.executable} -m stages.download vggsound",
        "deps": ["manifests/vggsound/clips.parquet"],
        "params": ["download"],
        "outs": [{"manifests/vggsound/downloads.parquet": {"persist": True}}],
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"download": stage}}))

    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "HOME": str(tmp_path),
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@localhost",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@localhost",
    }
    printed = []

    def call(*command: str) -> None:
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        printed.append(done.stdout + done.stderr)

    call("git", "init", "-q")
    call(sys.executable, "-m", "dvc", "init", "-q")
    call(sys.executable, "-m", "dvc", "repro", "-v")
    for words in (["status"], ["missing", "--format", "json"]):
        printed += run(capsys, project, *words)[1:]
    printed += [str(load_inputs(Project.load(root), datasets=[], models=[])), str(project)]
    call("git", "add", "-A", "--force", "--", ":!params.local.yaml")
    call("git", "commit", "-q", "-m", "All")
    call("git", "log", "-p")

    # The clips came through the proxy, so the password was in use.
    outcomes = {entry["clip_id"]: entry for entry in read_entries(project.ledger_path("vggsound"))}
    assert outcomes["a"]["outcome"] == "ok", json.dumps(outcomes, indent=1) + "\n".join(printed)
    assert server.num_requests["http://clips.invalid/b.mp4"]

    written = _read_all(root)
    assert "clips.invalid" in written
    for secret in (PASSWORD, COOKIE, FOLDER):
        assert secret not in written
        assert secret not in "\n".join(printed)
