"""Attributes of a sample become phrases in the gallery."""

from earshot.tables import SAMPLES, read_table, write_table
from eval.report.build_report import build_report
from eval.report.data.inputs import ReportParameters, load_inputs
from eval.report.gallery.facts import describe_facts
from tests.helpers.scoring.report_examples import write_project


def test_facts_of_the_datasets_are_phrases():
    sample = {
        "subset": "traffic",
        "source_is_moving": "false",
        "num_objects": "5",
        "num_sounding": "2",
        "object_size": "small",
    }
    assert describe_facts(sample, dataset="sample", shown=["traffic"]) == [
        "the source stands still",
        "5 objects",
        "2 sounding",
        "small source",
    ]

    urbansas = {
        "city": "Montevideo",
        "location_id": "12",
        "night": "1",
        "subset": "filtered",
        "frame_at_8_fps": "7",
    }
    assert describe_facts(urbansas, dataset="urbansas", shown=["test"]) == [
        "city: Montevideo",
        "location 12",
        "night",
        "subset: filtered",
        "frame 7 at 8 fps",
    ]

    assert describe_facts({"night": "0", "annotated_size": "1280x720"}, dataset="urbansas") == [
        "day",
        "annotated at 1280x720 px",
    ]
    assert describe_facts({"source_is_moving": "True", "num_objects": "1"}, dataset="sample") == [
        "the source moves",
        "1 object",
    ]


def test_unknown_facts_are_shown_without_underscores_and_empty_ones_not_at_all():
    assert describe_facts(
        {"num_dogs": 3, "is_indoors": "true", "camera_name": "a_b {}", "note": None, "mood": ""},
        dataset="sample",
    ) == [
        "number of dogs: 3",
        "is indoors: yes",
        "camera name: a_b {}",
    ]
    assert describe_facts({"path": "a/{b}.mp4"}, dataset="local") == ["file a/{b}.mp4"]


def test_the_page_has_the_phrases(tmp_path):
    project = write_project(tmp_path, num_samples=4)
    path = project.samples_table_path("sample")
    rows = read_table(path, SAMPLES).to_pylist()
    for row in rows:
        row["attributes"] = [("source_is_moving", "true"), ("num_objects", "3")]
    write_table(path, rows, SAMPLES)
    report = build_report(
        load_inputs(project, datasets=["sample"], models=["htf"]),
        ReportParameters(4),
        project.reports_dir,
    )
    page = report.page.read_text()
    assert '"facts":["the source moves","3 objects"]' in page
    assert "source_is_moving" not in page and "num_objects" not in page
