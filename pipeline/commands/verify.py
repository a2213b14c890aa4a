"""``verify``: recompute checksums of cached features and name every sample whose bytes are not what they were."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError
from earshot.shard_format import INDEX_NAME
from earshot.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.commands.feature_selection import add_selection, selected_folders
from pipeline.features.configure import configure_feature
from pipeline.shards.account import account_path, find_account_problem
from pipeline.shards.requests import find_clips, make_requests
from pipeline.shards.verify import Damage, verify_feature

HELP = "recompute the checksums of cached features; names every damaged sample and exits 1"


def add_arguments(parser) -> None:
    add_selection(parser)
    parser.add_argument("--quiet", action="store_true", help="only what is wrong, and the totals")


def run(arguments, project: Project) -> int:
    """Exit code 0 when every byte is as it was written, 1 when not."""
    selected = selected_folders(arguments, project)
    num_damaged_folders = 0
    for dataset, feature in selected:
        damages, num_ok = verify_folder(project, dataset, feature, is_quiet=arguments.quiet)
        for damage in damages:
            for line in describe_damage(damage, project.root):
                print(line)
        for path in _foreign_files(project.feature_dir(dataset, feature)):
            print(
                f"{path.relative_to(project.root)}: is no part of the cache; `dvc repro` would take it for a change"
            )
        num_samples = sum(len(damage.sample_ids) for damage in damages)
        state = f"{num_samples} samples damaged in {len(damages)} files" if damages else "whole"
        print(f"{dataset}/{feature}: {num_ok} samples, {state}")
        num_damaged_folders += bool(damages)
    has_damaged_table = print_damaged_tables(
        project, dict.fromkeys(dataset for dataset, _ in selected)
    )
    if num_damaged_folders:
        print("`python -m pipeline repair` makes the damaged ones again")
    return 1 if num_damaged_folders or has_damaged_table else 0


def print_damaged_tables(project: Project, datasets: Iterable[str]) -> bool:
    """Print which tables of the manifests cannot be read; whether there are any."""
    is_damaged = False
    for dataset in datasets:
        paths = (project.clips_table_path, project.samples_table_path, project.downloads_table_path)
        for table_path, schema in zip(paths, (CLIPS, SAMPLES, DOWNLOADS), strict=True):
            path = table_path(dataset)
            try:
                _ = path.exists() and read_table(path, schema)
            except DataError as error:
                problem = str(error).removeprefix(f"{path}: ")
                print(f"{path.relative_to(project.root)}: {problem}; `dvc repro` writes it anew")
                is_damaged = True
    return is_damaged


def verify_folder(
    project: Project, dataset: str, feature: str, *, is_quiet: bool
) -> tuple[list[Damage], int]:
    """Damages of one folder, those of its index included, and how many samples the index calls ok."""
    index_path = project.feature_dir(dataset, feature) / INDEX_NAME
    if not index_path.exists():
        return [Damage(index_path, "missing, so nothing is known about the samples")], 0
    try:
        index = read_table(index_path, INDEX, columns=["sample_id", "status", "key", "shard"])
        damages = verify_feature(index_path.parent, is_quiet=is_quiet)
    except DataError as error:
        return [Damage(index_path, str(error).removeprefix(f"{index_path}: "))], 0
    if not damages:  # else the bytes of the shards would not fit either
        shards = set(index.column("shard").to_pylist()) - {None}
        num_bytes = sum((index_path.parent / name).stat().st_size for name in shards)
        problem = find_account_problem(project, dataset, feature, num_bytes=num_bytes)
        damages += [Damage(*problem)] if problem else []
    damages += _compare_with_tables(project, dataset, feature, index)
    return damages, index.column("status").to_pylist().count("ok")


def _compare_with_tables(
    project: Project, dataset: str, feature: str, index: pa.Table
) -> list[Damage]:
    """Samples that the index lacks, or, where no account vouches for it, that have another one's row."""
    index_path = project.feature_dir(dataset, feature) / INDEX_NAME
    try:
        samples = read_table(project.samples_table_path(dataset), SAMPLES)
        downloads = read_table(project.downloads_table_path(dataset), DOWNLOADS)
    except DataError:
        return []  # absent in a copy of the cache alone; damaged ones are told by `print_damaged_tables`
    keys = dict(
        zip(index.column("sample_id").to_pylist(), index.column("key").to_pylist(), strict=True)
    )
    lacking = tuple(
        sample_id for sample_id in samples.column("sample_id").to_pylist() if sample_id not in keys
    )
    damages = (
        [Damage(index_path, "has no row for samples of the manifest", lacking)] if lacking else []
    )
    if not account_path(project, dataset, feature).exists():
        clips, absences = find_clips(downloads, project.clips_dir(dataset))
        configured = configure_feature(project, feature)
        requests = make_requests(configured, samples, clips, absences)
        other = tuple(
            r.sample_id for r in requests if r.sample_id in keys and keys[r.sample_id] != r.key
        )
        if other:
            problem = "its row is not of this sample's clip, time and parameters: damaged, or not of the last run"
            damages.append(Damage(index_path, problem, other))
    return damages


def _foreign_files(folder: Path) -> list[Path]:
    """Files that no stage made and that nobody misses: a note, no damage."""
    return sorted(
        path for path in folder.glob("*") if path.name != INDEX_NAME and path.suffix != ".h5"
    )


def describe_damage(damage: Damage, root: Path) -> list[str]:
    """One line a sample, or one for a file that no sample uses."""
    path = damage.path.relative_to(root) if damage.path.is_relative_to(root) else damage.path
    if not damage.sample_ids:
        return [f"{path}: {damage.problem}"]
    return [f"{sample_id}: {path}: {damage.problem}" for sample_id in damage.sample_ids]
