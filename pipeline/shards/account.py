"""The account of a cached feature, ``manifests/<dataset>/<feature>.json``: counts for DVC, and its index's hash."""

import json
from collections import Counter
from pathlib import Path

from earshot.files import publish_text, sha256_of
from earshot.shard_format import INDEX_NAME
from earshot.tables import INDEX, read_table
from pipeline.base.os_errors import explain_os_errors
from pipeline.base.project import Project


def account_path(project: Project, dataset: str, feature: str) -> Path:
    """Where the account is: a DVC metric of the feature's stage."""
    return project.manifests_dir(dataset) / f"{feature}.json"


def write_account(project: Project, dataset: str, feature: str, *, num_bytes: int) -> None:
    """Count what the feature's index says; ``num_bytes``: of its shards."""
    text = _make_account(project.feature_dir(dataset, feature) / INDEX_NAME, num_bytes=num_bytes)
    path = account_path(project, dataset, feature)
    with explain_os_errors(path.parent):
        publish_text(path, text)


def _make_account(index_path: Path, *, num_bytes: int) -> str:
    index = read_table(index_path, INDEX, columns=["status", "reason"])
    reasons = Counter(
        zip(index.column("status").to_pylist(), index.column("reason").to_pylist(), strict=True)
    )
    account = {
        "requested": index.num_rows,
        "ok": sum(n for (status, _), n in reasons.items() if status == "ok"),
        "missing": {
            reason: n
            for (status, reason), n in sorted(reasons.items(), key=str)
            if status == "missing"
        },
        "failed": {
            reason: n
            for (status, reason), n in sorted(reasons.items(), key=str)
            if status == "failed"
        },
        "bytes": num_bytes,
        "index_sha256": sha256_of(index_path),
    }
    return json.dumps(account, indent=1) + "\n"


def find_account_problem(
    project: Project, dataset: str, feature: str, *, num_bytes: int
) -> tuple[Path, str] | None:
    """What of the index and its account do not fit each other: which file, and how; None where there is no account.

    ``num_bytes``: of the index's shards. The index must be readable.
    """
    path, index_path = (
        account_path(project, dataset, feature),
        project.feature_dir(dataset, feature) / INDEX_NAME,
    )
    if not path.exists():
        return None
    found, expected = path.read_bytes(), _make_account(index_path, num_bytes=num_bytes)
    if found == expected.encode():
        return None
    try:
        account = json.loads(found)
        num_different = sum(account[name] != value for name, value in json.loads(expected).items())
    except (ValueError, KeyError, TypeError):
        return path, "damaged: not the account that a feature's stage writes"
    if num_different and account["index_sha256"] != sha256_of(index_path):
        name = path.relative_to(project.root)
        return (
            index_path,
            f"not the index that {name} counts: one of both is damaged, or not of the last run",
        )
    return path, "damaged: does not count what the index says"
