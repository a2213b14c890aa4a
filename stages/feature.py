"""What the feature stages share: build one feature of a dataset and leave its account as a DVC metric."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from earshot.tables import DOWNLOADS, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.features.feature import Feature
from pipeline.shards.account import write_account
from pipeline.shards.build import BuildOptions, FeatureFolders, build_feature
from pipeline.shards.cluster import ClusterParameters


@dataclass(frozen=True)
class CacheParameters:
    """Section ``cache``: how shards are made; nothing of it changes an array."""

    shard_samples: int
    max_failed_fraction: float


def build(
    project: Project, dataset: str, feature: Feature, *, companions: Sequence[Feature] = ()
) -> None:
    """Bring ``feature`` of all samples into its folder and count it in ``manifests/<dataset>/<feature>.json``.

    ``companions`` are features that are computed in the same pass over each video; their own
    stages find the arrays in their stores.
    """
    cluster = project.parameters(ClusterParameters, "cluster").fill_from(os.environ)
    cache = project.parameters(CacheParameters, "cache")
    report = build_feature(
        feature,
        samples=read_table(project.samples_table_path(dataset), SAMPLES),
        downloads=read_table(project.downloads_table_path(dataset), DOWNLOADS),
        folders=FeatureFolders(
            project.clips_dir(dataset),
            project.store_dir(dataset, feature.name),
            project.feature_dir(dataset, feature.name),
        ),
        options=BuildOptions(
            cluster=cluster,
            shard_samples=cache.shard_samples,
            max_failed_fraction=cache.max_failed_fraction,
        ),
        companions=companions,
    )
    print(f"{dataset}: {report.describe()}")
    write_account(project, dataset, feature.name, num_bytes=report.bytes)
