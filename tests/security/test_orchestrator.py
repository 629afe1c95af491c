"""An orchestrator believes only the worker that holds the lease: real sockets, and the journal as the judge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from shoal.ids import JobId, NodeId, digest
from shoal.machine import Connected, Event, Heard
from shoal.money.wei import Price, Wei
from shoal.orchestrator.config import Settings
from shoal.orchestrator.service import Service
from shoal.runtime.history import read_history
from shoal.runtime.keys import NodeKey
from shoal.runtime.transport import Peers
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import JobSpec, Payload

W = TypeVar("W", bound=words.Word)

pytestmark = pytest.mark.anyio

JOB = JobId("job_" + "0" * 32)
BODY = encode_payload(Payload(b"{}"))
ANSWER = encode_payload(Payload(b'{"text":"hello"}'))
PRICE = Price(1_000_000)
PATIENCE_S = 10


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def order(job: JobId = JOB, epoch: int = 1) -> words.Job:
    spec = JobSpec("echo", "echo", units_max=5)
    return words.Job(job, epoch, spec, PRICE, 60_000, digest(BODY), BODY)


def result(job: JobId = JOB, epoch: int = 1) -> words.Result:
    return words.Result(job, epoch, 1, 5, digest(ANSWER), ANSWER)


class Peer:
    """A gateway or a worker that says what it likes, with a key of its own."""

    def __init__(self, role: str, key: NodeKey) -> None:
        self.key = key
        self.connected = asyncio.Event()
        self._heard: asyncio.Queue[words.Word] = asyncio.Queue()
        self._peers = Peers(key, role, "boot", self._post, rng=Random(1))
        self._orchestrator = key.id

    async def meet(self, port: int) -> None:
        """Dial, and wait until the door is open."""
        self._peers.dial("127.0.0.1", port)
        await asyncio.wait_for(self.connected.wait(), PATIENCE_S)

    def dial(self, port: int) -> None:
        """Dial, whatever comes of it."""
        self._peers.dial("127.0.0.1", port)

    def say(self, word: words.Word) -> None:
        """Send a word."""
        assert self._peers.send(self._orchestrator, word)

    async def hear(self, kind: type[W]) -> W:
        """The next word of this kind; what else is said until then is not looked at."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if isinstance(word := await self._heard.get(), kind):
                    return word

    async def close(self) -> None:
        """Be gone."""
        await self._peers.close()

    def _post(self, event: Event) -> None:
        if isinstance(event, Connected):
            self._orchestrator = event.peer
            self.connected.set()
        elif isinstance(event, Heard):
            assert isinstance(event.word, words.Word)
            self._heard.put_nowait(event.word)


