"""Import from the Hugging Face hub, of which a server on 127.0.0.1 plays the part."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
import yaml

from earshot.errors import DataError
from earshot.tables import DOWNLOADS, read_table
from pipeline.base.project import Project
from pipeline.downloads.imports.hub import HubFile, HubFolder, HubSource, parse_hub_address
from tests.helpers.command_helpers import run
from tests.helpers.downloads.download_helpers import QUICK, make_clip
from tests.helpers.downloads.misbehaving_server import Answer, MisbehavingServer

TOKEN = "hf_secretsecretsecret"
REPOSITORY = "birds/clips"
QUERIES = ("?recursive=true&expand=false", "?recursive=false&expand=false")


class Hub:
    """Data sets on the server, as the hub's client sees them."""

    def __init__(self, server: MisbehavingServer):
        self.server = server
        self._files: dict[str, dict] = {}

    def add(self, path: str, content: bytes, *answers: Answer) -> None:
        """Add a file; ``answers`` replace the first ones."""
        digest = hashlib.sha256(content).hexdigest()
        self._files[path] = {
            "type": "file",
            "path": path,
            "size": len(content),
            "oid": digest[:40],
            "lfs": {"oid": digest, "size": len(content), "pointerSize": 100},
        }
        whole = Answer(body=content, has_ranges=True)
        self.server.add(self.path_of(path), *answers, whole)
        self._list("", list(self._files.values()))
        folder = path.rpartition("/")[0]
        if folder:
            inside = [file for name, file in self._files.items() if name.startswith(f"{folder}/")]
            self._list(f"/{folder}", inside)

    def path_of(self, path: str) -> str:
        """Return where the server has a file."""
        return f"/datasets/{REPOSITORY}/resolve/main/{path}"

    def count_requests(self, path: str) -> int:
        """Return how often a file was requested."""
        return self.server.num_requests[self.path_of(path)]

    def _list(self, folder: str, files: list[dict]) -> None:
        answer = Answer(body=json.dumps(files).encode(), content_type="application/json")
        for query in QUERIES:
            self.server.add(f"/api/datasets/{REPOSITORY}/tree/main{folder}{query}", answer)


