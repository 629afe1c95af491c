"""A worker's books and its orchestrator's: whatever is lost, doubled or late, and whoever dies when, they agree.

The two machines talk over two lossy lines. The orchestrator's facts last, the worker's last few may not. Nobody
cheats, so nobody is ever left; and when all is calm, both have one sum for what was earned, and one for what was
paid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.ids import JobId, NodeId, digest
from shoal.machine import (
    Connected,
    Deliver,
    Disconnected,
    Effect,
    Event,
    Fact,
    Gather,
    Gathered,
    Heard,
    Restarted,
    Retire,
    Send,
    Tick,
)
from shoal.money.wei import Price, Wei
from shoal.orchestrator.config import Rules as OrchestratorRules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.sim.houses import sign, verify
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import JobSpec, Payload, Word
from shoal.worker.config import Rules as WorkerRules
from shoal.worker.earnings import Left
from shoal.worker.machine import Run, RunnerAnswered, RunnerReady, WorkerMachine
from shoal.worker.payments import FindPayment, PaymentFound

O1, G, R, W = NodeId("o"), NodeId("g"), NodeId("r"), NodeId("0x" + 40 * "1")
NEED = ("echo", "echo")
BODY = encode_payload(Payload(b"{}"))
ANSWER = encode_payload(Payload(b'"answer"'))
TRANSACTION = "0x" + 64 * "7"
O_RULES = OrchestratorRules(
    prices={"echo": Price(7)},
    share_ppm=333_333,
    redeemer=R,
    payout_min_wei=Wei(15),
    payout_dust_wei=Wei(1),
    payout_look_ms=1_000,
    payout_again_ms=3_000,
    account_ms=2_000,
    receipts_max=3,
)
W_RULES = WorkerRules(receipts_every=2, unshown_max=1_000, float_wei=Wei(500), owing_ms=10**9)


class Pair:
    """An orchestrator, its worker, its redeemer and its gateway, and the lines between the first two."""

    def __init__(self, *, sees_chain: bool) -> None:
        self.now = Instant(1_000_000)
        self.sees_chain = sees_chain
        self.jobs = 0
        self.boots = 0
        self.up = False
        self.o_facts: list[Fact] = []
        self.w_facts: list[Fact] = []
        self.to_worker: deque[Word] = deque()
        self.to_orchestrator: deque[Word] = deque()
        self.outbox: dict[str, Word] = {}
        self.running: list[words.Job] = []
        self.answered: dict[tuple[JobId, int], int] = {}
        self.under_way: words.Payout | None = None
        self.chain: dict[int, bytes] = {}
        self.start_orchestrator()
        self.start_worker()

    # Lives

    def start_orchestrator(self) -> None:
        self.orchestrator = OrchestratorMachine(O_RULES, node=O1, sign=lambda data: sign(O1, data))
        for fact in self.o_facts:
            self.orchestrator.handle(fact, self.now)
        self.up = False
        self.orchestrate(Restarted())
        self.orchestrate(Connected(G, "gateway", "boot"))
        self.orchestrate(Connected(R, "redeemer", "boot"))

    def start_worker(self, lost: int = 0) -> None:
        del self.w_facts[len(self.w_facts) - lost :]
        self.boots += 1
        self.running, self.outbox, self.up = [], {}, False
        self.worker = WorkerMachine(W_RULES, node=W, verify=verify, sees_chain=self.sees_chain)
        for fact in self.w_facts:
            self.worker.handle(fact, self.now)
        self.work(Restarted())
        self.work(RunnerReady(NEED, 4))

    def connect(self) -> None:
        if self.up:
            self.work(Disconnected(O1))
            self.orchestrate(Disconnected(W))
        self.to_worker.clear()
        self.to_orchestrator.clear()
        self.up = True
        self.orchestrate(Connected(W, "worker", f"boot {self.boots}"))
        self.work(Connected(O1, "orchestrator", "boot"))
        self.to_orchestrator += self.outbox.values()

    # Events and what follows

    def orchestrate(self, event: Event) -> None:
        effects = list(self.orchestrator.handle(event, self.now))
        if Gather() in effects:
            effects += self.orchestrator.handle(Gathered(), self.now)
        for effect in effects:
            self.heed_orchestrator(effect)
        self.orchestrator.check()

    def heed_orchestrator(self, effect: Effect | Fact) -> None:
        match effect:
            case Fact():
                self.o_facts.append(effect)
            case Deliver(_, _, words.Payout() as payout):
                self.under_way = payout
            case Send(peer, word) if peer == W and self.up:
                assert isinstance(word, Word)
                self.to_worker.append(word)
            case Send(_, words.Result(job, epoch, units)):
                self.answered[job, epoch] = units

    def work(self, event: Event) -> None:
        for effect in self.worker.handle(event, self.now):
            match effect:
                case Fact():
                    assert not isinstance(effect, Left), effect.cause
                    self.w_facts.append(effect)
                case Run(order):
                    self.running.append(order)
                case Retire(key):
                    self.outbox.pop(key, None)
                case Deliver(key, _, word) if isinstance(word, Word):
                    self.outbox[key] = word
                    self.to_orchestrator.append(word)
                case FindPayment(node, number) if number in self.chain:
                    self.work(PaymentFound(node, number, self.chain[number]))
                case Send(_, word) if self.up and isinstance(word, Word):
                    self.to_orchestrator.append(word)
        self.worker.check()

    # What may happen

    def order(self) -> None:
        self.jobs += 1
        name = JobId(f"job {self.jobs}")
        spec = JobSpec("echo", "echo", 9, stream=self.jobs % 2 == 0)
        self.orchestrate(Heard(G, words.Job(name, 1, spec, Price(7), 10**8, digest(BODY), BODY)))

    def answer(self) -> None:
        if self.running:
            order = self.running.pop(0)
            self.work(RunnerAnswered(order.job, order.epoch, 1 + self.jobs % 9, 5, ANSWER))

    def accept(self) -> None:
        if self.answered:
            (job, epoch), units = self.answered.popitem()
            self.orchestrate(Heard(G, words.Accept(job, epoch, units, Price(7).cost(units))))

    def cancel(self) -> None:
        if self.answered:
            (job, epoch), units = self.answered.popitem()
            paid = units // 2
            self.orchestrate(Heard(G, words.Cancel(job, epoch, paid, Price(7).cost(paid))))

    def pass_to_worker(self) -> None:
        if self.to_worker and self.up:
            self.work(Heard(O1, self.to_worker.popleft()))

    def pass_to_orchestrator(self) -> None:
        if self.to_orchestrator and self.up:
            self.orchestrate(Heard(W, self.to_orchestrator.popleft()))

    def overtake(self) -> None:
        self.to_worker.rotate(1)
        self.to_orchestrator.rotate(1)

    def double(self) -> None:
        self.to_worker += list(self.to_worker)[:1]

    def lose(self) -> None:
        if self.to_worker:
            self.to_worker.popleft()

    def pay(self) -> None:
        if self.under_way is not None:
            payout, self.under_way = self.under_way, None
            plan = self.orchestrator.payroll.under_way
            if plan is not None and plan.batch == payout.batch:
                self.chain[plan.number] = plan.dues[0].wei
            self.orchestrate(Heard(R, words.PaidOut(payout.batch, "confirmed", TRANSACTION)))

    def refuse(self) -> None:
        if self.under_way is not None:
            payout, self.under_way = self.under_way, None
            self.orchestrate(Heard(R, words.PaidOut(payout.batch, "refused", why="no money")))

    def tick(self) -> None:
        self.now = later(self.now, 1_000)
        self.orchestrate(Tick())
        self.work(Tick())

    def deliver(self) -> None:
        while self.up and (self.to_worker or self.to_orchestrator):
            self.pass_to_worker()
            self.pass_to_orchestrator()

    def reach_an_answer(self) -> None:
        """A job comes as far as its answer; what follows may go wrong."""
        self.deliver()
        self.order()
        self.deliver()
        self.answer()
        self.deliver()

    def calm(self) -> None:
        """Nothing goes wrong any more, until nothing is left to say."""
        for _ in range(3):
            self.connect()
            for _ in range(12):
                self.deliver()
                while self.running:
                    self.answer()
                while self.answered:
                    self.accept()
                self.pay()
                self.tick()

    def judge(self) -> None:
        """What must hold at every moment."""
        earned = self.orchestrator.payroll.earned(W)
        assert self.worker.earnings.counted(O1) <= earned
        assert self.worker.earnings.record(O1).stated_wei <= earned
        assert sum(int.from_bytes(wei) for wei in self.chain.values()) <= earned


STEPS: dict[str, Callable[[Pair], None]] = {
    "connect": Pair.connect,
    "order": Pair.order,
    "answer": Pair.answer,
    "accept": Pair.accept,
    "cancel": Pair.cancel,
    "to the worker": Pair.pass_to_worker,
    "to the orchestrator": Pair.pass_to_orchestrator,
    "overtake": Pair.overtake,
    "double": Pair.double,
    "lose": Pair.lose,
    "pay": Pair.pay,
    "refuse": Pair.refuse,
    "tick": Pair.tick,
    "a job is answered": Pair.reach_an_answer,
    "the orchestrator dies": Pair.start_orchestrator,
    "the worker dies": Pair.start_worker,
    "the worker dies and loses facts": lambda pair: pair.start_worker(min(2, len(pair.w_facts))),
}
#: What happens most of the time, so that something is earned at all.
USUAL = ("a job is answered", "accept", "connect", "to the worker", "tick") * 3
STEP = st.sampled_from([*STEPS, *USUAL])


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(STEP, min_size=20, max_size=120))
def test_both_books_agree(sees_chain: bool, steps: list[str]) -> None:
    pair = Pair(sees_chain=sees_chain)
    pair.connect()
    for step in steps:
        STEPS[step](pair)
        pair.judge()
    pair.calm()
    pair.judge()
    earned, payroll = pair.orchestrator.payroll.earned(W), pair.orchestrator.payroll
    assert pair.worker.earnings.earned(O1) == earned
    assert pair.worker.earnings.counted(O1) == earned
    paid = payroll.wages[W].paid_wei if W in payroll.wages else 0
    assert pair.worker.earnings.paid(O1, on_chain=False) == paid
    if sees_chain and len(payroll.wages.get(W).remittances if W in payroll.wages else ()) < 16:
        assert pair.worker.earnings.paid(O1, on_chain=True) == sum(
            int.from_bytes(wei) for wei in pair.chain.values()
        )
