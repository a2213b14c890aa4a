"""Which datasets and features a command is about."""

import os

from earshot.errors import ParameterError
from earshot.shard_format import INDEX_NAME
from pipeline.base.project import Project
from pipeline.features.registry import FEATURES
from pipeline.shards.account import account_path
from pipeline.shards.cluster import ClusterParameters


def add_selection(parser) -> None:
    """Arguments ``--dataset`` and ``--feature``, both repeatable."""
    parser.add_argument(
        "--dataset", action="append", help="only this dataset (default: those of params.yaml)"
    )
    parser.add_argument(
        "--feature",
        action="append",
        choices=sorted(FEATURES),
        help="only this feature (default: all)",
    )


def selected_folders(arguments, project: Project) -> list[tuple[str, str]]:
    """Return (dataset, feature) of every selected folder that is built; print the others."""
    found = []
    known = sorted(
        path.name for path in (project.root / "cache").glob("*") if (path / "store").is_dir()
    )
    for dataset in arguments.dataset or project.datasets:
        if dataset not in project.datasets and not project.dataset_cache_dir(dataset).is_dir():
            names = ", ".join(sorted({*project.datasets, *known}))
            raise ParameterError(f"--dataset {dataset}: not known here; known: {names}")
        features = list(arguments.feature or FEATURES)
        built = [feature for feature in features if _is_built(project, dataset, feature)]
        for feature in features:
            if feature in built:
                continue
            if arguments.feature or project.feature_dir(dataset, feature).exists():
                print(f"{dataset}/{feature}: not cached yet; {_describe_remedy(feature)}")
        if not built and not arguments.feature:
            print(f"{dataset}: no features cached yet; `dvc repro` does that")
        found += [(dataset, feature) for feature in built]
    return found


def _describe_remedy(feature: str) -> str:
    """Say how a feature comes into the cache."""
    section = FEATURES[feature].datasets_section
    return "`dvc repro` does that" + (f" for the datasets in `{section}`" if section else "")


def _is_built(project: Project, dataset: str, feature: str) -> bool:
    """Say whether a feature was built once, even if its index or folder is gone.

    Shards or an account show it too; DVC removes both before a run.
    """
    folder = project.feature_dir(dataset, feature)
    return (
        (folder / INDEX_NAME).exists()
        or any(folder.glob("*.h5"))
        or account_path(project, dataset, feature).exists()
    )


def read_cluster_parameters(project: Project) -> ClusterParameters:
    """Read section ``cluster``; a variable of the environment can name the scheduler."""
    return project.parameters(ClusterParameters, "cluster").fill_from(os.environ)
