"""What a dataset takes: a line for its downloads and for each feature, from its list."""

import math
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import ParameterError, RunError
from earshot.tables import CLIPS, SAMPLES, read_table
from pipeline.audit.leakage import (
    AuditParameters,
    check_leakage,
    find_overlaps,
    split_members,
    splits_of_role,
)
from pipeline.base.project import Project
from pipeline.base.table_filters import count_values
from pipeline.commands.feature_selection import find_cached_keys, list_features
from pipeline.commands.measured_rates import group_features
from pipeline.commands.planned_training import PlannedDataset
from pipeline.commands.rates import RATES_NAME, Rates
from pipeline.datasets.dataset import load
from pipeline.downloads.account.current import find_current_downloads
from pipeline.downloads.account.ledger import read_entries
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.account.table import derive_from_ledger, read_downloads_if_there
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.sites import PACES, find_site
from pipeline.downloads.table_rules import find_table_rules
from pipeline.features.configure import configure_feature, has_weights
from pipeline.shards.requests import count_requests
from pipeline.shards.workers.cluster import ClusterParameters

# Where no clip says it: a clip of 360 lines in H.264 (an estimate).
_BYTES_PER_SECOND = 120_000.0
_CLIP_SECONDS = 10.0
# Of a processor, for one request, its hash and its entry in the ledger (benchmarks/plan.py).
_FETCH_SECONDS = 0.010


def plan_dataset(
    project: Project,
    now: Project,
    dataset: str,
    rows: list[dict[str, Any]],
    notes: list[str],
    *,
    is_anew: bool,
) -> PlannedDataset | None:
    """Add the lines of one dataset and what they assume.

    Args:
        project: Has the parameters that are planned for.
        now: Has those with which the list of the dataset was made.
        dataset: Its name.
        rows: Receives a line for its downloads and for each of its features.
        notes: Receives sentences.
        is_anew: Whether rates that are known are measured again.

    Returns:
        Its samples, for planning trainings; None where they are not listed.
    """
    tables = _find_tables(project, now, dataset)
    if tables is None:
        notes.append(
            f"{dataset}: not listed yet, and listing it takes long; `dvc repro sources@{dataset}` "
            "does it, then plan again"
        )
        return None

    clips, samples = tables
    _note_leakage(project, dataset, clips, notes)
    downloads = _find_downloads(project, now, dataset, clips)
    rates = Rates(
        project.storage_dir / RATES_NAME,
        dataset,
        samples=samples,
        downloads=downloads,
        clips_dir=project.clips_dir(dataset),
        is_anew=is_anew,
    )
    rows.append(_plan_download(project, dataset, clips, downloads, rates, notes))
    of_features = _plan_features(project, dataset, samples, downloads, rates, notes)
    rows.extend(of_features)
    described = rates.describe()
    if described:
        notes.append(f"{dataset}: {described}")

    num_to_compute = {row["stage"]: row["to_do"] for row in of_features}
    return PlannedDataset.choose(project, samples, clips, downloads, num_to_compute)


def _find_downloads(project: Project, now: Project, dataset: str, clips: pa.Table) -> pa.Table:
    """Return the account as a run would begin with it."""
    paths, rules = AccountPaths.find(project, dataset), find_table_rules(project, dataset)
    # A list that was made just now can name other addresses than the account is about.
    is_listed = _is_listed(project, now, dataset)
    listed_at = project.clips_table_path(dataset).stat().st_mtime if is_listed else math.inf
    current = find_current_downloads(clips, paths, listed_at=listed_at, rules=rules)
    if current is not None:
        return current

    # Attempts in the ledger count, also those that no table has yet.
    return derive_from_ledger(
        clips,
        read_entries(paths.ledger_path),
        clips_dir=paths.clips_dir,
        rules=rules,
        before=read_downloads_if_there(project.downloads_table_path(dataset)),
    )


