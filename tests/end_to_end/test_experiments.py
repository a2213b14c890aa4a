"""Experiments of DVC, which work in copies of the checkout without the files that Git ignores."""

import subprocess
import time
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from pipeline.downloads.account.ledger import read_entries
from tests.helpers.checkouts import change_parameter, make_checkout, run, skip_check, stages_run
from tests.helpers.media.clip_factory import make_clip
from tests.helpers.paths import ROOT

SOUND = "spectrograms@local"  # the sound alone: nothing has to be compiled
CHANGE = ("-S", "spectrogram.hop_length=150")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout that has the clips and the sound of two videos; Git has its ``dvc.lock``."""
    folder = tmp_path_factory.mktemp("experiments")
    for name, seconds in (("a", 2), ("b", 3)):
        path = folder / "videos" / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        make_clip(path, size="96x64", fps="8", seconds=seconds)
    changes = {"datasets": ["local"], "sources.local.folder": "../videos", "models": []}
    checkout = make_checkout(folder / "checkout", changes | {"download.num_workers": 1})
    skip_check(checkout)
    run(checkout, "dvc", "repro", SOUND)
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (["add", "dvc.lock"], [*author, "commit", "-q", "-m", "Lock"]):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    return checkout


def test_an_experiment_beside_the_workspace_uses_its_clips_and_arrays(checkout):
    num_attempts = len(_read_ledger(checkout))
    output = run(checkout, "dvc", "exp", "run", "--temp", "-n", "beside", *CHANGE, SOUND)
    assert stages_run(output) == {SOUND}
    assert "2 samples, 2 ok" in output and "2 computed, 0 from the cache" in output

    # The workspace computes nothing again, and makes the same index and shards.
    change_parameter(checkout, "spectrogram.hop_length", 150)
    skip_check(checkout)
    output = run(checkout, "dvc", "repro", SOUND)
    assert "2 computed" not in output
    lock = (checkout / "dvc.lock").read_text()
    assert _read_outputs(_read_from_git(checkout, "beside")) == _read_outputs(lock)
    assert len(_read_ledger(checkout)) == num_attempts == 2


def test_queued_experiments_share_what_they_compute(checkout):
    num_attempts = len(_read_ledger(checkout))
    change = ("-S", "spectrogram.hop_length=140")
    for name in ("one", "two"):
        run(checkout, "dvc", "exp", "run", "--queue", "-n", name, *change, SOUND)
    run(checkout, "dvc", "queue", "start", "-j", "2")
    deadline = time.monotonic() + 250

    # Git says with less work than DVC when an experiment is finished; one that failed leaves none.
    while not {"one", "two"} <= set(_find_references(checkout)) and time.monotonic() < deadline:
        time.sleep(0.5)
    while (states := _read_queue(checkout)) != {"one": "Success", "two": "Success"}:
        assert "Failed" not in states.values(), run(checkout, "dvc", "queue", "logs", "one")
        assert time.monotonic() < deadline, states
        time.sleep(2)

    # The second one waited for the first one, or came later; either way it computed nothing.
    outputs = [run(checkout, "dvc", "queue", "logs", name) for name in ("one", "two")]
    assert sum("2 computed, 0 from the cache" in output for output in outputs) == 1
    one, two = (_read_outputs(_read_from_git(checkout, name)) for name in ("one", "two"))
    assert one == two
    assert len(_read_ledger(checkout)) == num_attempts
    assert len(list((checkout / "cache" / "local" / "clips").glob("*.mp4"))) == 2


@pytest.mark.parametrize("key", ["flow.window_size", "spectrogram.hop_length", "frames.short_side"])
def test_keys_of_features_can_be_set_for_an_experiment(tmp_path, key):
    """`-S` refuses keys that params.yaml lacks; the others need a `+`."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    apply_overrides(tmp_path / "params.yaml", [f"{key}=21", "+train.ezvsl.seed=1"])
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    section, name = key.split(".")
    assert (params[section][name], params["train"]["ezvsl"]["seed"]) == (21, 1)


def _read_ledger(checkout: Path) -> list[dict]:
    return read_entries(checkout / "cache" / "local" / "attempts.jsonl")


def _read_outputs(lock: str) -> list[dict]:
    """Return the paths and hashes that a text of ``dvc.lock`` has for the sound."""
    return yaml.safe_load(lock)["stages"][SOUND]["outs"]


def _read_from_git(checkout: Path, name: str) -> str:
    """Return the ``dvc.lock`` that an experiment left in Git."""
    command = ["git", "show", f"{_find_references(checkout)[name]}:dvc.lock"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True).stdout


def _find_references(checkout: Path) -> dict[str, str]:
    """Return the reference that Git has of each finished experiment, by its name."""
    command = ["git", "for-each-ref", "--format=%(refname)", "refs/exps"]
    refs = subprocess.run(command, cwd=checkout, capture_output=True, text=True).stdout.split()
    return {ref.rpartition("/")[2]: ref for ref in refs}


def _read_queue(checkout: Path) -> dict[str, str]:
    """Return the state of each queued experiment by its name."""
    lines = run(checkout, "dvc", "queue", "status").splitlines()
    rows = [line.split() for line in lines]
    return {row[1]: row[-1] for row in rows if len(row) > 2 and row[1] in ("one", "two")}
