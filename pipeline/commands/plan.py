"""``plan``: what a dataset or a recipe takes, and what of it is there, before days of waiting."""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import yaml

from earshot.errors import ParameterError
from earshot.tables import CLIPS, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.commands.feature_selection import find_cached_keys, list_features
from pipeline.commands.measured_rates import (
    Material,
    choose_material,
    measure_checks,
    measure_features,
)
from pipeline.commands.options import find_root, format_option, pass_project
from pipeline.commands.output import render
from pipeline.commands.use import list_recipes, read_recipe
from pipeline.commands.yaml_text import replace_values
from pipeline.datasets.dataset import find_own_tables, load
from pipeline.datasets.dataset import names as dataset_names
from pipeline.downloads.account.ledger import read_entries
from pipeline.downloads.account.table import derive_from_ledger, read_downloads_if_there
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.sites import find_site
from pipeline.downloads.table_rules import find_table_rules
from pipeline.features.configure import configure_feature
from pipeline.shards.requests import find_clips, make_requests
from pipeline.shards.workers.cluster import ClusterParameters

_COLUMNS = ("dataset", "stage", "there", "to_do", "requests", "hours", "cpu_hours", "gigabytes")

# Where no clip says it: a clip of 360 lines in H.264 (an estimate).
_BYTES_PER_SECOND = 120_000.0
_CLIP_SECONDS = 10.0
# Of a processor, for one request, its hash and its entry in the ledger (benchmarks/plan.py).
_FETCH_SECONDS = 0.012


def _complete(context: click.Context, _: click.Parameter, start: str) -> list[str]:
    root = find_root(context)
    return [name for name in (*list_recipes(root), *dataset_names()) if name.startswith(start)]


@click.command()
@click.argument("what", required=False, metavar="[RECIPE|DATASET]", shell_complete=_complete)
@format_option
@pass_project
def run(project: Project, what: str | None, output_format: str) -> int:
    """Print a line for each stage that fetches clips or computes features, then the assumptions."""
    planned = _choose(project, what)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for dataset in planned.datasets:
        _plan_dataset(planned, project, dataset, rows, notes)

    print(render([_round(row) for row in rows], _COLUMNS, output_format))
    # csv and json keep plain numbers and nothing else.
    stream = sys.stdout if output_format == "table" else sys.stderr
    for note in (*dict.fromkeys(notes), "training and evaluation are not counted"):
        print(note, file=stream)
    return 0


def _choose(project: Project, what: str | None) -> Project:
    """Return the project with the parameters that are planned for; nothing is written."""
    if what is None:
        return project
    if what in list_recipes(project.root):
        # The text is changed as `use` would change it, but only in memory.
        text = (project.root / "params.yaml").read_text()
        values = read_recipe(project.root, what).values
        return replace(project, params=yaml.safe_load(replace_values(text, values)))
    known = (*dataset_names(), *find_own_tables(project.params))
    if what in known:
        return replace(project, params={**project.params, "datasets": [what]})
    raise ParameterError(
        f"{what}: neither a recipe ({', '.join(list_recipes(project.root)) or 'there are none'}) "
        f"nor a dataset ({', '.join(known)})"
    )


def _plan_dataset(
    project: Project, now: Project, dataset: str, rows: list[dict[str, Any]], notes: list[str]
) -> None:
    """Add the lines of one dataset; ``now`` has the parameters with which its list was made."""
    tables = _find_tables(project, now, dataset)
    if tables is None:
        notes.append(
            f"{dataset}: not listed yet, and listing it takes long; `dvc repro sources@{dataset}` "
            "does it, then plan again"
        )
        return

    clips, samples = tables
    download = project.parameters(DownloadParameters, "download")
    clips_dir = project.clips_dir(dataset)

    # As a run would begin: attempts in the ledger count, also those that no table has yet.
    downloads = derive_from_ledger(
        clips,
        read_entries(project.ledger_path(dataset)),
        clips_dir=clips_dir,
        rules=find_table_rules(project, dataset),
        before=read_downloads_if_there(project.downloads_table_path(dataset)),
    )

    with tempfile.TemporaryDirectory(prefix="earshot-plan-") as name:
        material = choose_material(samples, downloads, clips_dir, Path(name))
        of_what = "a clip that was made up" if material.is_made_up else f"clips of {dataset}"
        notes.append(
            f"{dataset}: CPU hours and sizes of features are from rates that this machine has just "
            f"shown on {of_what}"
        )
        rows.append(_plan_download(dataset, clips, downloads, download, material, notes))
        rows.extend(_plan_features(project, dataset, samples, downloads, material))


def _find_tables(project: Project, now: Project, dataset: str) -> tuple[pa.Table, pa.Table] | None:
    """Return the clips and samples; None if listing them would fetch or render media."""
    section = f"sources.{dataset}"
    is_same = _get(now, section) == _get(project, section)
    if is_same and now.samples_table_path(dataset).exists():
        return (
            read_table(now.clips_table_path(dataset), CLIPS),
            read_table(now.samples_table_path(dataset), SAMPLES),
        )

    # Some lists describe the media themselves, which would have to be fetched first.
    about = load(dataset)
    if about.lists_media:
        return None
    parameters = project.parameters(about.parameters, section)
    # An account of the user's own files belongs to the list that a stage makes.
    if about.has_changed is not None:
        with tempfile.TemporaryDirectory(prefix="earshot-plan-") as name:
            return about.build_tables(parameters, cache_dir=Path(name))
    return about.build_tables(parameters, cache_dir=project.sources_dir(dataset))


