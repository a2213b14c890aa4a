"""``plan``: what is said before is what is then seen."""

import json

import numpy as np
import pyarrow as pa
import pytest
import yaml

import stages.download
import stages.feature
import stages.sources
from earshot.tables import CLIPS, DOWNLOADS
from pipeline.base.project import Project
from pipeline.commands.measured_rates import Rate
from pipeline.commands.planned_dataset import _BYTES_PER_SECOND, _CLIP_SECONDS, _estimate_bytes
from pipeline.shards.requests import RequestCounts
from tests.helpers.command_helpers import run
from tests.helpers.downloads.download_helpers import QUICK, make_clip
from tests.helpers.downloads.misbehaving_server import Answer
from tests.helpers.paths import ROOT


@pytest.fixture
def project(tmp_path, server) -> Project:
    """Four clips of three videos on a server of this machine, which is asked ten times an hour."""
    lines = ["id,url,start,end"]
    for number, name in enumerate("abc"):
        clip = make_clip(tmp_path / f"{name}.mp4", tone=300 + 100 * number, seconds=3)
        url = server.add(f"/{name}.mp4", Answer(body=clip.read_bytes()))
        lines.append(f"{name},{url},,")
    lines.append(f"c2,{url},1,2.5")
    (tmp_path / "birds.csv").write_text("\n".join(lines) + "\n")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"datasets": ["birds"], "models": []}
    params["download"] = QUICK | {"loopback_videos_per_hour": 10, "allow_duplicates": True}
    params["sources"]["birds"] = {"kind": "table", "path": str(tmp_path / "birds.csv")}
    params["cluster"]["workers"] = 1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return Project.load(tmp_path)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Make the clip small, so that the tests are quick."""
    monkeypatch.setattr("pipeline.commands.measured_rates._MADE_UP_SIZE", "96x64")


def plan(capsys, project: Project) -> tuple[dict[str, dict], str]:
    """Return the lines by stage, and the notes."""
    code, printed, notes = run(capsys, project, "plan", "birds", "--format", "json")
    assert code == 0
    return {row["stage"]: row for row in json.loads(printed)}, notes


def test_it_counts_requests_hours_and_bytes_before_and_after(project, capsys, server):
    """Nothing is there, not even the list; then one clip; then all with their features."""
    before, notes = plan(capsys, project)
    assert (before["download"]["there"], before["download"]["to_do"]) == (0, 4)
    assert (before["download"]["requests"], before["download"]["hours"]) == (3, 0.3)
    assert [before[name]["to_do"] for name in ("frames", "flow", "spectrograms")] == [4, 4, 4]
    assert not server.num_requests and not project.clips_table_path("birds").exists()
    assert "rates of this machine, measured on a clip that was made up, 2" in notes
    assert "measuring rates" in notes and "samples, " not in notes  # no progress
    table = run(capsys, project, "plan", "birds")[1]
    assert "e-0" not in table and "0.01" in table  # no 3.55e-05 hours
    assert "3 requests to loopback hosts, 10 an hour" in notes
    assert "birds: cutting longer videos and shrinking larger ones takes more CPU" in notes

    clip_path = project.root / "a.mp4"
    assert run(capsys, project, "import", str(clip_path), "--quiet")[0] == 0
    then, notes = plan(capsys, project)
    assert (then["download"]["there"], then["download"]["to_do"]) == (1, 3)
    assert then["download"]["requests"] == 2 and then["frames"]["to_do"] == 4
    assert "measured on clips of birds" in notes

    project.params["download"]["loopback_videos_per_hour"] = 0
    stages.sources.main(project, "birds")
    stages.download.main(project, "birds")
    clips = list(project.clips_dir("birds").glob("*.mp4"))
    num_bytes = sum(path.stat().st_size for path in clips if path.name != "a.mp4")
    assert then["download"]["gigabytes"] == pytest.approx(
        num_bytes / 1e9, rel=0.35
    )  # one of three is cut short
    for name in ("frames", "flow", "spectrograms"):
        stages.feature.main(project, name, "birds")
        paths = project.feature_dir("birds", name).glob("*.h5")
        num_bytes = sum(path.stat().st_size for path in paths)
        assert then[name]["gigabytes"] == pytest.approx(num_bytes / 1e9, rel=0.25, abs=1e-4)

    after, notes = plan(capsys, project)
    assert {row["to_do"] for row in after.values()} == {0}
    assert {row["there"] for row in after.values()} == {4}
    assert {row["cpu_hours"] for row in after.values()} == {0.0}
    assert "rates of this machine" not in notes


def test_without_the_network_nothing_is_requested(project, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.commands.rates.measure_features", lambda *_: {})
    project.params["download"]["network"] = False
    (project.root / "params.yaml").write_text(yaml.safe_dump(project.params))
    rows, notes = plan(capsys, project)
    assert rows["download"]["requests"] == 0
    assert "4 clips are left for `import`" in notes


def test_rates_are_measured_once_until_something_that_decides_them_changes(
    project, capsys, monkeypatch
):
    calls = []

    def measure(group, material):
        calls.append(set(group))
        return dict.fromkeys(group, Rate(seconds=900.0, num_bytes=len(calls)))

    monkeypatch.setattr("pipeline.commands.rates.measure_features", measure)
    groups = [{"frames", "flow"}, {"spectrograms"}]
    first, _ = plan(capsys, project)
    assert calls == groups
    assert first["spectrograms"]["cpu_hours"] == 1.0
    again, notes = plan(capsys, project)
    assert calls == groups and again == first
    assert "`--measure` measures them anew" in notes

    # Other settings are another rate, and so is another machine.
    project.params["spectrogram"]["hop_length"] = 150
    (project.root / "params.yaml").write_text(yaml.safe_dump(project.params))
    plan(capsys, project)
    assert calls == [*groups, {"spectrograms"}]
    monkeypatch.setattr("pipeline.commands.rates.describe_machine", lambda: "a faster one")
    plan(capsys, project)
    assert len(calls) == 5

    assert run(capsys, project, "plan", "birds", "--measure", "--format", "json")[0] == 0
    assert len(calls) == 7
    # A damaged file costs a measurement, and no error.
    (project.storage_dir / "rates.json").write_text("{")
    plan(capsys, project)
    assert len(calls) == 9


def test_a_folder_that_contains_the_checkout_has_no_clips_in_its_cache(
    project, capsys, monkeypatch
):
    monkeypatch.setattr("pipeline.commands.rates.measure_features", lambda *_: {})
    project.params["sources"]["local"] = {"folder": str(project.root), "ignore": ["p*", "*.csv"]}
    (project.root / "params.yaml").write_text(yaml.safe_dump(project.params))
    clip_path = project.clips_dir("sample") / "another.mp4"
    clip_path.parent.mkdir(parents=True)
    clip_path.write_bytes(b"")
    _, printed, _ = run(capsys, project, "plan", "local", "--format", "json")
    (download,) = [row for row in json.loads(printed) if row["stage"] == "download"]
    assert download["to_do"] == 3  # a, b and c


def test_it_says_at_once_that_training_will_be_refused(project, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.commands.rates.measure_features", lambda *_: {})
    url = "http://127.0.0.1:1/c.mp4"
    text = f"id,url,start,end,split\na,{url},1,2,train\nb,{url},2,3,test\n"
    (project.root / "birds.csv").write_text(text)
    project.params["evaluate"]["subsets"]["birds"] = ["test"]
    (project.root / "params.yaml").write_text(yaml.safe_dump(project.params))
    _, notes = plan(capsys, project)
    assert "training will be refused: birds: training split train has 0 of the 1 clips" in notes
    assert "and parts of the videos of 1, for example b" in notes

    project.params["audit"]["allow_leakage"] = True
    (project.root / "params.yaml").write_text(yaml.safe_dump(project.params))
    assert "refused" not in plan(capsys, project)[1]


def test_the_hours_of_a_shared_pass_are_for_all_that_it_has_to_compute(
    project, capsys, monkeypatch
):
    """Frames lack one sample; flow has all others to compute."""
    places = np.arange(100)
    to_do = {"frames": places == 0, "flow": places > 0}

    def count(feature, *_):
        return RequestCounts(num_there=0, to_do=to_do.get(feature.name, places < 0))

    def measure(group, _):
        return {name: Rate(0.0 if place else 36.0, 1e9) for place, name in enumerate(group)}

    monkeypatch.setattr("pipeline.commands.planned_dataset.count_requests", count)
    monkeypatch.setattr("pipeline.commands.rates.measure_features", measure)
    rows, notes = plan(capsys, project)
    assert (rows["frames"]["cpu_hours"], rows["flow"]["cpu_hours"]) == (1.0, 0.0)
    assert (rows["frames"]["gigabytes"], rows["flow"]["gigabytes"]) == (1.0, 99.0)
    assert "birds: the hours of flow are in the line of frames, since one pass" in notes


def test_clips_of_which_nothing_can_be_computed_give_no_rate(project, capsys):
    assert run(capsys, project, "import", str(project.root / "a.mp4"), "--quiet")[0] == 0
    (path,) = project.clips_dir("birds").glob("*.mp4")
    path.unlink()
    path.write_bytes(b"no video")

    rows, notes = plan(capsys, project)
    assert (rows["frames"]["to_do"], rows["spectrograms"]["to_do"]) == (4, 4)
    for name in ("hours", "cpu_hours", "gigabytes"):
        assert rows["frames"][name] is rows["spectrograms"][name] is None
    assert "frames, flow, spectrograms: not counted, since none of the clips of birds" in notes


def test_a_section_with_an_end_alone_begins_at_zero():
    clip = {"clip_id": "a", "video_id": "a", "url": "http://x.org/a", "splits": []}
    sections = [{"start_seconds": None, "end_seconds": 3.0}, {"start_seconds": 1.0}]
    wanted = pa.Table.from_pylist([clip | section for section in sections], schema=CLIPS.columns)
    found = _estimate_bytes("vggsound", wanted, DOWNLOADS.columns.empty_table(), [])
    assert found == _BYTES_PER_SECOND * (3 + _CLIP_SECONDS)


def test_what_networks_compute_is_named(project, capsys):
    """Nothing is fetched for them, neither by a stage of its own nor by a variant's module."""
    project.params["detections"]["datasets"] = ["birds"]
    project.params["variants"] = ["flow-raft"]
    project.params["feature_variants"] = {"flow-raft": {"code": "train.inference.raft_flow"}}
    (project.root / "params.yaml").write_text(yaml.safe_dump(project.params))
    rows, notes = plan(capsys, project)
    assert not rows.keys() & {"detections", "flow-raft"}
    assert "birds: a network computes detections, flow-raft: not counted" in notes
    assert not project.weights_dir.exists()


def test_what_it_does_not_know(project, capsys):
    code, _, message = run(capsys, project, "plan", "bird")
    assert code == 2 and "bird: neither a recipe" in message
    # Listing this one renders videos.
    assert "sample: not listed yet" in run(capsys, project, "plan", "sample")[1]
