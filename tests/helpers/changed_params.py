"""Check params.yaml with other values, as every stage does before it works."""

import copy

from pipeline.base.parameters import read_yaml
from pipeline.base.project import Project
from stages.check import check_params, find_notes
from tests.helpers.checkouts import set_parameter
from tests.helpers.paths import ROOT


def check_changed_params(changes: dict) -> list[str]:
    """Check the params.yaml of this checkout with some values changed; return the notes."""
    params = copy.deepcopy(read_yaml(ROOT / "params.yaml"))
    for name, value in changes.items():
        set_parameter(params, name, value)
    project = Project(ROOT, params)
    check_params(project)
    return find_notes(project)
