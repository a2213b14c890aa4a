"""Rates of training steps, measured by a program of their own and kept with the other rates."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from earshot.files import publish_text
from pipeline.base.project import Project
from pipeline.commands.rates import KEY_DIGITS, RATES_NAME, describe_machine, read_rates
from pipeline.commands.training_rates import RunSettings

_CODE_ROOT = str(Path(__file__).resolve().parents[2])
_LIBRARIES = ("torch", "torchvision", "lightning")


@dataclass(frozen=True)
class StepRate:
    """How fast the training step of a run was."""

    samples_per_second: float
    device: str  # the GPU's name, or ``cpu``
    measured: str  # when


def find_step_rates(
    project: Project,
    runs: Sequence[tuple[RunSettings, int]],
    *,
    is_measured: bool,
    notes: list[str],
) -> dict[str, StepRate]:
    """Return the rates of runs, by name; those that are not kept are missing.

    Args:
        project: The checkout with the parameters that are planned for.
        runs: Settings of runs, and the number of their training samples.
        is_measured: Whether to measure them now. A program that imports PyTorch does it.
        notes: Why a rate could not be measured is added.
    """
    path = project.storage_dir / RATES_NAME
    keys = {run.name: _make_key(project, run, num_samples) for run, num_samples in runs}
    if is_measured and runs:
        # Runs with other seeds take the same.
        representatives = {keys[run.name]: (run.name, number) for run, number in reversed(runs)}
        _measure(project, path, representatives, notes)

    known = read_rates(path)
    return {
        name: StepRate(
            known[key]["samples_per_second"], known[key]["device"], known[key]["measured"]
        )
        for name, key in keys.items()
        if key in known
    }


def _make_key(project: Project, run: RunSettings, num_samples: int) -> str:
    """Return the key of a rate: the machine, the libraries, and what a sample's cost depends on."""
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    # Few samples are kept in memory. A few more or less shall not make another rate.
    magnitude = num_samples.bit_length()
    decisive = [run.costs, run.inputs, project.params.get("hardware"), magnitude]
    text = "\n".join(
        [describe_machine(), *versions, "step", json.dumps(decisive, sort_keys=True, default=str)]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def _measure(
    project: Project, path: Path, runs_by_key: dict[str, tuple[str, int]], notes: list[str]
) -> None:
    """Measure runs and enter their rates in the file."""
    runs = dict(runs_by_key.values())
    names = list(runs)
    print(f"measuring the training step of {', '.join(names)}", file=sys.stderr, flush=True)
    # The code need not lie where the project does.
    search_path = os.pathsep.join([_CODE_ROOT, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "stages.step_rates"],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": search_path.rstrip(os.pathsep)},
        input=json.dumps({"params": project.params, "runs": runs}, default=str),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        # It has printed why. A step that needs too much memory may have ended it.
        notes.append(
            f"train@{', train@'.join(names)}: measuring the training step ended with code "
            f"{done.returncode}"
        )
        return

    answers = json.loads(done.stdout)
    # Another command may have written meanwhile.
    known = read_rates(path)
    for key, (name, _) in runs_by_key.items():
        if "problem" in answers[name]:
            notes.append(f"train@{name}: the step was not measured: {answers[name]['problem']}")
        else:
            known[key] = {"measured": time.strftime("%Y-%m-%d %H:%M"), **answers[name]}
    publish_text(path, json.dumps(known, indent=1) + "\n")
