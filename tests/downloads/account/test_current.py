"""The account as its table has it is what the ledger gives, or is not used."""

import json
import os

import pytest

from earshot.tables import DOWNLOADS, write_table
from pipeline.downloads.account.current import find_current_downloads
from pipeline.downloads.account.ledger import read_entries
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.account.table import (
    TableRules,
    derive_from_ledger,
    read_downloads_if_there,
)
from tests.helpers.downloads.download_helpers import clips_table

NOW = 1_700_000_000.0
URLS = {name: f"http://a/{name}" for name in ("loud", "silent", "gone", "later")}
CLIPS = clips_table(*URLS.items())
FILE = {
    **{"bytes": 5, "duration_seconds": 10.0, "width": 6, "height": 4, "fps": 30.0},
    **{"video_codec": "h264", "audio_codec": "aac", "sample_rate": 44100},
}


def attempt(clip_id: str, **values) -> dict:
    request = {"url": URLS[clip_id], "start_seconds": None, "end_seconds": None}
    tools = {"access": "", "versions": "x"}
    return {"type": "attempt", "clip_id": clip_id, "time": NOW + 0.7, **request, **tools, **values}


def whole(clip_id: str, sha256: str, *flags: str) -> dict:
    file = FILE | {"path": f"{clip_id}.mp4", "sha256": sha256, "flags": list(flags)}
    return attempt(clip_id, outcome="ok", file=file)


def failure(clip_id: str) -> dict:
    return attempt(clip_id, outcome="failed", reason="removed", text="removed", by="check")


def append(paths: AccountPaths, *entries: dict) -> None:
    with open(paths.ledger_path, "a") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)
    os.utime(paths.ledger_path, (NOW + 2, NOW + 2))


def derive(paths: AccountPaths, rules: TableRules):
    entries = read_entries(paths.ledger_path)
    before = read_downloads_if_there(paths.table_path)
    return derive_from_ledger(CLIPS, entries, clips_dir=paths.clips_dir, rules=rules, before=before)


@pytest.fixture
def paths(tmp_path) -> AccountPaths:
    """Two clips that are here, one that is gone, one that was not attempted yet."""
    paths = AccountPaths(
        tmp_path / "clips", tmp_path / "attempts.jsonl", tmp_path / "table.parquet"
    )
    paths.clips_dir.mkdir()
    for name in ("loud", "silent"):
        (paths.clips_dir / f"{name}.mp4").write_bytes(b"12345")
        os.utime(paths.clips_dir / f"{name}.mp4", (NOW, NOW))
    append(paths, whole("loud", "a" * 64), whole("silent", "b" * 64, "silent"), failure("gone"))
    write(paths)
    return paths


def write(paths: AccountPaths) -> None:
    table = derive_from_ledger(
        CLIPS, read_entries(paths.ledger_path), clips_dir=paths.clips_dir, rules=TableRules()
    )
    write_table(paths.table_path, table, DOWNLOADS)
    os.utime(paths.table_path, (NOW + 3, NOW + 3))


def find(paths: AccountPaths, *, listed_at: float = NOW, rules: TableRules | None = None):
    return find_current_downloads(CLIPS, paths, listed_at=listed_at, rules=rules or TableRules())


@pytest.mark.parametrize("flags", [set(), {"silent"}, {"still"}])
def test_it_is_what_the_ledger_gives(paths, flags):
    rules = TableRules(excluded_flags=frozenset(flags))
    found, derived = find(paths, rules=rules), derive(paths, rules)
    # Parquet has no timestamps in seconds.
    assert found.cast(DOWNLOADS.columns).equals(derived)
    expected = ["ok", "missing" if "silent" in flags else "ok", "missing", "pending"]
    assert found["status"].to_pylist() == expected
    assert found["reason"].to_pylist()[1] == ("excluded" if "silent" in flags else None)


def test_a_pulled_table_counts_without_files(paths):
    paths.ledger_path.unlink()
    (paths.clips_dir / "loud.mp4").unlink()
    assert find(paths)["status"].to_pylist() == ["ok", "ok", "missing", "pending"]


def attempt_later(paths):
    append(paths, whole("later", "c" * 64))
    os.utime(paths.ledger_path, (NOW + 4, NOW + 4))


def bring_back_an_older_table(paths):
    """As `dvc checkout` does: its time is of now."""
    append(paths, whole("later", "c" * 64))


def bring_back_a_table_from_before_damage_was_found(paths):
    damage = {"reason": "corrupt", "text": "broken", "by": "check", "time": NOW + 1.7}
    append(paths, attempt("loud", outcome="failed") | {"type": "found"} | damage)


def damage_the_last_entry(paths):
    append(paths, {"type": "attempt", "clip_id": "later"})


def tear_the_end(paths):
    with open(paths.ledger_path, "a") as file:
        file.write('{"type": "att')
    os.utime(paths.ledger_path, (NOW + 2, NOW + 2))


def lose_a_file(paths):
    (paths.clips_dir / "loud.mp4").unlink()


def remove_the_table(paths):
    paths.table_path.unlink()


@pytest.mark.parametrize(
    "change",
    [
        attempt_later,
        bring_back_an_older_table,
        bring_back_a_table_from_before_damage_was_found,
        damage_the_last_entry,
        tear_the_end,
        lose_a_file,
        remove_the_table,
    ],
)
def test_it_is_not_used_after_a_change(paths, change):
    assert find(paths) is not None
    change(paths)
    assert find(paths) is None


def test_it_is_not_used_for_another_list_or_other_rules(paths):
    assert find(paths, listed_at=NOW + 5) is None
    other = CLIPS.slice(0, 3)
    assert find_current_downloads(other, paths, listed_at=NOW, rules=TableRules()) is None

    # A copy of a clip: which of the two is ok is a matter of the rules.
    append(paths, whole("later", "a" * 64))
    (paths.clips_dir / "later.mp4").write_bytes(b"12345")
    os.utime(paths.clips_dir / "later.mp4", (NOW, NOW))
    write(paths)
    assert find(paths)["reason"].to_pylist()[3] == "duplicate"
    assert find(paths, rules=TableRules(allow_duplicates=True)) is None
    table = derive(paths, TableRules(allow_duplicates=True))
    write_table(paths.table_path, table, DOWNLOADS)
    os.utime(paths.table_path, (NOW + 3, NOW + 3))
    assert find(paths) is None
    assert find(paths, rules=TableRules(allow_duplicates=True)) is not None
