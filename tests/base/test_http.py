"""The HTTP client against a real server on this machine that misbehaves."""

import datetime
import hashlib
import ipaddress
import os
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from huggingface_hub.utils import get_session

from earshot.errors import DataError
from pipeline.base import http
from pipeline.base.http import (
    ask_size,
    fetch_file,
    fetch_large_file,
    iter_blocks,
    open_session,
    open_url,
)
from pipeline.base.proxy import use_proxy
from tests.helpers.downloads.misbehaving_server import Answer, MisbehavingServer, page
from tests.helpers.downloads.socks_server import run_socks_server

CONTENT = b"a line of a list\n" * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(http.time, "sleep", lambda seconds: None)


def test_a_small_file_survives_transient_failures(server, tmp_path):
    url = server.add("/list.txt", Answer(status=503), Answer(CONTENT, cut_at=1000), Answer(CONTENT))
    fetch_file(url, tmp_path / "list.txt", sha256=SHA256)
    assert (tmp_path / "list.txt").read_bytes() == CONTENT
    assert server.num_requests["/list.txt"] == 3


@pytest.mark.parametrize(
    ("answer", "message", "num_requests"),
    [
        (Answer(status=404), r"/x: the server answered 404 Not Found, expected the file", 1),
        (Answer(status=503), r"/x: the server answered 503 Service Unavailable, expected", 3),
        (Answer(CONTENT, cut_at=10), r"/x: cannot be fetched: IncompleteRead\(10 bytes read", 3),
        (page("Log in"), r"/x: the server sent a web page, expected the file", 1),
        (Answer(b"other"), rf"/x: has sha256 .*, expected {SHA256}: not the file that was", 1),
    ],
)
def test_a_small_file_that_cannot_be_had(server, tmp_path, answer, message, num_requests):
    with pytest.raises(DataError, match=message) as caught:
        fetch_file(server.add("/x", answer), tmp_path / "x", sha256=SHA256)
    assert "\n" not in str(caught.value)
    assert server.num_requests["/x"] == num_requests
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("fetch", [fetch_file, lambda u, p: fetch_large_file(u, p, num_bytes=9)])
def test_no_server_and_no_address(tmp_path, fetch):
    with MisbehavingServer() as server:
        url = server.url_of("/x")
    with pytest.raises(DataError, match=r"/x: cannot be fetched: \[Errno 111\] Connection refused"):
        fetch(url, tmp_path / "x")
    for url in ("file:///etc/hosts", "no address"):
        with pytest.raises(DataError, match=r"is not an address: expected http:// or https://"):
            fetch(url, tmp_path / "x")


def test_an_error_in_the_middle_of_another_one_is_described_alone(tmp_path):
    """The message never names an error that the caller was handling."""
    try:
        raise FileNotFoundError("nothing is cached")
    except FileNotFoundError:
        with pytest.raises(DataError, match="Connection refused"):
            fetch_file("http://127.0.0.1:9/x", tmp_path / "x")


def test_a_large_file_resumes_after_the_last_byte_that_came(server, tmp_path):
    whole = Answer(CONTENT, has_ranges=True)
    cut = Answer(CONTENT, cut_at=100_001, has_ranges=True)
    url = server.add("/a.bin", cut, Answer(status=429), whole)
    fetch_large_file(url, tmp_path / "a.bin", num_bytes=len(CONTENT), sha256=SHA256[:10])
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.num_requests["/a.bin"] == 3

    # The part of an earlier call counts as well.
    (tmp_path / ".part-b.bin").write_bytes(CONTENT[:5])
    fetch_large_file(server.add("/b.bin", whole), tmp_path / "b.bin", sha256=SHA256)
    assert (tmp_path / "b.bin").read_bytes() == CONTENT
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.bin"]


def test_a_server_without_ranges_sends_everything_again(server, tmp_path):
    (tmp_path / ".part-a.bin").write_bytes(b"something else")
    url = server.add("/a.bin", Answer(CONTENT))
    fetch_large_file(url, tmp_path / "a.bin", num_bytes=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_part_longer_than_the_servers_file_is_dropped(server, tmp_path):
    (tmp_path / ".part-a.bin").write_bytes(b"xyz")
    url = server.add("/a.bin", Answer(status=416), Answer(CONTENT, has_ranges=True))
    fetch_large_file(url, tmp_path / "a.bin", num_bytes=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_the_size_of_a_file(server, tmp_path):
    assert ask_size(server.add("/a.bin", Answer(CONTENT))) == len(CONTENT)
    with pytest.raises(DataError, match="the server answered 404 Not Found"):
        ask_size(server.url_of("/absent"))
    with pytest.raises(DataError, match=r"cannot be fetched: .*refused"):
        ask_size("http://127.0.0.1:9/x")


def test_headers_and_name_of_a_request(server):
    url = server.add("/x", Answer(b"body"))
    with open_session() as session, open_url(url, session=session) as response:
        assert response.request.headers["User-Agent"].startswith("earshot")
        assert response.request.headers["Accept-Encoding"] == "identity"
        assert list(iter_blocks(response)) == [b"body"]
    with open_url(url, headers={"Range": "bytes=1-"}) as response:
        assert response.request.headers["Range"] == "bytes=1-"


def test_a_proxy_from_the_environment_or_named(server, monkeypatch):
    """A proxy is sent the whole address, here of a host that does not exist."""
    server.add("http://example.invalid/x", Answer(b"through the proxy"))
    monkeypatch.setenv("http_proxy", server.url_of(""))
    monkeypatch.delenv("no_proxy", raising=False)
    with open_url("http://example.invalid/x") as response:
        assert response.raw.read() == b"through the proxy"

    monkeypatch.delenv("http_proxy")
    session = open_session(proxy=server.url_of(""))
    with open_url("http://example.invalid/x", session=session) as response:
        assert response.raw.read() == b"through the proxy"
    with pytest.raises(requests.ConnectionError), open_url("http://example.invalid/x"):
        pytest.fail("the host does not exist")


def test_a_socks_proxy_serves_our_client_and_that_of_the_hub(server, monkeypatch):
    url = server.add("/x", Answer(b"through the proxy")).replace("127.0.0.1", "lists.invalid")
    hosts: list[str] = []
    monkeypatch.delenv("no_proxy", raising=False)
    with run_socks_server(int(url.split(":")[2].split("/")[0]), hosts) as proxy, use_proxy(proxy):
        with open_url(url) as response:
            assert response.raw.read() == b"through the proxy"
        assert get_session().get(url).content == b"through the proxy"
    assert hosts == ["lists.invalid", "lists.invalid"]


def make_certificate(folder):
    """Make a certificate of 127.0.0.1 that signs itself; return the path of it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def test_certificates_of_the_system_are_trusted(tmp_path, monkeypatch):
    """As OpenSSL finds them: in the folder of the system, or where SSL_CERT_FILE says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"body")

        def log_message(self, *_):
            return

    path = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{server.server_port}/x"
        with pytest.raises(DataError, match="certificate verify failed"):
            fetch_file(url, tmp_path / "x")
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        fetch_file(url, tmp_path / "x")
        server.shutdown()
    assert (tmp_path / "x").read_bytes() == b"body"
