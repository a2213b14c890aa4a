"""The files of an evaluation: round trip, and files that are not as expected."""

import json

import pytest

from earshot.errors import DataError
from eval.results.files import (
    format_coverage,
    read_results,
    read_scores,
    write_results,
)
from tests.helpers.scoring.score_examples import evaluate_maps


def test_files_come_back_as_written(samples, ids, maps, tmp_path):
    scores, results = evaluate_maps(samples, maps[:-1], ids[:-1])
    results[0]["auc_low"] = float("nan")
    write_results(tmp_path, scores=scores, results=results)
    assert read_scores(tmp_path).to_pylist() == [
        {name: r[name] for name in read_scores(tmp_path).column_names} for r in scores
    ]
    content = read_results(tmp_path)
    assert content["results"][0]["mean_ciou"] == results[0]["mean_ciou"]
    assert content["results"][0]["auc_low"] is None
    assert content["comparisons"] == []
    json.loads(
        (tmp_path / "results.json").read_text(), parse_constant=pytest.fail
    )  # no NaN: not JSON
    with pytest.raises(DataError, match="unknown list 'metrics'"):
        write_results(tmp_path, scores=scores, metrics=[])
    del results[0]["kind"]
    write_results(tmp_path, scores=scores, results=results)
    with pytest.raises(
        DataError, match=r'm has no "kind" in the list "results"; run `dvc repro evaluate`'
    ):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("[")
    with pytest.raises(DataError, match="not valid JSON"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"results": None}, '"results" is no list of objects'),
        ({"results": [], "notes": ["x"]}, '"notes" is no list of objects'),
        ({"results": [], "seeds": [{"dataset": "d"}]}, 'a row has no "subset" in the list "seeds"'),
        ({"results": [], "comparisons": [{"first": "m"}]}, 'm has no "second" in the list "comp'),
    ],
)
def test_files_of_other_versions_are_one_sentence(tmp_path, content, message):
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_results(tmp_path)


def test_coverage_is_whole_only_where_nothing_is_missing():
    shown = [format_coverage(100 * n / 5158) for n in (5158, 5157, 5000, 1, 0)]
    assert shown == ["100.0", "99.9", "96.9", "0.1", "0.0"]
