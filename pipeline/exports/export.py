"""Write an export: the shards that are not there yet, then the descriptions, the index last.

Beside the data lies a hidden folder, ``.export``, with a record of each finished shard. A run that
was stopped goes on after the shards that have one; so does a run after the dataset has changed.
"""

import contextlib
import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from earshot.errors import DataError, MediaError, ParameterError, RunError
from earshot.files import publish_text, remove_leftovers, sha256_of
from pipeline.base.locks import LockHeldError, hold_lock
from pipeline.base.progress import Progress
from pipeline.base.project import Project
from pipeline.datasets import dataset as datasets
from pipeline.exports.contents import Contents, Item, Obstacle
from pipeline.exports.descriptions import INDEX_NAME, write_descriptions, write_index
from pipeline.exports.parameters import ExportParameters
from pipeline.exports.plan import Plan, Shard, plan_export
from pipeline.exports.summary import ShardRecord, Summary, WrittenFile

_STATE_DIR = ".export"
_ABOUT_NAME = "about.json"


class Output(Protocol):
    """A format: a module of ``pipeline.exports.outputs``."""

    def find_folders(self, parameters: ExportParameters) -> tuple[str, ...]:
        """Return the folders of the data; all files in them belong to the export."""
        ...

    def write_shard(
        self, folder: Path, name: str, items: Iterable[Item], contents: Contents
    ) -> dict[str, tuple[str, ...]]:
        """Write the samples of one shard.

        Args:
            folder: The folder of the export.
            name: The name of the shard without suffix, for example ``train-000000``.
            items: The samples with their arrays; each is read when it is its turn.
            contents: The whole export: its tables and its parameters.

        Returns:
            Sample id -> paths of the sample's files, relative to ``folder``.
        """
        ...

    def finish(self, folder: Path, summary: Summary) -> list[str]:
        """Write the files of the format that belong to no shard.

        Args:
            folder: The folder of the export; all shards are there.
            summary: What was exported.

        Returns:
            The paths of these files, relative to ``folder``.
        """
        ...


def export_dataset(
    project: Project,
    dataset: str,
    parameters: ExportParameters,
    folder: Path,
    *,
    is_quiet: bool = False,
) -> tuple[Summary, int]:
    """Export a dataset, or go on with an export that was stopped.

    Args:
        project: The checkout.
        dataset: Name of the dataset.
        parameters: What to write.
        folder: Where; new, empty, or an earlier export of the same kind.
        is_quiet: No progress.

    Returns:
        What became of every sample, and how many shards were written now.

    Raises:
        ParameterError: The folder holds something else.
        DataError: A feature is not cached, a cached array is damaged, or no sample has everything.
        RunError: Another process writes this export.
    """
    datasets.load(dataset)  # its descriptions need the code, and are written last
    contents = Contents(project, dataset, parameters)
    with contextlib.closing(contents):
        plan = plan_export(contents)
        if not plan.shards:
            raise DataError(_describe_emptiness(contents, plan.obstacles))
        # Before the lock, which puts a file into the folder: what is not ours must stay as it is.
        _check_folder(folder, dataset, parameters)

        try:
            with hold_lock(folder / _STATE_DIR / "lock"):
                return _write(folder, contents, plan, is_quiet=is_quiet)
        except LockHeldError:
            raise RunError(f"{folder}: another process writes this export; wait for it") from None


def _write(folder: Path, contents: Contents, plan: Plan, *, is_quiet: bool) -> tuple[Summary, int]:
    parameters = contents.parameters
    output: Output = importlib.import_module(f"pipeline.exports.outputs.{parameters.format}")

    # Before the first shard: a run that is stopped leaves a folder that `_check_folder` knows.
    about = {"dataset": contents.dataset, **parameters.encoding}
    publish_text(folder / _STATE_DIR / _ABOUT_NAME, json.dumps(about, indent=1) + "\n")

    # Without its index, a folder says that it is unfinished.
    known = {record.name: record for record in _read_records(folder)}
    pending = [shard for shard in plan.shards if not _is_done(folder, shard, known.get(shard.name))]
    if pending:
        (folder / INDEX_NAME).unlink(missing_ok=True)

    with Progress(len(pending), "exporting", unit="shard", is_quiet=is_quiet) as progress:
        for shard in pending:
            known[shard.name] = _write_shard(folder, shard, contents, output)
            progress.update()

    # Files of an earlier run are removed only now, when all new shards are there.
    records = tuple(known[shard.name] for shard in plan.shards)
    _remove_others(folder, output.find_folders(parameters), records)
    summary = _summarize(contents, plan, records)
    if not summary.num_exported:  # all sounds were refused while they were read
        raise DataError(_describe_emptiness(contents, summary.obstacles))
    own_files = output.finish(folder, summary)

    # The index has the hashes of the other files, so it comes last.
    write_descriptions(folder, summary)
    write_index(folder, summary, own_files)
    return summary, len(pending)


def _write_shard(folder: Path, shard: Shard, contents: Contents, output: Output) -> ShardRecord:
    obstacles: dict[str, Obstacle] = {}
    items = _read_items(shard, contents, obstacles)
    samples = output.write_shard(folder, shard.name, items, contents)

    # All samples of a tar or Parquet file name the same path: hash it once.
    paths = sorted({path for of_sample in samples.values() for path in of_sample})
    files = tuple(
        WrittenFile(path, (folder / path).stat().st_size, sha256_of(folder / path))
        for path in paths
    )

    # After its files: a shard without a record is written again by the next run.
    record = ShardRecord(shard.name, shard.splits, shard.fingerprint, files, samples, obstacles)
    text = json.dumps(asdict(record))
    publish_text(folder / _STATE_DIR / f"{shard.name}.json", text + "\n")
    return record


