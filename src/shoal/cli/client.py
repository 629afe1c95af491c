"""A client of a gateway: small, over the standard library, one connection a request."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from shoal.errors import BY_CODE, Failed, Refused, ShoalError, Unreachable
from shoal.units import SECOND_MS

#: JSON, as it came.
Json: TypeAlias = Any

CONNECT_TIMEOUT_S = 5.0
#: Jobs are long; a gateway that says nothing for so long is gone.
READ_TIMEOUT_S = 3_600.0
ANSWER_BYTES_MAX = 256 << 20
LINE_BYTES_MAX = 1 << 20


class Answer(Struct, frozen=True):
    """What a gateway answered, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """The body, read as JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Failed(f"the answer is no JSON: {self.body[:200]!r}") from error


class Client:
    """Sends requests to one address."""

    def __init__(self, url: str, *, timeout_s: float = READ_TIMEOUT_S, key: str = "") -> None:
        """`key` goes with every request, as `Authorization: Bearer`."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"{url!r} is no gateway; write http://host:port")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._parts = parts
        self._timeout_s = timeout_s
        self._key = key

    def get(self, path: str) -> Answer:
        """`GET`; raises what the answer says if it says an error."""
        return self.ask("GET", path)

    def post(
        self, path: str, body: bytes | Mapping[str, object] = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """`POST` a JSON object or bytes; raises what the answer says if it says an error."""
        return self.ask("POST", path, body, headers)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request and its whole answer."""
        connection, response = self._open(method, path, body, headers)
        try:
            data = response.read(ANSWER_BYTES_MAX + 1)
            if response.length and len(data) <= ANSWER_BYTES_MAX:
                raise http.client.IncompleteRead(data, response.length)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.url} broke off: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()
        if len(data) > ANSWER_BYTES_MAX:
            raise Failed(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        answer = Answer(response.status, _headers(response), data)
        _require_good(answer)
        return answer

    def events(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[str, str]]:
        """Server-sent events as they come: (event, data). Ends with the stream."""
        connection, response = self._open(method, path, body, headers)
        try:
            if response.status >= 400:
                _require_good(Answer(response.status, _headers(response), response.read(ANSWER_BYTES_MAX)))
            yield from _events(response)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.url} broke off: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()

    def _open(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, object] | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=CONNECT_TIMEOUT_S)
        sent = dict(headers or {})
        if self._key:
            sent["Authorization"] = f"Bearer {self._key}"
        if isinstance(body, Mapping):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.connect()
            assert connection.sock is not None
            connection.sock.settimeout(self._timeout_s)
            connection.request(method, path, body, sent)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(
                f"no gateway answers at {self.url}; start a network with `shoal up`, or name one with --gateway"
            ) from error


def _events(response: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    name, data = "message", list[str]()
    while line := response.readline(LINE_BYTES_MAX):
        text = line.decode(errors="replace").rstrip("\r\n")
        if not text:
            if data:
                yield name, "\n".join(data)
            name, data = "message", []
            continue
        field, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _require_good(answer: Answer) -> None:
    if answer.status >= 400:
        raise error_in(answer)


def error_in(answer: Answer) -> ShoalError:
    """The error that an answer tells of, in any of the shapes that gateways use."""
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = {}
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, dict):
        cls = BY_CODE.get(str(error.get("code")), Failed if answer.status >= 500 else Refused)
        after = answer.headers.get("retry-after", "")
        retry_after_ms = int(after) * SECOND_MS if after.isdecimal() else 0
        return cls(str(error.get("message", "")), retry_after_ms=retry_after_ms)
    cls = Failed if answer.status >= 500 else Refused
    return cls(f"the answer was {answer.status}: {answer.body[:200].decode(errors='replace')}")