def _find_tables(project: Project, now: Project, dataset: str) -> tuple[pa.Table, pa.Table] | None:
    """Return the clips and samples; None if listing them would fetch or render media."""
    if _is_listed(project, now, dataset):
        return (
            read_table(now.clips_table_path(dataset), CLIPS),
            read_table(now.samples_table_path(dataset), SAMPLES),
        )

    # Some lists describe the media themselves, which would have to be fetched first.
    about = load(dataset)
    if about.lists_media:
        return None
    parameters = project.parameters(about.parameters, f"sources.{dataset}")
    # An account of the user's own files belongs to the list that a stage makes.
    if about.has_changed is not None:
        # In the storage, which is left out where the user's folder contains it.
        project.storage_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".plan-", dir=project.storage_dir) as name:
            return about.build_tables(parameters, cache_dir=Path(name))
    return about.build_tables(parameters, cache_dir=project.sources_dir(dataset))


def _is_listed(project: Project, now: Project, dataset: str) -> bool:
    """Return whether the tables of now are those that are planned for."""
    section = f"sources.{dataset}"
    is_same = _get(now, section) == _get(project, section)
    return is_same and now.samples_table_path(dataset).exists()


def _get(project: Project, section: str) -> Any:
    try:
        return project.section(section)
    except ParameterError:
        return None


def _note_leakage(project: Project, dataset: str, clips: pa.Table, notes: list[str]) -> None:
    """Say now what a training would say after all downloads: test clips are in its split."""
    parameters = project.parameters(AuditParameters, "audit")
    if parameters.allow_leakage:
        return
    subsets = _get(project, "evaluate.subsets") or {}
    known = split_members(clips)
    overlaps = find_overlaps(
        clips,
        dataset=dataset,
        train_splits=splits_of_role(clips, "train", test_splits=load(dataset).test_splits),
        test_splits=[split for split in subsets.get(dataset, ()) if split in known],
    )
    try:
        check_leakage(overlaps, parameters)
    except RunError as error:
        notes.append(f"training will be refused: {error}")


def _plan_download(
    project: Project,
    dataset: str,
    clips: pa.Table,
    downloads: pa.Table,
    rates: Rates,
    notes: list[str],
) -> dict[str, Any]:
    parameters = project.parameters(DownloadParameters, "download")
    counts = count_values(downloads["status"])
    # The rows of the account are those of the list.
    wanted = clips.filter(pc.equal(downloads["status"], "pending"))
    if counts["missing"]:
        notes.append(f"{dataset}: {counts['missing']} clips are missing, see `missing`")
    if not parameters.network:
        num_wanted = len(wanted)
        wanted = wanted.filter(pc.starts_with(wanted["url"], "file:"))
        notes.append(
            f"{dataset}: network is off (download.network): {num_wanted - len(wanted)} clips are "
            "left for `import`"
        )

    # Clips of one video are one request; each site has its own pace.
    sites = _count_sites(pc.unique(wanted["url"]))
    per_hour = {str(site): getattr(parameters, key) for site, key in PACES.items()}
    # A pace of 0 means no limit, so such a site takes no time of its own.
    hours = [number / per_hour[site] for site, number in sites.items() if per_hour[site] > 0]
    for site, number in sites.items():
        pace = f"{per_hour[site]:g} an hour" if per_hour[site] > 0 else "without a limit"
        notes.append(f"{dataset}: {number} requests to {site} hosts, {pace}")

    if sites:
        # How many are longer, or larger, nobody knows before they are here.
        notes.append(
            f"{dataset}: cutting longer videos and shrinking larger ones takes more CPU hours than "
            "these, some seconds of a processor for 10 s of video"
        )

    num_bytes = _estimate_bytes(dataset, wanted, downloads, notes)
    seconds = 0.0
    if len(wanted):
        seconds_of_clip = rates.find_checks(parameters.validation) + _FETCH_SECONDS
        seconds = seconds_of_clip * len(wanted)
    return {
        "dataset": dataset,
        "stage": "download",
        "there": counts["ok"],
        "to_do": len(wanted),
        "requests": sites.total(),
        # Sites are fetched side by side, and clips are checked meanwhile: the slowest decides.
        "hours": max([*hours, seconds / 3600 / parameters.num_workers]),
        "cpu_hours": seconds / 3600,
        "gigabytes": num_bytes / 1e9,
    }


