"""Measure the training step of runs, for ``earshot plan --measure``; no stage of the graph.

    python -m stages.step_rates < REQUEST > ANSWER

The request is JSON: ``params``, the content of params.yaml that is planned for, and ``runs``, names
of section ``train`` with the number of their training samples. The answer is JSON, too: for each
run ``samples_per_second`` and ``device``, or ``problem``.
"""

import contextlib
import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from earshot.errors import DataError, EarshotError
from earshot.tables import DOWNLOADS, SAMPLES
from pipeline.base.project import Project
from pipeline.base.proxy import use_proxy
from pipeline.commands.measured_rates import Material, build_samples, make_material
from pipeline.features.configure import configure_feature, has_weights
from train.models.registry import features_read
from train.models.training_parameters import HardwareParameters
from train.runs.settings import read_run_data, read_run_parameters
from train.step_rate import measure_step_rate


def main(project: Project, runs: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Return the answer for the runs, which are given with their numbers of samples."""
    answers: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="earshot-plan-") as folder:
        no_samples = SAMPLES.columns.empty_table(), DOWNLOADS.columns.empty_table()
        material = make_material(*no_samples, Path(folder), Path(folder))
        for name, num_samples in runs.items():
            try:
                answers[name] = measure_run(
                    project, name, material, Path(folder), num_samples=num_samples
                )
            except (EarshotError, OSError, RuntimeError) as error:
                # The memory may be too small, for example. The other runs do not depend on it.
                first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
                answers[name] = {"problem": first_line}
    return answers


def measure_run(
    project: Project, name: str, material: Material, folder: Path, *, num_samples: int
) -> dict[str, Any]:
    """Return samples a second, and the device, of one run.

    Args:
        project: The checkout with the parameters that are planned for.
        name: Of the run.
        material: The samples that its batches consist of.
        folder: Where their features are computed, or were for another run.
        num_samples: Of the training; few are kept in memory, as the network reads them.

    Raises:
        DataError: A network computes what the run reads, or the clip does not give it.
    """
    parameters = read_run_parameters(project, name)
    features = read_run_data(project, name).find_features(features_read(parameters))
    folders = {}
    for feature, variant in features.items():
        if has_weights(project, variant):
            raise DataError(f"a network computes {variant}, which is not measured")
        folders[feature] = folder / variant / "out" / feature
        # Another run may have read it before.
        if not folders[feature].exists():
            build_samples(configure_feature(project, variant), material, folder / variant)

    rate = measure_step_rate(
        parameters,
        folders,
        material.samples["sample_id"].to_pylist(),
        num_samples=num_samples,
        hardware=project.parameters(HardwareParameters, "hardware"),
        weights_dir=project.weights_dir,
    )
    return asdict(rate)


if __name__ == "__main__":
    request = json.load(sys.stdin)
    # Only the answer goes to standard output.
    with contextlib.redirect_stdout(sys.stderr):
        checkout = replace(Project.load(), params=request["params"])
        with use_proxy(checkout.proxy):
            answer = main(checkout, request["runs"])
    print(json.dumps(answer))
