"""The account of a cached feature, ``manifests/<dataset>/<feature>.json``: counts for DVC, and its index's hash."""

import json
from collections import Counter
from pathlib import Path

from pipeline.files import publish_text, sha256_of
from pipeline.project import Project
from pipeline.shard_format import INDEX_NAME
from pipeline.tables import INDEX, read_table


def account_path(project: Project, dataset: str, feature: str) -> Path:
    """Where the account is: a DVC metric of the feature's stage."""
    return project.manifests_dir(dataset) / f"{feature}.json"


def write_account(project: Project, dataset: str, feature: str, *, num_bytes: int) -> None:
    """Count what the feature's index says; ``num_bytes``: of its shards."""
    index_path = project.feature_dir(dataset, feature) / INDEX_NAME
    index = read_table(index_path, INDEX, columns=["status", "reason"])
    reasons = Counter(zip(index.column("status").to_pylist(), index.column("reason").to_pylist(), strict=True))
    account = {
        "requested": index.num_rows,
        "ok": sum(n for (status, _), n in reasons.items() if status == "ok"),
        "missing": {reason: n for (status, reason), n in sorted(reasons.items(), key=str) if status == "missing"},
        "failed": {reason: n for (status, reason), n in sorted(reasons.items(), key=str) if status == "failed"},
        "bytes": num_bytes,
        "index_sha256": sha256_of(index_path),
    }
    publish_text(account_path(project, dataset, feature), json.dumps(account, indent=1) + "\n")


def has_accounted_index(project: Project, dataset: str, feature: str) -> bool:
    """Whether the index is the one that was counted, byte for byte; True where there is no account to say so."""
    try:
        account = json.loads(account_path(project, dataset, feature).read_bytes())
    except (FileNotFoundError, ValueError):
        return True
    expected = account.get("index_sha256") if isinstance(account, dict) else None
    return expected is None or sha256_of(project.feature_dir(dataset, feature) / INDEX_NAME) == expected
