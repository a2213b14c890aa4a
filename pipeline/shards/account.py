"""Count the samples of a cached feature, and keep the feature's account.

The account ``manifests/<dataset>/<feature>.json`` is a DVC metric of the feature's stage. It holds
the counts and the hash of the feature's index.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from earshot.files import publish_text, sha256_of
from earshot.shard_format import INDEX_NAME
from earshot.tables import INDEX, read_table
from pipeline.base.os_errors import explain_os_errors
from pipeline.base.project import Project


@dataclass(frozen=True)
class IndexCounts:
    """How many samples an index lists with each status."""

    num_requested: int  # == num_ok + num_missing + num_failed
    num_ok: int
    missing: Mapping[str, int]  # samples without their clip, by the clip's reason
    failed: Mapping[str, int]  # samples whose array could not be computed, by reason

    @property
    def num_missing(self) -> int:
        """Samples without their clip."""
        return sum(self.missing.values())

    @property
    def num_failed(self) -> int:
        """Samples whose clip is there but whose array could not be computed."""
        return sum(self.failed.values())


def count_index(index: pa.Table) -> IndexCounts:
    """Count the samples of an index by status and reason.

    Args:
        index: Table INDEX; only the columns ``status`` and ``reason`` are used.

    Returns:
        The counts, which add up. Reasons are in alphabetical order.
    """
    # In columns: a Python object for each of 200,000 rows would take longer than all the rest.
    groups = index.group_by(["status", "reason"]).aggregate([([], "count_all")])
    rows = zip(*(groups[name].to_pylist() for name in groups.column_names), strict=True)
    # The order enters the account's bytes, so it must not depend on the index's order.
    counts = sorted((((status, reason), number) for status, reason, number in rows), key=str)
    return IndexCounts(
        num_requested=index.num_rows,
        num_ok=sum(number for (status, _), number in counts if status == "ok"),
        missing={reason: number for (status, reason), number in counts if status == "missing"},
        failed={reason: number for (status, reason), number in counts if status == "failed"},
    )


def account_path(project: Project, dataset: str, feature: str) -> Path:
    """Return where the account of a feature is."""
    return project.manifests_dir(dataset) / f"{feature}.json"


def write_account(project: Project, dataset: str, feature: str, *, num_bytes: int) -> None:
    """Write the account of a feature from its index.

    Args:
        project: The checkout.
        dataset: Name of the dataset.
        feature: Name of the feature or variant, which is also the name of its folder.
        num_bytes: Size of the feature's shards.
    """
    text = _format_account(project.feature_dir(dataset, feature) / INDEX_NAME, num_bytes=num_bytes)
    path = account_path(project, dataset, feature)
    with explain_os_errors(path.parent):
        publish_text(path, text)


def find_account_problem(
    project: Project, dataset: str, feature: str, *, num_bytes: int
) -> tuple[Path, str] | None:
    """Find out whether a feature's index and its account fit each other.

    Args:
        project: The checkout.
        dataset: Name of the dataset.
        feature: Name of the feature. Its index must be readable.
        num_bytes: The size of the index's shards.

    Returns:
        The file that is wrong and what is wrong with it; None if they fit, or if there is no
        account.
    """
    path = account_path(project, dataset, feature)
    index_path = project.feature_dir(dataset, feature) / INDEX_NAME
    if not path.exists():
        return None

    # The index and the sizes decide every byte of an account, so the texts are compared.
    found, expected = path.read_bytes(), _format_account(index_path, num_bytes=num_bytes)
    if found == expected.encode():
        return None

    # If the account has another hash of the index, then either of the two can be the wrong one.
    try:
        account = json.loads(found)
        num_different = sum(account[name] != value for name, value in json.loads(expected).items())
    except (ValueError, KeyError, TypeError):
        return path, "damaged: not the account that a feature's stage writes"
    if num_different and account["index_sha256"] != sha256_of(index_path):
        name = path.relative_to(project.root)
        problem = f"not the index that {name} counts: one of them is damaged or from another run"
        return index_path, problem

    # The hash is right or only the layout differs: then the account itself is wrong.
    return path, "damaged: does not count what the index says"


def _format_account(index_path: Path, *, num_bytes: int) -> str:
    counts = count_index(read_table(index_path, INDEX, columns=["status", "reason"]))
    account = {
        "requested": counts.num_requested,
        "ok": counts.num_ok,
        "missing": counts.missing,
        "failed": counts.failed,
        "bytes": num_bytes,
        "index_sha256": sha256_of(index_path),
    }
    return json.dumps(account, indent=1) + "\n"
