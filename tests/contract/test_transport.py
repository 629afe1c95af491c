"""Two ends of a link over real sockets, on each event loop: what a machine may rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest
import uvloop

from shoal.errors import Refused
from shoal.ids import Digest, JobId, NodeId
from shoal.machine import Connected, Disconnected, Event, Heard
from shoal.runtime.connection import Connection, Limits
from shoal.runtime.frames import CUT_BYTES
from shoal.runtime.handshake import Admit
from shoal.runtime.keys import NodeKey
from shoal.runtime.transport import Peers
from shoal.wire.words import Cancel, Heartbeat, Held, Result

WORKER = NodeKey((1).to_bytes(32))
ORCHESTRATOR = NodeKey((2).to_bytes(32))
GATEWAY = NodeKey((3).to_bytes(32))
PATIENCE_S = 30

#: Comes back at once, notices silence soon, and gives a slow computer time to shake hands.
QUICK = Limits(
    ping_ms=50,
    silence_ms=400,
    sweep_ms=10,
    farewell_ms=200,
    backoff_ms_min=1,
    backoff_ms_max=5,
    handshake_ms=20_000,
)
#: Does not come back within a test.
ONCE = Limits(farewell_ms=200, backoff_ms_min=1_000_000, backoff_ms_max=1_000_000)

Scene = Callable[[], Awaitable[None]]
Run = Callable[[Scene], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Play a scene on one of the loops; it must end in time and raise nothing behind its back."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

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


class Node:
    """Peers, and all that they post."""

    def __init__(
        self,
        key: NodeKey,
        role: str,
        *,
        boot: str = "boot",
        admit: Admit | None = None,
        limits: Limits = QUICK,
        rng: Random | None = None,
    ) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.peers = Peers(
            key, role, boot, self.events.put_nowait, rng=rng or Random(1), admit=admit, limits=limits
        )

    async def expect(self, *events: Event) -> None:
        """Wait for so many events; they must be these."""
        assert [await self.events.get() for _ in events] == list(events)

    def link(self, peer: NodeId) -> Connection:
        return self.peers._live[peer]


class Draws(Random):
    """A source of randomness that writes down what is asked of it and gives the least."""

    def __init__(self, enough: int) -> None:
        super().__init__(1)
        self.asked: list[tuple[float, float]] = []
        self.enough = asyncio.Event()
        self._wanted = enough

    def uniform(self, a: float, b: float) -> float:
        self.asked.append((a, b))
        if len(self.asked) >= self._wanted:
            self.enough.set()
        return a


async def pair(limits: Limits = QUICK) -> tuple[Node, Node, int]:
    """A worker that is connected to an orchestrator, and the orchestrator's port."""
    orchestrator = Node(ORCHESTRATOR, "orchestrator", limits=limits)
    worker = Node(WORKER, "worker", limits=limits)
    port = await orchestrator.peers.listen("127.0.0.1", 0)
    worker.peers.dial("127.0.0.1", port, ORCHESTRATOR.id)
    await worker.expect(Connected(ORCHESTRATOR.id, "orchestrator", "boot"))
    await orchestrator.expect(Connected(WORKER.id, "worker", "boot"))
    return worker, orchestrator, port


async def close(*nodes: Node) -> None:
    await asyncio.gather(*(node.peers.close() for node in nodes))


