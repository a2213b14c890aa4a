"""``clips drop``: the files go, the accounts and arrays stay, and nothing is fetched again."""

import pytest
import yaml

import stages.download
import stages.feature
import stages.sources
from earshot.errors import RunError
from earshot.tables import DOWNLOADS, read_table
from pipeline.base.project import Project
from pipeline.downloads.account.ledger import read_entries
from tests.helpers.command_helpers import run
from tests.helpers.downloads.download_helpers import QUICK, make_clip
from tests.helpers.downloads.misbehaving_server import Answer
from tests.helpers.paths import ROOT

FEATURES = ("frames", "flow", "spectrograms")


@pytest.fixture
def project(tmp_path, server) -> Project:
    """Two clips of a server, listed by a table of the user's own; only frames are not cheap."""
    lines = ["id,url"]
    for number, name in enumerate(("a", "b")):
        clip = make_clip(tmp_path / f"{name}.mp4", tone=300 + 100 * number, size="64x48")
        lines.append(f"{name},{server.add(f'/{name}.mp4', Answer(body=clip.read_bytes()))}")
    (tmp_path / "birds.csv").write_text("\n".join(lines) + "\n")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"datasets": ["birds"], "models": [], "download": QUICK}
    params["sources"]["birds"] = {"kind": "table", "path": str(tmp_path / "birds.csv")}
    params["cluster"]["workers"] = 0
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    project = Project.load(tmp_path)
    stages.sources.main(project, "birds")
    stages.download.main(project, "birds")
    return project


def _read_outputs(project: Project) -> dict[str, bytes]:
    folders = (project.manifests_dir("birds"), *(project.feature_dir("birds", n) for n in FEATURES))
    return {
        str(path.relative_to(project.root)): path.read_bytes()
        for folder in folders
        for path in folder.glob("*")
    }


def test_dropped_clips_are_neither_fetched_nor_computed_again(project, server, capsys):
    clips_dir = project.clips_dir("birds")
    stages.feature.main(project, "frames", "birds")

    # The others are not cached yet.
    code, printed, _ = run(capsys, project, "clips", "drop", "--dataset", "birds")
    assert code == 0 and "birds: 0 clips removed" in printed
    assert "2 clips stay: a: flow of a is not cached; `dvc repro` does that" in printed

    for name in FEATURES:
        stages.feature.main(project, name, "birds")

    # A variant needs the clips, too.
    params_path = project.root / "params.yaml"
    text = params_path.read_text()
    chosen = {"variants": ["spectrograms-lvs"]}
    params_path.write_text(yaml.safe_dump(yaml.safe_load(text) | chosen))
    printed = run(capsys, project, "clips", "drop", "--dry-run")[1]
    assert "2 clips stay: a: spectrograms-lvs of a is not cached" in printed
    params_path.write_text(text)

    before, num_before = _read_outputs(project), dict(server.num_requests)
    code, printed, _ = run(capsys, project, "clips", "drop", "--dry-run")
    assert "birds: 2 clips would be removed" in printed and len(list(clips_dir.iterdir())) == 2
    code, printed, _ = run(capsys, project, "clips", "drop")
    assert code == 0 and "birds: 2 clips removed" in printed
    assert "cannot compute what is not cached: other parameters of a feature" in printed
    assert list(clips_dir.iterdir()) == []

    # All stages again: the same bytes, no request.
    stages.sources.main(project, "birds")
    stages.download.main(project, "birds")
    for name in FEATURES:
        stages.feature.main(project, name, "birds")
    after = _read_outputs(project)
    assert after == before
    assert dict(server.num_requests) == num_before
    assert "0 computed, 2 from the cache" in capsys.readouterr().out
    assert "2 of 2 ok clips are not on this machine" in run(capsys, project, "status")[1]

    # What needs the bytes says so, and changes nothing.
    project.params["spectrogram"]["hop_length"] = 150
    with pytest.raises(RunError, match=r"2 of 2 samples must be computed.*`clips drop`.*--absent"):
        stages.feature.main(project, "spectrograms", "birds")
    assert _read_outputs(project) == after
    code, printed, _ = run(capsys, project, "retry", "--absent", "--quiet")
    assert "2 clips attempted again: 2 ok" in printed and len(list(clips_dir.iterdir())) == 2
    stages.feature.main(project, "spectrograms", "birds")


def test_one_dropped_clip_of_many_stops_a_changed_feature(project, capsys):
    """No array is replaced by a failure, however few there are."""
    stages.feature.main(project, "spectrograms", "birds")
    before = _read_outputs(project)
    (project.clips_dir("birds") / "a.mp4").unlink()
    project.params["spectrogram"]["hop_length"] = 150
    with pytest.raises(RunError, match="1 of 2 samples must be computed"):
        stages.feature.main(project, "spectrograms", "birds")
    assert _read_outputs(project) == before


def test_the_ledger_travels_with_the_outputs(project, tmp_path, server, capsys):
    """A machine that pulled the manifests knows what was tried, and attempts nothing."""
    num_before = dict(server.num_requests)
    colleague_dir = tmp_path / "colleague"
    (colleague_dir / "manifests").mkdir(parents=True)
    (colleague_dir / "params.yaml").write_text((tmp_path / "params.yaml").read_text())
    manifests_dir = project.manifests_dir("birds")
    manifests_dir.rename(colleague_dir / "manifests" / "birds")
    colleague = Project.load(colleague_dir)
    copy_path = colleague.ledger_copy_path("birds")
    copy_path.parent.mkdir(parents=True)
    project.ledger_copy_path("birds").rename(copy_path)

    stages.download.main(colleague, "birds")
    assert dict(server.num_requests) == num_before
    entries = read_entries(colleague.ledger_path("birds"))
    first = read_entries(project.ledger_path("birds"))
    assert entries[: len(first)] == first
    assert [(entry["type"], entry["status"]) for entry in entries[len(first) :]] == [
        ("absent", "ok"),
        ("absent", "ok"),
    ]
    rows = read_table(colleague.downloads_table_path("birds"), DOWNLOADS).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok"]

    assert "2 clips attempted again: 2 ok" in run(capsys, colleague, "retry", "--absent")[1]
