"""Put damaged files through the check of a download and through the features."""

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from benchmarks.fuzz.mutator import mutate
from earshot.files import sha256_of
from earshot.reader import FeatureReader
from earshot.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, read_table
from pipeline.base.parameters import build
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.engine import download_clips
from pipeline.downloads.parameters import DownloadParameters
from pipeline.features import flow, frames, spectrograms, waveforms
from pipeline.features.feature import Feature
from pipeline.shards.build import BuildOptions, FeatureFolders, build_feature
from pipeline.shards.workers.cluster import ClusterParameters

MOST_BYTES = 16_000_000  # of an array of one sample
_SECTION = (0.5, 1.5)  # seconds, of clips that are cut
_NAMELESS_END = "reading the clip ended its worker process, repeatedly"
_SETTINGS = {
    "quick_delay_seconds": 0.1,
    "max_wait_seconds": 5.0,
    "time_limit_seconds": 60.0,
    "max_failed_fraction": 1.0,
    "min_free_gigabytes": 0.0,
    "allow_duplicates": True,
}


@dataclass
class FuzzReport:
    """What became of damaged files."""

    reasons: Counter[str] = field(default_factory=Counter)  # of the check; `ok` as well
    failures: Counter[str] = field(default_factory=Counter)  # "feature: reason"; `ok` as well
    largest_bytes: int = 0  # of the arrays
    faults: list[str] = field(default_factory=list)  # what must not happen


def run(folder: Path, seeds: list[Path], *, num_files: int, seed: int, workers: int) -> FuzzReport:
    """Damage files, and look at what the product says of them.

    Args:
        folder: An empty folder to work in.
        seeds: Whole files.
        num_files: How many damaged files to make.
        seed: Of the damage.
        workers: Processes that read; 0 computes features in this process.
    """
    report = FuzzReport()
    paths = write_mutants(folder / "mutants", seeds, num_files=num_files, seed=seed)

    # One half as files of the user's own, which are linked; of the other one a section is cut.
    _check(folder / "whole", paths[::2], report, is_linked=True, workers=workers)
    _check(folder / "cut", paths[1::2], report, is_linked=False, workers=workers)

    # Features of all of them: also of those that the check keeps away from features.
    _extract(folder, paths, report, workers=workers)
    return report


def write_mutants(folder: Path, seeds: list[Path], *, num_files: int, seed: int) -> list[Path]:
    """Write damaged files; their names say what was damaged and how."""
    folder.mkdir(parents=True)
    files = [path.read_bytes() for path in seeds]
    rng = random.Random(seed)
    paths = []
    for number in range(num_files):
        index, ways, data = mutate(files, rng)
        path = folder / f"{number:05d}-{ways}-{seeds[index].name}"
        path.write_bytes(data)
        paths.append(path)
    return paths


def _check(
    folder: Path, paths: list[Path], report: FuzzReport, *, is_linked: bool, workers: int
) -> None:
    """Download the files, and count what the check of a download says of them."""
    start, end = (None, None) if is_linked else _SECTION
    clips = pa.Table.from_pylist(
        [
            {
                **{"clip_id": path.name, "video_id": path.name, "url": path.as_uri()},
                **{"start_seconds": start, "end_seconds": end, "splits": []},
            }
            for path in paths
        ],
        schema=CLIPS.columns,
    )

    downloads = download_clips(
        clips,
        AccountPaths(folder / "clips", folder / "attempts.jsonl"),
        parameters=build(
            DownloadParameters, _SETTINGS | {"num_workers": max(workers, 1)}, "download"
        ),
        dataset=folder.name,
        is_linked=is_linked,
        sites_dir=folder / "sites",
        is_quiet=True,
    )

    # A damaged file has a reason of its own: what is not known, or never ends, is a fault of ours.
    for row in downloads.to_pylist():
        reason = "ok" if row["status"] == "ok" else row["reason"] or row["status"]
        report.reasons[reason] += 1
        if reason in ("unknown", "pending"):
            report.faults.append(f"check: {row['clip_id']}: {reason}: {row['detail']}")


def _extract(folder: Path, paths: list[Path], report: FuzzReport, *, workers: int) -> None:
    """Compute the features of the files, and count which of them failed and why."""
    # To features, all files are clips that were found whole.
    names = [path.name for path in paths]
    samples = pa.Table.from_pylist(
        [{"sample_id": name, "clip_id": name} for name in names], schema=SAMPLES.columns
    )
    downloads = pa.Table.from_pylist(
        [
            {"clip_id": path.name, "status": "ok", "path": path.name, "sha256": sha256_of(path)}
            for path in paths
        ],
        schema=DOWNLOADS.columns,
    )

    cluster = ClusterParameters(workers=workers, dashboard=False, clip_timeout_seconds=60.0)
    options = BuildOptions(cluster, is_quiet=True, max_failed_fraction=1.0)

    def build_one(feature: Feature, *companions: Feature) -> None:
        build_feature(
            feature,
            samples=samples,
            downloads=downloads,
            folders=FeatureFolders(
                paths[0].parent, folder / "store" / feature.name, folder / "cache" / feature.name
            ),
            options=options,
            companions=companions,
        )
        _count_feature(folder / "cache" / feature.name, feature.name, report)

    # Those that share a pass over a clip, and then the second one alone, which finds its arrays.
    flows = flow.make_feature(flow.Parameters())
    sounds = waveforms.make_feature(waveforms.Parameters())
    build_one(frames.make_feature(frames.Parameters()), flows)
    build_one(flows)
    build_one(spectrograms.make_feature(spectrograms.Parameters()), sounds)
    build_one(sounds)


def _count_feature(folder: Path, name: str, report: FuzzReport) -> None:
    with FeatureReader(folder) as reader:
        for row in read_table(folder / "index.parquet", INDEX).to_pylist():
            sample_id, reason = row["sample_id"], row["reason"]
            num_bytes = 0 if reason else reader.read(sample_id).nbytes
            count_outcome(report, name, sample_id, reason, row["detail"], num_bytes)


def count_outcome(
    report: FuzzReport,
    name: str,
    sample_id: str,
    reason: str | None,
    detail: str | None,
    num_bytes: int,
) -> None:
    report.failures[f"{name}: {reason or 'ok'}"] += 1
    report.largest_bytes = max(report.largest_bytes, num_bytes)
    if num_bytes > MOST_BYTES:
        report.faults.append(f"{name}: {sample_id}: {num_bytes} bytes")
    # An error is a bug of ours; a lost worker must have a cause.
    if reason == "error" or (detail or "").endswith(_NAMELESS_END):
        report.faults.append(f"{name}: {sample_id}: {reason}: {detail}")
