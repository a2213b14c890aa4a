"""``retry`` and then ``dvc repro``."""

import subprocess
import sys

import yaml

from earshot.tables import CLIPS, write_table
from pipeline.downloads.account.counts import count_clips
from pipeline.downloads.account.ledger import read_entries
from tests.helpers.checkouts import skip_check
from tests.helpers.command_helpers import make_project, run
from tests.helpers.downloads.download_helpers import QUICK, clips_table, make_clip
from tests.helpers.downloads.misbehaving_server import Answer
from tests.helpers.paths import ROOT


def test_retry_then_dvc_repro_runs_the_download_and_what_follows(tmp_path, capsys, server):
    """A real DVC pipeline of two stages: after `retry` both run once more, then nothing."""
    good = Answer(body=make_clip(tmp_path / "good.mp4").read_bytes())
    clips = clips_table(
        ("a", server.add("/a.mp4", good)), ("b", server.add("/b.mp4", Answer(status=500), good))
    )
    root = tmp_path / "project"
    project = make_project(
        root, download=QUICK | {"num_quick_attempts": 1, "allow_duplicates": True}
    )
    write_table(project.clips_table_path("vggsound"), clips, CLIPS)
    skip_check(root)
    stages = {
        "download": {
            "cmd": f"{sys.executable} -m stages.download vggsound",
            "deps": ["manifests/vggsound/clips.parquet"],
            "outs": [{"manifests/vggsound/downloads.parquet": {"persist": True}}],
        },
        "follow": {
            "cmd": "echo followed >> follow.log && "
            "cp manifests/vggsound/downloads.parquet copy.parquet",
            "deps": ["manifests/vggsound/downloads.parquet"],
            "outs": ["copy.parquet"],
        },
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "HOME": str(tmp_path),
    }

    def dvc(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    dvc("init", "--no-scm", "-q")
    dvc("repro")
    assert count_clips(project, "vggsound").reasons == {"network": 1}
    assert "up to date" in dvc("repro")
    assert run(capsys, project, "retry", "--later")[0] == 0
    assert "Running stage 'download'" in dvc("repro")
    assert count_clips(project, "vggsound").num_ok == 2
    assert (root / "follow.log").read_text() == "followed\n" * 2
    assert "up to date" in dvc("repro")
    assert [entry["type"] for entry in read_entries(project.ledger_path("vggsound"))] == [
        "attempt",
        "attempt",
        "retry",
        "attempt",
    ]
    assert dict(server.num_requests) == {"/a.mp4": 1, "/b.mp4": 2}
