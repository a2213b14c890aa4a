"""Make features from params.yaml, or from the parameters that a cached feature recorded."""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

from earshot.errors import ParameterError
from pipeline.base.parameters import build
from pipeline.base.project import Project
from pipeline.features.feature import Feature
from pipeline.features.registry import FEATURES, find_companions


class FeatureModule(Protocol):
    """What a module of a registered feature has.

    ``Parameters`` is the dataclass of its section in params.yaml. A module whose shards record
    something else than these parameters also has ``Settings``, the dataclass of what they record.
    """

    Parameters: type

    def make_feature(self, parameters: Any, **options: Any) -> Feature:
        """Make the feature from its ``Parameters`` or ``Settings``."""
        ...


def load_module(name: str) -> FeatureModule:
    """Import the module of a registered feature.

    Args:
        name: One of ``FEATURES``.

    Returns:
        ``pipeline.features.<name>``.

    Raises:
        ParameterError: No feature has this name.
    """
    if name not in FEATURES:
        raise ParameterError(
            f"feature {name!r} is not known, expected one of {', '.join(FEATURES)}"
        )
    return cast(FeatureModule, importlib.import_module(f"pipeline.features.{name}"))


def configure_feature(project: Project, name: str) -> Feature:
    """Make a feature with the parameters of its section of params.yaml.

    Args:
        project: The checkout; its params.yaml has the section.
        name: One of ``FEATURES``.

    Returns:
        The feature. It has keys but cannot be computed where a network computes it
        (``Feature.can_compute``): networks are in ``train/``, which nothing here imports.
    """
    module, entry = load_module(name), FEATURES[name]
    options = {"weights_dir": project.weights_dir} if entry.has_weights else {}

    return module.make_feature(project.parameters(module.Parameters, entry.section), **options)


def require_datasets(project: Project, dataset: str, names: Iterable[str], *, reader: str) -> None:
    """Check that features are computed for a dataset.

    Args:
        project: whose params.yaml says for which datasets a feature is computed.
        dataset: whose samples.
        names: of registered features.
        reader: who reads them, for the message.

    Raises:
        ParameterError: a feature is computed for other datasets only.
    """
    for name in names:
        section = FEATURES[name].datasets_section
        if section is not None and dataset not in project.section(section):
            raise ParameterError(
                f"params: {reader} reads {name}, which is not computed for {dataset}; add "
                f"{dataset} to {section}"
            )


def configure_companions(project: Project, name: str) -> list[Feature]:
    """Make the features that are computed in the same pass over a clip as ``name``.

    Args:
        project: The checkout; its params.yaml has the sections.
        name: One of ``FEATURES``.

    Returns:
        The other features, without ``name`` itself; often none.
    """
    return [configure_feature(project, other) for other in find_companions(name)]


def restore_feature(name: str, recorded: Mapping[str, Any]) -> Feature:
    """Make a feature with the parameters that its shards recorded.

    Args:
        name: One of ``FEATURES``.
        recorded: The mapping in the root attribute ``parameters`` of a shard.

    Returns:
        The feature with these parameters, whatever params.yaml says now.

    Raises:
        ParameterError: No feature has this name, or the mapping does not fit it.
    """
    module = load_module(name)
    recorded_class = getattr(module, "Settings", module.Parameters)

    return module.make_feature(build(recorded_class, recorded, name))
