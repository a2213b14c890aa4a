"""``verify``: compare cached features with what was written, and name every damaged sample."""

from collections.abc import Iterable
from pathlib import Path

import click
import pyarrow as pa

from earshot.errors import DataError
from earshot.shard_format import INDEX_NAME
from earshot.tables import CLIPS, DOWNLOADS, INDEX, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.commands.feature_selection import find_selected_folders
from pipeline.commands.options import (
    chosen_dataset_option,
    feature_option,
    pass_project,
    quiet_option,
)
from pipeline.features.configure import configure_feature
from pipeline.shards.account import account_path, find_account_problem
from pipeline.shards.requests import find_clips, make_requests
from pipeline.shards.verify import Damage, verify_feature


@click.command()
@chosen_dataset_option
@feature_option
@quiet_option(help="only what is wrong, and the totals")
@pass_project
def run(
    project: Project, datasets: tuple[str, ...], features: tuple[str, ...], is_quiet: bool
) -> int:
    """Print all damage; return 0 if every byte is as it was written, otherwise 1."""
    selected = find_selected_folders(project, datasets, features)
    num_damaged_folders = 0
    for dataset, feature in selected:
        damages, num_ok = verify_folder(project, dataset, feature, is_quiet=is_quiet)
        num_damaged_folders += bool(damages)
        print_damages(damages, project)

        # DVC hashes all files of the folder, so one that does not belong there is worth a note.
        for path in _find_other_files(project.feature_dir(dataset, feature)):
            print(
                f"{path.relative_to(project.root)}: is no part of the cache; `dvc repro` would "
                "take it for a change"
            )

        num_samples = sum(len(damage.sample_ids) for damage in damages)
        state = f"{num_samples} samples damaged in {len(damages)} files" if damages else "whole"
        print(f"{dataset}/{feature}: {num_ok} samples, {state}")

    # Tables belong to a dataset: check each once, however many of its features are selected.
    names = dict.fromkeys(dataset for dataset, _ in selected)
    has_damaged_table = print_damaged_tables(project, names)

    if num_damaged_folders:
        print("`earshot repair` computes the damaged ones again")
    return 1 if num_damaged_folders or has_damaged_table else 0


def print_damaged_tables(project: Project, datasets: Iterable[str]) -> bool:
    """Print which tables of the manifests cannot be read; return whether there are any."""
    is_damaged = False
    for dataset in datasets:
        paths = (project.clips_table_path, project.samples_table_path, project.downloads_table_path)
        for find_path, schema in zip(paths, (CLIPS, SAMPLES, DOWNLOADS), strict=True):
            path = find_path(dataset)
            # Reading compares the checksums of the pages, so a table that can be read is whole.
            try:
                if path.exists():
                    read_table(path, schema)
            except DataError as error:
                problem = str(error).removeprefix(f"{path}: ")
                # A table of another version says so itself.
                remedy = "" if "`dvc repro`" in problem else "; `dvc repro` writes it again"
                print(f"{path.relative_to(project.root)}: {problem}{remedy}")
                is_damaged = True
    return is_damaged


def print_damages(damages: Iterable[Damage], project: Project) -> None:
    """Print one line for each damaged sample, and for each file that no sample uses."""
    for damage in damages:
        path = damage.path
        # A shard that is a link can lie outside of the checkout; its path stays absolute.
        if path.is_relative_to(project.root):
            path = path.relative_to(project.root)
        if not damage.sample_ids:
            print(f"{path}: {damage.problem}")
        for sample_id in damage.sample_ids:
            print(f"{sample_id}: {path}: {damage.problem}")


def verify_folder(
    project: Project, dataset: str, feature: str, *, is_quiet: bool
) -> tuple[list[Damage], int]:
    """Verify the shards and the index of one feature.

    Returns:
        What is damaged, and how many samples the index calls ok.
    """
    index_path = project.feature_dir(dataset, feature) / INDEX_NAME
    if not index_path.exists():
        return [Damage(index_path, "missing, so nothing is known about the samples")], 0

    try:
        index = read_table(index_path, INDEX, columns=["sample_id", "status", "key", "shard"])
        damages = verify_feature(index_path.parent, is_quiet=is_quiet)
    except DataError as error:
        return [Damage(index_path, str(error).removeprefix(f"{index_path}: "))], 0

    # The account counts the bytes of the shards, so it cannot fit damaged ones.
    if not damages:
        shards = set(index.column("shard").to_pylist()) - {None}
        num_bytes = sum((index_path.parent / name).stat().st_size for name in shards)
        problem = find_account_problem(project, dataset, feature, num_bytes=num_bytes)
        if problem is not None:
            damages.append(Damage(*problem))

    damages += _compare_with_tables(project, dataset, feature, index)
    return damages, index.column("status").to_pylist().count("ok")


def _compare_with_tables(
    project: Project, dataset: str, feature: str, index: pa.Table
) -> list[Damage]:
    """Find samples without a row in the index, or with the row of another sample."""
    try:
        samples = read_table(project.samples_table_path(dataset), SAMPLES)
        downloads = read_table(project.downloads_table_path(dataset), DOWNLOADS)
    except DataError:
        # A copy of the cache alone has no tables. `print_damaged_tables` names damaged ones.
        return []

    index_path = project.feature_dir(dataset, feature) / INDEX_NAME
    sample_ids = index.column("sample_id").to_pylist()
    keys = dict(zip(sample_ids, index.column("key").to_pylist(), strict=True))
    damages = []

    absent = [name for name in samples.column("sample_id").to_pylist() if name not in keys]
    if absent:
        problem = "has no row for samples of the manifest"
        damages.append(Damage(index_path, problem, tuple(absent)))

    # With an account, its hash of the index is enough.
    if account_path(project, dataset, feature).exists():
        return damages

    # Otherwise each row must have the key that this sample would get now.
    clips, absences = find_clips(downloads, project.clips_dir(dataset))
    configured = configure_feature(project, feature)
    other = [
        request.sample_id
        for request in make_requests(configured, samples, clips, absences)
        if request.sample_id in keys and keys[request.sample_id] != request.key
    ]
    if other:
        problem = (
            "its row is not of this sample's clip, time and parameters: damaged, or not of the "
            "last run"
        )
        damages.append(Damage(index_path, problem, tuple(other)))
    return damages


def _find_other_files(folder: Path) -> list[Path]:
    """Return files that no stage wrote. They are no damage, but a note says that they are there."""
    return sorted(
        path for path in folder.glob("*") if path.name != INDEX_NAME and path.suffix != ".h5"
    )
