"""Which worker gets a job: by time, by session, by batch; not who failed, and not where the job failed."""

from __future__ import annotations

import pytest

from shoal.errors import Refused
from shoal.ids import JobId, NodeId, digest
from shoal.machine import Connected, Disconnected, Event, Heard, Quarantined, Send, Tick
from shoal.money.wei import Price
from shoal.orchestrator.config import Rules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.policy.breaker import Limits
from shoal.policy.recipe import Policy
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import Fault, JobSpec, Payload
from shoal.work.task import Leased

NOW = Instant(1_000_000)
G, A, B = NodeId("g"), NodeId("a"), NodeId("b")
PRICE = Price(1)
BODY = encode_payload(Payload(b"{}"))
ANSWER = encode_payload(Payload(b'"answer"'))
RULES = Rules(prices={"echo": PRICE}, policy="fastest", breaker=Limits(failures_max=2, open_ms=1_000))


class Shop:
    """An orchestrator with two workers, and the time of its day."""

    def __init__(
        self, rules: Rules = RULES, *, slots: int = 4, batch: int = 1, cold_ms: tuple[int, int] = (0, 0)
    ):
        self.machine = OrchestratorMachine(rules, node=NodeId("o"), sign=lambda data: b"signed")
        self.now = NOW
        self._count = 0
        self.hear(Connected(G, "gateway", "boot"))
        for worker, cold in zip((A, B), cold_ms, strict=True):
            self.hear(Connected(worker, "worker", "boot"))
            self.hear(Heard(worker, words.Offers((words.Offer("echo", "echo", slots, cold, batch),))))

    def hear(self, event: Event) -> list[object]:
        out = list(self.machine.handle(event, self.now))
        self.machine.check()
        return out

    def order(
        self, session: str = "", *, units: int = 10, job: str = "", epoch: int = 1
    ) -> tuple[str, NodeId]:
        """The job, and who got it: "" if it was turned away."""
        self._count += 1
        name = JobId(job or f"job {self._count}")
        spec = JobSpec("echo", "echo", units, session=session)
        out = self.hear(Heard(G, words.Job(name, epoch, spec, PRICE, 60_000, digest(BODY), BODY)))
        return name, next((fact.worker for fact in out if isinstance(fact, Leased)), NodeId(""))

    def end(self, job: str, worker: NodeId, *, run_ms: int = 100, epoch: int = 1) -> None:
        answer = words.Result(JobId(job), epoch, 1, run_ms, digest(ANSWER), ANSWER)
        self.hear(Heard(worker, answer))
        self.hear(Heard(G, words.Cancel(JobId(job), epoch)))

    def fail(self, job: str, worker: NodeId, *, code: str = "failed", epoch: int = 1) -> list[object]:
        return self.hear(Heard(worker, words.Failure(JobId(job), epoch, Fault(code, "no"))))

    def serve(self, run_ms: dict[NodeId, int], *, units: int = 10, session: str = "") -> NodeId:
        job, worker = self.order(session, units=units)
        self.end(job, worker, run_ms=run_ms[worker])
        return worker

    def quoted(self) -> int:
        (quote,) = self.machine.capacity(G).quotes
        return quote.slots


def test_the_quicker_worker_gets_the_jobs_for_each_size_of_them() -> None:
    shop = Shop()
    small, large = {A: 10, B: 100}, {A: 5_000, B: 500}
    for _ in range(4):
        shop.serve(small)
        shop.serve(large, units=1_000)
    assert {shop.serve(small) for _ in range(5)} == {A}
    assert {shop.serve(large, units=1_000) for _ in range(5)} == {B}


def test_a_session_stays_where_it_was_while_a_slot_is_free_there() -> None:
    shop = Shop(slots=2)
    equal = {A: 100, B: 100}
    for name in ("x", "y", "z"):
        home = shop.serve(equal, session=name)
        assert {shop.serve(equal, session=name) for _ in range(8)} == {home}
    home = shop.serve(equal, session="x")
    held = [shop.order("x")[1] for _ in range(3)]
    assert held[:2] == [home, home]
    assert held[2] not in ("", home)


