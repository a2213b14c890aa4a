"""Take a part of a dataset from a site to all features, and measure what each stage costs."""

import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from benchmarks.rehearsal.origin import Origin
from earshot.tables import CLIPS, SAMPLES
from pipeline.base.parameters import build
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.engine import download_clips
from pipeline.downloads.parameters import DownloadParameters
from pipeline.features import flow, frames, spectrograms
from pipeline.features.feature import Feature
from pipeline.shards.build import BuildOptions, FeatureFolders, build_feature
from pipeline.shards.workers.cluster import ClusterParameters

_SETTINGS = {
    "quick_delay_seconds": 0.2,
    "max_wait_seconds": 10.0,
    "max_failed_fraction": 1.0,
    "min_free_gigabytes": 0.0,
}


@dataclass(frozen=True)
class Cost:
    """What a stage took, for each clip of the list (downloads) or each clip that came."""

    cpu_seconds: float
    wall_seconds: float
    num_bytes: float


def run_path(
    folder: Path, origin: Origin, *, num_clips: int, workers: int
) -> tuple[dict[str, Cost], Counter[str]]:
    """Download a list and compute its features.

    Args:
        folder: An empty folder.
        origin: Where the clips come from.
        num_clips: How many are on the list.
        workers: Processes of each stage.

    Returns:
        Costs by stage, and how many clips had which reason (``ok`` as well).
    """
    rows = [
        {
            "clip_id": f"c{number:07d}",
            "video_id": f"c{number:07d}",
            "url": origin.url_of(number),
            "splits": ["train"],
        }
        for number in range(num_clips)
    ]
    clips = pa.Table.from_pylist(rows, schema=CLIPS.columns)
    downloads: list[pa.Table] = []

    def fetch() -> None:
        downloads.append(
            download_clips(
                clips,
                AccountPaths(folder / "clips", folder / "attempts.jsonl"),
                parameters=build(
                    DownloadParameters, _SETTINGS | {"num_workers": workers}, "download"
                ),
                dataset="rehearsal",
                sites_dir=folder / "sites",
                is_quiet=True,
            )
        )

    costs = {"download": _measure(fetch, folder / "clips", num_clips)}
    reasons = Counter(
        reason or status
        for status, reason in zip(
            downloads[0]["status"].to_pylist(), downloads[0]["reason"].to_pylist(), strict=True
        )
    )

    samples = pa.Table.from_pylist(
        [{"sample_id": row["clip_id"], "clip_id": row["clip_id"]} for row in rows],
        schema=SAMPLES.columns,
    )
    options = BuildOptions(ClusterParameters(workers=workers, dashboard=False), is_quiet=True)
    flows = flow.make_feature(flow.Parameters())
    steps: list[tuple[Feature, list[Feature]]] = [
        (frames.make_feature(frames.Parameters()), [flows]),
        (spectrograms.make_feature(spectrograms.Parameters()), []),
    ]
    for feature, companions in steps:

        def compute(feature: Feature = feature, companions: list[Feature] = companions) -> None:
            build_feature(
                feature,
                samples=samples,
                downloads=downloads[0],
                folders=FeatureFolders(
                    folder / "clips", folder / "store" / feature.name, folder / feature.name
                ),
                options=options,
                companions=companions,
            )

        name = " and ".join(one.name for one in (feature, *companions))
        costs[name] = _measure(compute, folder / "store", reasons["ok"])
    return costs, reasons


def _measure(step: Callable[[], None], folder: Path, num_clips: int) -> Cost:
    cpu_seconds, start, num_bytes = _read_cpu(), time.monotonic(), _count_bytes(folder)
    step()
    return Cost(
        (_read_cpu() - cpu_seconds) / num_clips,
        (time.monotonic() - start) / num_clips,
        (_count_bytes(folder) - num_bytes) / num_clips,
    )


def _read_cpu() -> float:
    """Return the CPU seconds of this process and of those that it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
