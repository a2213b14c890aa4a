"""What the table of a dataset says of clips that are there twice, pending, or not wanted."""

from collections.abc import Collection

from pipeline.base.project import Project
from pipeline.datasets.dataset import find_excluded_flags
from pipeline.downloads.account.table import TableRules
from pipeline.downloads.parameters import DownloadParameters


def find_table_rules(project: Project, dataset: str) -> TableRules:
    """Return the rules of a dataset of a checkout, from its sections of params.yaml."""
    parameters = project.parameters(DownloadParameters, "download")
    return make_table_rules(parameters, find_excluded_flags(project, dataset))


def make_table_rules(parameters: DownloadParameters, excluded_flags: Collection[str]) -> TableRules:
    """Return the rules of section ``download`` and of the flags that a dataset excludes."""
    return TableRules(parameters.allow_duplicates, parameters.network, frozenset(excluded_flags))
