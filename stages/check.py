"""``check``: all of params.yaml, once after each change, before any stage works.

Each stage reads its own section only. A wrong name in the last section would stop a run of days at
its end. ``stages/common.py`` runs this program before a stage when params.yaml has changed.
"""

import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from earshot.errors import EarshotError, ParameterError
from eval.report.data.inputs import ReportParameters
from eval.results.evaluate import EvaluationParameters
from pipeline.audit.leakage import AuditParameters
from pipeline.base.os_errors import report_error
from pipeline.base.parameters import require_distinct, suggest
from pipeline.base.project import Project
from pipeline.datasets.dataset import (
    describe_hand_work,
    find_own_tables,
    load,
)
from pipeline.datasets.dataset import names as dataset_names
from pipeline.downloads.parameters import DownloadParameters
from pipeline.features.configure import check_variants, find_datasets, load_module
from pipeline.features.registry import FEATURES, RegisteredFeature
from pipeline.shards.workers.cluster import ClusterParameters
from stages.checks.evaluation import check_evaluation, list_left_out
from stages.checks.idle_settings import find_idle, has_default, list_notes, refuse_idle
from stages.feature import CacheParameters

# Sections with one dataclass each. Those of features are in the registry.
SECTIONS = {
    "download": DownloadParameters,
    "cache": CacheParameters,
    "cluster": ClusterParameters,
    "audit": AuditParameters,
    "evaluate": EvaluationParameters,
    "report": ReportParameters,
}
_OTHERS = (
    *("datasets", "models", "released", "sources", "variants", "feature_variants"),
    *("train_presets", "train", "weights", "hardware", "monitoring"),
)


def check_params(project: Project) -> None:
    """Check every section that params.yaml has; a stage reports a section that it lacks.

    Raises:
        ParameterError: A section, key, name or value is wrong. The message names it, and a close
            name that is right.
    """
    names = [
        name for entry in FEATURES.values() for name in (entry.section, entry.datasets_section)
    ]
    # The section of a feature can lie in another one. Here, only the part before the dot counts.
    features = {name.partition(".")[0] for name in names if name}
    known = {*SECTIONS, *_OTHERS, *features}
    _require_known(project.params, known, "section of params.yaml")
    for where, text in _find_repeated(project.params, ""):
        raise ParameterError(f"params: {where} has {text!r} twice, expected it once")

    # Datasets that `datasets` does not name may have a section, too.
    sources = _mapping(project, "sources")
    _require_known(sources, _known_datasets(project), "dataset in sources")
    for name in sources:
        _check_section(project, load(name).parameters, f"sources.{name}")

    _check_names(project)
    for name, cls in SECTIONS.items():
        if name in project.params:
            _check_section(project, cls, name)
    for name, entry in FEATURES.items():
        # An absent section is no mistake here: the stage that needs it says so.
        top, _, key = entry.section.partition(".")
        if top in project.params and (not key or key in _mapping(project, top)):
            _check_section(project, load_module(name).Parameters, entry.section)

    check_variants(project)
    for name, values in _mapping(project, "feature_variants").items():
        _check_section(project, load_module(name, values).Parameters, f"feature_variants.{name}")

    if _may_train(project):
        _check_training(project)


def _may_train(project: Project) -> bool:
    """Return whether runs matter: importing PyTorch to check them takes four seconds."""
    is_data_only = project.params.get("models") == [] and not project.params.get("released")
    # A machine that only prepares data has no PyTorch.
    return not is_data_only and importlib.util.find_spec("torch") is not None


def _check_section(project: Project, cls: type, name: str) -> None:
    """Check the values of a section, and that each has an effect."""
    parameters: Any = project.parameters(cls, name)
    refuse_idle(parameters, project.section(name), name, idle=find_idle(parameters))


def _known_datasets(project: Project) -> tuple[str, ...]:
    """Return the datasets that there are, and tables of the user's own."""
    return (*dataset_names(), *find_own_tables(project.params))


