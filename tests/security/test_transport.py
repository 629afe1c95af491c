"""Strangers at the door: whatever they send, they learn nothing, break nothing and stay outside."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.ids import JobId
from shoal.machine import Connected, Disconnected, Event, Heard
from shoal.runtime import handshake
from shoal.runtime.certificate import ALPN, dialler_tls, listener_tls
from shoal.runtime.connection import Limits
from shoal.runtime.frames import HEADER, Kind, frame
from shoal.runtime.handshake import Admit, Farewell, Hello, Proof
from shoal.runtime.keys import NodeKey
from shoal.runtime.transport import Peers
from shoal.units import KIB, MIB
from shoal.wire import codec
from shoal.wire.words import Cancel
from stranger import Stranger

WORKER = NodeKey((1).to_bytes(32))
ORCHESTRATOR = NodeKey((2).to_bytes(32))
MALLORY = NodeKey((3).to_bytes(32))
PATIENCE_S = 30

PATIENT = Limits(
    handshake_ms=20_000, farewell_ms=200, sweep_ms=10, backoff_ms_min=1_000_000, backoff_ms_max=1_000_000
)
HASTY = Limits(handshake_ms=300, farewell_ms=200, sweep_ms=10)

Scene = Callable[[], Awaitable[None]]
Run = Callable[[Scene], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Run:
    """Play a scene on one of the loops; it must end in time and raise nothing behind its back."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    caplog.set_level(logging.WARNING, "shoal.transport")

    def play(scene: Scene) -> None:
        strays: list[object] = []

        async def within_patience() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: strays.append(context))
            async with asyncio.timeout(PATIENCE_S):
                await scene()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(within_patience())
        assert strays == []

    return play


class Door:
    """An orchestrator that listens, and all that its peers post."""

    def __init__(self, *, admit: Admit | None = None, limits: Limits = PATIENT) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.peers = Peers(
            ORCHESTRATOR,
            "orchestrator",
            "boot",
            self.events.put_nowait,
            rng=Random(1),
            admit=admit,
            limits=limits,
        )

    async def expect(self, *events: Event) -> None:
        assert [await self.events.get() for _ in events] == list(events)