def _get(project: Project, section: str) -> Any:
    try:
        return project.section(section)
    except ParameterError:
        return None


def _plan_download(
    dataset: str,
    clips: pa.Table,
    downloads: pa.Table,
    parameters: DownloadParameters,
    material: Material,
    notes: list[str],
) -> dict[str, Any]:
    statuses = dict(
        zip(downloads["clip_id"].to_pylist(), downloads["status"].to_pylist(), strict=True)
    )
    counts = Counter(statuses.values())
    wanted = [row for row in clips.to_pylist() if statuses[row["clip_id"]] == "pending"]
    if counts["missing"]:
        notes.append(f"{dataset}: {counts['missing']} clips are missing, see `missing`")
    if not parameters.network:
        num_wanted = len(wanted)
        wanted = [row for row in wanted if row["url"].startswith("file:")]
        notes.append(
            f"{dataset}: network is off (download.network): {num_wanted - len(wanted)} clips are "
            "left for `import`"
        )

    # Clips of one video are one request; each site has its own pace.
    urls = {row["url"] for row in wanted}
    sites = Counter(find_site(url) for url in urls)
    per_hour = {
        "youtube": parameters.videos_per_hour,
        "other": parameters.other_videos_per_hour,
        "loopback": parameters.loopback_videos_per_hour,
    }
    # A pace of 0 means no limit, so such a site takes no time of its own.
    hours = [
        number / per_hour[site] for site, number in sites.items() if site and per_hour[site] > 0
    ]
    for site, number in sites.items():
        if site:
            pace = f"{per_hour[site]:g} an hour" if per_hour[site] > 0 else "without a limit"
            notes.append(f"{dataset}: {number} requests to {site} hosts, {pace}")

    num_bytes = _estimate_bytes(dataset, wanted, downloads, notes)
    seconds_of_clip = measure_checks(material, parameters.validation) + _FETCH_SECONDS
    seconds = seconds_of_clip * len(wanted)
    return {
        "dataset": dataset,
        "stage": "download",
        "there": counts["ok"],
        "to_do": len(wanted),
        "requests": sum(number for site, number in sites.items() if site),
        # Sites are fetched side by side, and clips are checked meanwhile: the slowest decides.
        "hours": max([*hours, seconds / 3600 / parameters.num_workers]),
        "cpu_hours": seconds / 3600,
        "gigabytes": num_bytes / 1e9,
    }


def _estimate_bytes(
    dataset: str, wanted: Sequence[dict[str, Any]], downloads: pa.Table, notes: list[str]
) -> float:
    """Return how much room the wanted clips take: of their files, or as those that are here."""
    if load(dataset).is_linked:
        # Files of the user's own are linked; clips of sites are not.
        wanted = [row for row in wanted if not row["url"].startswith("file:")]

    # Clips that are here tell how large the others will be.
    ok = [row for row in downloads.to_pylist() if row["status"] == "ok" and row["duration_seconds"]]
    per_second, clip_seconds = _BYTES_PER_SECOND, _CLIP_SECONDS
    if ok:
        seconds = sum(row["duration_seconds"] for row in ok)
        per_second, clip_seconds = sum(row["bytes"] for row in ok) / seconds, seconds / len(ok)
    elif wanted:
        notes.append(
            f"{dataset}: no clip is here yet, so {per_second * 10 / 1e6:g} MB for 10 s are assumed"
        )

    total = 0.0
    for row in wanted:
        known = row["end_seconds"] is not None and row["start_seconds"] is not None
        # A clip without times is a whole video, of unknown length.
        length = row["end_seconds"] - row["start_seconds"] if known else clip_seconds
        total += per_second * length
    return total


def _plan_features(
    project: Project, dataset: str, samples: pa.Table, downloads: pa.Table, material: Material
) -> list[dict[str, Any]]:
    features = {name: configure_feature(project, name) for name in list_features(project, dataset)}
    # A network computes the others, often on a GPU: a rate of this CPU would mislead.
    features = {name: feature for name, feature in features.items() if feature.can_compute}
    clips, absences = find_clips(downloads, project.clips_dir(dataset))

    # Samples of clips that are pending will be computed; those of missing clips will not.
    num_there, num_to_do = {}, {}
    for name, feature in features.items():
        cached = find_cached_keys(project.feature_dir(dataset, name))
        requests = make_requests(feature, samples, clips, absences)
        num_there[name] = sum(request.key in cached for request in requests if request.key)
        num_to_do[name] = sum(
            request.key not in cached if request.key else request.reason == "pending"
            for request in requests
        )

    wanted = {name: feature for name, feature in features.items() if num_to_do[name]}
    rates = measure_features(wanted, material)
    workers = project.parameters(ClusterParameters, "cluster").workers
    if workers is None:
        workers = os.cpu_count() or 1

    rows = []
    for name in features:
        rate, number = rates.get(name), num_to_do[name]
        cpu_hours = rate.seconds * number / 3600 if rate else 0.0
        rows.append(
            {
                "dataset": dataset,
                "stage": name,
                "there": num_there[name],
                "to_do": number,
                "hours": cpu_hours / max(workers, 1),  # 0: this process alone
                "cpu_hours": cpu_hours,
                "gigabytes": rate.num_bytes * number / 1e9 if rate else 0.0,
            }
        )
    return rows


def _round(row: dict[str, Any]) -> dict[str, Any]:
    """Keep three digits that count: a small job takes thousandths of an hour."""
    return {
        key: float(f"{value:.3g}") if isinstance(value, float) else value
        for key, value in row.items()
    }
