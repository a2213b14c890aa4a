"""Test sets by name, their ids, and their ground truth for who has not run the pipeline."""

import pytest

from earshot.errors import DataError
from earshot.tables import SAMPLES, write_table
from eval.published.test_set_tables import load_test_set
from eval.published.test_sets import count_leakage, find_subset_ids, get_test_set
from eval.results.model_scores import ModelMaps, score_model
from tests.helpers.scoring.score_examples import make_samples


def test_an_empty_subset_is_an_error_that_names_the_splits():
    message = "the subset 'tset' is empty; splits in the samples table: single, test, traffic"
    with pytest.raises(DataError, match=message):
        find_subset_ids(make_samples(), "tset")


def test_published_test_sets_have_their_sizes_and_leaks(shared, tmp_path):
    lists_dir = shared("lists", "ezvsl", "vggss.json").parent.parent
    tables = {}
    for name in (
        "vggss",
        "vggss_htf",
        "vggss_heard",
        "vggss_unheard",
        "vggss_4911",
        "vggss_4692",
        "vggss_4655",
        "vggss_heard_ssltie",
        "vggss_unheard_ssltie",
        "vggss_extended",
        "flickr_250",
        "flickr",
    ):
        test_set = get_test_set(name)
        tables[name] = load_test_set(
            test_set, table_path=tmp_path / "none.parquet", cache_dir=tmp_path, lists_dir=lists_dir
        )
        assert len(find_subset_ids(tables[name], test_set.split)) == test_set.num_published, name
    table = tables["vggss"]
    training = (lists_dir / "ezvsl" / "vggss_144k.txt").read_text().split()
    assert count_leakage(table["clip_id"].to_pylist(), training) == 3709
    assert (
        count_leakage(
            table["clip_id"].to_pylist(),
            (lists_dir / "htf" / "vgg_train_144k.txt").read_text().split(),
        )
        == 0
    )
    extended = tables["vggss_extended"]
    rows = score_model(ModelMaps("m", "vggsound", [], []), extended, protocols=["lvs"])["lvs"]
    assert sum(not r["is_positive"] for r in rows) == 5158
    assert {r["reason"] for r in rows} == {"no_map"}


def test_a_test_set_that_is_not_at_hand_says_what_to_run(tmp_path):
    write_table(tmp_path / "samples.parquet", make_samples(2), SAMPLES)
    with pytest.raises(DataError, match="run `dvc repro sources@urbansas`, or give --annotations"):
        load_test_set(
            get_test_set("urbansas"), table_path=tmp_path / "samples.parquet", cache_dir=tmp_path
        )
