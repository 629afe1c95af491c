"""The queue against a model that reckons every account anew from its whole history; and what it promises clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.errors import Busy
from shoal.ids import ClientId, JobId
from shoal.units import Instant
from shoal.work.queue import PRIORITIES, TAG_SCALE, FairQueue, Need

CLIENTS = [ClientId(name) for name in ("anna", "ben", "cleo")]
NEEDS: list[Need] = [("llm", "small"), ("llm", "large")]
NEED = NEEDS[0]
JOBS_MAX = 8
PER_CLIENT_MAX = 4
COSTS = st.integers(1, 9)
WEIGHTS = {CLIENTS[0]: 1, CLIENTS[1]: 1, CLIENTS[2]: 3}


@dataclass
class Charge:
    """One job's work in its client's account, at the line's clock of that moment."""

    job: JobId
    clock: int
    span: int
    spent: bool = False


@dataclass
class Account:
    """All that one client has had in one line, in one class; what left unserved is struck out."""

    charges: list[Charge] = field(default_factory=list)

    def ends(self) -> dict[int, int]:
        """Where each charge ends, by its object."""
        end, found = 0, {}
        for charge in self.charges:
            end = max(end, charge.clock) + charge.span
            found[id(charge)] = end
        return found


@dataclass
class Waiter:
    """A job that waits or is being served."""

    need: Need
    client: ClientId
    priority: str
    number: int
    span: int
    deadline: int
    charge: Charge
    #: Its tag, once it has been served.
    tag: int | None = None


