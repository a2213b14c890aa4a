"""The part of ``check`` that imports PyTorch: runs, released weights and where they are trained."""

from eval.published.own_names import TRAIN_SPLITS
from pipeline.base.parameters import find_section, suggest
from pipeline.base.project import Project
from pipeline.datasets.dataset import find_known_splits
from stages.checks.idle_settings import has_default, refuse_idle
from train.models.training_parameters import HardwareParameters, MonitoringParameters
from train.runs.idle_settings import find_switched_off, find_unread
from train.runs.input_checks import find_inputs, list_input_notes
from train.runs.run_checks import check_chosen_run, check_labels, check_run, check_same_runs
from train.runs.run_folder import MODEL_NAME
from train.runs.setting_values import check_batch, check_hardware
from train.runs.settings import list_first_runs, read_run_data, read_run_parameters
from train.weights.first_files import find_absent_files
from train.weights.network_checks import check_network, check_released
from train.weights.released import ReleasedWeights


def check_runs(project: Project) -> None:
    """Check the sections of training; names of chosen runs are known.

    Args:
        project: Whose params.yaml is read.

    Raises:
        ParameterError: A section, key or value is wrong, or a setting changes nothing.
    """
    if "hardware" in project.params:
        check_hardware(project.parameters(HardwareParameters, "hardware"))
    if "monitoring" in project.params:
        _check_monitoring(project.parameters(MonitoringParameters, "monitoring"))

    # All runs must be well formed. Those that `models` chooses must also fit the datasets.
    runs = find_section(project.params, "train")
    for name in runs:
        check_run(project, name)
        parameters = read_run_parameters(project, name)
        idle = find_unread(parameters)
        # What a run takes over may be of runs of other methods, so that is no mistake.
        refuse_idle(parameters, runs[name], f"train.{name}", idle=idle)
    for name in find_section(project.params, "weights"):
        project.parameters(ReleasedWeights, f"weights.{name}")

    if not project.params.get("datasets"):
        return
    if "models" in project.params:
        for name in project.names("models"):
            _check_chosen(project, name)
        check_labels(project)
        check_same_runs(project)
    if "released" in project.params:
        for name in project.names("released"):
            check_released(project, name)


def _check_monitoring(monitoring: MonitoringParameters) -> None:
    if monitoring.loggers or monitoring.callbacks:
        # Imported only where there is something to find: it imports Lightning.
        from train.fitting.monitoring import check_names

        check_names(monitoring)


def _check_chosen(project: Project, name: str) -> None:
    """Check a run of ``models``, and those that have to be trained before it."""
    check_chosen_run(project, name)
    check_network(project, name)
    if "hardware" in project.params:
        hardware = project.parameters(HardwareParameters, "hardware")
        check_batch(read_run_parameters(project, name), hardware, where=f"train.{name}")

    for first in list_first_runs(project, name):
        # A folder with weights may come from another machine, where it was trained.
        if not (project.run_dir(first) / MODEL_NAME).is_file():
            check_chosen_run(project, first, reader=name)
            check_network(project, first)


def find_run_notes(project: Project) -> list[str]:
    """Return sentences about the chosen runs: what changes nothing, and what is not there yet.

    Args:
        project: Whose params.yaml is read; it has ``models``.
    """
    names = project.names("models")
    # What holds of several runs, such as those of one preset, is one sentence.
    readers: dict[str, list[str]] = {}
    for name in names:
        data = read_run_data(project, name)
        inputs = find_inputs(project, name, read_run_parameters(project, name), data)
        for fact in (*_describe_idle(project, name), *list_input_notes(inputs)):
            readers.setdefault(fact, []).append(name)
    released = project.names("released") if "released" in project.params else []
    notes = [f"{', '.join(readers[fact])}: {fact}" for fact in readers]
    notes += [note for name in released for note in _describe_trained_on(project, name)]
    return notes + [
        f"{name}: {path} is not there yet; its training will need it (docs/training.md, "
        '"Where to get the weights")'
        for name in names
        for path in find_absent_files(project, name)
    ]


def _describe_trained_on(project: Project, name: str) -> list[str]:
    """Say where ``trained_on`` of released weights finds no published row to stand beside."""
    trained_on = project.parameters(ReleasedWeights, f"weights.{name}").trained_on
    known = set(TRAIN_SPLITS.values())
    if trained_on is None or trained_on in known:
        return []
    return [
        f"{name}: trained_on is {trained_on!r}{suggest(trained_on, known)}; no published row was "
        "trained on it, so none stands beside these weights"
    ]


def _describe_idle(project: Project, name: str) -> list[str]:
    """Name the settings of a run that change nothing in it.

    It takes them over from a preset or another run, or another setting switches them off.
    """
    parameters = read_run_parameters(project, name)
    idle = find_switched_off(parameters) | find_unread(parameters)
    found: dict[str, list[str]] = {}
    for setting, why in idle.items():
        # What is not the default is given somewhere.
        if not has_default(parameters, setting):
            found.setdefault(why, []).append(setting)

    # Which splits there are may be in a large table, so look only where it matters.
    if "num_held_out" not in idle and not has_default(parameters, "num_held_out"):
        dataset = read_run_data(project, name).find_dataset(project)
        if parameters.val_split in (find_known_splits(project, dataset) or ()):
            found[f"{dataset} has the split {parameters.val_split!r}"] = ["num_held_out"]
    return [f"{', '.join(found[why])} without effect: {why}" for why in found]
