"""Read the parameters of a run from params.yaml."""

from collections.abc import Mapping

from earshot.errors import ParameterError
from pipeline.base.project import Project
from train.models.registry import build_parameters
from train.models.training_parameters import TrainingParameters

_PRESET = "preset"
_PRESETS_SECTION = "train_presets"


def read_run_parameters(project: Project, name: str) -> TrainingParameters:
    """Build the parameters of the run ``name`` from section ``train.<name>``.

    A key is taken from the section, else from the preset that the section names, else from the
    defaults of the method's ``Parameters``.

    Args:
        project: whose params.yaml is read.
        name: of the run.

    Returns:
        An instance of the method's own ``Parameters``.

    Raises:
        ParameterError: a section, key or preset is missing or unknown.
    """
    where = f"train.{name}"
    section = project.section(where)

    # ``build_parameters`` explains what is wrong with a section that is no mapping.
    if not isinstance(section, Mapping) or _PRESET not in section:
        return build_parameters(section, where)

    presets = project.section(_PRESETS_SECTION)
    preset = section[_PRESET]
    if preset not in presets:
        raise ParameterError(
            f"params: {where}.preset is {preset!r}, expected one of {', '.join(presets)} "
            f"(section {_PRESETS_SECTION})"
        )

    # Keys of the run override those of the preset.
    settings = {key: value for key, value in section.items() if key != _PRESET}
    return build_parameters({**presets[preset], **settings}, where)