@pytest.fixture
def hub(server, monkeypatch) -> Hub:
    # As HF_ENDPOINT does before the client is imported.
    template = server.url_of("/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url_of(""))
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return Hub(server)


@pytest.fixture
def project(tmp_path) -> Project:
    """A table of the user's own lists three clips; nothing has been run yet."""
    root = tmp_path / "project"
    root.mkdir()
    names = ("a", "b", "c")
    lines = ["id,url", *(f"{name},http://127.0.0.1:9/{name}.mp4" for name in names)]
    (root / "birds.csv").write_text("\n".join(lines) + "\n")
    sources = {"birds": {"kind": "table", "path": str(root / "birds.csv")}}
    params = {"datasets": ["birds"], "sources": sources, "download": QUICK | {"network": False}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return Project.load(root)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        name: make_clip(folder / f"{name}.mp4", tone=300 + 50 * number, size="64x48").read_bytes()
        for number, name in enumerate("abc")
    }


def make_tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_shards_and_files_of_the_hub_become_clips(hub, project, clips, capsys, monkeypatch):
    """It lists the dataset first, goes on where a transfer broke off, and fetches nothing twice."""
    shard = make_tar(
        {
            "000000.json": json.dumps({"video_id": "a", "caption": "a bird"}).encode(),
            "000000.mp4": clips["a"],
            "000001.mp4": clips["b"],
            "000001.json": json.dumps({"url": "https://site/watch?v=b"}).encode(),
            "000002.mp4": clips["c"][:100],
        }
    )
    broken = Answer(body=shard, cut_at=5000, has_ranges=True)
    hub.add("train/000.tar", shard, broken, Answer(status=403, body=b"no"))
    hub.add("train/c.mp4", clips["c"])
    hub.add("README.md", b"about")

    # The line breaks, and the hub refuses to go on.
    words = ("import", f"hf://datasets/{REPOSITORY}", "--quiet")
    code, printed, message = run(capsys, project, *words)
    assert code == 2 and "the server answered 403" in message.splitlines()[-1]
    assert "birds: 3 clips, 3 samples, listed for the first time" in printed
    parts = list(project.hub_dir("birds").rglob(".part-*"))
    assert [path.stat().st_size for path in parts] == [5000]

    code, again, errors = run(capsys, project, *words)
    assert code == 0 and "3 clips imported" in again
    assert "left alone 'hf://datasets/birds/clips/train/000.tar!000002.mp4'" in again
    table = read_table(project.downloads_table_path("birds"), DOWNLOADS)
    assert table["status"].to_pylist() == ["ok"] * 3
    for name, content in clips.items():
        assert (project.clips_dir("birds") / f"{name}.mp4").read_bytes() == content
    assert hub.server.tokens[hub.path_of("train/000.tar")] == f"Bearer {TOKEN}"
    assert TOKEN not in printed + message + again + errors
    assert not any(TOKEN.encode() in path.read_bytes() for path in _list_files(project.root))

    # The archive is gone from the disk, and neither file is fetched again.
    assert [path.name for path in _list_files(project.hub_dir("birds"))] == ["done.jsonl"]
    num_before = hub.count_requests("train/000.tar"), hub.count_requests("train/c.mp4")
    assert run(capsys, project, *words)[0] == 0
    assert (hub.count_requests("train/000.tar"), hub.count_requests("train/c.mp4")) == num_before
    assert hub.count_requests("README.md") == 0

    # A clip that is lost is taken from its archive again.
    (project.clips_dir("birds") / "b.mp4").unlink()
    code, printed, _ = run(
        capsys, project, "import", f"hf://datasets/{REPOSITORY}/train", "--quiet"
    )
    assert code == 0 and "1 clips imported" in printed


def test_a_partial_file_of_another_revision_is_not_continued(hub, tmp_path):
    old, new = b"a" * 9000, b"b" * 9000
    path = hub.path_of("x.bin")
    broken = Answer(body=old, cut_at=5000, has_ranges=True)
    hub.server.add(path, broken, Answer(status=403), Answer(body=new, has_ranges=True))
    source = HubSource(HubFolder(REPOSITORY, None, ""), tmp_path, [], is_quiet=True)
    # Neither has a SHA-256, as small files on the hub.
    with pytest.raises(DataError, match="the server answered 403"):
        source.fetch(HubFile("x.bin", len(old), "1" * 40, None))
    assert source.fetch(HubFile("x.bin", len(new), "2" * 40, None)).read_bytes() == new


def test_one_file_of_the_hub(hub, project, clips, capsys):
    hub.add("data/b.mp4", clips["b"])
    hub.add("data/a.mp4", clips["a"])
    absent = Answer(status=404, headers={"X-Error-Code": "EntryNotFound"})
    path = "data%2Fb.mp4"
    hub.server.add(f"/api/datasets/{REPOSITORY}/tree/main/{path}{QUERIES[0]}", absent)
    source = f"hf://datasets/{REPOSITORY}/data/b.mp4"
    code, printed, _ = run(capsys, project, "import", source, "--quiet")
    assert code == 0 and "birds: 1 clips imported" in printed
    assert hub.count_requests("data/a.mp4") == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Answer(status=404, headers={"X-Error-Code": "RepoNotFound"}),
            "not found; is it misspelled",
        ),
        (Answer(status=403, headers={"X-Error-Code": "GatedRepo"}), "is gated; accept its terms"),
        (Answer(status=404, headers={"X-Error-Code": "RevisionNotFound"}), "has no revision"),
        (Answer(body=b"[]", content_type="application/json"), "has no files"),
        (Answer(status=418), "the hub answered with status 418"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(hub, project, capsys, answer, words):
    for query in QUERIES:
        hub.server.add(f"/api/datasets/{REPOSITORY}/tree/main{query}", answer)
    source = f"hf://datasets/{REPOSITORY}"
    code, _, message = run(capsys, project, "import", source, "--quiet")
    last = message.splitlines()[-1]
    assert code == 2 and last.startswith(f"error: {source}: ") and words in last
    assert message.count("rror") == 1 and TOKEN not in message


def test_addresses_of_the_hub():
    assert parse_hub_address("videos/a.tar") is None
    assert parse_hub_address("hf://datasets/a/b") == HubFolder("a/b", None, "")
    found = parse_hub_address("hf://datasets/a/b@v1/train/000.tar")
    assert found == HubFolder("a/b", "v1", "train/000.tar")
    for revision in ("refs/convert/parquet", "refs%2Fconvert%2Fparquet"):
        found = parse_hub_address(f"hf://datasets/a/b@{revision}/train")
        assert found == HubFolder("a/b", "refs/convert/parquet", "train")
    for wrong in ("hf://a/b", "hf://datasets/a", "hf://models/a/b", "hf://datasets/a/b/../c"):
        with pytest.raises(DataError, match="expected hf://datasets/OWNER/NAME"):
            parse_hub_address(wrong)


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
