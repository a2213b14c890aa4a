"""What the page says of the run: code, hardware and how much was scored."""

import hashlib
import subprocess

import pytest

from eval.report.data.result_rows import ABSENT, Group
from eval.report.data.software import describe_software
from eval.report.sections.run_facts import describe_hardware, describe_scope, format_duration


def git(root, *arguments):
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *names, *arguments], cwd=root, check=True, capture_output=True)


def test_the_commit_is_named_with_changes_that_decide_something(tmp_path):
    assert "commit" not in describe_software(tmp_path)

    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "requirements.txt").write_text("numpy==2\n")
    (tmp_path / "dvc.lock").write_text("a")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    found = describe_software(tmp_path)
    digest = hashlib.sha256(b"numpy==2\n").hexdigest()
    assert (found["Earshot"], found["requirements.txt"]) == ("1.2.3", f"SHA-256 {digest[:16]}")
    assert len(found["commit"]) == 12

    # a run writes dvc.lock and reports itself
    (tmp_path / "dvc.lock").write_text("b")
    (tmp_path / "new.txt").write_text("c")
    assert describe_software(tmp_path)["commit"] == found["commit"]
    (tmp_path / "requirements.txt").write_text("numpy==3\n")
    assert describe_software(tmp_path)["commit"].endswith(", with changes that are not committed")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ABSENT),
        (12.4, "12 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (3599.7, "1 h 00 min"),
    ],
)
def test_durations_are_readable(seconds, text):
    assert format_duration(seconds) == text


def test_the_head_counts_models_baselines_and_samples():
    rows = [
        {"model": "htf", "kind": "model", "num_trained_on": 1280},
        {"model": "ezvsl", "kind": "model", "num_trained_on": 900},
        {"model": "flow", "kind": "baseline"},
        {"model": "centre", "kind": "trivial"},
        {"model": "htf_untrained", "kind": "untrained"},
    ]
    group = Group("sample", "single", "earshot", tuple(rows))
    text = describe_scope([group], [], num_test_samples=480)
    assert text == "2 models, 2 baselines, 480 test samples; trained on 900 to 1,280 samples"
    runs = {"htf": {"device": "cpu", "seconds": 60.0}, "ezvsl": {"device": "cpu", "seconds": 30.0}}
    assert describe_hardware(runs) == "trained on a CPU in 1 min 30 s"
    assert describe_hardware({"htf": {}}) == ""
