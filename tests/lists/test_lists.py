"""Lists are fetched once and checked by their hashes; an absent server is one sentence."""

import functools
import http.server
import logging
import shutil
import threading
from dataclasses import replace

import pytest

from earshot.errors import DataError
from pipeline.datasets import vggsound
from tests.helpers.downloads.list_tables import sizes_of


@pytest.fixture
def serve(tmp_path):
    """``serve(folder)`` starts a server and returns its address.

    ``serve.log`` has the requested paths.
    """
    servers = []

    def start(folder):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                start.log.append(self.path)

        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    start.log = []
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_lists_are_fetched_once_with_their_hashes(shared, tmp_path, serve, caplog):
    site = tmp_path / "site"
    shutil.copytree(shared("lists"), site)
    (site / "vggss").mkdir()
    shutil.copy(site / "ezvsl" / "vggss.json", site / "vggss")
    url = serve(site)
    parameters = vggsound.Parameters(
        splits=("htf_vgg_10k", "vggss_heard_test"),
        limit=20,
        **{
            f"{name}_url": f"{url}/{name}"
            for name in ("ezvsl", "htf", "slavc", "vggss", "vggsound")
        },
        video_url=f"{url}/watch?v={{video_id}}",
    )
    clips, samples = vggsound.build_tables(parameters, cache_dir=tmp_path / "cache")
    assert sizes_of(clips) == {"htf_vgg_10k": 20, "vggss_heard_test": 20}
    assert clips.column("url")[0].as_py().startswith(f"{url}/watch?v=")
    assert all(row["boxes"] for row in samples.to_pylist() if "vggss_heard_test" in row["splits"])
    num_requests = len(serve.log)
    assert vggsound.build_tables(parameters, cache_dir=tmp_path / "cache")[0] == clips
    assert len(serve.log) == num_requests
    assert not list((tmp_path / "cache").rglob(".tmp-*"))
    # A cached list that was damaged is fetched again; other bytes at the source are refused and
    # publish nothing.
    cached_path = tmp_path / "cache" / "lists" / "htf" / "vgg_train_10k.txt"
    cached_path.write_text("half a li")
    assert vggsound.build_tables(parameters, cache_dir=tmp_path / "cache")[0] == clips
    cached_path.unlink()
    (site / "htf" / "vgg_train_10k.txt").write_text("0123456789a_000001\n")
    with pytest.raises(
        DataError, match=r"vgg_train_10k\.txt: has sha256 .*, expected 2dc8.*lists_dir"
    ):
        vggsound.build_tables(parameters, cache_dir=tmp_path / "cache")
    assert not cached_path.exists()
    (site / "htf" / "vgg_train_10k.txt").write_text(" <!DOCTYPE html><html>log in first</html>")
    with pytest.raises(DataError, match=r"vgg_train_10k\.txt: the server sent a web page"):
        vggsound.build_tables(parameters, cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match="answered 404"):
        vggsound.build_tables(
            replace(parameters, htf_url=f"{url}/nowhere"), cache_dir=tmp_path / "cache"
        )
    # The extra lists for the coverage audit are no condition.
    caplog.clear()
    (site / "ezvsl" / "vggss_test.csv").unlink()
    parameters = replace(parameters, splits=("vggss_10k",))
    vggsound.build_tables(parameters, cache_dir=tmp_path / "other")
    assert "coverage of vggss_test cannot be measured" in caplog.text


def test_unreachable_server_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.base.http.time.sleep", lambda _: None)
    parameters = vggsound.Parameters(splits=("vggss_10k",), ezvsl_url="http://127.0.0.1:9")
    with pytest.raises(
        DataError, match=r"127\.0\.0\.1:9/vggss_10k\.txt: cannot be fetched: .*lists_dir"
    ):
        vggsound.build_tables(parameters, cache_dir=tmp_path)
    with pytest.raises(DataError, match="is not an address"):
        vggsound.build_tables(replace(parameters, ezvsl_url="file:///etc"), cache_dir=tmp_path)


@pytest.fixture(autouse=True)
def _warnings(caplog):
    caplog.set_level(logging.WARNING)