def _count_sites(urls: pa.Array) -> Counter[str]:
    """Count addresses by the kind of their site; those of files of this machine are left out."""
    # All that decides stands before the path, and is the same in most addresses.
    beginnings = pc.replace_substring_regex(urls, r"^([a-zA-Z]+://[^/?#]*).*$", r"\1")
    counts: Counter[str] = Counter()
    for beginning, number in count_values(pa.chunked_array([beginnings])).items():
        site = find_site(beginning)
        if site is not None:
            counts[site] += number
    return counts


def _estimate_bytes(dataset: str, wanted: pa.Table, downloads: pa.Table, notes: list[str]) -> float:
    """Return how much room the wanted clips take: of their files, or as those that are here."""
    if load(dataset).is_linked:
        # Files of the user's own are linked; clips of sites are not.
        wanted = wanted.filter(pc.invert(pc.starts_with(wanted["url"], "file:")))

    # Clips that are here tell how large the others will be.
    is_measured = pc.and_(
        pc.equal(downloads["status"], "ok"), pc.greater(downloads["duration_seconds"], 0)
    )
    ok = downloads.filter(is_measured)
    per_second, clip_seconds = _BYTES_PER_SECOND, _CLIP_SECONDS
    if len(ok):
        seconds = pc.sum(ok["duration_seconds"]).as_py()
        per_second, clip_seconds = pc.sum(ok["bytes"]).as_py() / seconds, seconds / len(ok)
    elif len(wanted):
        notes.append(
            f"{dataset}: no clip is here yet, so {per_second * 10 / 1e6:g} MB for 10 s are assumed"
        )

    # A clip without an end goes on to that of its video, whose length is not known.
    lengths = pc.subtract(wanted["end_seconds"], pc.fill_null(wanted["start_seconds"], 0.0))
    return per_second * (pc.sum(pc.fill_null(lengths, clip_seconds)).as_py() or 0.0)


def _plan_features(
    project: Project,
    dataset: str,
    samples: pa.Table,
    downloads: pa.Table,
    rates: Rates,
    notes: list[str],
) -> list[dict[str, Any]]:
    names = list_features(project, dataset)
    # A network computes these, often on a GPU: a rate of this CPU would mislead. Its weights, which
    # a stage fetches, need not be here yet.
    others = [name for name in names if has_weights(project, name)]
    features = {name: configure_feature(project, name) for name in names if name not in others}
    if others:
        notes.append(f"{dataset}: a network computes {', '.join(others)}: not counted")

    # Samples of clips that are pending will be computed; those of missing clips will not.
    counts = {
        name: count_requests(
            feature, samples, downloads, find_cached_keys(project.feature_dir(dataset, name))
        )
        for name, feature in features.items()
    }

    wanted = {name: feature for name, feature in features.items() if counts[name].num_to_do}
    found = rates.find_features(wanted)
    workers = project.parameters(ClusterParameters, "cluster").workers
    if workers is None:
        workers = os.cpu_count() or 1

    # The time of a shared pass counts for its first feature. It is made for each sample that lacks
    # any of them.
    num_passes: dict[str, int] = {}
    for first, *companions in map(list, group_features(wanted)):
        lacks_any = np.logical_or.reduce([counts[name].to_do for name in (first, *companions)])
        num_passes[first] = int(lacks_any.sum())
        if companions:
            notes.append(
                f"{dataset}: the hours of {', '.join(companions)} are in the line of {first}, "
                "since one pass over a clip computes them"
            )

    rows = []
    for name in features:
        rate, number = found.get(name), counts[name].num_to_do
        unknown = None if number else 0.0  # of what has no rate
        cpu_hours = rate.seconds * num_passes.get(name, 0) / 3600 if rate else unknown
        rows.append(
            {
                "dataset": dataset,
                "stage": name,
                "there": counts[name].num_there,
                "to_do": number,
                # No workers: this process alone.
                "hours": None if cpu_hours is None else cpu_hours / max(workers, 1),
                "cpu_hours": cpu_hours,
                "gigabytes": rate.num_bytes * number / 1e9 if rate else unknown,
            }
        )
    return rows
