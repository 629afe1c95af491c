"""One whole network in virtual time, made from one seed: who lives in it, what they want, what goes wrong.

Which kinds of fault a seed has, and how hard, is drawn too: a world with
everything at once finds less than many worlds with a few things each. Then the
faults stop, and everything must come to an end.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TextIO

from msgspec import Struct

from shoal.gateway.config import Rules as GatewayRules
from shoal.ids import ClientId, NodeId
from shoal.money.wei import Price
from shoal.orchestrator.config import Rules as OrchestratorRules
from shoal.policy.selection import POLICIES
from shoal.runtime.host import Rules
from shoal.runtime.virtual import Calendar, Network, Weather
from shoal.sim.auditor import audit
from shoal.sim.clients import Client, Wish
from shoal.sim.economy import SCALE, Economy, Stakes, is_prepaid
from shoal.sim.evidence import UNCHECKED, Evidence, Finding, Journal
from shoal.sim.houses import GatewayNode, OrchestratorNode, Temper, WorkerNode, verify
from shoal.sim.journals import read_journal
from shoal.sim.node import Node, Trace
from shoal.sim.prepaid import RedeemerNode
from shoal.units import MINUTE_MS, SECOND_MS
from shoal.wire.words import JobSpec
from shoal.work.lifecycle import Preference
from shoal.work.queue import PRIORITIES, Need

#: What everybody in a world wants: (pipeline, model).
NEEDS: tuple[Need, ...] = (("echo", "small"), ("llm", "medium"), ("llm", "rare"))
#: After the faults have stopped, everything must have ended within this.
DRAIN_MAX_MS = 10 * MINUTE_MS


class Faults(Struct, kw_only=True):
    """What goes wrong in one world, and how often. Rates are per minute and node (or link)."""

    loss_ppm: int = 0
    duplicate_ppm: int = 0
    reorder: bool = False
    breaks: float = 0
    cuts: float = 0
    crashes: float = 0
    pauses: float = 0
    disk_failure_ppm: int = 0
    commit_max_ms: int = 8
    skew_ms: int = 0
    drift_ppm: int = 0
    jump_ms: int = 0
    runner_fail_ppm: int = 0
    runner_crash_ppm: int = 0
    client_loss_ppm: int = 0


def draw_faults(rng: Random) -> Faults:
    """Each kind is there in half of the worlds."""

    def some(most: int) -> int:
        return rng.randint(0, most) if rng.random() < 0.5 else 0

    return Faults(
        loss_ppm=some(300_000) if rng.random() < 0.3 else some(30_000),
        duplicate_ppm=some(50_000),
        reorder=rng.random() < 0.5,
        breaks=some(200) / 100,
        cuts=some(200) / 100,
        crashes=some(200) / 100,
        pauses=some(200) / 100,
        disk_failure_ppm=some(3_000),
        commit_max_ms=rng.choice((2, 8, 100, 1_000)),
        skew_ms=some(10 * MINUTE_MS),
        drift_ppm=some(500),
        jump_ms=some(5 * SECOND_MS),
        runner_fail_ppm=some(200_000),
        runner_crash_ppm=some(50_000),
        client_loss_ppm=some(100_000),
    )


class Plan(Struct, kw_only=True):
    """What is asked of a run."""

    jobs: int = 100
    faults: Faults | None = None
    #: How long jobs come in, and things go wrong.
    stormy_ms: int = 60 * SECOND_MS
    #: Whether work is paid ahead, on a chain; None: as the seed says.
    prepaid: bool | None = None
    stakes: Stakes | None = None
    on_step: Callable[[NodeId, str], bool] | None = None


class Outcome(Struct, frozen=True):
    """What became of one seed."""

    seed: int
    trace: str
    jobs: int
    words: int
    events: int
    virtual_ms: int
    findings: tuple[str, ...]


class World:
    """Everything that there is, for one seed."""

    def __init__(self, seed: int, plan: Plan | None = None, file: TextIO | None = None) -> None:
        self.seed = seed
        self.plan = plan or Plan()
        self.rng = Random(f"shoal {seed}")
        self.calendar = Calendar()
        self.trace = Trace(file)
        self.faults = self.plan.faults or draw_faults(self.rng)
        faults = self.faults
        weather = Weather(
            loss_ppm=faults.loss_ppm,
            duplicate_ppm=faults.duplicate_ppm,
            reorder=faults.reorder,
            delay_mean_ms=self.rng.choice((2, 5, 20, 60)),
        )
        self.network = Network(self.calendar, self.rng, weather)
        self.stormy = True
        self.findings: list[Finding] = []
        self._rules = Rules(snapshot_facts=self.rng.choice((20, 100, 200_000)))
        prepaid = is_prepaid(seed) if self.plan.prepaid is None else self.plan.prepaid
        self.economy = self._economy() if prepaid else None
        self._settle_down()
        self.clients = self._populate()

    @property
    def nodes(self) -> list[Node]:
        """Everybody but the clients."""
        return [*self.gateways, *self.orchestrators, *self.workers, *self.redeemers]

    # Who lives here

    def _economy(self) -> Economy:
        calm = self.plan.faults is not None and self.plan.faults.crashes == 0
        stakes = self.plan.stakes
        return Economy(self.seed, self.network, self.trace, self._rules, calm=calm, stakes=stakes)

    def _settle_down(self) -> None:
        rng = self.rng
        self.gateways = [self._gateway(n) for n in range(rng.randint(1, 2))]
        self.orchestrators = [self._orchestrator(n) for n in range(rng.randint(2, 3))]
        self.workers = [self._worker(n) for n in range(rng.randint(3, 6))]
        self.redeemers: list[RedeemerNode] = []
        for gateway in self.gateways:
            for orchestrator in self.orchestrators:
                self.network.dial(gateway.name, orchestrator.name)
        for worker in self.workers:
            for orchestrator in rng.sample(self.orchestrators, 2 if rng.random() < 0.4 else 1):
                self.network.dial(worker.name, orchestrator.name)
        if self.economy is not None:
            for n, orchestrator in enumerate(self.orchestrators):
                self.redeemers.append(self.economy.redeemer(n, rng))
                self.network.dial(self.redeemers[-1].name, orchestrator.name)
        for node in self.nodes:
            node.on_step = self.plan.on_step
            node.offset_ms = 1_000_000_000 + rng.randint(-self.faults.skew_ms, self.faults.skew_ms)
            node.drift_ppm = rng.randint(-self.faults.drift_ppm, self.faults.drift_ppm)
            node.journal.failure_ppm = self.faults.disk_failure_ppm
            node.journal.commit_max_ms = self.faults.commit_max_ms
            node.start()

    def _gateway(self, n: int) -> GatewayNode:
        rules = GatewayRules(
            fee_ppm=self.rng.choice((0, 0, 50_000)),
            hedge_spreads=self.rng.choice((0.0, 2.0)),
            queue_jobs_per_client_max=self.rng.choice((5, 50)),
        )
        if self.economy is not None:
            return self.economy.gateway(n, rules, self.rng)
        return GatewayNode(NodeId(f"g{n}"), self.network, self.rng, self.trace, self._rules, rules)

    def _orchestrator(self, n: int) -> OrchestratorNode:
        rng = self.rng
        rules = OrchestratorRules(
            share_ppm=rng.choice((800_000, 333_333, 1_000_000)),
            prices={
                "llm": Price(rng.randint(1, 3_000), rng.choice((1, 7))),
                "echo": Price(rng.choice((0, 1, 1_000_000))),
            },
            window_units_max=rng.choice((4, 64)),
        )
        if self.economy is not None:
            return self.economy.orchestrator(n, rules, rng)
        return OrchestratorNode(NodeId(f"o{n}"), self.network, rng, self.trace, self._rules, rules)

    def _worker(self, n: int) -> WorkerNode:
        rng = self.rng
        needs = rng.sample(NEEDS[:2], rng.randint(1, 2)) if n else list(NEEDS)
        slots = {need: rng.randint(1, 3) for need in needs}
        name = NodeId(f"w{n}") if self.economy is None else self.economy.name(f"w{n}")
        node = WorkerNode(name, self.network, rng, self.trace, self._rules, slots)
        node.temper = Temper(
            run_mean_ms=rng.choice((100, 1_000, 3_000)),
            fail_ppm=self.faults.runner_fail_ppm,
            crash_ppm=self.faults.runner_crash_ppm,
        )
        return node

    def _populate(self) -> list[Client]:
        clients = [
            Client(ClientId(f"c{n}"), self.rng.choice(self.gateways), self.rng)
            for n in range(self.rng.randint(2, 5))
        ]
        for client in clients:
            client.loss_ppm = self.faults.client_loss_ppm
        count = 0
        while count < self.plan.jobs:
            wish = self._wish(count)
            client = self.rng.choice(clients)
            client.wish(wish)
            if wish.key and self.rng.random() < 0.2:  # another request under the same key
                spec = JobSpec(wish.spec.pipeline, wish.spec.model, wish.spec.units_max)
                other = Wish(
                    at=wish.at + self.rng.randint(0, 5_000),
                    spec=spec,
                    body=wish.body + b"!",
                    limit=wish.limit,
                    deadline_ms=wish.deadline_ms,
                    key=wish.key,
                    preference=wish.preference,
                )
                client.wish(other)
            count += 1
        return clients

    def _wish(self, n: int) -> Wish:
        rng = self.rng
        pipeline, model = rng.choice((*NEEDS[:2], *NEEDS))
        keyed = rng.random() < 0.4
        return Wish(
            at=rng.randint(1_000, max(1_000, self.plan.stormy_ms - 5_000)),
            spec=JobSpec(pipeline, model, rng.choice((24, 24, 10)), rng.random() < 0.4),
            body=b"request %d of seed %d" % (n, self.seed),
            limit=Price((10**9 if rng.random() < 0.9 else 500) * (SCALE if self.economy else 1)),
            deadline_ms=rng.choice((2_000, 20_000, 60_000, 60_000)),
            key=f"key {n}" if keyed else "",
            preference=Preference(
                policy=rng.choice(("", *POLICIES)),
                priority=rng.choice(tuple(PRIORITIES)),
                weight=rng.choice((1, 1, 3)),
                hedge=rng.random() < 0.3,
            ),
            abreast=rng.choice((1, 1, 3)) if keyed else 1,
            again_after_ms=rng.choice((0, 0, 2_000, 40_000)) if keyed else 0,
            cancel_after_ms=rng.randint(1, 6_000) if rng.random() < 0.15 else 0,
        )

    # What goes wrong

    def _storm(self) -> None:
        """Once a virtual second, see what goes wrong in it."""
        if not self.stormy:
            return
        for node in self.nodes:
            self._trouble_node(node)
        for dialler, listener in self.network.pairs:
            self._trouble_link(dialler, listener)
        if self.economy is not None:
            self.economy.top_up()
        self.calendar.at(self.calendar.now + SECOND_MS, self._storm)

    def _trouble_node(self, node: Node) -> None:
        faults, rng = self.faults, self.rng
        if node.life.alive:
            if rng.random() < faults.crashes / 60:
                node.crash()
            elif rng.random() < faults.pauses / 60:
                node.life.pause(rng.choice((500, 5_000, 10_000, 40_000)))
        if not node.life.alive:
            self._restart(node, rng.choice((100, 1_000, 5_000, 30_000)))

    def _trouble_link(self, dialler: NodeId, listener: NodeId) -> None:
        faults, rng = self.faults, self.rng
        if rng.random() < faults.breaks / 60:
            self.network.sever(dialler, listener)
        if rng.random() < faults.cuts / 60:
            duration_ms = rng.choice((2_000, 15_000, 40_000))
            ways = rng.choice((1, 2, 3))
            if ways & 1:
                self.network.cut(dialler, listener, duration_ms)
            if ways & 2:
                self.network.cut(listener, dialler, duration_ms)

    def _restart(self, node: Node, after_ms: int) -> None:
        starts = node.starts

        def start() -> None:
            if node.starts == starts and not node.life.alive:
                node.offset_ms += self.rng.randint(-self.faults.jump_ms, self.faults.jump_ms)
                node.start()

        self.calendar.at(self.calendar.now + after_ms, start)

    def _clear_up(self) -> None:
        """The faults stop: everybody lives, and everybody is connected anew."""
        self.stormy = False
        if self.economy is not None:
            self.economy.clear_up()
        weather = self.network.weather
        weather.loss_ppm = weather.duplicate_ppm = 0
        weather.reorder = False
        self.network.cuts.clear()
        for client in self.clients:
            client.loss_ppm = 0
            client.patient = False
        for worker in self.workers:
            worker.temper.fail_ppm = worker.temper.crash_ppm = 0
        for node in self.nodes:
            node.journal.failure_ppm = 0
            node.life.resume()
            if not node.life.alive:
                node.start()
        for dialler, listener in self.network.pairs:
            self.network.sever(dialler, listener)

    # The run

    def run(self) -> Outcome:
        """Let it all happen; then audit."""
        self._storm()
        try:
            self.calendar.run(self.plan.stormy_ms)
            self._clear_up()
            drained = self._drain()
            if drained and self.economy is not None:
                self.findings += self.economy.judge_views(self.gateways, self.orchestrators)
                drained = self._drain()
                self.findings += self.economy.judge_rests(self.gateways, self.orchestrators)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is what this seed has found)
            self.findings.append(Finding("bug", type(error).__name__, str(error)))
            drained = False
        self._look_for_alarms()
        self.findings += audit(self.evidence(drained=drained))
        found = sorted({finding for finding in self.findings if finding.rule != UNCHECKED})
        return Outcome(
            self.seed,
            self.trace.hexdigest(),
            sum(client.jobs for client in self.clients),
            self.network.words,
            self.trace.events,
            self.calendar.now,
            tuple(str(finding) for finding in found),
        )

    def _drain(self) -> bool:
        """Go on until nothing is open; False if that takes too long."""
        end = self.calendar.now + DRAIN_MAX_MS
        while self.calendar.now < end:
            self.calendar.run(self.calendar.now + SECOND_MS)
            for node in self.nodes:  # a process may die in a fault that had begun before
                if not node.life.alive:
                    node.start()
            if not self.open():
                return True
        text = f"after {DRAIN_MAX_MS} ms without faults there are still {', '.join(self.open())}"
        self.findings.append(Finding("liveness", "world", text))
        return False

    def open(self) -> list[str]:
        """What has not come to its end."""
        counts: list[tuple[str, int, str]] = [
            (client.name, client.open, "requests") for client in self.clients
        ]
        counts += [(node.name, len(node.state.ledger.holds), "jobs") for node in self.gateways]
        counts += [(node.name, len(node.state.leases), "leases") for node in self.orchestrators]
        counts += [(node.name, len(node.state.tasks), "tasks") for node in self.workers]
        for node in self.nodes:
            assert node.host is not None
            counts.append((node.name, len(node.host.outbox), "undelivered words"))
            counts.append((node.name, node.appended - node.journal.durable, "facts in memory alone"))
        if self.economy is not None:
            counts += self.economy.open(self.gateways, self.orchestrators, self.redeemers)
        return [f"{name}: {count} {what}" for name, count, what in counts if count]

    def _look_for_alarms(self) -> None:
        for node in self.nodes:
            for text in node.alarms:
                if self.economy is not None and self.economy.may_alarm(text):
                    continue
                self.findings.append(Finding("alarm", node.name, text))

    def evidence(self, *, drained: bool) -> Evidence:
        """What the auditor gets to see."""
        journals = (
            *map(_journal, self.gateways),
            *map(_journal, self.orchestrators),
            *map(_journal, self.redeemers),
            *map(_journal, self.workers),
        )
        slots = {
            (worker.name, need): count for worker in self.workers for need, count in worker.slots.items()
        }
        client_words = tuple(word for client in self.clients for word in client.log)
        return Evidence(
            journals=journals,
            client_words=client_words,
            drained=drained,
            slots=slots,
            verify=verify,
            chain=self.economy.truth() if self.economy is not None else None,
        )


def _journal(node: GatewayNode | OrchestratorNode | RedeemerNode | WorkerNode) -> Journal:
    """A node's facts as a reader of its disk finds them."""
    history = node.journal.history
    rows = ((number, at, data) for number, (at, data) in enumerate(history, start=1))
    synced = node.host is not None and node.life.alive and node.appended == len(history)
    return read_journal(node.name, node.role, rows, closing=node.state.dump() if synced else None)


def run_seed(seed: int, plan: Plan | None = None, file: TextIO | None = None) -> Outcome:
    """One seed, from its beginning to the auditor's word."""
    return World(seed, plan, file).run()
