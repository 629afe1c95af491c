"""The chain's door: JSON-RPC over HTTP, one request or a batch, for programs on this computer.

A web page cannot use it: a request must name this computer as its host, and come from nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from shoal.chain.local.methods import Method
from shoal.chain.local.refusal import Reverted
from shoal.chain.local.values import BadParams, Json, hexed
from shoal.errors import Busy, Refused, ShoalError
from shoal.runtime.door import Door, Reply, Request, encode
from shoal.units import MIB

log = logging.getLogger("shoal.chain")

BODY_BYTES_MAX = MIB
BATCH_MAX = 100
#: What may be said to a batch, all together.
ANSWER_BYTES_MAX = 32 * MIB
METHOD_CHARACTERS_MAX = 100
HOSTS = ("127.0.0.1", "localhost", "::1")

PARSE_ERROR = -32_700
INVALID_REQUEST = -32_600
NO_METHOD = -32_601
BAD_PARAMS = -32_602
INTERNAL = -32_603
REFUSED = -32_000
LIMIT = -32_005
#: A contract said no; its bytes are in `data`.
REVERTED = 3


class Stranger(Refused):
    """This door is for programs on this computer; a web page may not use it."""

    code = "stranger"
    http_status = 403


def chain_door(methods: Mapping[str, Method], status: Any) -> Door:
    """`POST /` for JSON-RPC, `GET /health` for whoever waits for it; `status` gives what is said there."""

    async def ask(request: Request) -> Reply:
        _require_local(request)
        if not request.header(b"content-type").startswith("application/json"):
            raise Refused("send JSON: content-type must be application/json")
        body = await request.body(BODY_BYTES_MAX)
        try:
            asked = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Reply(encode(_error(None, PARSE_ERROR, "this is not JSON")))
        return Reply(_answer(methods, asked))

    async def health(request: Request) -> Reply:
        _require_local(request)
        return Reply(encode(status()))

    return Door({"POST /": ask, "GET /health": health})


def _require_local(request: Request) -> None:
    host, origin = request.header(b"host"), request.header(b"origin")
    if _host(f"//{host}") not in HOSTS:
        raise Stranger(f"this door is for {' and '.join(HOSTS)}, not for {host[:100]}")
    if origin and _host(origin) not in HOSTS:
        raise Stranger


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _answer(methods: Mapping[str, Method], asked: Json) -> bytes:
    """What is said to one request, or to a batch of them."""
    if not isinstance(asked, list):
        one = _one(methods, asked)
        return b"" if one is None else one
    if not asked:
        return encode(_error(None, INVALID_REQUEST, "this batch is empty"))
    if len(asked) > BATCH_MAX:
        return encode(_error(None, INVALID_REQUEST, f"a batch has at most {BATCH_MAX} requests"))
    answers: list[bytes] = []
    size_bytes = 0
    for request in asked:
        if size_bytes > ANSWER_BYTES_MAX:
            number = request.get("id") if isinstance(request, dict) else None
            answers.append(encode(_error(number, LIMIT, "the batch has said enough: ask for less at once")))
            continue
        answer = _one(methods, request)
        if answer is not None:
            answers.append(answer)
            size_bytes += len(answer)
    return b"[" + b",".join(answers) + b"]" if answers else b""


def _one(methods: Mapping[str, Method], asked: Json) -> bytes | None:
    """An answer; None for a notification, which wants none."""
    if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
        return encode(_error(None, INVALID_REQUEST, "a request is an object with a method"))
    number = asked.get("id")
    if not isinstance(number, str | int | float | None):
        return encode(_error(None, INVALID_REQUEST, "an id is a number or a string"))
    try:
        answer = encode({"jsonrpc": "2.0", "id": number, "result": _run(methods, asked)})
    except ShoalError as error:
        answer = encode(_explain(number, error))
    except Exception:
        log.exception("%s met a bug", asked["method"][:METHOD_CHARACTERS_MAX])
        answer = encode(_error(number, INTERNAL, "something broke here; the chain's log says what"))
    return answer if "id" in asked else None


class NoMethod(Refused):
    """There is no such method here."""

    code = "no_method"


def _run(methods: Mapping[str, Method], asked: Mapping[str, Json]) -> Json:
    name = asked["method"][:METHOD_CHARACTERS_MAX]
    method = methods.get(name)
    if method is None:
        raise NoMethod(f"the method {name} does not exist/is not available")
    params = asked.get("params") or []
    # anvil takes some of its own as an object; of those there is one.
    if isinstance(params, dict):
        params = [params]
    if not isinstance(params, list):
        raise BadParams("params are a list")
    return method(params)


def _explain(number: Json, error: ShoalError) -> dict[str, Json]:
    if isinstance(error, Reverted):
        return _error(number, REVERTED, error.message, hexed(error.data))
    if isinstance(error, NoMethod):
        return _error(number, NO_METHOD, error.message)
    if isinstance(error, BadParams):
        return _error(number, BAD_PARAMS, error.message)
    if isinstance(error, Busy):
        return _error(number, LIMIT, error.message)
    return _error(number, REFUSED, error.message)


def _error(number: Json, code: int, message: str, data: Json = None) -> dict[str, Json]:
    error: dict[str, Json] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": number, "error": error}