@asynccontextmanager
async def door(*, admit: Admit | None = None, limits: Limits = PATIENT) -> AsyncIterator[tuple[Door, int]]:
    """A door that must still be good for an honest worker when the scene is over."""
    it = Door(admit=admit, limits=limits)
    port = await it.peers.listen("127.0.0.1", 0)
    try:
        yield it, port
        assert it.events.empty()
        honest = await Stranger.dial(port)
        await honest.prove(WORKER)
        honest.send(codec.encode(Cancel(JobId("honest"), 1)))
        await it.expect(Connected(WORKER.id, "worker", "boot"), Heard(WORKER.id, Cancel(JobId("honest"), 1)))
        await honest.close()
        await it.expect(Disconnected(WORKER.id))
    finally:
        await it.peers.close()


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged before the honest worker came."""
    lines = [record.getMessage() for record in caplog.records if record.name == "shoal.transport"]
    assert all(
        record.levelno == logging.WARNING for record in caplog.records if record.name == "shoal.transport"
    )
    return [line for line in lines if f"worker {WORKER.id}" not in line]


def test_a_wrong_key_stays_outside(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with door() as (_, port):
            stranger = await Stranger.dial(port)
            await stranger.prove(MALLORY, claims=WORKER.id)
            assert await stranger.farewell() == Farewell(
                "untrusted", f"the peer has not proved that it is {WORKER.id}"
            )

    run(scene)
    (line,) = complaints(caplog)
    assert line.endswith(f"hanging up: the peer has not proved that it is {WORKER.id}")


def test_who_is_not_admitted_stays_outside(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with door(admit=lambda node, role: (node, role) == (WORKER.id, "worker")) as (_, port):
            for key, role in ((MALLORY, "worker"), (WORKER, "gateway")):
                stranger = await Stranger.dial(port)
                await stranger.prove(key, role=role)
                assert await stranger.farewell() == Farewell(
                    "refused", f"{key.id} is not admitted here as {role}"
                )

    run(scene)
    assert len(complaints(caplog)) == 2


def test_a_dialler_finds_somebody_else(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with door() as (_, port):
            events: asyncio.Queue[Event] = asyncio.Queue()
            gateway = Peers(MALLORY, "gateway", "boot", events.put_nowait, rng=Random(1), limits=PATIENT)
            link = await gateway._connect("127.0.0.1", port, WORKER.id)
            await asyncio.wait([link.gone])
            assert events.empty()
            await gateway.close()

    run(scene)
    (line,) = [line for line in complaints(caplog) if "hanging up" in line]
    assert f"says it is {ORCHESTRATOR.id}, expected {WORKER.id}" in line


def test_a_man_in_the_middle_is_noticed(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """He ends TLS on both sides and passes every byte on: nobody is connected, nothing is said."""

    async def scene() -> None:
        async with door() as (_, port):
            over = asyncio.Event()

            async def between(incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter) -> None:
                far = await Stranger.dial(port)
                near = Stranger(incoming, outgoing)
                await asyncio.gather(pass_on(near, far), pass_on(far, near))
                over.set()

            server = await asyncio.start_server(between, "127.0.0.1", 0, ssl=listener_tls()[0])
            events: asyncio.Queue[Event] = asyncio.Queue()
            worker = Peers(WORKER, "worker", "boot", events.put_nowait, rng=Random(1), limits=PATIENT)
            worker.dial("127.0.0.1", server.sockets[0].getsockname()[1], ORCHESTRATOR.id)
            await over.wait()
            assert events.empty()
            await worker.close()
            server.close()
            await server.wait_closed()

    run(scene)
    assert any("hanging up: the peer has not proved" in line for line in complaints(caplog))


async def pass_on(source: Stranger, target: Stranger) -> None:
    try:
        while data := await source._incoming.read(64 * KIB):
            target.outgoing.write(data)
    except OSError:
        pass
    await target.close()


def test_a_replayed_connection_stays_outside(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with door() as (it, port):
            recorded = await Stranger.dial(port)
            await recorded.prove(WORKER)
            recorded.send(codec.encode(Cancel(JobId("job"), 1)))
            await it.expect(Connected(WORKER.id, "worker", "boot"), Heard(WORKER.id, Cancel(JobId("job"), 1)))
            await recorded.close()
            await it.expect(Disconnected(WORKER.id))
            replay = await Stranger.dial(port)
            replay.write(recorded.sent)
            assert (await replay.farewell()).reason == f"the peer has not proved that it is {WORKER.id}"

    run(scene)
    assert len(complaints(caplog)) == 1


def test_words_before_the_proof_are_not_heard(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with door() as (_, port):
            stranger = await Stranger.dial(port)
            stranger.send(codec.encode(Cancel(JobId("job"), 1)))
            assert (await stranger.farewell()).code == "untrusted"

    run(scene)
    assert len(complaints(caplog)) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        HEADER.pack(4 * KIB + 1, Kind.WHOLE, 0),
        HEADER.pack(0xFFFFFFFF, Kind.WHOLE, 0),
        frame(Kind.PART, 1, b"x"),
        frame(Kind.LAST, 1, b"x"),
        frame(Kind.WHOLE, 0, b"x"),
        frame(Kind.WHOLE, 0, handshake.encode(Proof(bytes(65)))),
        frame(Kind.WHOLE, 0, b"\x96\xa5\xffello"),
        frame(Kind.FAREWELL, 0, b"\x93\xa8Farewell\xa1\xff\xa0"),
        frame(Kind.FAREWELL, 0, b"x"),
    ],
)
def test_a_stranger_s_garbage_is_answered_with_one_line(
    run: Run, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    async def scene() -> None:
        async with door() as (_, port):
            stranger = await Stranger.dial(port)
            stranger.write(data)
            assert (await stranger.farewell()).code == "untrusted"

    run(scene)
    assert len(complaints(caplog)) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (HEADER.pack(MIB + 1, Kind.WHOLE, 0), "a frame of 1048577 bytes is over the limit of 1048576"),
        (HEADER.pack(MIB + 1, Kind.PART, 1), "a frame of 1048577 bytes is over the limit of 1048576"),
        (frame(Kind.PART, 1, bytes(MIB)) * 3, "unfinished messages are over the limit of 2097152 bytes"),
        (b"".join(frame(Kind.PART, n, b"x") for n in range(17)), "more than 16 messages are unfinished"),
        (HEADER.pack(1, 9, 0), "there is no frame of kind 9"),
        (frame(Kind.WHOLE, 0, b"\xc1"), "a message does not follow the protocol"),
        (frame(Kind.WHOLE, 0, b"\x93\xa6Cancel\xa1\xff\x01"), "utf-8"),
        (frame(Kind.WHOLE, 0, b"\x91\xa5Reset"), "a message does not follow the protocol"),
        (frame(Kind.WHOLE, 0, b"\x91" * 100_000), "a message does not follow the protocol"),
        (frame(Kind.WHOLE, 0, handshake.encode(Proof(bytes(65)))), "a message does not follow the protocol"),
    ],
)
def test_a_peer_that_breaks_a_rule_is_let_go(
    run: Run, caplog: pytest.LogCaptureFixture, data: bytes, reason: str
) -> None:
    limits = Limits(handshake_ms=20_000, farewell_ms=200, message_bytes_max=2 * MIB)

    async def scene() -> None:
        async with door(limits=limits) as (it, port):
            peer = await Stranger.dial(port)
            await peer.prove(MALLORY)
            peer.send(codec.encode(Cancel(JobId("job"), 1)))
            peer.write(data)
            peer.send(codec.encode(Cancel(JobId("job"), 2)))
            await it.expect(
                Connected(MALLORY.id, "worker", "boot"),
                Heard(MALLORY.id, Cancel(JobId("job"), 1)),
                Disconnected(MALLORY.id),
            )
            await peer.over()

    run(scene)
    (line,) = complaints(caplog)
    assert reason in line
    assert f"worker {MALLORY.id} at 127.0.0.1" in line


def test_who_says_nothing_is_let_go(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with door(limits=HASTY) as (_, port):
            stranger = await Stranger.dial(port)
            assert (await stranger.farewell()).reason == "the peer has not proved who it is within 150 ms"

    run(scene)
    assert len(complaints(caplog)) == 1


def test_who_is_slow_is_let_go_however_often_it_pings(run: Run) -> None:
    async def scene() -> None:
        async with door(limits=HASTY) as (_, port):
            stranger = await Stranger.dial(port)
            hello = frame(
                Kind.WHOLE,
                0,
                handshake.encode(Hello(handshake.VERSION, "worker", WORKER.id, "boot", bytes(32))),
            )
            ended = asyncio.ensure_future(stranger.farewell())
            for place in range(len(hello) - 1):
                stranger.outgoing.write(frame(Kind.PING, 0, b"") if place == 0 else hello[place - 1 : place])
            assert (await ended).code == "untrusted"

    run(scene)


def test_who_does_not_even_speak_tls_is_let_go(run: Run) -> None:
    async def scene() -> None:
        async with door(limits=HASTY) as (_, port):
            mute = Stranger(*await asyncio.open_connection("127.0.0.1", port))
            noisy = Stranger(*await asyncio.open_connection("127.0.0.1", port))
            noisy.write(b"\x00" * 1000)
            await noisy.over()
            await mute.over()

    run(scene)


@pytest.mark.parametrize("protocols", [[], ["h2"], ["h2", "http/1.1"]])
def test_who_speaks_another_protocol_is_told_so(run: Run, protocols: list[str]) -> None:
    async def scene() -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        if protocols:
            tls.set_alpn_protocols(protocols)
        async with door() as (_, port):
            stranger = await Stranger.dial(port, tls=tls)
            assert (await stranger.farewell()).reason == f"the peer does not speak {ALPN}"

    run(scene)


def test_old_tls_is_not_spoken(run: Run) -> None:
    async def scene() -> None:
        tls = dialler_tls()
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        async with door() as (_, port):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await Stranger.dial(port, tls=tls)

    run(scene)


def test_strangers_may_not_take_all_places(run: Run) -> None:
    limits = Limits(handshake_ms=20_000, farewell_ms=200, unproven_max=2)

    async def scene() -> None:
        async with door(limits=limits) as (_, port):
            idle = [await Stranger.dial(port) for _ in range(2)]
            one_more = await Stranger.dial(port)
            assert (await one_more.farewell()).code == "busy"
            for stranger in idle:
                stranger.send(b"x")
                await stranger.over()

    run(scene)


def test_peers_are_limited_and_an_old_one_may_come_again(run: Run) -> None:
    limits = Limits(handshake_ms=20_000, farewell_ms=200, peers_max=1)

    async def scene() -> None:
        async with door(limits=limits) as (it, port):
            first = await Stranger.dial(port)
            await first.prove(MALLORY)
            await it.expect(Connected(MALLORY.id, "worker", "boot"))
            second = await Stranger.dial(port)
            await second.prove(WORKER)
            assert (await second.farewell()).code == "busy"
            again = await Stranger.dial(port)
            await again.prove(MALLORY)
            await it.expect(Connected(MALLORY.id, "worker", "boot"))
            await first.over()
            await again.close()
            await it.expect(Disconnected(MALLORY.id))

    run(scene)


def test_a_farewell_cannot_forge_a_line_of_the_log(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with door() as (_, port):
            stranger = await Stranger.dial(port)
            forged = Farewell("x", "bye\nWARNING shoal: all is lost")
            stranger.write(frame(Kind.FAREWELL, 0, handshake.encode_farewell(forged)))
            await stranger.over()

    run(scene)
    (line,) = complaints(caplog)
    assert "\n" not in line


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=300), max_size=6), st.booleans())
def test_no_bytes_break_a_door(pieces: list[bytes], proved: bool) -> None:
    """Before or after its proof, a peer's bytes are dropped or end its own link, never more."""

    async def scene() -> None:
        it = Door()
        strays: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: strays.append(context))
        port = await it.peers.listen("127.0.0.1", 0)
        peer = await Stranger.dial(port)
        if proved:
            await peer.prove(MALLORY)
            await it.expect(Connected(MALLORY.id, "worker", "boot"))
        for piece in pieces:
            peer.write(frame(Kind.WHOLE, 0, piece) if piece and piece[0] % 2 else piece)
        await peer.close()
        if proved:
            await it.expect(Disconnected(MALLORY.id))
        await it.peers.close()
        assert it.events.empty()
        assert strays == []

    async def within_patience() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scene()

    asyncio.run(within_patience())
