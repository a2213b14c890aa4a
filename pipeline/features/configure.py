"""Make features from params.yaml, or from the parameters that a cached feature recorded."""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

from earshot.errors import ParameterError
from pipeline.base.parameters import build, suggest
from pipeline.base.project import Project
from pipeline.features.feature import CodeParameters, Feature
from pipeline.features.registry import FEATURES, find_base, find_companions, is_variant

_VARIANTS = "variants"  # of params.yaml: the variants that are computed
_VARIANT_SETTINGS = "feature_variants"  # of params.yaml: the settings of all variants


class FeatureModule(Protocol):
    """What a module of a registered feature has.

    ``Parameters`` is the dataclass of its section in params.yaml. A module whose shards record
    something else than these parameters also has ``Settings``, the dataclass of what they record.
    A module of a variant whose ``HAS_WEIGHTS`` is true also takes ``weights_dir``.
    """

    Parameters: type

    def make_feature(self, parameters: Any, **options: Any) -> Feature:
        """Make the feature from its ``Parameters`` or ``Settings``."""
        ...


def load_module(name: str, settings: Any = None) -> FeatureModule:
    """Import the module of a registered feature, or of a variant with code of its own.

    Args:
        name: One of ``FEATURES``, or a variant of one.
        settings: Of the variant. With the key ``code``, its value is the dotted name of the module.

    Returns:
        ``pipeline.features.<feature>``, or the module that ``code`` names.

    Raises:
        ParameterError: No feature has this name, or ``code`` names no module of a feature.
    """
    if isinstance(settings, Mapping) and "code" in settings:
        return _load_code(name, settings["code"])

    base = find_base(name)
    if base not in FEATURES:
        raise ParameterError(
            f"feature {name!r} is not known, expected one of {', '.join(FEATURES)}"
        )
    return cast(FeatureModule, importlib.import_module(f"pipeline.features.{base}"))


def _load_code(name: str, code: Any) -> FeatureModule:
    where = f"{name}: code is {code!r}"
    try:
        module = importlib.import_module(code)
    except (ModuleNotFoundError, AttributeError, TypeError, ValueError) as error:
        # A value that is no name at all, such as a number, raises one of the other three.
        raise ParameterError(
            f"{where}, expected the dotted name of a module that Python finds from the checkout "
            f"({error})"
        ) from None

    parameters = getattr(module, "Parameters", None)
    is_right = isinstance(parameters, type) and issubclass(parameters, CodeParameters)
    if not is_right or not hasattr(module, "make_feature"):
        raise ParameterError(
            f"{where}, expected a module with make_feature and Parameters, a dataclass that "
            "extends pipeline.features.feature.CodeParameters"
        )
    return cast(FeatureModule, module)


def find_variants(project: Project) -> list[str]:
    """Return the variants of features that params.yaml chooses, such as ``spectrograms-lvs``."""
    return project.names(_VARIANTS) if _VARIANTS in project.params else []


def check_variants(project: Project) -> None:
    """Check the sections ``variants`` and ``feature_variants`` of params.yaml.

    A variant of a feature that Earshot does not have is the user's own, and needs ``code``.

    Raises:
        ParameterError: A name is none of a variant, a setting is wrong, or a variant that is
            chosen has no settings.
    """
    settings = project.params.get(_VARIANT_SETTINGS) or {}
    if not isinstance(settings, Mapping):
        raise ParameterError(f"params: {_VARIANT_SETTINGS} is {settings!r}, expected a mapping")

    variable = [name for name, entry in FEATURES.items() if not entry.has_weights]
    for name, values in settings.items():
        base = find_base(str(name))
        is_own = base not in FEATURES and isinstance(values, Mapping) and "code" in values
        if not (base in variable or is_own) or not is_variant(str(name)):
            hint = suggest(base, variable) if base not in variable else ""
            raise ParameterError(
                f"params: {_VARIANT_SETTINGS} has {name!r}{hint}; expected a feature "
                f"({', '.join(variable)}), '-' and a name of yours, for example spectrograms-lvs; "
                "a feature of your own needs the key code"
            )
        module = load_module(name, settings[name])
        # Making the parameters checks them.
        project.parameters(module.Parameters, f"{_VARIANT_SETTINGS}.{name}")

    for name in find_variants(project):
        if name not in settings:
            raise ParameterError(
                f"params: {_VARIANTS} has {name!r}{suggest(name, settings)}; expected names of "
                f"section {_VARIANT_SETTINGS}: {', '.join(settings) or 'it has none'}"
            )


def configure_feature(project: Project, name: str) -> Feature:
    """Make a feature with the parameters of its section of params.yaml.

    Args:
        project: The checkout; its params.yaml has the section.
        name: One of ``FEATURES``, or a variant of section ``feature_variants``.

    Returns:
        The feature. It has keys but cannot be computed where a network computes it
        (``Feature.can_compute``): networks are in ``train/``, which nothing here imports.
    """
    variant_section = f"{_VARIANT_SETTINGS}.{name}" if is_variant(name) else None
    module = load_module(name, variant_section and project.section(variant_section))
    entry = FEATURES.get(find_base(name))  # None: a feature of the user's own
    section = variant_section or FEATURES[name].section
    options = {"weights_dir": project.weights_dir} if has_weights(project, name) else {}

    feature = module.make_feature(project.parameters(module.Parameters, section), **options)
    # A variant's code is the user's. Check that it makes what its name says.
    expected_kind = entry.kind if entry else feature.kind
    if (feature.name, feature.kind) != (find_base(name), expected_kind):
        raise ParameterError(
            f"{name}: its code makes the feature {feature.name!r} of kind {feature.kind!r}, "
            f"expected {find_base(name)!r} of kind {expected_kind!r}"
        )
    return feature


def has_weights(project: Project, name: str) -> bool:
    """Return whether a network computes a feature, with weights that are fetched.

    Args:
        project: The checkout; its params.yaml has the settings of variants.
        name: One of ``FEATURES``, or a variant of section ``feature_variants``.
    """
    if is_variant(name):
        settings = project.section(f"{_VARIANT_SETTINGS}.{name}")
        return getattr(load_module(name, settings), "HAS_WEIGHTS", False)
    return FEATURES[name].has_weights


def find_datasets(project: Project, name: str) -> list[str] | None:
    """Return the datasets for which a registered feature is computed; None: for all.

    Args:
        project: Whose params.yaml names them. Without the section there are none.
        name: One of ``FEATURES``.
    """
    section = FEATURES[name].datasets_section
    if section is None:
        return None
    return project.names(section) if section.partition(".")[0] in project.params else []


def require_datasets(project: Project, dataset: str, names: Iterable[str], *, reader: str) -> None:
    """Check that features are computed for a dataset.

    Args:
        project: whose params.yaml says for which datasets a feature is computed.
        dataset: whose samples.
        names: of registered features and their variants.
        reader: who reads them, for the message.

    Raises:
        ParameterError: a feature is computed for other datasets only, or a variant for none.
    """
    for name in names:
        # A variant is computed for all datasets.
        if is_variant(name):
            if name not in find_variants(project):
                raise ParameterError(
                    f"params: {reader} reads {name}, which is not computed; add {name} to "
                    f"{_VARIANTS}"
                )
            continue

        chosen, section = find_datasets(project, name), FEATURES[name].datasets_section
        if chosen is not None and dataset not in chosen:
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
    module = load_module(name, recorded)
    # Sound features record `Settings`, where nothing is left open; the others `Parameters`.
    recorded_class = getattr(module, "Settings", module.Parameters)

    return module.make_feature(build(recorded_class, recorded, name))
