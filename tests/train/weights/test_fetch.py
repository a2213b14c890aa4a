"""Weights are fetched once, checked by SHA-256, resumed, and not published when they are wrong."""

import hashlib
import os
import threading

import pytest

from earshot.errors import DataError
from tests.helpers.downloads.misbehaving_server import Answer, MisbehavingServer, page
from train.weights.fetch import fetch_weights

WEIGHTS = b"weights" * 50_000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("pipeline.base.http.time.sleep", lambda seconds: None)


def test_a_file_is_fetched_once_and_checked(server, tmp_path):
    url, path = server.add("/a.bin", Answer(WEIGHTS)), tmp_path / "cache" / "a.bin"
    for sha256 in (SHA256, SHA256[:8], None):
        assert fetch_weights(url, path, sha256=sha256) == path
    assert path.read_bytes() == WEIGHTS
    assert server.num_requests["/a.bin"] == 2  # once for its length
    with pytest.raises(DataError, match=r"a.bin: SHA-256 is .*, expected 0000.*remove the file"):
        fetch_weights(url, path, sha256="0" * 64)
    assert os.listdir(path.parent) == ["a.bin"]


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path):
    cut = Answer(WEIGHTS, cut_at=100_000, has_ranges=True)
    url = server.add("/a.bin", cut, Answer(b"", status=503), Answer(WEIGHTS, has_ranges=True))
    path = tmp_path / "a.bin"
    assert fetch_weights(url, path, sha256=SHA256, num_bytes=len(WEIGHTS)).read_bytes() == WEIGHTS
    assert server.num_requests["/a.bin"] == 3


def test_what_came_before_the_network_went_is_kept(server, tmp_path):
    path = tmp_path / "a.bin"
    url = server.add(
        "/a.bin", Answer(WEIGHTS, cut_at=100_000, has_ranges=True), Answer(b"", status=503)
    )
    with pytest.raises(
        DataError, match=r"503.*run again to go on from byte 100000; do something else$"
    ):
        fetch_weights(
            url, path, sha256=SHA256, num_bytes=len(WEIGHTS), alternatives="do something else"
        )
    assert not path.exists()
    server.add("/a.bin", Answer(WEIGHTS, has_ranges=True))
    before = server.num_requests["/a.bin"]
    fetch_weights(url, path, sha256=SHA256, num_bytes=len(WEIGHTS))
    assert path.read_bytes() == WEIGHTS
    assert server.num_requests["/a.bin"] == before + 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(WEIGHTS[:-1] + b"!"), "has sha256 .*, expected " + SHA256),
        (page("Quota exceeded"), "has sha256|the server sent"),
        (Answer(b"", status=404), "the server answered 404"),
    ],
)
def test_a_wrong_file_publishes_nothing(server, tmp_path, answer, words):
    with pytest.raises(DataError, match=words):
        fetch_weights(server.add("/a.bin", answer), tmp_path / "a.bin", sha256=SHA256)
    assert not (tmp_path / "a.bin").exists()


def test_offline_is_one_clear_sentence(tmp_path):
    with MisbehavingServer() as server:
        url = server.url_of("/a.bin")
    for num_bytes in (None, 100):
        with pytest.raises(
            DataError, match=r"cannot be fetched.*refused.*; set init to random"
        ) as caught:
            fetch_weights(
                url,
                tmp_path / "a.bin",
                sha256=SHA256,
                num_bytes=num_bytes,
                alternatives="set init to random",
            )
        assert "\n" not in str(caught.value)


def test_two_processes_do_not_write_into_one_file(server, tmp_path):
    url = server.add("/a.bin", Answer(WEIGHTS, pace_seconds=0.3, has_ranges=True))
    failures = []

    def fetch():
        try:
            fetch_weights(url, tmp_path / "a.bin", sha256=SHA256, num_bytes=len(WEIGHTS))
        except DataError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert server.num_requests["/a.bin"] == 1
