"""The account as its table has it is what the ledger gives, or is not used."""

import json
import os

import pytest

from earshot.tables import DOWNLOADS, write_table
from pipeline.downloads.account import current
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
    append(paths, whole("later", "c" * 64, "silent"))
    (paths.clips_dir / "later.mp4").write_bytes(b"12345")
    os.utime(paths.clips_dir / "later.mp4", (NOW, NOW))


def attempt_again(paths):
    append(paths, failure("gone") | {"time": NOW + 90_000}, failure("later"))


def find_damage(paths):
    damage = {"reason": "corrupt", "text": "broken", "by": "check", "time": NOW + 1.7}
    append(paths, attempt("loud", outcome="failed") | {"type": "found"} | damage)


def attempt_clips_of_another_list(paths):
    append(paths, failure("gone") | {"clip_id": "other"})


def ask_for_a_retry(paths):
    append(paths, {"type": "retry", "clip_id": "gone", "time": NOW + 1})


@pytest.mark.parametrize("flags", [set(), {"silent"}])
@pytest.mark.parametrize(
    ("change", "written_at"),
    [
        *((change, NOW + 4) for change in (attempt_later, attempt_again, find_damage)),
        (attempt_clips_of_another_list, NOW + 4),
        (ask_for_a_retry, NOW + 4),
        # An old table can have a time of now: `dvc checkout` writes it so.
        *((change, NOW + 2) for change in (attempt_later, attempt_again, find_damage)),
    ],
)
def test_rows_are_new_where_the_ledger_went_on(paths, monkeypatch, change, written_at, flags):
    change(paths)
    os.utime(paths.ledger_path, (written_at, written_at))
    rules = TableRules(excluded_flags=frozenset(flags))
    derived = derive(paths, rules)

    # An end of any length, and lines that begin before it.
    for num_bytes in (1, 300, 1 << 16):
        monkeypatch.setattr(current, "_TAIL_BYTES", num_bytes)
        assert find(paths, rules=rules).cast(DOWNLOADS.columns).equals(derived)


def test_a_torn_end_is_no_entry(paths):
    """Another process may be writing it."""
    attempt_later(paths)
    with open(paths.ledger_path, "a") as file:
        file.write('{"type": "att')
    assert find(paths).cast(DOWNLOADS.columns).equals(derive(paths, TableRules()))


def test_a_mark_in_a_newer_table_costs_nothing(paths, monkeypatch):
    append(paths, {"type": "intact", "clip_id": "loud", "time": NOW + 1})
    monkeypatch.setattr(current, "derive_from_ledger", None)
    assert find(paths)["status"].to_pylist() == ["ok", "ok", "missing", "pending"]


def damage_the_last_entry(paths):
    append(paths, {"type": "attempt", "clip_id": "later"})


def damage_an_entry_before(paths):
    lines = paths.ledger_path.read_text().splitlines(keepends=True)
    paths.ledger_path.write_text("".join(["{}\n", *lines]))
    append(paths, failure("later"))


def fetch_the_same_bytes(paths):
    append(paths, whole("later", "a" * 64))
    (paths.clips_dir / "later.mp4").write_bytes(b"12345")
    os.utime(paths.clips_dir / "later.mp4", (NOW, NOW))


def lose_a_file(paths):
    (paths.clips_dir / "loud.mp4").unlink()


def remove_the_table(paths):
    paths.table_path.unlink()


def bring_back_the_first_table(paths):
    """Nothing had been attempted yet."""
    table = derive_from_ledger(CLIPS, [], clips_dir=paths.clips_dir)
    write_table(paths.table_path, table, DOWNLOADS)


@pytest.mark.parametrize(
    "change",
    [
        damage_the_last_entry,
        damage_an_entry_before,
        fetch_the_same_bytes,
        lose_a_file,
        remove_the_table,
        bring_back_the_first_table,
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
