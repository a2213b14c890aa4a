"""``frames@DATASET`` and other features and variants: ``python -m stages.feature NAME DATASET``."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from earshot.errors import ParameterError
from earshot.tables import DOWNLOADS, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.features.configure import configure_companions, configure_feature
from pipeline.features.feature import Feature
from pipeline.shards.account import write_account
from pipeline.shards.build import BuildOptions, FeatureFolders, build_feature
from pipeline.shards.clip_fit import describe_clip_fit
from pipeline.shards.workers.cluster import ClusterParameters
from stages.common import run_stage


@dataclass(frozen=True)
class CacheParameters:
    """Section ``cache``: how shards are made; nothing of it changes an array."""

    shard_samples: int = 64  # the most samples in a shard
    # Of the samples whose clip was downloaded; the stage fails when more could not be computed.
    max_failed_fraction: float = 0.5

    def __post_init__(self) -> None:
        if self.shard_samples < 1:
            raise ValueError(f"shard_samples is {self.shard_samples}, expected 1 or more")
        if not 0 <= self.max_failed_fraction <= 1:
            raise ValueError(f"max_failed_fraction is {self.max_failed_fraction}, expected 0 to 1")


def main(project: Project, name: str, dataset: str) -> None:
    """Cache one feature of a dataset, together with those that need the same frames."""
    feature = configure_feature(project, name)
    if not feature.can_compute:
        raise ParameterError(
            f"feature {name}: a network computes it; run `dvc repro {name}@{dataset}`"
        )
    build_and_count(project, dataset, name, feature, configure_companions(project, name))


def build_and_count(
    project: Project,
    dataset: str,
    name: str,
    feature: Feature,
    companions: Sequence[Feature] = (),
) -> None:
    """Bring a feature of all samples into its folder and count it in ``<name>.json``.

    Args:
        project: The checkout.
        dataset: Whose samples.
        name: Of the folder: the feature's own name, or that of a variant. All share one store.
        feature: What to compute.
        companions: Features that are extracted in the same pass over each video. Their own stages
            find the arrays in their stores.
    """
    # The address of a scheduler can differ with each job, so the environment can give it, too.
    cluster = project.parameters(ClusterParameters, "cluster").fill_from(os.environ)
    cache = project.parameters(CacheParameters, "cache")

    samples = read_table(project.samples_table_path(dataset), SAMPLES)
    downloads = read_table(project.downloads_table_path(dataset), DOWNLOADS)
    for note in describe_clip_fit(name, feature, samples=samples, downloads=downloads):
        print(f"{dataset}: {note}", file=sys.stderr)

    report = build_feature(
        feature,
        samples=samples,
        downloads=downloads,
        folders=FeatureFolders(
            # The arrays of a variant lie in the store of its feature; its index has a folder of its
            # own.
            project.clips_dir(dataset),
            project.store_dir(dataset, feature.name),
            project.feature_dir(dataset, name),
        ),
        options=BuildOptions(
            cluster=cluster,
            shard_samples=cache.shard_samples,
            max_failed_fraction=cache.max_failed_fraction,
        ),
        companions=companions,
    )
    # Not reached if too many samples failed: an account stands for a build that succeeded.
    print(f"{dataset}: {replace(report, feature=name).describe()}")
    write_account(project, dataset, name, num_bytes=report.bytes)


def find_inputs(project: Project, _: str, dataset: str) -> list[Path]:
    """Return the tables that say which samples there are, and which clips."""
    return [project.samples_table_path(dataset), project.downloads_table_path(dataset)]


if __name__ == "__main__":
    run_stage(main, "feature", "dataset", inputs=find_inputs)
