"""A table of the user's own videos with boxes goes to a scored result."""

import csv
import json
from pathlib import Path

import yaml

import stages.download
import stages.evaluate
import stages.feature
import stages.sources
from earshot.tables import DOWNLOADS, INDEX, read_table
from pipeline.base.project import Project
from tests.helpers.downloads.download_helpers import encode
from tests.helpers.paths import ROOT, shared_path

_RED_SQUARE = "drawbox=x=8:y=8:w=24:h=24:color=red:t=fill"


def make_project(folder: Path) -> Project:
    """Make a project whose only dataset is the table ``birds.csv``."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"datasets": ["birds"], "models": []}
    params["sources"]["birds"] = {"kind": "table", "path": str(folder / "birds.csv")}
    params["evaluate"]["subsets"]["birds"] = ["test"]
    params["evaluate"] |= {"baselines": ["centre", "flow"], "num_resamples": 20}
    params["cluster"]["workers"] = 0
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return Project.load(folder)


def test_a_csv_with_boxes_becomes_a_table_of_results(tmp_path, capsys):
    video_path = tmp_path / "videos" / "square.mp4"
    video_path.parent.mkdir()
    encode(
        video_path,
        *("-f", "lavfi", "-i", f"testsrc2=s=96x64:r=16:d=3,{_RED_SQUARE}"),
        *("-f", "lavfi", "-i", "sine=d=3"),
        *("-c:v", "libx264", "-c:a", "aac"),
    )
    with (tmp_path / "birds.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "time", "split", "boxes", "frame_width", "frame_height"])
        for time in (0.5, 1.5):
            boxes = json.dumps([[8, 8, 32, 32]])
            writer.writerow(["square", "videos/square.mp4", time, "test", boxes, 96, 64])

    project = make_project(tmp_path)
    stages.sources.main(project, "birds")
    stages.download.main(project, "birds")
    for feature in ("frames", "flow"):
        stages.feature.main(project, feature, "birds")
    project.reports_dir.mkdir()
    stages.evaluate.main(project)

    results = json.loads((project.reports_dir / "results.json").read_text())["results"]
    rows = {row["model"]: row for row in results if row["protocol"] == "earshot"}
    assert set(rows) == {"centre", "flow"}
    assert all((row["subset"], row["n"]) == ("test", 2) for row in rows.values())
    assert "birds: 1 clips, 2 samples" in capsys.readouterr().out


def write_urbansas_table(folder: Path, release: Path, *, num_clips: int) -> list[str]:
    """Write ``birds.csv`` with two moments and their boxes of some clips of a release."""
    with (release / "annotations" / "video_annotations.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["x"]) >= 0 and row["time"] != "-1"]
    moments: dict[str, dict[float, list[list[float]]]] = {}
    for row in rows:
        x, y, w, h = (float(row[name]) for name in "xywh")
        boxes = moments.setdefault(row["filename"], {}).setdefault(float(row["time"]), [])
        boxes.append([x, y, x + w, y + h])

    names = [name for name in moments if (release / "video_24fps" / f"{name}.mp4").exists()]
    with (folder / "birds.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "time", "split", "boxes", "frame_width", "frame_height"])
        for name in names[:num_clips]:
            for time, boxes in list(moments[name].items())[:2]:
                path = release / "video_24fps" / f"{name}.mp4"
                writer.writerow([name, path, time, "test", json.dumps(boxes), 400, 225])
    return names[:num_clips]


def test_ten_street_scenes_become_a_table_of_results(tmp_path):
    names = write_urbansas_table(tmp_path, shared_path("urbansas_mini"), num_clips=10)
    assert len(names) == 10
    project = make_project(tmp_path)
    stages.sources.main(project, "birds")
    stages.download.main(project, "birds")
    for feature in ("frames", "flow"):
        stages.feature.main(project, feature, "birds")
    project.reports_dir.mkdir()
    stages.evaluate.main(project)

    results = json.loads((project.reports_dir / "results.json").read_text())["results"]
    rows = {row["model"]: row for row in results if row["protocol"] == "earshot"}
    assert rows["centre"]["n"] == rows["flow"]["n"] >= 15
    # Moving vehicles have boxes, so flow finds more of them than a spot in the middle.
    scores = {name: row["adaptive_ciou"] for name, row in rows.items()}
    assert scores["flow"] > scores["centre"] > 0


def test_a_video_without_sound_has_what_it_can_have(tmp_path):
    silent = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=16:d=2", "-c:v", "libx264")
    encode(tmp_path / "silent.mp4", *silent)
    (tmp_path / "birds.csv").write_text("id,path\nsilent,silent.mp4\n")
    project = make_project(tmp_path)
    stages.sources.main(project, "birds")
    stages.download.main(project, "birds")
    downloads = read_table(project.downloads_table_path("birds"), DOWNLOADS).to_pylist()
    assert [(row["status"], row["flags"]) for row in downloads] == [("ok", ["no_audio"])]

    for feature, status, reason in (
        ("frames", "ok", None),
        ("flow", "ok", None),
        ("spectrograms", "missing", "no_audio"),
    ):
        stages.feature.main(project, feature, "birds")
        index = read_table(project.feature_dir("birds", feature) / "index.parquet", INDEX)
        assert [(row["status"], row["reason"]) for row in index.to_pylist()] == [(status, reason)]
