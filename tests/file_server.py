"""A server of files on this machine, whose behaviour a test chooses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What the server has and does, and what it was asked."""

    content: bytes
    address: str = ""
    tag: str | None = '"one"'
    ranges: bool = True
    stop_after: int | None = None  # bytes of a body after which the connection breaks
    length: bool = True
    status: int | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """Serve one file, until the block ends."""
    state = Server(content=content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(dict(self.headers.items()))
            if state.status is not None:
                self.send_error(state.status)
                return
            begin, total = 0, len(state.content)
            asked = self.headers.get("Range", "")
            if asked and state.ranges and self.headers.get("If-Range", state.tag) == state.tag:
                begin = int(asked.removeprefix("bytes=").removesuffix("-"))
                if begin >= total:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{total}")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
            else:
                self.send_response(200)
            body = state.content[begin:]
            if state.length:
                self.send_header("Content-Length", str(len(body)))
            if state.tag is not None:
                self.send_header("ETag", state.tag)
            self.send_header(
                "Content-Encoding", "x-gzip"
            )  # as servers say of a .tar.gz that is one by itself
            self.end_headers()
            body = body[: state.stop_after]
            state.sent += len(body)
            try:
                self.wfile.write(body)
            except OSError:
                return  # the other side has enough
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{httpd.server_port}/file"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
