"""Counts of the samples of cached features."""

from earshot.tables import INDEX, SAMPLES, write_table
from pipeline.commands.sample_counts import count_features
from tests.helpers.command_helpers import make_project


def test_samples_of_a_feature_add_up(tmp_path):
    project = make_project(tmp_path)
    index = [
        dict.fromkeys(INDEX.columns.names) | {"sample_id": str(n), "status": status, "row": n}
        for n, status in enumerate(["ok", "ok", "missing", "failed"])
    ]
    write_table(project.feature_dir("vggsound", "flow") / "index.parquet", index, INDEX)
    (project.feature_dir("vggsound", "flow") / "0.h5").write_bytes(b"12345")
    samples = [
        dict.fromkeys(SAMPLES.columns.names) | {"sample_id": str(n), "clip_id": str(n)}
        for n in range(5)
    ]
    write_table(project.samples_table_path("vggsound"), samples, SAMPLES)

    [counts] = count_features(project, "vggsound")
    assert (counts.num_requested, counts.num_ok) == (5, 2)
    assert (counts.num_missing, counts.num_failed, counts.num_absent) == (1, 1, 1)
    assert counts.num_bytes == 5


def test_an_index_of_another_list_counts_only_what_is_listed(tmp_path):
    project = make_project(tmp_path)
    index = [{"sample_id": name, "status": "ok", "row": 0} for name in ("old", "older", "kept")]
    write_table(project.feature_dir("vggsound", "flow") / "index.parquet", index, INDEX)
    samples = [{"sample_id": name, "clip_id": name} for name in ("kept", "new", "newer")]
    write_table(project.samples_table_path("vggsound"), samples, SAMPLES)

    [counts] = count_features(project, "vggsound")
    assert (counts.num_requested, counts.num_ok, counts.num_absent) == (3, 1, 2)

    # A copy of the cache alone has no list: all that the index has is requested.
    project.samples_table_path("vggsound").unlink()
    [counts] = count_features(project, "vggsound")
    assert (counts.num_requested, counts.num_ok, counts.num_absent) == (3, 3, 0)
