"""Secrets stand in the environment or in an ignored file, and no message shows them."""

import os
import subprocess

import pytest

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.base.proxy import use_proxy
from pipeline.base.secrets import find_secrets, hide_secrets, is_proxy
from pipeline.datasets import local
from pipeline.downloads.parameters import DownloadParameters

SECRET = "pa55-w0rd"


def write(folder, text: str, local: str | None = None) -> None:
    (folder / "params.yaml").write_text(text)
    if local is not None:
        (folder / "params.local.yaml").write_text(local)


@pytest.mark.parametrize(
    "text",
    [
        f"download: {{proxy: 'http://me:{SECRET}@proxy:8080'}}\n",
        f"download: {{proxy: 'me:{SECRET}@proxy:8080'}}\n",
        f"download: {{proxy: ['http://me:{SECRET}@proxy:8080']}}\n",
        f"download: {{cookies_path: /home/me/{SECRET}.txt}}\n",
        f"weights: {{w: {{url: 'https://me:{SECRET}@host/file'}}}}\n",
        f"sources: {{flickr: {{slavc_url: 'https://{SECRET}@host'}}}}\n",
        f"download: {{proxy: 'http://me:{SECRET}@proxy'\n",
        f"download:\n  proxy: {SECRET}\n",
        f"download: {{proxy: {{password: {SECRET}}}}}\n",
    ],
)
def test_params_yaml_holds_no_secret(tmp_path, text):
    write(tmp_path, text)
    with pytest.raises(ParameterError) as caught:
        Project.load(tmp_path, environment={}).parameters(DownloadParameters, "download")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "local",
    [
        f"download: {{proxy: 'http://me:{SECRET}'\n",
        f"download: {{proxy: 'http://me:{SECRET}#@proxy:80'}}\n",
        f"download: {{proxy: ['{SECRET}']}}\n",
        f"download: {{cookies_path: ['{SECRET}']}}\n",
        f"download: {{proxi: '{SECRET}'}}\n",
        f"{{{SECRET}\n",
        f"download: {{proxy: !{SECRET} x}}\n",
        f"download: {{proxy: *{SECRET}}}\n",
    ],
)
def test_a_wrong_local_file_is_not_quoted(tmp_path, local):
    write(tmp_path, "datasets: []\n", local)
    with pytest.raises(ParameterError, match=r"params\.local\.yaml|download") as caught:
        Project.load(tmp_path, environment={})
    assert SECRET not in str(caught.value)


def test_the_environment_comes_before_the_local_file(tmp_path):
    local = f"download: {{proxy: 'http://me:{SECRET}@first:80'}}\n"
    write(tmp_path, "download: {proxy: 'http://last:80', num_workers: 3}\n", local)

    project = Project.load(tmp_path, environment={})
    assert project.proxy == f"http://me:{SECRET}@first:80"
    parameters = project.parameters(DownloadParameters, "download")
    assert parameters.proxy == project.proxy and parameters.num_workers == 3
    # What is printed of a project: its params.yaml, and its parts in a traceback.
    assert SECRET not in repr(project) + repr(parameters) + repr(parameters.for_workers())

    cookies = tmp_path / "cookies.txt"
    cookies.write_text("")
    named = {"EARSHOT_PROXY": "socks5://other:80", "EARSHOT_COOKIES": str(cookies)}
    parameters = Project.load(tmp_path, environment=named).parameters(
        DownloadParameters, "download"
    )
    assert (parameters.proxy, parameters.cookies_path) == ("socks5://other:80", str(cookies))

    (tmp_path / "params.local.yaml").unlink()
    assert Project.load(tmp_path, environment={}).proxy == "http://last:80"


def test_a_local_file_that_git_would_commit_is_refused(tmp_path):
    write(tmp_path, "datasets: []\n", "download: {}\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(ParameterError, match=r"Git does not ignore it, expected a line"):
        Project.load(tmp_path, environment={})

    (tmp_path / ".gitignore").write_text("params.local.yaml\n")
    Project.load(tmp_path, environment={})
    subprocess.run(["git", "add", "-f", "params.local.yaml"], cwd=tmp_path, check=True)
    with pytest.raises(ParameterError, match=r"Git does not ignore it"):
        Project.load(tmp_path, environment={})


def test_texts_of_tools_lose_their_secrets(tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(
        "# Netscape HTTP Cookie File\n.site.org\tTRUE\t/\tTRUE\t0\tSID\tsession-value\n"
        "#HttpOnly_.site.org\tTRUE\t/\tTRUE\t0\tHSID\thttp-only-value\nbroken line secret\n"
    )
    secrets = find_secrets(proxy="http://user:p%40ss@proxy:80", cookies_path=str(cookies))
    said = (
        "http://user:p%40ss@proxy:80 user:p@ss dXNlcjpwQHNz session-value http-only-value "
        f"'broken line secret' {cookies} site.org 403"
    )
    words = hide_secrets(said, secrets)
    for secret in ("p@ss", "p%40ss", "dXNlcj", "session", "http-only", "broken", str(cookies)):
        assert secret not in words
    assert words.endswith("site.org 403")


@pytest.mark.parametrize(
    ("address", "is_right"),
    [
        ("http://proxy:8080", True),
        ("http://user:p%2Fss@proxy:8080/", True),
        ("socks5h://10.0.0.1:1080", True),
        ("http://[::1]:80", True),
        ("proxy:8080", False),
        ("http://user:p/ss@proxy:8080", False),
        ("http://user:p#ss@proxy", False),
        ("http://proxy:port", False),
        ("ftp://proxy", False),
        ("", False),
    ],
)
def test_addresses_of_proxies(address, is_right):
    assert is_proxy(address) == is_right


def test_a_proxy_holds_for_all_libraries_and_ends(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://before")
    monkeypatch.delenv("https_proxy", raising=False)
    with use_proxy("http://proxy:80"):
        assert os.environ["https_proxy"] == os.environ["HTTP_PROXY"] == "http://proxy:80"
    assert os.environ["HTTP_PROXY"] == "http://before" and "https_proxy" not in os.environ


def test_experiments_share_the_storage_of_their_checkout(tmp_path):
    """`dvc exp run --temp` works in a copy below `.dvc/tmp/exps`, without ignored files."""
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmp123"
    copy.mkdir(parents=True)
    for folder in (tmp_path, copy):
        write(folder, "sources: {local: {folder: ../videos}}\n")
    (tmp_path / "params.local.yaml").write_text("download: {proxy: 'http://p:1'}\n")

    project = Project.load(copy, environment={})
    assert project.proxy == "http://p:1"
    assert project.clips_dir("local") == tmp_path / "cache" / "local" / "clips"
    assert project.store_dir("local", "flow") == tmp_path / "cache" / "local" / "store" / "flow"
    assert project.ledger_path("local").parent == tmp_path / "cache" / "local"
    assert project.training_dir == tmp_path / "cache" / "training"
    # What DVC tracks is the experiment's own.
    assert project.feature_dir("local", "flow") == copy / "cache" / "local" / "flow"
    folder = project.parameters(local.Parameters, "sources.local").folder
    assert folder == f"{tmp_path}/../videos"

    other = Project.load(copy, environment={"EARSHOT_STORE": "/large/disk"})
    assert str(other.clips_dir("local")) == "/large/disk/local/clips"