class QueueMachine(RuleBasedStateMachine):
    """Jobs come, are served, come back, and leave, served or not."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(jobs_max=JOBS_MAX, jobs_per_client_max=PER_CLIENT_MAX)
        self.accounts: dict[tuple[Need, ClientId, str], Account] = {}
        self.clocks = dict.fromkeys(NEEDS, 0)
        self.waiting: dict[JobId, Waiter] = {}
        self.served: dict[JobId, Waiter] = {}
        self.told: set[JobId] = set()
        self.count = 0
        self.now = 0

    def of(self, client: ClientId) -> int:
        return sum(waiter.client == client for waiter in self.waiting.values())

    def account(self, waiter: Waiter) -> Account:
        return self.accounts.setdefault((waiter.need, waiter.client, waiter.priority), Account())

    def tag(self, waiter: Waiter) -> int:
        return waiter.tag if waiter.tag is not None else self.account(waiter).ends()[id(waiter.charge)]

    def order(self, need: Need) -> list[JobId]:
        line = [(self.tag(w), w.number, job) for job, w in self.waiting.items() if w.need == need]
        return [job for _, _, job in sorted(line)]

    def a_job(self, data: st.DataObject, jobs: dict[JobId, Waiter]) -> JobId:
        return data.draw(st.sampled_from(sorted(jobs)))

    @rule(
        client=st.sampled_from(CLIENTS),
        need=st.sampled_from(NEEDS),
        cost=COSTS,
        priority=st.sampled_from(sorted(PRIORITIES)),
        patience=st.integers(0, 20),
        at_once=st.booleans(),
    )
    def come(
        self, client: ClientId, need: Need, cost: int, priority: str, patience: int, at_once: bool
    ) -> None:
        if len(self.waiting) >= JOBS_MAX or self.of(client) >= PER_CLIENT_MAX:
            with pytest.raises(Busy) as refusal:
                self.queue.admit(client, retry_after_ms=lambda leaving: 1_234)
            assert refusal.value.retry_after_ms == 1_234
            return
        self.queue.admit(client)
        self.count += 1
        job = JobId(f"job {self.count:04}")
        span = cost * TAG_SCALE // (WEIGHTS[client] * PRIORITIES[priority])
        charge = Charge(job, self.clocks[need], span)
        deadline = Instant(self.now + patience)
        waiter = Waiter(need, client, priority, self.count, span, deadline, charge)
        self.account(waiter).charges.append(charge)
        self.waiting[job] = waiter
        ahead = self.queue.ahead(need, client, cost=cost, weight=WEIGHTS[client], priority=priority)
        enter = self.queue.pass_by if at_once else self.queue.push
        enter(job, need, client, cost=cost, weight=WEIGHTS[client], priority=priority, deadline=deadline)
        if at_once:
            self.spend(job)
        else:
            assert self.queue.position(job) == ahead  # as it was told before it came

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), first=st.booleans())
    def serve(self, data: st.DataObject, first: bool) -> None:
        """Mostly the first is served; but a slot may not fit it, and take another."""
        job = self.a_job(data, self.waiting)
        if first:
            job = self.order(self.waiting[job].need)[0]
        self.spend(job)
        self.queue.remove(job)

    def spend(self, job: JobId) -> None:
        waiter = self.served[job] = self.waiting.pop(job)
        waiter.tag = self.tag(waiter)
        waiter.charge.spent = True
        self.clocks[waiter.need] = max(self.clocks[waiter.need], waiter.tag)

    @precondition(lambda self: self.served)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        job = self.a_job(data, self.served)
        waiter = self.waiting[job] = self.served.pop(job)
        waiter.charge = Charge(job, self.clocks[waiter.need], waiter.span)
        self.account(waiter).charges.append(waiter.charge)
        self.queue.push(job, waiter.need, waiter.client)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave_unserved(self, data: st.DataObject) -> None:
        job = self.a_job(data, self.waiting)
        waiter = self.waiting.pop(job)
        charges = self.account(waiter).charges
        charges[:] = [charge for charge in charges if charge is not waiter.charge]
        self.leave(job, waiter)

    @precondition(lambda self: self.served)
    @rule(data=st.data())
    def leave_served(self, data: st.DataObject) -> None:
        job = self.a_job(data, self.served)
        self.leave(job, self.served.pop(job))

    def leave(self, job: JobId, waiter: Waiter) -> None:
        self.queue.leave(job)
        if not any(w.need == waiter.need for w in [*self.waiting.values(), *self.served.values()]):
            self.clocks[waiter.need] = 0  # nobody is left to be compared with
            self.accounts = {key: a for key, a in self.accounts.items() if key[0] != waiter.need}

    @rule(ms=st.integers(1, 10))
    def pass_time(self, ms: int) -> None:
        self.now += ms
        is_open = self.waiting | self.served
        due = {job for job, w in is_open.items() if w.deadline <= self.now} - self.told
        told = self.queue.expired(Instant(self.now))
        assert set(told) == due
        assert told == sorted(told, reverse=True)  # the youngest is first
        self.told |= due

    @invariant()
    def the_queue_is_the_models(self) -> None:
        assert set(self.queue) == set(self.waiting)
        assert len(self.queue) == len(self.waiting)
        assert set(self.queue.needs()) == {waiter.need for waiter in self.waiting.values()}
        for need in NEEDS:
            order = self.order(need)
            assert list(self.queue.waiting(need)) == order
            assert [self.queue.position(job) for job in order] == list(range(len(order)))
            assert self.queue.waits_for(need) == bool(order)

    @invariant()
    def what_is_over_is_forgotten(self) -> None:
        needs = {waiter.need for waiter in [*self.waiting.values(), *self.served.values()]}
        assert set(self.queue._lines) == needs


TestQueue = QueueMachine.TestCase


def queue(jobs_max: int = 100_000) -> FairQueue:
    return FairQueue(jobs_max=jobs_max, jobs_per_client_max=jobs_max)


def serve(line: FairQueue) -> JobId:
    """The first goes, and is done."""
    job = next(line.waiting(NEED))
    line.remove(job)
    line.leave(job)
    return job


def jain(shares: list[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


# What it promises


@given(
    costs=st.lists(st.lists(COSTS, min_size=20, max_size=60), min_size=2, max_size=4),
    weights=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    late=st.integers(0, 30),
)
def test_of_two_that_wait_none_gets_ahead_by_more_than_a_job_of_each(
    costs: list[list[int]], weights: list[int], late: int
) -> None:
    """Over every stretch of time in which both wait, also from when one of them has just come."""
    line, owner, cost_of = queue(), dict[JobId, int](), dict[JobId, int]()

    def come(client: int) -> None:
        for n, cost in enumerate(costs[client]):
            job = JobId(f"{client}.{n}")
            owner[job], cost_of[job] = client, cost
            line.push(job, NEED, ClientId(str(client)), cost=cost, weight=weights[client])

    for client in range(1, len(costs)):
        come(client)
    #: How much each has been given, after each job.
    given_so_far = [[0.0] * len(costs)]
    left = [len(jobs) for jobs in costs]

    def give() -> None:
        job = serve(line)
        after = list(given_so_far[-1])
        after[owner[job]] += cost_of[job] / weights[owner[job]]
        left[owner[job]] -= 1
        given_so_far.append(after)

    while len(given_so_far) <= late and all(left[1:]):
        give()
    come(0)
    arrived = len(given_so_far) - 1
    while all(left):
        give()
    for one in range(len(costs)):
        for other in range(one):
            begin = arrived if 0 in (one, other) else 0
            ahead = [after[one] - after[other] for after in given_so_far[begin:]]
            bound = max(costs[one]) / weights[one] + max(costs[other]) / weights[other]
            assert max(ahead) - min(ahead) <= bound + 1e-9


def test_equal_tenants_get_equal_shares_whatever_they_send() -> None:
    """One sends one job at a time, one many small ones, one a few large ones, one floods: all wait always."""
    rng, line, given = Random(7), queue(), dict.fromkeys("abcd", 0.0)
    sizes = {"a": (50, 50), "b": (1, 9), "c": (300, 500), "d": (1, 500)}
    ahead = {"a": 1, "b": 40, "c": 3, "d": 1_000}
    jobs: dict[JobId, tuple[str, int]] = {}

    def send(tenant: str) -> None:
        cost = rng.randint(*sizes[tenant])
        job = JobId(f"job {len(jobs)}")
        jobs[job] = (tenant, cost)
        line.push(job, NEED, ClientId(tenant), cost=cost)

    for tenant, count in ahead.items():
        for _ in range(count):
            send(tenant)
    for _ in range(3_000):
        tenant, cost = jobs[serve(line)]
        given[tenant] += cost
        send(tenant)
    assert jain(list(given.values())) >= 0.99


def test_weights_and_classes_are_shares() -> None:
    line, given = queue(), dict[str, int]()
    classes = {"high": 16, "normal": 4, "low": 1}
    for n in range(3_000):
        for name in classes:
            line.push(JobId(f"{name} {n}"), NEED, ClientId(name), priority=name)
        line.push(JobId(f"heavy {n}"), NEED, ClientId("heavy"), weight=3)
    for _ in range(3_300):
        name = serve(line).split()[0]
        given[name] = given.get(name, 0) + 1
    assert given == {"high": 1_600, "heavy": 1_200, "normal": 400, "low": 100}


@pytest.mark.parametrize("priority", sorted(PRIORITIES))
def test_nobody_starves_however_many_newcomers_there_are(priority: str) -> None:
    """A full queue in which a client never seen before, of the highest class, follows on whoever is served."""
    line, waiting, served = queue(), 20, 0
    line.push(JobId("first"), NEED, CLIENTS[0], priority=priority)
    line.push(JobId("last"), NEED, CLIENTS[0], priority=priority)
    while JobId("last") in line:
        while len(line) < waiting:
            line.push(
                JobId(f"{served}.{len(line)}"), NEED, ClientId(f"{served}.{len(line)}"), priority="high"
            )
        serve(line)
        served += 1
        assert served <= 2 * waiting * PRIORITIES["high"] // PRIORITIES[priority]


def test_a_client_with_many_jobs_delays_another_by_one() -> None:
    line = queue()
    for n in range(1_000):
        line.push(JobId(f"many {n}"), NEED, CLIENTS[0])
    line.push(JobId("single"), NEED, CLIENTS[1])
    assert line.position(JobId("single")) == 1


def test_a_higher_class_goes_first_also_among_clients_with_a_job_each() -> None:
    line = queue()
    for n, priority in enumerate(("low", "normal", "high")):
        line.push(JobId(priority), NEED, ClientId(str(n)), priority=priority)
    assert list(line.waiting(NEED)) == ["high", "normal", "low"]


def test_a_job_that_comes_back_stands_where_it_stood_and_its_client_pays_for_both() -> None:
    line = queue()
    for n in range(4):
        for client in CLIENTS[:2]:
            line.push(JobId(f"{client} {n}"), NEED, client)
    failed = next(line.waiting(NEED))
    line.remove(failed)
    assert serve(line) == "ben 0"
    line.push(failed, NEED, CLIENTS[0])
    assert line.position(failed) == 0
    for client in CLIENTS[:2]:
        line.push(JobId(f"{client} 4"), NEED, client)
    # Without the repeated work Anna's fifth would stand before Ben's.
    assert list(line.waiting(NEED))[-2:] == ["ben 4", "anna 4"]


def test_what_leaves_unserved_has_cost_nothing() -> None:
    """A client whose jobs expire in the queue is not pushed behind those who are served."""
    line = queue()
    for n in range(100):
        line.push(JobId(f"anna {n}"), NEED, CLIENTS[0], cost=100)
    line.push(JobId("ben"), NEED, CLIENTS[1], cost=150)
    for n in range(99):
        line.leave(JobId(f"anna {n}"))
    assert list(line.waiting(NEED)) == ["anna 99", "ben"]


def test_credit_for_what_was_never_served_cannot_be_hoarded() -> None:
    """Jobs that fit no slot are let go after a while: that makes room for nothing else before its turn."""
    line = queue()
    line.push(JobId("unfit"), NEED, CLIENTS[0], cost=1_000)
    for n in range(10):
        line.push(JobId(f"ben {n}"), NEED, CLIENTS[1], cost=1_000)
    for n in range(5):
        line.remove(JobId(f"ben {n}"))
    for n in range(5):
        line.push(JobId(f"anna {n}"), NEED, CLIENTS[0], cost=1_000)
    line.leave(JobId("unfit"))
    turns = [job.split()[0] for job in line.waiting(NEED)]
    assert turns == ["ben", "anna"] * 5


def test_clients_and_deadlines_that_are_gone_are_forgotten() -> None:
    line = queue()
    line.push(JobId("stays"), NEED, CLIENTS[0], cost=10**9, deadline=Instant(1))
    for n in range(5_000):
        job = JobId(f"job {n}")
        line.push(job, NEED, ClientId(f"client {n}"), deadline=Instant(10**6))
        line.remove(job)
        if n % 2:  # what is repeated leaves a debt
            line.push(job, NEED, ClientId(f"client {n}"))
            line.remove(job)
        line.leave(job)
    assert len(line._lines[NEED].flows) < 100
    assert len(line._deadlines) < 100
    assert len(line._per_client) == 1
    assert line.expired(Instant(10**6)) == ["stays"]
