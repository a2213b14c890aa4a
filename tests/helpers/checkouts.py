"""Copies of this checkout in which tests run the real DVC pipeline with smaller parameters."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from earshot.files import sha256_of
from pipeline.kernels.farneback import load_refine_level
from tests.helpers.paths import ROOT

CODE = (
    "earshot",
    "pipeline",
    "eval",
    "train",
    "stages",
    "dvc.yaml",
    "params.yaml",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
)
# Everything small: a handful of clips, one epoch, a tiny network.
TINY = {
    "sources.sample.num_train": 12,
    "sources.sample.num_val": 4,
    "sources.sample.num_single": 4,
    "sources.sample.num_traffic": 4,
    "sources.sample.num_final": 4,
    "sources.sample.num_workers": 2,
    "cache.shard_samples": 8,
    "cluster.workers": 0,
    "evaluate.num_resamples": 200,
    "report.num_gallery_samples": 4,
}
TINY_RUN = {
    "width": 8,
    "audio_width": 8,
    "image_size": 64,
    "map_stride": 16,
    "batch_size": 8,
    "epochs": 1,
}
_ONE_WIDTH = ("avobject", "sspl")  # methods without an audio encoder of another width


def make_checkout(folder: Path, changes: dict | None = None) -> Path:
    """Make a git repository at ``folder`` with this checkout's code and graph.

    Its parameters are ``TINY`` and ``changes`` (dotted name -> value).
    """
    # Machine code that Numba compiles for flow comes along: else, each checkout would compile it.
    load_refine_level()
    for name in CODE:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc"))
        else:
            shutil.copy(source, target)
    for name in ("manifests", "cache", "cache/runs", "reports", "reports/training"):
        (folder / name).mkdir()
        shutil.copy(ROOT / name / ".gitignore", folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    # Runs that name a dataset are published ones, which some sizes do not fit.
    tiny_runs = {
        f"train.{model}.{key}": value
        for model, section in params["train"].items()
        if "dataset" not in section
        for key, value in TINY_RUN.items()
        if key != "audio_width" or section["method"] not in _ONE_WIDTH
    }
    for name, value in {**TINY, **tiny_runs, **(changes or {})}.items():
        set_parameter(params, name, value)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "A checkout"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def set_parameter(params: dict, dotted_name: str, value) -> None:
    """Set one value in the nested mapping of params.yaml."""
    *sections, key = dotted_name.split(".")
    for section in sections:
        params = params[section]
    params[key] = value


def change_parameter(folder: Path, dotted_name: str, value) -> None:
    """Set one value in the params.yaml of a checkout."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    set_parameter(params, dotted_name, value)
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def skip_check(folder: Path) -> None:
    """Note that params.yaml has been checked, as the first stage does.

    The check imports PyTorch, which takes longer than most stages on few samples.
    """
    cache_dir = folder / "cache"
    cache_dir.mkdir(exist_ok=True)
    (cache_dir / ".checked-params").write_text(sha256_of(folder / "params.yaml"))


def run(folder: Path, *command: str, is_failure_expected: bool = False) -> str:
    """Run a command in a checkout and return its standard output and error.

    This environment's programs come first in PATH.
    """
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (done.returncode != 0) == is_failure_expected, (
        f"exit code {done.returncode}\n{done.stdout}"
    )
    return done.stdout


def stages_run(output: str) -> set[str]:
    """Names of the stages whose commands ``dvc repro`` ran."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}