def _check_names(project: Project) -> None:
    """Check the names that select datasets, runs and baselines."""
    if "datasets" in project.params:
        # Without a dataset, every stage would succeed and do nothing.
        if not project.datasets:
            raise ParameterError(
                f"params: datasets is [], expected some of {', '.join(_known_datasets(project))}"
            )
        _require_known(project.datasets, _known_datasets(project), "dataset in datasets")
        # `section` fails if a chosen dataset has no section of its own.

        if "sources" in project.params:
            for name in project.datasets:
                project.section(f"sources.{name}")

    # A feature can name the datasets that it is for. Those names can be mistyped, too.
    for entry in FEATURES.values():
        key = entry.datasets_section
        top, _, nested = (key or "").partition(".")
        if key is None or top not in project.params:
            continue
        if not nested or nested in _mapping(project, top):
            _require_known(project.names(key), _known_datasets(project), f"dataset in {key}")
            _require_chosen(project, key)

    # Runs and released weights have folders side by side.
    runs = []
    for key, section in (("models", "train"), ("released", "weights")):
        if key in project.params:
            names = project.names(key)
            _require_known(names, _mapping(project, section), f"run in {key} (section {section})")
            runs += names
    require_distinct(runs, "models and released together")

    if isinstance(project.params.get("evaluate"), dict):
        check_evaluation(project, runs)


def _require_chosen(project: Project, key: str) -> None:
    """Refuse a dataset of a list for one feature that ``datasets`` does not name."""
    for name in project.names(key) if "datasets" in project.params else ():
        if name not in project.datasets:
            raise ParameterError(
                f"params: {key} has {name!r}, which `datasets` ({', '.join(project.datasets)}) "
                "lacks, so no stage makes its tables; add it there, or take it out"
            )


def _check_training(project: Project) -> None:
    # Here, because it imports torch.
    from stages.checks.runs import check_runs

    # These sections hold names; a run is completed from a preset.
    for section in ("train", "train_presets", "weights"):
        _mapping(project, section)
    for name in _mapping(project, "train_presets"):
        _mapping(project, f"train_presets.{name}")
    check_runs(project)


def find_notes(project: Project) -> list[str]:
    """Return sentences about what is no mistake, but may surprise later.

    Such as files without which a training will stop, and settings that change nothing.
    """
    if not project.params.get("datasets"):
        return []
    notes = describe_hand_work(project, project.datasets)
    for name, entry in FEATURES.items():
        notes += _note_feature(project, name, entry)
    if "evaluate" in project.params:
        evaluate = project.parameters(EvaluationParameters, "evaluate")
        notes += list_notes(evaluate, "evaluate") + list_left_out(evaluate, project.datasets)
    # A stage reports a section that it lacks; without runs there is nothing to note.
    if "models" not in project.params or not _may_train(project):
        return notes
    from stages.checks.runs import find_run_notes

    return notes + find_run_notes(project)


def _note_feature(project: Project, name: str, entry: RegisteredFeature) -> list[str]:
    """Say what of a feature's section is not taken as it is written, or not at all."""
    top, _, key = entry.section.partition(".")
    if top not in project.params or (key and key not in _mapping(project, top)):
        return []
    cls: type = load_module(name).Parameters
    parameters: Any = project.parameters(cls, entry.section)

    # A feature that no dataset has is computed for none, whatever its section says.
    where = entry.datasets_section
    if where is not None and not find_datasets(project, name):
        given = [key for key in project.section(entry.section) if not has_default(parameters, key)]
        why = f"{where} is [], so it is computed for no dataset"
        return [f"{entry.section}: {', '.join(given)} without effect: {why}"] if given else []
    return list_notes(parameters, entry.section)


def _mapping(project: Project, name: str) -> Mapping[str, Any]:
    """Return a section whose keys are names; an absent one is empty."""
    # A dotted name is no key of `params`: `section` looks it up.
    if name not in project.params and "." not in name:
        return {}
    section = project.section(name)
    # YAML reads `sources:` with nothing below it as null.
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise ParameterError(f"params: {name} is {section!r}, expected a mapping")

    # YAML reads a bare number as a number, and `on` and `no` as booleans.
    for key in section:
        if not isinstance(key, str):
            raise ParameterError(
                f"params: {name} has the key {key!r}, expected a name{suggest(key, ())}"
            )
    return section


def _require_known(names: Collection[Any], known: Collection[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise ParameterError(
                f"params: unknown {what}: {name!r}{suggest(name, known)}; "
                f"known: {', '.join(sorted(known))}"
            )


def _find_repeated(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield where a list has a text twice, and the text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _find_repeated(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        texts = [item for item in value if isinstance(item, str)]
        yield from ((where, text) for text in texts if texts.count(text) > 1)


if __name__ == "__main__":
    try:
        check_params(Project.load())
        for note in find_notes(Project.load()):
            print(note, file=sys.stderr)
    except (EarshotError, OSError) as error:
        sys.exit(report_error(error))
