"""A mock of the Hugging Face Hub: it creates a repository, and uploads, lists and resolves files in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(BaseHTTPRequestHandler):
    files: dict[str, bytes]  # of the only repository
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/repos/create":
            request = json.loads(body)
            self.send_json({"url": f"http://{self.headers['Host']}/{request['organization']}/{request['name']}"})
        elif path == "/api/validate-yaml":
            self.send_json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            requested = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in requested]
            self.send_json({"files": modes})
        elif "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            place = f"http://{self.headers['Host']}/somebody/chairs/commit/{COMMIT}"
            self.send_json({"commitUrl": place, "commitOid": COMMIT, "success": True})
        else:
            self.send_json({"error": f"no such place: {path}"}, status=404)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if "/resolve/" in path:
            self.resolve(path.split("/resolve/")[1].partition("/")[2])
        elif "/tree/" in path:
            self.send_json(
                [{"type": "file", "path": name, "size": len(data), "oid": oid(data)} for name, data in self.listing()]
            )
        elif path.startswith("/api/models/"):
            siblings = [{"rfilename": name, "size": len(data), "blobId": oid(data)} for name, data in self.listing()]
            self.send_json({"id": "somebody/chairs", "modelId": "somebody/chairs", "sha": COMMIT, "siblings": siblings})
        else:
            self.send_json({"error": f"no such place: {path}"}, status=404)

    do_HEAD = do_GET

    def listing(self) -> list[tuple[str, bytes]]:
        return sorted(self.files.items())

    def resolve(self, name: str) -> None:
        if name not in self.files:
            self.send_json({"error": "Entry not found"}, status=404, headers={"X-Error-Code": "EntryNotFound"})
        else:
            self.send(self.files[name], headers={"ETag": f'"{oid(self.files[name])}"', "X-Repo-Commit": COMMIT})

    def send_json(self, content: object, **options: object) -> None:
        self.send(json.dumps(content).encode(), **options)

    def send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print no log."""


def oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def mock_hub() -> Iterator[tuple[str, dict[str, bytes]]]:
    """The address of a running server, and the files that were pushed to it."""
    files: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneRepository", (Handler,), {"files": files}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", files
    finally:
        server.shutdown()
