"""Just enough of S3 for the blob store, in memory over real HTTP: put, get with ranges, head, delete, list."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Handler(BaseHTTPRequestHandler):
    """One request. Keys are `bucket/key`, as in path-style addresses."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def log_message(self, *_: object) -> None:
        pass

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    def answer(self, status: int, body: bytes = b"", length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("ETag", '"0"')
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        assert "aws-chunked" not in self.headers.get("Content-Encoding", "")
        self.objects[self.key] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def do_HEAD(self) -> None:
        found = self.objects.get(self.key)
        self.answer(404 if found is None else 200, length=len(found or b""))

    def do_DELETE(self) -> None:
        self.objects.pop(self.key, None)
        self.answer(204)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "prefix" in query:
            self.list_objects(query["prefix"][0])
        elif self.key not in self.objects:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            body = self.objects[self.key]
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", f"bytes=0-{len(body)}"))
            assert wanted
            self.answer(206, body[int(wanted[1]) : int(wanted[2]) + 1])

    def list_objects(self, prefix: str) -> None:
        bucket = self.key.rstrip("/")
        keys = sorted(key.removeprefix(f"{bucket}/") for key in self.objects)
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>" for key in keys if key.startswith(prefix)
        )
        self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode())


@contextmanager
def fake_s3() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Give the address of a server and its objects."""
    objects: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"objects": objects}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", objects
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
