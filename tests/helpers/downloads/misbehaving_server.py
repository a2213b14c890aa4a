"""A web server on 127.0.0.1 that serves clips and misbehaves, for tests of downloads.

``server.add(path, answer, ...)`` says what a path returns, one answer a request; the last answer
repeats. Requests are counted. Nothing of the engine is replaced: it speaks HTTP over a real socket.
"""

import re
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    body: bytes = b""
    status: int = 200
    content_type: str = "video/mp4"
    headers: dict[str, str] = field(default_factory=dict)
    announced_bytes: int | None = None  # Content-Length; None: the body's own
    cut_at: int | None = None  # the connection closes after so many bytes
    stall_seconds: float = 0.0  # silence after the headers and `stall_at` bytes
    stall_at: int = 0
    pace_seconds: float = 0.0  # time that the body takes
    has_ranges: bool = False  # parts of the body can be requested, as players do


def page(words: str, *, status: int = 200) -> Answer:
    """A web page that says something."""
    head = "<!DOCTYPE html><html><head><title>Video</title></head>"
    body = f"{head}<body><p>{words}</p></body></html>"
    return Answer(body=body.encode(), status=status, content_type="text/html; charset=utf-8")


class MisbehavingServer:
    """A context manager; ``url_of("/clip.mp4")`` is what to download."""

    def __init__(self):
        self._answers: dict[str, list[Answer]] = {}
        self.num_requests: Counter[str] = Counter()
        self.tokens: dict[str, str | None] = {}  # by path: the last header `Authorization`
        self.request_times: dict[str, list[float]] = defaultdict(list)
        self.num_whole: Counter[str] = (
            Counter()
        )  # answers whose whole body was handed to the socket
        self._lock = threading.Lock()
        self._is_closing = threading.Event()

    def __enter__(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner._answer(self)

            def log_message(self, *_):
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # clients that are killed leave broken pipes
                return

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._is_closing.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, path: str, *answers: Answer) -> str:
        """What the first, second, ... request of a path gets; returns its URL."""
        self._answers[path] = list(answers)
        return self.url_of(path)

    def url_of(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            number = self.num_requests[handler.path]
            self.num_requests[handler.path] += 1
            self.request_times[handler.path].append(time.monotonic())
            self.tokens[handler.path] = handler.headers.get("Authorization")
            answers = self._answers.get(
                handler.path, [Answer(status=404, content_type="text/plain", body=b"no")]
            )
            answer = answers[min(number, len(answers) - 1)]
        handler.close_connection = True
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        if answer.has_ranges and wanted:
            start, stop = int(wanted[1]), int(wanted[2] or len(answer.body) - 1) + 1
            content_range = f"bytes {start}-{stop - 1}/{len(answer.body)}"
            headers = answer.headers | {"Content-Range": content_range}
            answer = replace(answer, status=206, body=answer.body[start:stop], headers=headers)
        handler.send_response(answer.status)
        if answer.has_ranges:
            handler.send_header("Accept-Ranges", "bytes")
        handler.send_header("Content-Type", answer.content_type)
        length = answer.announced_bytes if answer.announced_bytes is not None else len(answer.body)
        handler.send_header("Content-Length", str(length))
        handler.send_header("Connection", "close")
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        body = answer.body[: answer.cut_at]
        if answer.stall_seconds:
            handler.wfile.write(body[: answer.stall_at])
            handler.wfile.flush()
            self._is_closing.wait(answer.stall_seconds)
            body = body[answer.stall_at :]
        pieces = 10 if answer.pace_seconds else 1
        step = max(1, -(-len(body) // pieces))
        for start in range(0, len(body), step):
            handler.wfile.write(body[start : start + step])
            if answer.pace_seconds:
                time.sleep(answer.pace_seconds / pieces)
        with self._lock:
            self.num_whole[handler.path] += 1
