"""Weights on Google Drive, from a server of this machine that answers as Drive does."""

import hashlib
import os

import pytest
import requests

from earshot.errors import DataError, ParameterError
from pipeline.base.parameters import build
from tests.helpers.downloads.misbehaving_server import Answer, page
from train.weights.fetch import fetch_weights, require_first_sha256
from train.weights.released import ReleasedWeights

WEIGHTS = b"weights" * 200_000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
FILE_ID = "1-WUEoAmp4WBj4Tbsi9Ybh2bq4W6-uYnd"
ATTACHMENT = {"Content-Disposition": 'attachment; filename="best.pth"'}


@pytest.fixture
def drive(server, monkeypatch):
    """Send requests for Google Drive to the server of the test."""
    get = requests.Session.get

    def get_here(self, url, **options):
        return get(self, url.replace("https://drive.google.com", server.url_of("")), **options)

    monkeypatch.setattr(requests.Session, "get", get_here)
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)  # no pause before a retry
    return server


def add_file(drive, *answers: Answer, file_id: str = FILE_ID) -> None:
    """Let Drive ask before a large file, as it does where it has not looked for viruses."""
    form = (
        f'<form id="download-form" action="{drive.url_of("/download")}">'
        f'<input type="hidden" name="id" value="{file_id}">'
        '<input type="hidden" name="confirm" value="t"></form>'
    )
    drive.add(f"/uc?id={file_id}", page(form))
    drive.add(f"/download?id={file_id}&confirm=t", *answers)


def test_a_large_file_is_fetched_behind_the_page_that_asks(drive, tmp_path):
    add_file(drive, Answer(WEIGHTS, content_type="application/octet-stream", headers=ATTACHMENT))
    path = tmp_path / "weights" / "a.pth"
    for _ in range(2):
        fetch_weights(f"gdrive:{FILE_ID}", path, sha256=SHA256, num_bytes=len(WEIGHTS))
    assert path.read_bytes() == WEIGHTS
    assert drive.num_requests[f"/uc?id={FILE_ID}"] == 1
    assert os.listdir(path.parent) == ["a.pth"]


def test_a_broken_transfer_goes_on_where_it_stopped(drive, tmp_path):
    whole = Answer(
        WEIGHTS, content_type="application/octet-stream", headers=ATTACHMENT, has_ranges=True
    )
    cut = Answer(
        WEIGHTS, content_type="application/octet-stream", headers=ATTACHMENT, cut_at=700_000
    )
    add_file(drive, cut, whole)
    fetch_weights(f"gdrive:{FILE_ID}", tmp_path / "a.pth", sha256=SHA256)
    assert (tmp_path / "a.pth").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256 is .*, expected 0000"),
        ({"sha256": SHA256, "num_bytes": 3}, f"has {len(WEIGHTS)} bytes, expected 3"),
    ],
)
def test_another_file_is_removed(drive, tmp_path, expected, message):
    add_file(drive, Answer(WEIGHTS, content_type="application/octet-stream", headers=ATTACHMENT))
    with pytest.raises(DataError, match=message):
        fetch_weights(f"gdrive:{FILE_ID}", tmp_path / "a.pth", **expected)
    assert os.listdir(tmp_path) == []


def test_a_file_that_may_not_be_had_is_one_sentence(drive, tmp_path):
    drive.add(f"/uc?id={FILE_ID}", page("You need access"))
    with pytest.raises(DataError, match=f"^gdrive:{FILE_ID}: cannot be fetched: .*; ask") as caught:
        fetch_weights(
            f"gdrive:{FILE_ID}", tmp_path / "a.pth", sha256=None, alternatives="ask its authors"
        )
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_size_and_hash_of_the_first_fetch_are_recorded(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(WEIGHTS)
    assert require_first_sha256("gdrive:x", path, SHA256)
    assert not require_first_sha256("gdrive:x", path, SHA256)
    with pytest.raises(DataError, match=f"SHA-256 is 0000.* had {SHA256}; if you trust the new"):
        require_first_sha256("gdrive:x", path, "0" * 64)
    assert f'"num_bytes": {len(WEIGHTS)}' in (tmp_path / "first_fetch.json").read_text()
    (tmp_path / "first_fetch.json").write_text("{")
    with pytest.raises(DataError, match=r"first_fetch\.json: not valid JSON .*; correct or remove"):
        require_first_sha256("gdrive:x", path, SHA256)


@pytest.mark.parametrize(
    "url",
    [
        "gdrive:",
        "gdrive:https://drive.google.com/file/d/1-WUEoA",
        "https://drive.google.com/file/d/1-WUEoAmp4WBj4Tbsi9Ybh2bq4W6-uYnd/view?usp=sharing",
    ],
)
def test_a_link_is_no_id(url):
    with pytest.raises(ParameterError, match="expected gdrive: and the id of a file"):
        build(ReleasedWeights, {"method": "lvs", "url": url}, "weights.x")
