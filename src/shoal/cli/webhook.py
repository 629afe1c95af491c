"""A webhook of our own, on this computer, for as long as a tour lasts: it keeps what it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BODY_BYTES_MAX = 64 * 1024


class Heard:
    """What was told so far, in order."""

    def __init__(self) -> None:
        self.notices: list[dict[str, Any]] = []
        self.url = ""


@contextmanager
def webhook() -> Iterator[Heard]:
    """Listen on a free port of this computer."""
    heard = Heard()

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length") or 0), BODY_BYTES_MAX)
            heard.notices.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nobody wants to read of it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Ear)
    heard.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
