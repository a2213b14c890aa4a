"""Read the sections of a run in params.yaml: what it trains, and what it reads.

A run is a section of ``train``, or of ``weights`` where its authors trained it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from earshot.errors import ParameterError
from pipeline.base.parameters import build, complete_run, suggest
from pipeline.base.project import Project
from pipeline.features.registry import find_base
from train.models.registry import build_parameters, features_read
from train.models.training_parameters import TrainingParameters


@dataclass(frozen=True)
class RunData:
    """What a run reads and how it is scored: the keys of its section that no method has."""

    dataset: str | None = None  # on which it is trained; None: the first of `datasets`
    # Variants that it reads instead of the features of this name, such as spectrograms-lvs.
    features: tuple[str, ...] = ()
    protocol: str | None = None  # of its authors; None: none in particular

    def find_dataset(self, project: Project) -> str:
        """Return the dataset on which the run is trained."""
        return self.dataset or project.first_dataset

    def find_features(self, reads: Iterable[str]) -> dict[str, str]:
        """Return where the features that a network reads are: by feature, its name in the cache.

        Args:
            reads: names of features, in the network's order.
        """
        variants = {find_base(name): name for name in self.features}
        return {feature: variants.get(feature, feature) for feature in reads}

    def check_features(self, reads: Collection[str], *, where: str) -> None:
        """Check that each of ``features`` replaces another feature that the network reads.

        Args:
            reads: names of features.
            where: the name of the section, for error messages.

        Raises:
            ParameterError: one does not.
        """
        bases = [find_base(name) for name in self.features]
        for name, base in zip(self.features, bases, strict=True):
            if base not in reads:
                raise ParameterError(
                    f"params: {where}.features has {name!r}{suggest(base, reads)}; expected "
                    f"variants of what its network reads: {', '.join(reads)}"
                )
            if bases.count(base) > 1:
                raise ParameterError(
                    f"params: {where}.features has several variants of {base} "
                    f"({', '.join(self.features)}), expected one"
                )


_DATA_KEYS = tuple(field.name for field in fields(RunData))


def read_run_parameters(project: Project, name: str) -> TrainingParameters:
    """Build the parameters of the run ``name`` from section ``train.<name>``.

    A key is taken from the section, else from the preset (or the other run) that the section names
    as ``preset``, else from the defaults of the method's ``Parameters``.

    Args:
        project: whose params.yaml is read.
        name: of the run.

    Returns:
        An instance of the method's own ``Parameters``.

    Raises:
        ParameterError: a section, key or preset is missing or unknown.
    """
    values = _read_values(project, name)
    if isinstance(values, Mapping):
        values = {key: value for key, value in values.items() if key not in _DATA_KEYS}
    return build_parameters(values, f"train.{name}")


def read_run_data(project: Project, name: str) -> RunData:
    """Read which data a run is trained on and which variants of features it reads.

    Args:
        project: whose params.yaml is read.
        name: of a run of section ``train``. Keys come from its preset as those of
            ``read_run_parameters`` do.

    Returns:
        The keys ``dataset``, ``features`` and ``protocol`` of the run.

    Raises:
        ParameterError: a value is of another type, or a variant replaces nothing.
    """
    values, where = _read_values(project, name), f"train.{name}"
    values = values if isinstance(values, Mapping) else {}
    data = build(RunData, {key: values[key] for key in _DATA_KEYS if key in values}, where)
    if data.features:
        data.check_features(features_read(read_run_parameters(project, name)), where=where)
    return data


def _read_values(project: Project, name: str) -> Any:
    """Return the section of a run, completed from what it takes over."""
    section = project.section(f"train.{name}")
    # Who builds parameters explains what is wrong with a section that is no mapping.
    return complete_run(project.params, name) if isinstance(section, Mapping) else section


def takes_over_run(project: Project, name: str) -> bool:
    """Return whether a run takes settings from another one, which its own section does not show."""
    section = project.section(f"train.{name}")
    return isinstance(section, Mapping) and section.get("preset") in project.section("train")


def find_run_of_folder(project: Project, source: str) -> str | None:
    """Return the run of section ``train`` whose folder is ``source``; None: it is no such folder.

    Args:
        project: whose params.yaml is read.
        source: what a run begins with: a path, or a word such as ``imagenet``.
    """
    folder = Path(source).expanduser().resolve()
    return next(
        (run for run in project.section("train") if project.run_dir(run).resolve() == folder), None
    )


def list_first_runs(project: Project, name: str) -> list[str]:
    """Return the runs that a run begins with, in an order in which they can be trained.

    A run begins with another run of section ``train`` when its ``init``, or an encoder that it
    names, is the folder of that run.

    Args:
        project: whose params.yaml is read.
        name: of a run of section ``train``.

    Raises:
        ParameterError: runs begin with each other.
    """
    ordered: list[str] = []

    def visit(run: str, readers: tuple[str, ...]) -> None:
        for source in read_run_parameters(project, run).list_sources():
            first = find_run_of_folder(project, source)
            if first is None or first in ordered:
                continue
            # A circle would never come to an end.
            if first in (run, *readers):
                raise ParameterError(
                    f"params: train.{run} begins with {first}, which begins with {run} itself; "
                    "expected a run that comes before"
                )
            visit(first, (run, *readers))
            ordered.append(first)

    visit(name, ())
    return ordered


def list_first_released(project: Project, name: str) -> list[str]:
    """Return the released weights that a run begins with, or a run that it begins with.

    Args:
        project: whose params.yaml is read.
        name: of a run of section ``train``.

    Returns:
        Names of entries of section ``weights``, each once.
    """
    entries = project.params.get("weights") or {}
    folders = {project.run_dir(other).resolve(): other for other in entries}
    found: dict[str, None] = {}
    for run in (name, *list_first_runs(project, name)):
        for source in read_run_parameters(project, run).list_sources():
            entry = folders.get(Path(source).expanduser().resolve())
            if entry is not None:
                found[entry] = None
    return list(found)
