"""One node that answers as it is told: every way to fail is one clear error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from shoal.chain.reader import Reader
from shoal.chain.revert import reason_of
from shoal.chain.rpc import Limits, NodeRefused, Reverted, Rpc
from shoal.errors import Refused, Unreachable
from shoal.runtime.door import Door, Reply, Request
from shoal.runtime.http import Server, bind

pytestmark = pytest.mark.anyio


def error_string(text: str) -> str:
    padded = text.encode() + bytes(-len(text.encode()) % 32)
    return "0x08c379a0" + (32).to_bytes(32).hex() + len(text.encode()).to_bytes(32).hex() + padded.hex()


class Told:
    """What a node answers next, and what it was asked."""

    def __init__(self) -> None:
        self.body: bytes = b""
        self.status = 200
        self.asked: list[Any] = []

    async def answer(self, request: Request) -> Reply:
        self.asked.append(msgspec.json.decode(await request.body(1 << 20)))
        return Reply(self.body, self.status)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def rpc(told: Told) -> AsyncIterator[Rpc]:
    listener = bind("127.0.0.1", 0)
    server = Server(Door({"POST /": told.answer}), listener)
    await server.open()
    made = Rpc(
        f"http://127.0.0.1:{listener.getsockname()[1]}",
        limits=Limits(answer_bytes_max=2_000, answer_ms=2_000),
    )
    try:
        yield made
    finally:
        await made.close()
        await server.close()


async def test_a_question_and_its_answer(told: Told, rpc: Rpc) -> None:
    told.body = b'{"jsonrpc":"2.0","id":1,"result":"0x10"}'
    assert await rpc.ask("eth_blockNumber") == "0x10"
    assert told.asked[0] == {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            {"code": 3, "message": "execution reverted: no", "data": error_string("ticket is used")},
            Reverted,
            "ticket is used",
        ),
        ({"code": 3, "message": "execution reverted: ticket is used"}, Reverted, "ticket is used"),
        ({"code": -32000, "message": "execution reverted"}, Reverted, "reverted without a reason"),
        ({"code": -32015, "message": "VM error", "data": {"data": error_string("x")}}, Reverted, "x"),
        ({"code": -32015, "message": "VM error", "data": "Reverted " + error_string("y")}, Reverted, "y"),
        ({"code": -32000, "message": "nonce too low"}, NodeRefused, "m: nonce too low"),
        ({"code": -32601}, NodeRefused, "m: no reason given"),
    ],
)
async def test_an_error_is_cast_once(
    told: Told, rpc: Rpc, error: Any, kind: type[Exception], message: str
) -> None:
    told.body = msgspec.json.encode({"id": 1, "error": error})
    with pytest.raises(kind) as caught:
        await rpc.ask("m")
    assert str(caught.value) == message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": 3}', b"\xff", b"{" * 1_000])
async def test_what_is_no_answer_is_unreachable(told: Told, rpc: Rpc, body: bytes) -> None:
    told.body = body
    with pytest.raises(Unreachable, match="does not speak JSON-RPC"):
        await rpc.ask("m")


@pytest.mark.parametrize("status", [500, 503, 429, 401, 404])
async def test_a_status_is_said(told: Told, rpc: Rpc, status: int) -> None:
    told.status = status
    with pytest.raises(Unreachable, match=f"answers {status}"):
        await rpc.ask("m")


async def test_too_much_is_not_read(told: Told, rpc: Rpc) -> None:
    told.body = b'"' + b"x" * 3_000 + b'"'
    with pytest.raises(Unreachable, match="answers more than 2000 bytes"):
        await rpc.ask("m")


async def test_nobody_there() -> None:
    rpc = Rpc("http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="cannot be reached"):
        await rpc.ask("m")
    await rpc.close()


@pytest.mark.parametrize("url", ["", "ftp://a", "127.0.0.1:8545", "http://", "file:///etc/passwd"])
def test_what_is_no_url_of_a_node(url: str) -> None:
    with pytest.raises(Refused, match="is no Ethereum node"):
        Rpc(url)


async def test_a_key_in_the_url_is_not_told() -> None:
    rpc = Rpc("http://user:secret@127.0.0.1:1/v3/token")
    assert rpc.name == "http://127.0.0.1:1"
    with pytest.raises(Unreachable) as caught:
        await rpc.ask("m")
    assert "secret" not in str(caught.value)
    assert "token" not in str(caught.value)
    await rpc.close()


@pytest.mark.parametrize("result", ["null", '"x"', "{}", "3"])
async def test_answers_of_another_shape_are_the_nodes_fault(told: Told, rpc: Rpc, result: str) -> None:
    told.body = b'{"id":1,"result":' + result.encode() + b"}"
    reader = Reader(rpc, None)  # type: ignore[arg-type]
    for ask in (reader.head(), reader.gas_price_wei(), reader.nonce("0x")):  # type: ignore[arg-type]
        with pytest.raises(NodeRefused):
            await ask


def test_reasons_are_read_from_bytes() -> None:
    assert reason_of(bytes.fromhex(error_string("ticket is used")[2:])) == "ticket is used"
    assert reason_of(bytes.fromhex("4e487b71") + (0x11).to_bytes(32)) == "an amount is out of bounds"
    assert reason_of(b"") == ""
    assert reason_of(b"abcd") == "reverted with 0x61626364"
    endless = bytes.fromhex("08c379a0") + (32).to_bytes(32) + (2**255).to_bytes(32) + b"x" * 9_999
    assert len(reason_of(endless)) <= 1_024
