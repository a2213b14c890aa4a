"""A server of a Zenodo record whose transfers break."""

import hashlib
import http.server
import json
import threading


class Zenodo:
    """A server with a record and its files that cuts transfers short and may ignore ranges."""

    def __init__(self, files):
        self.files, self.ranges, self.cuts, self.has_ranges = dict(files), [], 0, True
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def log_message(self, *_):
                owner.paths.append(self.path)

            def do_GET(self):
                name = self.path.rsplit("/", 1)[-1]
                data = owner.record() if name == "6658386" else owner.files.get(name)
                if data is None:
                    self.send_error(404)
                    return
                start = 0
                if self.headers["Range"]:
                    owner.ranges.append(self.headers["Range"])
                    start = (
                        int(self.headers["Range"].split("=")[1].rstrip("-"))
                        if owner.has_ranges
                        else 0
                    )
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                stop = len(data)
                if owner.cuts and name.endswith(".zip"):
                    owner.cuts -= 1
                    stop = start + (len(data) - start) // 2
                self.wfile.write(data[start:stop])

        self.paths = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def record(self):
        entries = [
            {
                "key": name,
                "size": len(data),
                "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                "links": {"self": f"{self.url}/files/{name}"},
            }
            for name, data in self.files.items()
        ]
        return json.dumps({"metadata": {"license": {"id": "cc-by-4.0"}}, "files": entries}).encode()
