"""``repair``: compute damaged or missing shards again, and on request what failed before."""

import contextlib
from collections.abc import Sequence

import click
import pyarrow.compute as pc

from earshot.errors import DataError
from earshot.shard_format import INDEX_NAME
from earshot.tables import DOWNLOADS, INDEX, SAMPLES, read_table
from pipeline.base.project import Project
from pipeline.commands.feature_selection import (
    find_selected_folders,
    read_cluster_parameters,
)
from pipeline.commands.options import (
    chosen_dataset_option,
    feature_option,
    pass_project,
    quiet_option,
)
from pipeline.commands.verify import print_damaged_tables, print_damages, verify_folder
from pipeline.features.configure import configure_feature
from pipeline.features.registry import find_base
from pipeline.shards.account import account_path, write_account
from pipeline.shards.build import BuildOptions, FeatureFolders
from pipeline.shards.repair import remove_damaged_files, repair_feature
from pipeline.shards.verify import Damage


@click.command()
@chosen_dataset_option
@feature_option
@click.option(
    "--failed",
    "retry_reasons",
    multiple=True,
    metavar="REASON",
    help="also try again the samples that failed with this reason (crashed, timeout, error...)",
)
@quiet_option(help="only what was wrong, and the totals")
@pass_project
def run(
    project: Project,
    datasets: tuple[str, ...],
    features: tuple[str, ...],
    retry_reasons: tuple[str, ...],
    is_quiet: bool,
) -> int:
    """Repair the selected features; return 0 if everything is whole afterwards, otherwise 1."""
    selected = find_selected_folders(project, datasets, features)
    if retry_reasons:
        _note_reasons(project, selected, retry_reasons)
    names = dict.fromkeys(dataset for dataset, _ in selected)
    has_damaged_table = print_damaged_tables(project, names)

    # Every feature is repaired, even if an earlier one stays damaged.
    codes = [
        _repair(project, dataset, name, retry_reasons, is_quiet=is_quiet)
        for dataset, name in selected
    ]
    return max([int(has_damaged_table), *codes])


def _note_reasons(
    project: Project, selected: Sequence[tuple[str, str]], reasons: Sequence[str]
) -> None:
    """Print the reasons for which no sample failed: a mistyped one would repair nothing."""
    found: set[str] = set()
    for dataset, name in selected:
        path = project.feature_dir(dataset, name) / INDEX_NAME
        # A damaged index is found, and written again, by the repair.
        with contextlib.suppress(DataError):
            index = read_table(path, INDEX, columns=["status", "reason"])
            found.update(index.filter(pc.equal(index["status"], "failed"))["reason"].to_pylist())
    for reason in reasons:
        if reason not in found:
            known = ", ".join(sorted(found)) or "none"
            print(f"no sample failed with {reason!r}; reasons of failed samples: {known}")


def _repair(
    project: Project, dataset: str, name: str, failed: Sequence[str], *, is_quiet: bool
) -> int:
    damages, num_ok = verify_folder(project, dataset, name, is_quiet=is_quiet)
    if not damages and not failed:
        print(f"{dataset}/{name}: {num_ok} samples, whole; nothing to repair")
        return 0

    feature = configure_feature(project, name)
    if not feature.can_compute:
        return _remove_damaged(project, dataset, name, damages)

    # A damaged index hides damaged shards. They are found, and repaired, the second time. What
    # failed before is tried again in the first round only.
    for retry_reasons in (failed, ()):
        print_damages(damages, project)
        report = repair_feature(
            feature,
            # The build writes the index again in any case, so only shards are removed before it.
            [damage for damage in damages if damage.path.suffix == ".h5"],
            samples=read_table(project.samples_table_path(dataset), SAMPLES),
            downloads=read_table(project.downloads_table_path(dataset), DOWNLOADS),
            folders=_find_folders(project, dataset, name),
            options=BuildOptions(
                cluster=read_cluster_parameters(project),
                retry_reasons=retry_reasons,
                is_quiet=is_quiet,
            ),
        )
        print(f"{dataset}/{report.describe()}")

        # The account holds the hash of the index. A copy of the cache alone has no account.
        if account_path(project, dataset, name).exists():
            write_account(project, dataset, name, num_bytes=report.build.bytes)

        # With a whole index, damage can show that was hidden before.
        damages, _ = verify_folder(project, dataset, name, is_quiet=True)
        if not damages:
            return 0

    print_damages(damages, project)
    print(f"{dataset}/{name}: still damaged")
    return 1


def _remove_damaged(project: Project, dataset: str, name: str, damages: Sequence[Damage]) -> int:
    """Remove the damaged shards of a feature that only its stage can compute."""
    print_damages(damages, project)
    removed = remove_damaged_files(damages, _find_folders(project, dataset, name))
    print(
        f"{dataset}/{name}: {len(removed)} damaged shards removed; `dvc repro {name}@{dataset}` "
        "computes them again"
    )
    return 1


def _find_folders(project: Project, dataset: str, name: str) -> FeatureFolders:
    return FeatureFolders(
        project.clips_dir(dataset),
        project.store_dir(dataset, find_base(name)),
        project.feature_dir(dataset, name),
    )