def test_a_session_is_its_gateway_s_own_and_forgotten_one_day() -> None:
    shop = Shop(Rules(prices={"echo": PRICE}, policy="fastest", home_keep_ms=1_000))
    home = shop.serve({A: 100, B: 100}, session="x")
    other = NodeId("g2")
    shop.hear(Connected(other, "gateway", "boot"))
    assert shop.machine._homes.home((G, "echo", "echo", "x"), NOW) == home
    assert not shop.machine._homes.home((other, "echo", "echo", "x"), NOW)
    assert not shop.machine._homes.home((G, "echo", "echo", "x"), later(NOW, 1_000))


def test_jobs_land_together_while_a_batch_has_room() -> None:
    rules = Rules(prices={"echo": PRICE}, policy="own", policies={"own": Policy(rank="cost")})
    shop = Shop(rules, batch=3)
    for _ in range(4):
        shop.serve({A: 100, B: 100})
    first = [shop.order()[1] for _ in range(3)]
    assert len(set(first)) == 1
    assert {shop.order()[1] for _ in range(3)} == {A, B} - set(first)
    apart = Shop(rules, batch=1)
    for _ in range(4):
        apart.serve({A: 100, B: 100})
    assert {apart.order()[1] for _ in range(2)} == {A, B}


def test_a_worker_that_has_the_model_loaded_is_chosen_and_quoted_first() -> None:
    shop = Shop(slots=1, cold_ms=(800, 0))
    (quote,) = shop.machine.capacity(G).quotes
    assert (quote.slots, quote.cold_ms) == (2, 0)
    assert shop.order()[1] == B
    (quote,) = shop.machine.capacity(G).quotes
    assert quote.cold_ms == 800
    assert shop.order()[1] == A


def test_who_fails_time_and_again_gets_nothing_then_one_job_then_all() -> None:
    shop = Shop(slots=2)
    shop.hear(Disconnected(B))
    failing = [shop.order() for _ in range(2)]
    shop.fail(*failing[0])
    assert shop.quoted() == 2
    shop.fail(*failing[1])
    assert shop.quoted() == 0
    assert shop.order()[1] == ""
    assert shop.machine.busy()
    shop.now = later(NOW, 1_000)
    assert any(isinstance(effect, Send) for effect in shop.hear(Tick()))
    assert shop.quoted() == 1
    trial = shop.order()
    assert trial[1] == A
    assert (shop.quoted(), shop.order()[1]) == (1, "")
    shop.end(*trial)
    assert shop.quoted() == 2
    assert [shop.order()[1] for _ in range(2)] == [A, A]


def test_a_trial_that_fails_makes_it_worse() -> None:
    shop = Shop(slots=2)
    shop.hear(Disconnected(B))
    for job in [shop.order() for _ in range(2)]:
        shop.fail(*job)
    shop.now = later(NOW, 1_000)
    shop.fail(*shop.order())
    shop.now = later(NOW, 2_999)
    assert shop.order()[1] == ""
    shop.now = later(NOW, 3_000)
    assert shop.order()[1] == A


@pytest.mark.parametrize("code", ["refused", "busy", "cancelled", "expired"])
def test_what_is_not_the_worker_s_fault_is_not_held_against_it(code: str) -> None:
    shop = Shop(slots=1)
    shop.hear(Disconnected(B))
    for _ in range(5):
        shop.fail(*shop.order(), code=code)
    assert shop.order()[1] == A


@pytest.mark.parametrize("cause", ["cancelled", "set aside"])
def test_a_trial_that_shows_nothing_is_made_again(cause: str) -> None:
    shop = Shop(slots=1)
    shop.hear(Disconnected(B))
    for _ in range(2):
        shop.fail(*shop.order())
    shop.now = later(NOW, 1_000)
    job, worker = shop.order()
    assert worker == A
    if cause == "cancelled":
        shop.hear(Heard(G, words.Cancel(JobId(job), 1)))
    else:
        shop.hear(Quarantined(JobId(job), "a bug"))
    assert shop.order()[1] == A


def test_a_job_does_not_go_again_where_it_failed_unless_nobody_else_is_there() -> None:
    shop = Shop()
    job, first = shop.order()
    shop.fail(job, first)
    _, second = shop.order(job=job, epoch=2)
    assert {first, second} == {A, B}
    shop.fail(job, second, epoch=2)
    assert shop.order(job=job, epoch=3)[1] in (A, B)


def test_a_policy_that_nobody_knows_is_refused() -> None:
    with pytest.raises(Refused, match="no policy is called 'luckiest'"):
        Shop(Rules(policy="luckiest"))
