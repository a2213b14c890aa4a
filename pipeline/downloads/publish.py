"""Clips in their folder: publishing what a worker left whole; is a source still the one that a clip was made of?"""

import os
from collections.abc import Iterable
from pathlib import Path

from earshot.files import sha256_of, sync
from pipeline.downloads.history import History
from pipeline.downloads.messages import FetchError, path_of_file_url


def publish_clip(entry: dict, clips_dir: Path) -> None:
    """Rename the file of a ledger entry from its work folder to its place."""
    staged_path = clips_dir / entry["file"]["staged"]
    path = clips_dir / entry["file"]["path"]
    os.replace(staged_path, path)
    staged_path.unlink(missing_ok=True)  # renaming one link of a file to another does nothing
    sync(clips_dir)


def roll_forward(histories: Iterable[History], clips_dir: Path) -> None:
    """Finish what a killed run had entered in the ledger but not renamed yet."""
    for history in histories:
        if history.ok is None:
            continue
        facts = history.ok["file"]
        staged_path = clips_dir / facts["staged"] if facts.get("staged") else None
        if staged_path is None or not os.path.lexists(staged_path):
            continue
        if staged_path.exists() and sha256_of(staged_path) == facts["sha256"]:
            publish_clip(history.ok, clips_dir)


def forget_if_source_changed(history: History) -> None:
    """A file of this machine that changed since the last attempt is another source: what was found is void."""
    if history.last is None or "source" not in history.last:  # imported: no source was asked
        return
    known, now = history.last.get("source"), source_facts(history.url)
    if known == now or now is None:
        return  # unchanged; or gone, while the clip that was made of it is kept
    is_same_size = history.ok is not None and known is not None and known["bytes"] == now["bytes"]
    if is_same_size and sha256_of(path_of_file_url(history.url)) == history.ok["file"].get(
        "source_sha256"
    ):
        return  # written again with the same content
    history.forget()


def source_facts(url: str) -> dict | None:
    """Size and time of the file that a ``file://`` URL names; None where there is none."""
    try:
        facts = os.stat(path_of_file_url(url))
    except (OSError, FetchError, ValueError):
        return None
    return {"bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}
