"""Start ``training_script.py`` in processes of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.helpers.paths import TRAINING_SCRIPT
from tests.helpers.training.toy_runs import TINY


def start_script(
    features_dirs: Mapping[str, Path],
    run_dir: Path,
    *,
    environment: dict[str, str] | None = None,
    launcher: tuple[str, ...] = (),
    **options: Any,
) -> subprocess.Popen:
    """Start a training on toy features.

    Args:
        features_dirs: feature -> its folder.
        run_dir: of the run.
        environment: further environment variables.
        launcher: a Python module with its options that starts the script.
        options: of the script.
    """
    options = {"parameters": {"method": "ezvsl", **TINY}, "num_samples": 48, **options}
    options["features_dirs"] = {name: str(path) for name, path in features_dirs.items()}
    return subprocess.Popen(
        [sys.executable, *launcher, str(TRAINING_SCRIPT), str(run_dir), json.dumps(options)],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def step_losses(output: str) -> dict[int, float]:
    """Return {step: loss} of the lines that a script printed.

    Processes may print without a line break between them.
    """
    words = output.replace("STEP", " STEP ").split()
    return {
        int(words[i + 1]): float(words[i + 2]) for i, word in enumerate(words) if word == "STEP"
    }