def _read_items(shard: Shard, contents: Contents, obstacles: dict[str, Obstacle]) -> Iterator[Item]:
    """Yield the samples of a shard; note those whose sound cannot be read in ``obstacles``."""
    for row in shard.rows:
        try:
            yield contents.read_item(row)
        except MediaError as error:
            # One line, because it becomes a cell of `samples.csv`.
            text = " ".join(str(error).split())
            obstacles[row["sample_id"]] = Obstacle(f"audio: {error.reason}", f"audio: {text}")


def _summarize(contents: Contents, plan: Plan, records: tuple[ShardRecord, ...]) -> Summary:
    obstacles = dict(plan.obstacles)
    for record in records:
        obstacles |= record.obstacles

    return Summary(
        dataset=contents.dataset,
        parameters=contents.parameters,
        sources=datasets.load(contents.dataset).sources,
        features=contents.describe_features(),
        rows=tuple(contents.make_record(row) for row in contents.samples),
        shards=records,
        obstacles=obstacles,
    )


def _check_folder(folder: Path, dataset: str, parameters: ExportParameters) -> None:
    """Refuse a folder that holds anything but an export of the same kind."""
    if folder.exists() and not folder.is_dir():
        raise ParameterError(f"--output {folder}: is a file, expected a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return

    try:
        about = json.loads((folder / _STATE_DIR / _ABOUT_NAME).read_text())
        if not isinstance(about, dict):
            raise ValueError(f"{_ABOUT_NAME} holds {about!r}")
    except (FileNotFoundError, ValueError):
        names = {path.name for path in folder.iterdir()}
        if names == {_STATE_DIR}:  # stopped before anything was written
            return
        raise ParameterError(
            f"--output {folder}: holds files that no export wrote; name a new or empty folder"
        ) from None

    # Through JSON, as the text in the folder was: it turns tuples into lists.
    expected = json.loads(json.dumps({"dataset": dataset, **parameters.encoding}))
    if about != expected:
        differing = [name for name in expected if about.get(name) != expected[name]]
        name = differing[0] if differing else "options"
        raise ParameterError(
            f"--output {folder}: holds an export with {_describe_option(name, about.get(name))}, "
            f"expected {_describe_option(name, expected.get(name))}; name another folder, or give "
            "the options of that export"
        )


def _describe_option(name: str, value: Any) -> str:
    """Return an option as it is given on the command line."""
    if name == "features":
        return " ".join(f"--feature {feature}" for feature in value or ())
    if name == "has_clips":
        return "--clips" if value else "no --clips"
    return f"the dataset {value}" if name == "dataset" else f"--{name} {value}"


def _read_records(folder: Path) -> Iterator[ShardRecord]:
    # Names with a dot in front are files that a stopped run had not finished.
    for path in sorted((folder / _STATE_DIR).glob("[!.]*.json")):
        if path.name == _ABOUT_NAME:
            continue
        try:
            record = _read_record(path)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # a shard without a record is written again
        yield record


def _read_record(path: Path) -> ShardRecord:
    content = json.loads(path.read_text())
    return ShardRecord(
        name=content["name"],
        splits=tuple(content["splits"]),
        fingerprint=content["fingerprint"],
        files=tuple(WrittenFile(**file) for file in content["files"]),
        samples={name: tuple(paths) for name, paths in content["samples"].items()},
        obstacles={name: Obstacle(*values) for name, values in content["obstacles"].items()},
    )


def _is_done(folder: Path, shard: Shard, record: ShardRecord | None) -> bool:
    # A sound that could not be read may be whole now.
    if record is None or record.fingerprint != shard.fingerprint or record.obstacles:
        return False

    # By size alone: hashing a large export takes long.
    for file in record.files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.num_bytes:
            return False

    return True


def _remove_others(
    folder: Path, data_folders: tuple[str, ...], records: tuple[ShardRecord, ...]
) -> None:
    """Remove what earlier runs left: files of samples that are gone, and temporary ones."""
    # Records first. If this run stops here, no record names a file that is gone.
    state_dir = folder / _STATE_DIR
    names = {f"{record.name}.json" for record in records} | {_ABOUT_NAME}
    for path in state_dir.glob("[!.]*.json"):
        if path.name not in names:
            path.unlink()
    remove_leftovers(state_dir)

    paths = {file.path for record in records for file in record.files}
    # Only in the folders of the data: files that users put beside them are left alone.
    for name in data_folders:
        for path in (folder / name).glob("*"):
            if path.is_file() and f"{name}/{path.name}" not in paths:
                path.unlink()


def _describe_emptiness(contents: Contents, obstacles: Mapping[str, Obstacle]) -> str:
    dataset = contents.dataset
    splits = contents.parameters.splits
    where = f" of {', '.join(splits)}" if splits else ""
    if not contents.samples:
        return f"{dataset}: there are no samples{where}, so there is nothing to export"

    # One example is enough: mostly all samples lack the same feature.
    sample_id, obstacle = next(iter(obstacles.items()))
    return (
        f"{dataset}: none of the {len(contents.samples)} samples{where} has everything that "
        f"--features names, for example {sample_id}: {obstacle.detail}"
    )
