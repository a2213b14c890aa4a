"""What a run that was killed left, disks without hard links, and answers of workers that end."""

import errno
import json
import os
from pathlib import Path

import av
import pytest

from earshot.errors import DataError
from pipeline.base.os_errors import is_machine_error
from pipeline.downloads import worker_pool
from pipeline.downloads.account.ledger import find_fault, read_entries
from pipeline.downloads.account.table import derive_from_ledger
from pipeline.downloads.worker import make_clip as make_clip_module
from pipeline.downloads.worker.fetcher import Fetcher, find_source
from pipeline.downloads.worker_pool import Worker, WorkerLost
from tests.helpers.downloads.download_helpers import answer, clips_table, download, published, quick


def fetch(folder: Path, url: str, **changes) -> dict:
    """Let a worker fetch a video in this process; return the clip's result."""
    fetcher = Fetcher(quick(**changes).for_workers(), private_dir=folder / "private")
    request = {
        **{"url": url, "is_linked": False, "clips_dir": str(folder / "clips")},
        "work_dir": str(folder / "clips" / ".work" / "video"),
        "clips": [{"clip_id": "a", "start_seconds": None, "end_seconds": None, "file_stem": "a"}],
    }
    return fetcher.fetch(request)["clips"][0]


def test_a_disk_without_hard_links_gets_copies(tmp_path, media, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    result = fetch(tmp_path, (media / "clip0.mp4").as_uri())
    assert result["outcome"] == "ok"
    staged_path = tmp_path / "clips" / result["file"]["staged"]
    assert staged_path.read_bytes() == (media / "clip0.mp4").read_bytes()


@pytest.mark.parametrize("changes", [{"max_height": 36}, {"format": "worst"}, {}])
def test_what_a_killed_run_fetched_is_used_with_the_same_settings_only(
    tmp_path, media, server, changes
):
    url = server.add("/a.mp4", answer(media / "clip0.mp4"), answer(media / "clip1.mp4"))
    assert fetch(tmp_path, url)["outcome"] == "ok"
    assert find_source(tmp_path / "clips" / ".work" / "video") is not None
    assert fetch(tmp_path, url, **changes)["outcome"] == "ok"
    assert server.num_requests["/a.mp4"] == (2 if changes else 1)


def test_a_clip_that_comes_with_another_suffix_replaces_the_old_file(tmp_path, media):
    source = tmp_path / "in" / "a.mkv"
    source.parent.mkdir()
    source.write_bytes((media / "clip0.mp4").read_bytes())
    clips = clips_table(("a", source.as_uri()))
    assert download(tmp_path, clips)["a"]["path"] == "a.mkv"

    # Another picture, which is larger than max_height: it is cut, and gets the suffix .mp4.
    source.write_bytes((media / "clip1.mp4").read_bytes())
    found = download(tmp_path, clips, parameters=quick(max_height=36))
    assert (found["a"]["status"], found["a"]["path"]) == ("ok", "a.mp4")
    assert published(tmp_path) == {"a.mp4"}

    # A run that was killed before it removed the old file.
    (tmp_path / "clips" / "a.mkv").write_bytes(b"old")
    download(tmp_path, clips, parameters=quick(max_height=36))
    assert published(tmp_path) == {"a.mp4"}


def test_the_last_answer_of_a_worker_that_ends_counts(tmp_path, monkeypatch):
    """The answer and the end arrive at once: the video is not fetched again."""
    program = tmp_path / "pipeline" / "downloads" / "worker"
    program.mkdir(parents=True)
    for folder in (program, program.parent, program.parent.parent):
        (folder / "__init__.py").write_text("")
    answer_line = json.dumps({"clips": [], "retry_after_seconds": None})
    (program / "__main__.py").write_text(f"print('{{}}')\nprint('{answer_line}')\n")
    monkeypatch.setattr(worker_pool, "_PACKAGE_ROOT", tmp_path)

    worker = Worker(quick().for_workers(), private_dir=tmp_path / "private")
    worker._process.wait(60)
    assert worker.poll() == {"clips": [], "retry_after_seconds": None}
    lost = worker.poll()
    assert isinstance(lost, WorkerLost)
    assert "exit code 0" in lost.text
    worker.kill()


@pytest.mark.parametrize(
    ("number", "reason"),
    [*((n, "local") for n in (errno.EMFILE, errno.ESTALE, errno.EACCES)), (errno.EIO, "corrupt")],
)
def test_an_error_of_this_machine_is_not_the_files(tmp_path, media, monkeypatch, number, reason):
    """An I/O error that reading does not confirm is FFmpeg's word for a damaged file."""
    real = make_clip_module.read_source_facts

    def fail(path):
        try:
            raise av.error.OSError(number, os.strerror(number))
        except OSError:
            raise make_clip_module.MediaError("corrupt", "cannot be read as media") from None

    monkeypatch.setattr(make_clip_module, "read_source_facts", fail)
    assert fetch(tmp_path, (media / "clip0.mp4").as_uri())["reason"] == reason
    monkeypatch.setattr(make_clip_module, "read_source_facts", real)
    assert is_machine_error(MemoryError())
    assert not is_machine_error(ConnectionResetError(errno.ECONNRESET, "reset"))


@pytest.mark.parametrize(
    ("is_damaged", "text", "reason"),
    [
        (True, "ffmpeg exited with code 69: x", "corrupt"),
        (False, "ffmpeg exited with code 69: x", "ffmpeg"),
        (True, "ffmpeg exited with code 1: No space left on device", "local"),
    ],
)
def test_a_damaged_file_that_cannot_be_cut_is_corrupt(
    tmp_path, media, monkeypatch, is_damaged, text, reason
):
    def fail(*_, **__):
        raise make_clip_module.CuttingError(text)

    source = tmp_path / "in.mp4"
    data = (media / "clip1.mp4").read_bytes()
    source.write_bytes(data[: len(data) // 3] + bytes(len(data) // 3) if is_damaged else data)
    monkeypatch.setattr(make_clip_module, "_make_clip", fail)
    assert fetch(tmp_path, source.as_uri())["reason"] == reason


def test_an_entry_that_lacks_a_field_is_named_with_its_line(tmp_path, media):
    clips = clips_table(("a", (media / "clip0.mp4").as_uri()), ("b", "file:///nowhere.mp4"))
    download(tmp_path, clips)
    ok, failed = read_entries(tmp_path / "attempts.jsonl")
    assert find_fault(ok) is find_fault(failed) is None

    for entry, path in [(failed, ("text",)), (ok, ("time",)), (ok, ("file", "sha256"))]:
        for value in (None, []):  # absent; of another kind
            broken = json.loads(json.dumps(entry))
            parent = broken["file"] if len(path) > 1 else broken
            del parent[path[-1]]
            if value is not None:
                parent[path[-1]] = value
            with pytest.raises(
                DataError, match=rf"attempts\.jsonl, line 2: .* clip '.' .*{path[-1]}.*; mend or"
            ):
                derive_from_ledger(clips, [ok, broken], clips_dir=tmp_path / "clips")
    # Entries of a newer version do no harm.
    new = {"type": "new", "clip_id": "a"}
    assert derive_from_ledger(clips, [ok, new], clips_dir=tmp_path / "clips")["status"][0].as_py()
