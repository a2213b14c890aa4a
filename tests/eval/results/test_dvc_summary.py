"""The numbers that DVC shows: few, with short keys, and those of the main protocol."""

import json
import subprocess
import sys

from eval.results.dvc_summary import describe_summary, shorten, summarize_for_dvc

SAMPLE_SETS = [("sample", name) for name in ("final_single", "final_traffic", "single", "traffic")]


def make_results(models=("ezvsl", "htf"), test_sets=SAMPLE_SETS):
    """Make a row for each model, a baseline, each test set and two protocols."""
    kinds = dict.fromkeys(models, "model") | {"centre": "trivial", "htf_untrained": "untrained"}
    return [
        {
            "model": model,
            "kind": kind,
            "dataset": dataset,
            "subset": subset,
            "protocol": protocol,
            "adaptive_ciou": 0.123456 if protocol == "earshot" else 0.9,
            "auc": 0.9,
        }
        for model, kind in kinds.items()
        for dataset, subset in test_sets
        for protocol in ("lvs", "earshot")
    ]


def test_one_number_for_each_model_and_test_set():
    results = make_results()
    results[-1]["adaptive_ciou"] = None
    results[3]["adaptive_ciou"] = None  # ezvsl on final_traffic under earshot
    summary = summarize_for_dvc(results, protocol="earshot", metric="adaptive_ciou")
    assert summary == {
        "ezv": {"fs": 0.1235, "ft": None, "si": 0.1235, "tr": 0.1235},
        "htf": {"fs": 0.1235, "ft": 0.1235, "si": 0.1235, "tr": 0.1235},
    }
    told = describe_summary(results, protocol="earshot", metric="adaptive_ciou")
    assert "ezv = ezvsl, htf = htf, fs = final_single, ft = final_traffic" in told
    assert summarize_for_dvc([], protocol="earshot", metric="auc") == {}


def test_short_names_are_unique_and_do_not_depend_on_other_names():
    names = ["final_single", "flickr_test", "vggss_test", "traffic", "test", "_"]
    expected = ["fs", "fl", "vg", "tr", "te", "_"]
    assert list(shorten(names, num_letters=2).values()) == expected
    for name, short in zip(names, expected, strict=True):
        assert shorten([name], num_letters=2) == {name: short}
    # Only names that would be equal stay whole.
    models = ["flowgrad_h", "fast_htf", "ezvsl"]
    assert list(shorten(models, num_letters=3).values()) == ["flowgrad_h", "fast_htf", "ezv"]
    # The third is short for a name that stays whole.
    models = ["htf1", "htf2", "h_t_f_1"]
    assert list(shorten(models, num_letters=3).values()) == models


def test_test_sets_of_one_name_in_two_datasets_stay_apart():
    results = make_results(models=["m"], test_sets=[("own", "test"), ("local", "test")])
    summary = summarize_for_dvc(results, protocol="earshot", metric="adaptive_ciou")
    assert list(summary["m"]) == ["ow", "lo"]
    results = make_results(models=["m"], test_sets=[("own", "clear"), ("local", "clear")])
    summary = summarize_for_dvc(results, protocol="earshot", metric="adaptive_ciou")
    assert list(summary["m"]) == ["oc", "lc"]


def test_the_tables_of_dvc_fit_a_terminal(tmp_path):
    summary = summarize_for_dvc(make_results(), protocol="earshot", metric="adaptive_ciou")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "dvc.yaml").write_text("metrics: [reports/summary.json]\n")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    show = [sys.executable, "-m", "dvc", "metrics", "show"]
    shown = subprocess.run(show, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    header = next(line for line in shown.splitlines() if line.startswith("Path"))
    assert header.split()[1:] == [
        f"{m}.{s}" for m in ("ezv", "htf") for s in ("fs", "ft", "si", "tr")
    ]
    assert max(map(len, shown.splitlines())) <= 100
