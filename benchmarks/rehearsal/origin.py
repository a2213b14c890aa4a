"""A site on 127.0.0.1 with a video behind each of any number of ids, which loses some as sites do.

Each video is one of a few real clips, with a box at its end that makes its bytes its own. What
becomes of an id follows from its number, so that a second run finds the same.
"""

import multiprocessing
import re
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import ClassVar

# Of a hundred videos; VGG-Sound lost about a fifth of its videos in four years. The rest is whole.
GONE, REMOVED, BLOCKED, CUT_OFF, BUSY = 12, 4, 2, 1, 1
_BOX_BYTES = 16


def choose_fate(number: int) -> str:
    """Return what becomes of the requests for a video."""
    place = number * 37 % 100  # spreads the fates
    for fate, share in (
        ("gone", GONE),
        ("removed", REMOVED),
        ("blocked", BLOCKED),
        ("cut off", CUT_OFF),
        ("busy", BUSY),
    ):
        if place < share:
            return fate
        place -= share
    return "whole"


_STATUS = {"gone": 404, "removed": 410, "blocked": 451, "busy": 503}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    clips: ClassVar[Sequence[bytes]] = ()
    seconds_a_megabyte: ClassVar[float] = 0.0
    asked: ClassVar[set[int]] = set()

    def do_GET(self) -> None:
        (digits,) = re.findall(r"^/(\d+)", self.path)
        number = int(digits)
        fate, is_first = choose_fate(number), number not in self.asked
        self.asked.add(number)

        # What passes by is gone at the second request.
        if fate in _STATUS and (fate != "busy" or is_first):
            self.send_response(_STATUS[fate])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return

        clip = self.clips[number % len(self.clips)]
        box = _BOX_BYTES.to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        body = clip + box
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        time.sleep(self.seconds_a_megabyte * len(body) / 1e6)
        is_cut_off = fate == "cut off" and is_first
        self.wfile.write(body[: len(body) // 2] if is_cut_off else body)
        self.close_connection = is_cut_off

    def log_message(self, *_: object) -> None:
        return


def _serve(clips: Sequence[bytes], seconds_a_megabyte: float, pipe: Connection) -> None:
    _Handler.clips, _Handler.seconds_a_megabyte = clips, seconds_a_megabyte
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    pipe.send(server.server_port)
    server.serve_forever()


class Origin:
    """The site, in a process of its own; a context manager.

    Args:
        clips: The bytes of MP4 files.
        seconds_a_megabyte: How long a megabyte takes.
    """

    def __init__(self, clips: Sequence[bytes], *, seconds_a_megabyte: float = 0.02):
        ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(
            target=_serve, args=(clips, seconds_a_megabyte, theirs), daemon=True
        )
        self._process.start()
        self.port: int = ours.recv()

    def url_of(self, number: int) -> str:
        """Return the address of a video."""
        return f"http://127.0.0.1:{self.port}/{number}.mp4"

    def __enter__(self) -> "Origin":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
