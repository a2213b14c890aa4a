"""Files of the report: their bytes, and what absent and damaged inputs do to them."""

import pytest

from earshot.errors import DataError
from eval.report import plot_tables
from eval.report.build_report import build_report
from eval.report.data.inputs import ReportParameters, load_inputs
from eval.results.files import write_results
from tests.helpers.scoring.report_examples import MODELS, parse, write_project


def test_same_inputs_give_the_same_bytes(built, tmp_path):
    project, _, paths = built
    again = load_inputs(project, datasets=["sample"], models=["htf", "ezvsl"])
    other = build_report(again, ReportParameters(num_gallery_samples=12), tmp_path)
    assert other.page.read_bytes() == paths.page.read_bytes()
    # Of both runs: what of the method is its authors'.
    assert other.page.read_text().count("<dt>ours, recalled or not known</dt>") == 2
    for first, second in zip(paths.tables, other.tables, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_a_dataset_without_a_test_set_has_no_results_section(tmp_path):
    project = write_project(tmp_path, dataset="local", has_maps=False)
    write_results(project.reports_dir, scores=[])
    inputs = load_inputs(project, datasets=["local"], models=[])
    page = build_report(
        inputs, ReportParameters(num_gallery_samples=0), tmp_path / "out"
    ).page.read_text()
    assert "Nothing was scored: evaluate.subsets of params.yaml names no test set of local." in page
    assert "the stage evaluate has not run" not in page
    # A reader need not scroll past sections that are empty.
    assert 'id="results"' in page and 'id="gallery"' in page
    assert 'id="curves"' not in page and 'href="#breakdowns"' not in page


def test_absent_inputs_become_notes(tmp_path):
    project = write_project(tmp_path, num_samples=4, has_maps=False)
    for feature in ("frames", "flow"):
        (project.feature_dir("sample", feature) / "index.parquet").unlink()
    project.downloads_table_path("sample").unlink()

    inputs = load_inputs(project, datasets=["sample"], models=["htf"])
    paths = build_report(inputs, ReportParameters(), tmp_path / "out")
    text = paths.page.read_text()
    for expected in (
        "results.json is not there",
        "scores.parquet is not there",
        "run.json is not there",
        "training/htf is not there",
        "cache/sample/frames is not there",
        "downloads.parquet is not there",
    ):
        assert expected in text

    assert parse(text).unclosed == []
    assert (
        (tmp_path / "out" / "results.csv")
        .read_text()
        .startswith("dataset,subset,protocol,model,kind")
    )


def test_damaged_inputs_are_one_sentence(built, tmp_path):
    project = write_project(tmp_path, num_samples=2)
    project.maps_path("sample", "htf").write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"htf\.npz: not a readable \.npz file"):
        build_report(
            load_inputs(project, datasets=["sample"], models=[]),
            ReportParameters(),
            tmp_path / "out",
        )
    assert not (tmp_path / "out" / "index.html").exists()
    (project.reports_dir / "results.json").write_text("{")
    with pytest.raises(DataError, match=r"results\.json: not valid JSON"):
        load_inputs(project, datasets=["sample"], models=[])


def test_each_curve_has_a_file_of_its_own():
    names = {"a b": "a b", "a_b": "a_b", "HTF": "HTF", "htf": "htf", "plain": "plain", 0: "x" * 300}
    names |= {("d_e", "f"): "d_e_f", ("d", "e_f"): "d_e_f"}
    files = plot_tables._name_files(names)
    assert files["plain"] == "plain" and files["a b"].startswith("a_b-")
    assert len({name.lower() for name in files.values()}) == len(names)
    assert max(map(len, files.values())) < 120


def test_plots_of_removed_models_are_deleted(tmp_path):
    project = write_project(tmp_path, num_samples=2)
    old = project.reports_dir / "plots" / "success_curve" / "sample_single" / "old.csv"
    old.parent.mkdir(parents=True)
    old.write_text("threshold,success_rate\n")
    inputs = load_inputs(project, datasets=["sample"], models=[])
    build_report(inputs, ReportParameters(num_gallery_samples=0), project.reports_dir)
    assert sorted(path.stem for path in old.parent.iterdir()) == sorted(MODELS)
