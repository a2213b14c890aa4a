"""``verify``: recompute checksums of cached features and name every sample whose bytes are not what they were."""

from pathlib import Path

from pipeline.commands.feature_selection import add_selection, selected_folders
from pipeline.errors import DataError
from pipeline.feature_accounts import account_path, has_accounted_index
from pipeline.project import Project
from pipeline.shard_format import INDEX_NAME
from pipeline.tables import INDEX, SAMPLES, read_table
from pipeline.verification import Damage, verify_feature

HELP = "recompute the checksums of cached features; names every damaged sample and exits 1"


def add_arguments(parser) -> None:
    add_selection(parser)
    parser.add_argument("--quiet", action="store_true", help="only what is wrong, and the totals")


def run(arguments, project: Project) -> int:
    """Exit code 0 when every byte is as it was written, 1 when not."""
    num_damaged_folders = 0
    for dataset, feature in selected_folders(arguments, project):
        damages, num_ok = verify_folder(project, dataset, feature, is_quiet=arguments.quiet)
        for damage in damages:
            for line in describe_damage(damage, project.root):
                print(line)
        for path in _foreign_files(project.feature_dir(dataset, feature)):
            print(f"{path.relative_to(project.root)}: is no part of the cache; `dvc repro` would take it for a change")
        num_samples = sum(len(damage.sample_ids) for damage in damages)
        state = f"{num_samples} samples damaged in {len(damages)} files" if damages else "whole"
        print(f"{dataset}/{feature}: {num_ok} samples, {state}")
        num_damaged_folders += bool(damages)
    if num_damaged_folders:
        print("`python -m pipeline repair` makes the damaged ones again")
    return 1 if num_damaged_folders else 0


def verify_folder(project: Project, dataset: str, feature: str, *, is_quiet: bool) -> tuple[list[Damage], int]:
    """Damages of one folder, those of its index included, and how many samples the index calls ok."""
    index_path = project.feature_dir(dataset, feature) / INDEX_NAME
    if not index_path.exists():
        return [Damage(index_path, "missing, so nothing is known about the samples")], 0
    try:
        index = read_table(index_path, INDEX, columns=["sample_id", "status"])
        damages = verify_feature(index_path.parent, is_quiet=is_quiet)
    except DataError as error:
        return [Damage(index_path, str(error).removeprefix(f"{index_path}: "))], 0
    if not has_accounted_index(project, dataset, feature):
        account = account_path(project, dataset, feature).relative_to(project.root)
        damages.append(Damage(index_path, f"not the index that {account} counts: damaged, or not of the last run"))
    samples_path = project.samples_table_path(dataset)
    if samples_path.exists():
        wanted = read_table(samples_path, SAMPLES, columns=["sample_id"]).column("sample_id").to_pylist()
        listed = set(index.column("sample_id").to_pylist())
        lacking = tuple(sample_id for sample_id in wanted if sample_id not in listed)
        if lacking:
            damages.append(Damage(index_path, "has no row for samples of the manifest", lacking))
    return damages, index.column("status").to_pylist().count("ok")


def _foreign_files(folder: Path) -> list[Path]:
    """Files that no stage made and that nobody misses: a note, no damage."""
    return sorted(path for path in folder.glob("*") if path.name != INDEX_NAME and path.suffix != ".h5")


def describe_damage(damage: Damage, root: Path) -> list[str]:
    """One line a sample, or one for a file that no sample uses."""
    path = damage.path.relative_to(root) if damage.path.is_relative_to(root) else damage.path
    if not damage.sample_ids:
        return [f"{path}: {damage.problem}"]
    return [f"{sample_id}: {path}: {damage.problem}" for sample_id in damage.sample_ids]