async def turn() -> None:
    """One turn of the loop."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)
    await done.wait()


def beat(number: int) -> Heartbeat:
    return Heartbeat((Held(JobId("job"), number),))


def answer(size: int, number: int = 1) -> Result:
    return Result(JobId("job"), number, 1, 1, Digest("d"), bytes(size))


def test_words_go_both_ways_in_order(run: Run) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair()
        for number in range(100):
            assert worker.peers.send(ORCHESTRATOR.id, beat(number))
            assert orchestrator.peers.send(WORKER.id, Cancel(JobId("job"), number))
        await orchestrator.expect(*(Heard(WORKER.id, beat(number)) for number in range(100)))
        await worker.expect(*(Heard(ORCHESTRATOR.id, Cancel(JobId("job"), number)) for number in range(100)))
        await close(worker, orchestrator)

    run(scene)


def test_all_words_of_one_turn_leave_in_one_write(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair(ONCE)
        writer = worker.link(ORCHESTRATOR.id)._writer
        writes: list[bytes] = []
        take = writer.take

        def counted() -> bytes:
            writes.append(take())
            return writes[-1]

        monkeypatch.setattr(writer, "take", counted)
        for number in range(10):
            worker.peers.send(ORCHESTRATOR.id, beat(number))
        await orchestrator.expect(*(Heard(WORKER.id, beat(number)) for number in range(10)))
        assert len(writes) == 1
        await close(worker, orchestrator)

    run(scene)


def test_a_heartbeat_overtakes_a_large_answer(run: Run) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair()
        large = answer(100 * CUT_BYTES)
        assert worker.peers.send(ORCHESTRATOR.id, large)
        await turn()
        assert worker.peers.send(ORCHESTRATOR.id, beat(1))
        await orchestrator.expect(Heard(WORKER.id, beat(1)), Heard(WORKER.id, large))
        await close(worker, orchestrator)

    run(scene)


def test_large_words_take_turns(run: Run) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair()
        large, smaller = answer(40 * CUT_BYTES), answer(2 * CUT_BYTES)
        worker.peers.send(ORCHESTRATOR.id, large)
        worker.peers.send(ORCHESTRATOR.id, smaller)
        await orchestrator.expect(Heard(WORKER.id, smaller), Heard(WORKER.id, large))
        await close(worker, orchestrator)

    run(scene)


def test_nothing_is_sent_to_who_is_not_there(run: Run) -> None:
    async def scene() -> None:
        worker = Node(WORKER, "worker")
        assert not worker.peers.send(ORCHESTRATOR.id, beat(1))
        assert not worker.peers.connected(ORCHESTRATOR.id)
        await close(worker)

    run(scene)


def test_a_word_over_the_limit_is_not_sent(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair(Limits(message_bytes_max=1000, farewell_ms=200))
        assert not worker.peers.send(ORCHESTRATOR.id, answer(1000))
        assert worker.peers.send(ORCHESTRATOR.id, beat(1))
        await orchestrator.expect(Heard(WORKER.id, beat(1)))
        await close(worker, orchestrator)

    run(scene)
    assert "bytes was not sent: the limit is 1000" in caplog.text


def test_who_does_not_read_is_let_go(run: Run) -> None:
    limits = Limits(
        write_bytes_max=4 * CUT_BYTES, farewell_ms=200, backoff_ms_min=1_000_000, backoff_ms_max=1_000_000
    )

    async def scene() -> None:
        worker, orchestrator, _ = await pair(limits)
        worker.link(ORCHESTRATOR.id)._transport.pause_reading()
        sent = 0
        while orchestrator.peers.send(WORKER.id, answer(CUT_BYTES, sent)):
            sent += 1
            await turn()
        assert sent > 3
        assert orchestrator.events.empty(), "nothing is posted from within a send"
        assert not orchestrator.peers.connected(WORKER.id)
        assert not orchestrator.peers.send(WORKER.id, beat(1))
        await orchestrator.expect(Disconnected(WORKER.id))
        worker.link(ORCHESTRATOR.id).abort()
        await close(worker, orchestrator)

    run(scene)


def test_a_silent_peer_is_let_go_by_both_sides(run: Run) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair()
        for end in (worker.link(ORCHESTRATOR.id), orchestrator.link(WORKER.id)):
            end._transport.pause_reading()
        await worker.expect(Disconnected(ORCHESTRATOR.id), Connected(ORCHESTRATOR.id, "orchestrator", "boot"))
        assert await orchestrator.events.get() in (
            Disconnected(WORKER.id),
            Connected(WORKER.id, "worker", "boot"),
        )
        assert orchestrator.peers.connected(WORKER.id)
        await close(worker, orchestrator)

    run(scene)


def test_pings_keep_an_idle_link(run: Run) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair()
        # A third node never pings. When it has been let go, the pair has been idle for longer than it.
        mute = Node(GATEWAY, "gateway", limits=Limits(ping_ms=60_000, silence_ms=60_000, farewell_ms=200))
        port = await mute.peers.listen("127.0.0.1", 0)
        worker.peers.dial("127.0.0.1", port, GATEWAY.id)
        await worker.expect(Connected(GATEWAY.id, "gateway", "boot"), Disconnected(GATEWAY.id))
        assert worker.peers.connected(ORCHESTRATOR.id)
        assert orchestrator.events.empty()
        await close(worker, orchestrator, mute)

    run(scene)


def test_nobody_is_judged_by_the_time_that_we_stood_still(run: Run) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair(Limits(sweep_ms=1_000_000, farewell_ms=200))
        peers, link = orchestrator.peers, orchestrator.link(WORKER.id)
        now = asyncio.get_running_loop().time()
        link.heard_at, peers._sweep_at = now - 2_000, now - 1_999
        peers._sweeper.cancel()
        peers._sweep()
        assert peers.connected(WORKER.id)
        link.heard_at, peers._sweep_at = now - 8, now
        peers._sweeper.cancel()
        peers._sweep()
        await orchestrator.expect(Disconnected(WORKER.id))
        await close(worker, orchestrator)

    run(scene)


def test_the_defaults_notice_a_dead_peer_within_8_seconds() -> None:
    limits = Limits()
    assert limits.silence_ms + limits.sweep_ms <= 8_000
    assert limits.silence_ms >= 3 * limits.ping_ms


def test_a_killed_link_comes_back(run: Run) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair()
        for _ in range(3):
            worker.link(ORCHESTRATOR.id).abort()
            await worker.expect(
                Disconnected(ORCHESTRATOR.id), Connected(ORCHESTRATOR.id, "orchestrator", "boot")
            )
        assert worker.peers.send(ORCHESTRATOR.id, beat(1))
        events = []
        while Heard(WORKER.id, beat(1)) not in events:
            events.append(await orchestrator.events.get())
        assert orchestrator.peers.connected(WORKER.id)
        await close(worker, orchestrator)

    run(scene)


def test_a_restarted_listener_is_found_again(run: Run) -> None:
    async def scene() -> None:
        worker, orchestrator, port = await pair()
        await close(orchestrator)
        await worker.expect(Disconnected(ORCHESTRATOR.id))
        restarted = Node(ORCHESTRATOR, "orchestrator", boot="second")
        await restarted.peers.listen("127.0.0.1", port)
        await worker.expect(Connected(ORCHESTRATOR.id, "orchestrator", "second"))
        await restarted.expect(Connected(WORKER.id, "worker", "boot"))
        await close(worker, restarted)

    run(scene)


def test_a_newer_link_of_the_same_process_takes_over_without_a_gap(run: Run) -> None:
    async def scene() -> None:
        first, orchestrator, port = await pair(ONCE)
        older = orchestrator.link(WORKER.id)
        second = Node(WORKER, "worker")
        second.peers.dial("127.0.0.1", port, ORCHESTRATOR.id)
        await orchestrator.expect(Connected(WORKER.id, "worker", "boot"))
        await first.expect(Disconnected(ORCHESTRATOR.id))
        await asyncio.wait([older.gone])
        assert orchestrator.peers.connected(WORKER.id)
        assert orchestrator.events.empty(), "the end of the older link is no news"
        orchestrator.peers.send(WORKER.id, beat(1))
        await second.expect(
            Connected(ORCHESTRATOR.id, "orchestrator", "boot"), Heard(ORCHESTRATOR.id, beat(1))
        )
        await close(first, orchestrator, second)

    run(scene)


def test_a_newer_process_of_the_same_node_is_another(run: Run) -> None:
    async def scene() -> None:
        first, orchestrator, port = await pair(ONCE)
        second = Node(WORKER, "worker", boot="second")
        second.peers.dial("127.0.0.1", port, ORCHESTRATOR.id)
        await orchestrator.expect(Disconnected(WORKER.id), Connected(WORKER.id, "worker", "second"))
        await close(first, orchestrator, second)

    run(scene)


def test_two_addresses_of_one_node_do_not_fight(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        rng = Draws(6)
        orchestrator = Node(ORCHESTRATOR, "orchestrator")
        worker = Node(WORKER, "worker", rng=rng)
        port = await orchestrator.peers.listen("127.0.0.1", 0)
        worker.peers.dial("127.0.0.1", port, ORCHESTRATOR.id)
        await worker.expect(Connected(ORCHESTRATOR.id, "orchestrator", "boot"))
        worker.peers.dial("localhost", port, ORCHESTRATOR.id)
        await rng.enough.wait()
        assert worker.events.empty()
        await close(worker, orchestrator)

    run(scene)
    assert "takes its place" not in caplog.text


def test_pauses_between_dials_double_with_full_jitter(run: Run) -> None:
    async def scene() -> None:
        nobody = Node(ORCHESTRATOR, "orchestrator")
        port = await nobody.peers.listen("127.0.0.1", 0)
        await close(nobody)
        rng = Draws(7)
        worker = Node(WORKER, "worker", rng=rng, limits=Limits())
        worker.peers.dial("127.0.0.1", port)
        await rng.enough.wait()
        await close(worker)
        assert rng.asked[:7] == [(0, 200), (0, 400), (0, 800), (0, 1600), (0, 3200), (0, 5000), (0, 5000)]

    run(scene)


def test_a_trouble_that_stays_is_told_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        nobody = Node(ORCHESTRATOR, "orchestrator")
        port = await nobody.peers.listen("127.0.0.1", 0)
        await close(nobody)
        rng = Draws(5)
        worker = Node(WORKER, "worker", rng=rng)
        worker.peers.dial("127.0.0.1", port)
        await rng.enough.wait()
        await close(worker)

    run(scene)
    assert caplog.text.count("cannot be reached") == 1


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99_999), ("a" * 80, 1)])
def test_an_address_that_is_none_is_told_and_breaks_nothing(
    run: Run, caplog: pytest.LogCaptureFixture, host: str, port: int
) -> None:
    async def scene() -> None:
        rng = Draws(2)
        worker = Node(WORKER, "worker", rng=rng)
        worker.peers.dial(host, port)
        await rng.enough.wait()
        await close(worker)

    run(scene)
    assert f"{host}:{port} cannot be reached" in caplog.text


def test_closing_tells_the_other_side_at_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair()
        await close(worker)
        assert worker.events.empty(), "who ends a link itself needs not be told"
        await orchestrator.expect(Disconnected(WORKER.id))
        await close(orchestrator)

    run(scene)
    assert f"the peer hung up: 'worker {WORKER.id} is stopping'" in caplog.text


def test_what_was_said_last_is_heard_before_the_parting(run: Run) -> None:
    async def scene() -> None:
        worker, orchestrator, _ = await pair()
        assert worker.peers.send(ORCHESTRATOR.id, beat(1))
        worker.link(ORCHESTRATOR.id).end(Refused("enough"))
        await orchestrator.expect(Heard(WORKER.id, beat(1)), Disconnected(WORKER.id))
        await close(worker, orchestrator)

    run(scene)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "example.org"])  # noqa: S104
def test_nobody_listens_elsewhere_without_keys(run: Run, host: str) -> None:
    async def scene() -> None:
        orchestrator = Node(ORCHESTRATOR, "orchestrator")
        with pytest.raises(Refused, match=r"say which keys are admitted, or listen on 127\.0\.0\.1"):
            await orchestrator.peers.listen(host, 0)
        await close(orchestrator)

    run(scene)


def test_with_keys_one_may_listen_anywhere(run: Run) -> None:
    async def scene() -> None:
        orchestrator = Node(ORCHESTRATOR, "orchestrator", admit=lambda node, role: node == WORKER.id)
        port = await orchestrator.peers.listen("0.0.0.0", 0)  # noqa: S104
        worker = Node(WORKER, "worker")
        worker.peers.dial("127.0.0.1", port)
        await orchestrator.expect(Connected(WORKER.id, "worker", "boot"))
        await worker.expect(Connected(ORCHESTRATOR.id, "orchestrator", "boot"))
        await close(worker, orchestrator)

    run(scene)


def test_an_address_that_is_taken_is_refused_in_one_line(run: Run) -> None:
    async def scene() -> None:
        orchestrator, other = Node(ORCHESTRATOR, "orchestrator"), Node(GATEWAY, "gateway")
        port = await orchestrator.peers.listen("127.0.0.1", 0)
        with pytest.raises(Refused, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*; name another address"):
            await other.peers.listen("127.0.0.1", port)
        await close(orchestrator, other)

    run(scene)
