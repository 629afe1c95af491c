"""A gateway that has its tickets signed in another process: whatever becomes of it, the machine hears of it once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal.chain.settings import ChainSettings
from shoal.errors import Refused
from shoal.gateway.config import Settings
from shoal.gateway.events import SenderKnown, SigningFailed, SignTickets, TicketsSigned
from shoal.gateway.remote import RemoteSigner
from shoal.gateway.signing import OwnKey, signer
from shoal.ids import NodeId
from shoal.machine import Event
from shoal.runtime.door import Door, Reply, Request, encode
from shoal.runtime.http import Server, bind
from shoal.runtime.keys import NodeKey, recover_hash
from shoal.signer.config import Rules
from signerdoor import signer as running
from signing import TICKET, WORTH
from tickets import PAYEE, PAYER

pytestmark = pytest.mark.anyio
URL = "http://127.0.0.1:1"


class Heard:
    """What a signer tells."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def __call__(self, event: Event) -> None:
        self._events.put_nowait(event)

    async def next(self) -> Event:
        async with asyncio.timeout(20):
            return await self._events.get()

    def empty(self) -> bool:
        return self._events.empty()


@asynccontextmanager
async def asking(url: str, token: str) -> AsyncIterator[tuple[RemoteSigner, Heard]]:
    heard = Heard()
    remote = RemoteSigner(url, token, heard)
    try:
        yield remote, heard
    finally:
        await remote.close()


@asynccontextmanager
async def answering(answer: Callable[[Request], Any]) -> AsyncIterator[str]:
    """What is no signer, but answers where one should be."""

    async def asked(request: Request) -> Reply:
        value = answer(request)
        return value if isinstance(value, Reply) else Reply(encode(value))

    listener = bind("127.0.0.1", 0)
    server = Server(Door({"GET /address": asked, "POST /sign-tickets": asked}), listener)
    await server.open()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await server.close()


def wanted(sender: NodeId, *nonces: int) -> SignTickets:
    return SignTickets(PAYEE.id, TICKET, tuple(TICKET.ticket(sender, nonce) for nonce in nonces))


async def failed(heard: Heard) -> str:
    """Why it was not signed: one line for people."""
    event = await heard.next()
    assert isinstance(event, SigningFailed)
    assert event.orchestrator == PAYEE.id
    assert "\n" not in event.fault.message
    return event.fault.message


async def test_tickets_are_signed_elsewhere(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as caller,
        asking(str(caller.client.base_url), caller.token) as (remote, heard),
    ):
        remote.open()
        assert await heard.next() == SenderKnown(caller.address)
        remote.sign(wanted(caller.address, 1, 2))
        event = await heard.next()
        assert isinstance(event, TicketsSigned)
        assert (event.orchestrator, event.params) == (PAYEE.id, TICKET)
        for each in event.tickets:
            hash32 = TICKET.ticket(caller.address, each.nonce).signed_hash
            assert recover_hash(hash32, each.signature) == caller.address
        assert [each.nonce for each in event.tickets] == [1, 2]


async def test_why_not_is_said_in_one_line(tmp_path: Path) -> None:
    rules = Rules(ev_wei_in_all=2 * WORTH)
    async with running(tmp_path, rules=rules) as caller:
        url = str(caller.client.base_url)
        async with asking(url, caller.token) as (remote, heard):
            remote.sign(wanted(caller.address, 1, 2, 3))
            assert "limit of 2000000000000 wei in all is reached" in await failed(heard)
        async with asking(url, "wrong") as (remote, heard):
            remote.sign(wanted(caller.address, 1))
            assert "send its token" in await failed(heard)
        async with asking(url, caller.token) as (remote, heard):
            remote.sign(wanted(PAYER.id, 1))
            assert f"and this signer is {caller.address}" in await failed(heard)
            assert await heard.next() == SenderKnown(caller.address), "it has another key than was thought"
        assert caller.spent == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"signatures": []}, "has signed 0 tickets of 1"),
        ({"signatures": ["0x" + "00" * 65]}, "signature is none"),
        ({"signatures": ["0x00"]}, "no signer of ours"),
        ({"other": 1}, "no signer of ours"),
        (Reply(b"<html>", 200), "no signer of ours"),
        (Reply(b"<html>", 502), "it answers 502"),
        (Reply(b'{"error": {"message": "a\\nb"}}', 500), "did not sign: a b"),
        (Reply(b" " * 300_000, 200), "answers too much"),
        (Reply(b"", 302), "it answers 302"),
    ],
)
async def test_no_answer_is_taken_for_more_than_it_is(answer: Any, words: str) -> None:
    async with answering(lambda request: answer) as url, asking(url, "t") as (remote, heard):
        remote.sign(wanted(PAYER.id, 1))
        assert words in await failed(heard)


async def test_anothers_signature_is_not_believed() -> None:
    other = NodeKey.generate()
    signature = other.sign_hash(TICKET.ticket(PAYER.id, 1).signed_hash)
    answer = {"signatures": ["0x" + signature.hex()]}
    async with answering(lambda request: answer) as url, asking(url, "t") as (remote, heard):
        remote.sign(wanted(PAYER.id, 1))
        assert f"signs as {other.id}" in await failed(heard)


async def test_a_signer_that_is_away_is_asked_until_it_is_there() -> None:
    listener = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    calls = []

    def answer(request: Request) -> Any:
        calls.append(request.path)
        return {"address": PAYER.id} if len(calls) > 2 else Reply(b"", 503)

    async with asking(url, "t") as (remote, heard):
        remote.sign(wanted(PAYER.id, 1))
        assert "cannot be reached" in await failed(heard)
    async with answering(answer) as url, asking(url, "t") as (remote, heard):
        remote.open()
        remote.open()
        assert await heard.next() == SenderKnown(PAYER.id)
        assert calls == ["/address"] * 3
        assert heard.empty()


@pytest.mark.parametrize("url", ["127.0.0.1:7939", "ftp://x", "http://example.org", "http://a:b@127.0.0.1"])
async def test_its_token_goes_nowhere_that_others_listen(url: str) -> None:
    with pytest.raises(Refused, match="signer_url"):
        RemoteSigner(url, "t", Heard())


async def test_who_signs_follows_from_the_settings() -> None:
    heard, chain = Heard(), ChainSettings(rpc_url="http://127.0.0.1:1")
    assert signer(Settings(home=""), PAYER, heard) is None
    own = signer(Settings(home="", chain=chain), PAYER, heard)
    assert isinstance(own, OwnKey)
    own.open()
    assert await heard.next() == SenderKnown(PAYER.id)
    own.sign(wanted(PAYER.id, 1))
    assert isinstance(await heard.next(), TicketsSigned)
    remote = signer(Settings(home="", chain=chain, signer_url=URL), PAYER, heard)
    assert isinstance(remote, RemoteSigner)
    await remote.close()
    with pytest.raises(Refused, match="no chain to pay on"):
        signer(Settings(home="", signer_url=URL), PAYER, heard)
