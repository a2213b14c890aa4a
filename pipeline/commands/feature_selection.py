"""Choose which datasets and features a command is about."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import DataError, ParameterError
from earshot.shard_format import INDEX_NAME
from earshot.tables import INDEX, read_table
from pipeline.base.parameters import suggest
from pipeline.base.project import Project
from pipeline.features.configure import find_datasets, find_variants
from pipeline.features.registry import FEATURES, is_variant
from pipeline.shards.account import account_path
from pipeline.shards.build import ALWAYS_RETRIED
from pipeline.shards.workers.cluster import ClusterParameters


def find_selected_folders(
    project: Project, datasets: Sequence[str], selected: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the selected features that are cached, and print which are not.

    Args:
        project: The checkout.
        datasets: Empty: those of params.yaml.
        selected: Features and variants; empty: all.

    Returns:
        (dataset, feature) of each.

    Raises:
        ParameterError: A dataset is neither in params.yaml nor in the cache, or a feature is not
            known.
    """
    known = [*FEATURES, *find_variants(project)]
    for name in selected:
        if name not in known:
            raise ParameterError(
                f"--feature {name}: not known{suggest(name, known)}; known: {', '.join(known)}"
            )

    found = []
    for dataset in datasets or project.datasets:
        _check_dataset(project, dataset)

        # A feature whose index is gone is selected as well, so that `repair` can mend it.
        features = list(selected or known)
        built = [feature for feature in features if is_built(project, dataset, feature)]
        found += [(dataset, feature) for feature in built]

        # Without --feature, a feature that no stage has built yet needs no message.
        for feature in features:
            is_expected = selected or project.feature_dir(dataset, feature).exists()
            if feature not in built and is_expected:
                print(f"{dataset}/{feature}: not cached yet; {_describe_remedy(feature)}")
        for name in [] if selected else _find_unknown(project, dataset, known):
            print(f"{dataset}/{name}: left alone, because `variants` of params.yaml lacks it")
        if not built and not selected:
            print(f"{dataset}: no features cached yet; `dvc repro` does that")
    return found


def _find_unknown(project: Project, dataset: str, known: Collection[str]) -> list[str]:
    """Return the cached variants that params.yaml does not choose."""
    names = [path.parent.name for path in project.find_indexes(dataset)]
    return [name for name in names if name not in known]


def advise_repair(project: Project, dataset: str, feature: str) -> str:
    """Return how the index of a feature comes back."""
    # `repair` knows no variant that params.yaml does not choose.
    if is_variant(feature) and feature not in find_variants(project):
        return f"put {feature} back into `variants` of params.yaml, or remove its folder"
    # Without --dataset it repairs the datasets of params.yaml alone.
    return f"`earshot repair --dataset {dataset} --feature {feature}` makes it again"


def list_features(project: Project, dataset: str) -> list[str]:
    """Return the features and variants that the graph computes for a dataset."""
    datasets = {name: find_datasets(project, name) for name in FEATURES}
    chosen = [name for name, found in datasets.items() if found is None or dataset in found]
    return [*chosen, *find_variants(project)]


def find_cached_keys(folder: Path) -> set[str]:
    """Return the keys of arrays that are in a folder's shards, and of failures that stay."""
    try:
        index = read_table(folder / INDEX_NAME, INDEX, columns=["status", "reason", "shard", "key"])
    except (DataError, FileNotFoundError):
        # Without a readable index, nothing says which arrays the shards hold.
        return set()

    shards = pa.array([path.name for path in folder.glob("*.h5")], pa.string())
    # A failure that another attempt would repeat is as final as an array.
    retried = pa.array(sorted(ALWAYS_RETRIED), pa.string())
    is_final = pc.and_not(pc.equal(index["status"], "failed"), pc.is_in(index["reason"], retried))
    keys = index["key"].filter(pc.or_(pc.is_in(index["shard"], shards), is_final))
    return set(keys.drop_null().to_pylist())


def _check_dataset(project: Project, dataset: str) -> None:
    folders = {path.name for path in (project.root / "cache").glob("*/")}
    if dataset in {*project.datasets, *folders}:
        return
    cached = [path.name for path in (project.root / "cache").glob("*") if (path / "store").is_dir()]
    names = ", ".join(sorted({*project.datasets, *cached}))
    raise ParameterError(f"--dataset {dataset}: not known here; known: {names}")


def _describe_remedy(feature: str) -> str:
    """Return how a feature comes into the cache."""
    section = None if is_variant(feature) else FEATURES[feature].datasets_section
    return "`dvc repro` does that" + (f" for the datasets in `{section}`" if section else "")


def is_built(project: Project, dataset: str, feature: str) -> bool:
    """Return whether a feature was built, even if its index or its folder is gone now.

    Shards or an account show it. DVC removes both before it runs the feature's stage.
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