class Street:
    """A real orchestrator with a gateway and two workers, each admitted by its key."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.gateway = Peer("gateway", NodeKey.generate())
        self.worker = Peer("worker", NodeKey.generate())
        self.other = Peer("worker", NodeKey.generate())
        workers = (self.worker.key.id, self.other.key.id)
        self.service = Service(
            Settings(
                home=str(home),
                listen="127.0.0.1:0",
                operator_addr="",
                gateways=(self.gateway.key.id,),
                workers=workers,
            )
        )
        self.port = 0

    async def facts(self) -> list[bytes]:
        """What is in the journal, on disk."""
        await self.service.node.durable()
        with read_history(self.home / "journal.sqlite3") as history:
            return [fact for _, _, fact in history]

    async def lease(self) -> None:
        """Let the worker have the job."""
        self.worker.say(words.Offers((words.Offer("echo", "echo", 1),)))
        while not (await self.gateway.hear(words.Capacity)).quotes:
            pass
        self.gateway.say(order())
        assert (await self.worker.hear(words.Job)).job == JOB


@asynccontextmanager
async def street(home: Path) -> AsyncIterator[Street]:
    """All of them connected."""
    it = Street(home)
    listen = it.service.node.peers.listen

    async def remember(host: str, port: int) -> int:
        it.port = await listen(host, port)
        return it.port

    it.service.node.peers.listen = remember  # type: ignore[method-assign]
    await it.service.start()
    peers = (it.gateway, it.worker, it.other)
    try:
        for peer in peers:
            await peer.meet(it.port)
        yield it
    finally:
        await asyncio.gather(*(peer.close() for peer in peers))
        await it.service.stop()


async def test_a_result_counts_only_from_the_holder_of_the_lease_and_under_its_epoch(tmp_path: Path) -> None:
    async with street(tmp_path) as it:
        await it.lease()
        before = await it.facts()
        for peer, word in (
            (it.other, result()),
            (it.worker, result(epoch=2)),
            (it.worker, result(JobId("job_" + "1" * 32))),
            (it.other, words.Progress(JOB, 1, 1, 0, "text")),
            (it.other, words.Failure(JOB, 1, words.Fault("failed", "so it is said"))),
        ):
            peer.say(word)
            assert (await peer.hear(words.Cancel)).job == getattr(word, "job")  # noqa: B009 - words of many kinds
        assert await it.facts() == before
        it.worker.say(result())
        assert (await it.gateway.hear(words.Result)).receipt is not None
        assert await it.facts() == before


async def test_a_result_that_comes_again_after_it_was_paid_is_paid_no_more(tmp_path: Path) -> None:
    async with street(tmp_path) as it:
        await it.lease()
        it.worker.say(result())
        receipt = (await it.gateway.hear(words.Result)).receipt
        assert receipt is not None
        wei = receipt.wei
        it.gateway.say(words.Accept(JOB, 1, 1, Wei(wei)))
        share = (await it.worker.hear(words.Settled)).leases[0].wei
        before = await it.facts()
        it.worker.say(result())
        assert (await it.worker.hear(words.Settled)).leases[0].wei == share
        it.gateway.say(words.Accept(JOB, 1, 1, Wei(wei)))
        await it.gateway.hear(words.Settled)
        it.other.say(result())
        await it.other.hear(words.Cancel)
        assert await it.facts() == before


async def test_a_result_after_its_lease_was_given_to_another_is_refused(tmp_path: Path) -> None:
    async with street(tmp_path) as it:
        await it.lease()
        it.worker.say(words.Failure(JOB, 1, words.Fault("failed", "it did not work")))
        await it.gateway.hear(words.Failure)
        await it.worker.hear(words.Cancel)
        it.worker.say(words.Offers(()))
        it.other.say(words.Offers((words.Offer("echo", "echo", 1),)))
        while [quote.slots for quote in (await it.gateway.hear(words.Capacity)).quotes] != [1]:
            pass
        it.gateway.say(order(epoch=2))
        assert (await it.other.hear(words.Job)).epoch == 2
        before = await it.facts()
        for late in (result(), result(epoch=2)):
            it.worker.say(late)
            assert (await it.worker.hear(words.Cancel)).epoch == late.epoch
        assert await it.facts() == before


async def test_a_key_that_nobody_admitted_stays_outside(tmp_path: Path) -> None:
    async with street(tmp_path) as it:
        before = await it.facts()
        members = len(it.service.machine.roster.members())
        refused = asyncio.Event()
        admits = it.service.node.peers._admit
        assert admits is not None

        def look(node: NodeId, role: str) -> bool:
            answer = admits(node, role)
            if not answer:
                refused.set()
            return answer

        it.service.node.peers._admit = look
        for role in ("worker", "gateway", "orchestrator"):
            stranger = Peer(role, NodeKey.generate())
            stranger.dial(it.port)
            await asyncio.wait_for(refused.wait(), PATIENCE_S)
            assert not stranger.connected.is_set()
            await stranger.close()
            refused.clear()
        impostor = Peer("gateway", it.worker.key)  # admitted, but as a worker
        impostor.dial(it.port)
        await asyncio.wait_for(refused.wait(), PATIENCE_S)
        await impostor.close()
        assert len(it.service.machine.roster.members()) == members
        assert await it.facts() == before
