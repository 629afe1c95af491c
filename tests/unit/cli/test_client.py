"""The client against a server that answers as it is told: answers, errors in every shape, streams, broken ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from shoal.cli.buyer import Buyer, File, form
from shoal.cli.client import Client
from shoal.errors import Busy, Failed, NotFound, Refused, Unreachable

Route = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server(ThreadingHTTPServer):
    """Answers each request with the next route."""

    daemon_threads = True

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                server.seen.append((self.command, self.path, dict(self.headers), body))
                server.routes.pop(0)(self, body)

            do_GET = do_POST = handle_any  # noqa: N815 - the names are the library's

            def log_message(self, *_: Any) -> None:
                """Quietly."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def answer(status: int, body: bytes, length: int | None = None, **headers: str) -> Route:
    def route(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return route


def test_a_job_is_submitted_with_its_key(server: Server) -> None:
    server.routes = [answer(202, b'{"id": "job_1"}')]
    job = Buyer(Client(server.url)).submit("echo", {"text": "x"}, key="once", deadline_ms=5)
    assert job == {"id": "job_1"}
    method, path, headers, body = server.seen[0]
    assert (method, path, headers["Idempotency-Key"]) == ("POST", "/v1/jobs", "once")
    assert body == b'{"pipeline": "echo", "params": {"text": "x"}, "deadline_ms": 5}'


def test_how_a_job_is_wanted_goes_along_where_it_is_said(server: Server) -> None:
    server.routes = [answer(202, b'{"id": "job_1"}')] * 2
    wants = {"policy": "", "priority": "low", "hedge": True}
    buyer = Buyer(Client(server.url))
    buyer.submit("echo", {}, wants=wants)
    buyer.submit("audio-to-text", {}, file=File("audio", "a.wav", b"sound"), wants=wants)
    (*_, plain), (*_, form) = server.seen
    assert plain == b'{"pipeline": "echo", "params": {}, "priority": "low", "hedge": true}'
    for name, value in (("priority", b"low"), ("hedge", b"true")):
        assert b'name="%b"\r\n\r\n%b\r\n' % (name.encode(), value) in form
    assert b"policy" not in form


def test_a_refusal_says_when_to_come_back(server: Server) -> None:
    body = b'{"error": {"code": "busy", "message": "the queue is full"}}'
    server.routes = [answer(503, body, **{"Retry-After": "7"})]
    with pytest.raises(Busy) as refusal:
        Client(server.url).get("/")
    assert refusal.value.retry_after_ms == 7_000


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (404, b'{"error": {"code": "not_found", "message": "no such job"}}', NotFound, "no such job"),
        (418, b'{"error": {"code": "odd", "message": "short and stout"}}', Refused, "short and stout"),
        (500, b"<html>", Failed, "the answer was 500: <html>"),
        (400, b"[1]", Refused, r"the answer was 400: \[1\]"),
    ],
)
def test_an_error_keeps_its_code_and_its_words(
    server: Server, status: int, body: bytes, error: type[Exception], message: str
) -> None:
    server.routes = [answer(status, body), answer(status, body)]
    client = Client(server.url)
    with pytest.raises(error, match=message):
        client.get("/")
    with pytest.raises(error, match=message):
        list(client.events("GET", "/"))


def test_an_answer_that_breaks_off_is_no_answer(server: Server) -> None:
    server.routes = [answer(200, b"half", length=8)]
    with pytest.raises(Unreachable, match="broke off"):
        Client(server.url).get("/")


def test_an_answer_that_is_no_json_is_said(server: Server) -> None:
    server.routes = [answer(200, b"nothing of the kind")]
    with pytest.raises(Failed, match="no JSON"):
        Client(server.url).get("/").json()


def test_events_come_with_names_lines_and_comments(server: Server) -> None:
    feed = b": hello\n\nevent: state\nid: 4\ndata: {}\n\ndata: a\ndata: b\r\n\r\nevent: lost\n\ndata: half"
    server.routes = [answer(200, feed)]
    assert list(Client(server.url).events("GET", "/")) == [("state", "{}"), ("message", "a\nb")]


def test_nobody_there_says_what_to_do() -> None:
    with pytest.raises(Unreachable, match="start a network with `shoal up`"):
        Client("http://127.0.0.1:9").get("/")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http:///path"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="is no gateway"):
        Client(url)


def test_a_form_holds_its_fields_and_its_file() -> None:
    kind, body = form({"pipeline": "p"}, File("audio", 'a"\r\nb.wav', b"\x00--\r\n"))
    boundary = kind.partition("boundary=")[2].encode()
    parts = body.split(b"--" + boundary)
    assert parts[1] == b'\r\nContent-Disposition: form-data; name="pipeline"\r\n\r\np\r\n'
    head, _, data = parts[2].partition(b"\r\n\r\n")
    assert head.startswith(b'\r\nContent-Disposition: form-data; name="audio"; filename="a___b.wav"\r\n')
    assert data == b"\x00--\r\n\r\n"
    assert parts[3] == b"--\r\n"
