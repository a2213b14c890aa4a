"""A SOCKS5 proxy on 127.0.0.1 that leads every host to one server of the test."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer


@contextlib.contextmanager
def run_socks_server(port: int, hosts: list[str]) -> Iterator[str]:
    """Run a proxy while the body runs; yield its address.

    Args:
        port: Of the server to which all connections lead.
        hosts: The names of the hosts that were wanted are added here.
    """

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            num_methods = self.request.recv(2)[1]
            self.request.recv(num_methods)
            self.request.sendall(b"\x05\x00")  # no password

            # Version, command, reserved, kind of address; then the name or the four numbers.
            kind = self.request.recv(4)[3]
            length = self.request.recv(1)[0] if kind == 3 else 4
            address = self.request.recv(length)
            self.request.recv(2)
            hosts.append(address.decode() if kind == 3 else socket.inet_ntoa(address))
            self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
            with socket.create_connection(("127.0.0.1", port)) as target:
                _copy_both_ways(self.request, target)

    class Server(ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"socks5h://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _copy_both_ways(first: socket.socket, second: socket.socket) -> None:
    while True:
        for source in select.select([first, second], [], [])[0]:
            block = source.recv(1 << 16)
            if not block:
                return
            (second if source is first else first).sendall(block)
