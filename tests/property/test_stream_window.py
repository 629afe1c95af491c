"""A streamed job at an orchestrator: how much a gateway can have that it does not pay for, whatever it does.

Beyond what it acknowledged a gateway has at most the window, or less than half of it and one piece. However the attempt
ends that its seller does not give up, and whenever the orchestrator is killed, what was acknowledged is booked: so
that is all that anybody has for nothing. The worker is paid its share of all of it.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.ids import JobId, NodeId, digest
from shoal.machine import (
    Connected,
    Disconnected,
    Effect,
    Event,
    Fact,
    Gathered,
    Heard,
    Restarted,
    Send,
    SendAtOnce,
    Tick,
)
from shoal.money.wei import Price, Wei, part
from shoal.orchestrator.config import Rules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.words import JobSpec
from shoal.work.stream import stride

G, W = NodeId("g"), NodeId("w")
JOB = JobId("job")
PRICE = Price(7, 3)
UNITS = 60
BODY = b"no request"
WINDOW = 8
DEADLINE_MS = 60_000
RULES = Rules(prices={"llm": PRICE}, window_units_max=WINDOW, share_ppm=700_000)


class Buyer:
    """A gateway that does as it likes, and what it has got out of it.

    Of the orchestrator's facts the latest are not on disk yet: then nothing that follows from them is said.
    """

    def __init__(self) -> None:
        self.now = Instant(1_000_000)
        self.facts: list[Fact] = []
        self.pending: list[Fact | Effect] = []
        self.spoken = self.read = self.acknowledged = 0
        self.largest = 1
        self.live()
        spec = JobSpec("llm", "m", UNITS, stream=True)
        self.see(Heard(G, words.Job(JOB, 1, spec, PRICE, DEADLINE_MS, digest(BODY), BODY)))
        self.commit()

    def live(self) -> None:
        """The orchestrator begins, where its facts on disk end."""
        self.orchestrator = OrchestratorMachine(RULES, node=NodeId("o"), sign=lambda data: b"signed")
        for fact in self.facts:
            self.orchestrator.handle(fact, self.now)
        offers = words.Offers((words.Offer("llm", "m", 1),))
        for event in (
            Restarted(),
            Connected(G, "gateway", "boot"),
            Connected(W, "worker", "boot"),
            Heard(W, offers),
        ):
            self.see(event)

    def see(self, event: Event) -> None:
        for thing in self.orchestrator.handle(event, self.now):
            if isinstance(thing, SendAtOnce):
                self.hear(thing)
            else:
                self.pending.append(thing)
        self.orchestrator.check()

    def hear(self, effect: Fact | Effect) -> None:
        if isinstance(effect, Send) and effect.peer == G and isinstance(effect.word, words.Progress):
            self.read = max(self.read, effect.word.units)

    def commit(self) -> None:
        """What was decided is on disk: now it has its effects."""
        done, self.pending = self.pending, []
        self.facts += [thing for thing in done if isinstance(thing, Fact)]
        for thing in done:
            self.hear(thing)

    def kill(self) -> None:
        """What is not on disk is lost, and so is what would have followed from it."""
        if any(isinstance(thing, Fact) for thing in self.pending):
            self.pending = []
        self.commit()
        self.live()

    def speak(self, units: int) -> None:
        """The worker gives a piece of so many units."""
        if self.spoken < UNITS:
            before, self.spoken = self.spoken, min(UNITS, self.spoken + units)
            self.largest = max(self.largest, self.spoken - before)
            self.see(Heard(W, words.Progress(JOB, 1, self.spoken, before, "x" * (self.spoken - before))))

    def acknowledge(self, units: int) -> None:
        """It says that it has some of what it has, or as much as it likes."""
        if G in self.orchestrator.gateways:
            self.acknowledged = max(self.acknowledged, units)
            self.see(Heard(G, words.Acknowledge(JOB, 1, units)))

    @property
    def booked(self) -> int:
        """The units that were booked, and the worker was paid for."""
        task = self.orchestrator.tasks[f"{JOB}/1"]
        assert task.wei == PRICE.cost(task.units)
        assert self.orchestrator.payroll.earned(W) == part(task.wei, RULES.share_ppm)
        return task.units

    @property
    def bound(self) -> int:
        """The most that it has for nothing."""
        return max(WINDOW, stride(WINDOW) - 1 + self.largest)


PIECES = st.tuples(st.just("speak"), st.integers(1, 12))
CLAIMS = st.tuples(st.just("acknowledge"), st.integers(0, UNITS))
TURNS = st.tuples(st.sampled_from(["tick", "gone", "back", "kill", "commit", "commit"]), st.just(0))
COURSES = st.lists(st.one_of(PIECES, PIECES, CLAIMS, TURNS), max_size=40)


def follow(buyer: Buyer, course: list[tuple[str, int]]) -> None:
    for what, units in course:
        match what:
            case "speak":
                buyer.speak(units)
            case "acknowledge":
                buyer.acknowledge(min(units, buyer.read))
            case "tick":
                buyer.now = later(buyer.now, 250)
                buyer.see(Tick())
            case "gone":
                buyer.see(Disconnected(G))
            case "kill":
                buyer.kill()
            case "commit":
                buyer.commit()
            case _:
                buyer.see(Connected(G, "gateway", "boot"))
        assert buyer.read - buyer.acknowledged <= buyer.bound


def cancels_with(units: int) -> Callable[[Buyer], None]:
    def cancel(buyer: Buyer) -> None:
        buyer.see(Connected(G, "gateway", "boot"))
        buyer.see(Heard(G, words.Cancel(JOB, 1, units, PRICE.cost(units))))

    return cancel


def says_nothing_more(buyer: Buyer) -> None:
    for _ in range(10):
        buyer.now = later(buyer.now, 10_000)
        buyer.see(Heard(W, words.Heartbeat((words.Held(JOB, 1),))))
        buyer.see(Tick())


def lets_it_expire(buyer: Buyer) -> None:
    buyer.now = later(buyer.now, DEADLINE_MS)
    buyer.see(Heard(W, words.Failure(JOB, 1, words.Fault("expired", "the runner was too slow"))))
    buyer.see(Connected(G, "gateway", "boot"))
    buyer.see(Heard(G, words.Cancel(JOB, 1)))


ENDS: dict[str, Callable[[Buyer], None]] = {
    "cancels for nothing": cancels_with(0),
    "cancels for little": cancels_with(1),
    "says nothing more": says_nothing_more,
    "lets it expire": lets_it_expire,
}


@settings(max_examples=300, deadline=None)
@given(COURSES)
def test_nobody_reads_further_than_the_window_beyond_what_it_acknowledged(
    course: list[tuple[str, int]],
) -> None:
    follow(Buyer(), course)


@settings(max_examples=600, deadline=None)
@given(COURSES, st.sampled_from(sorted(ENDS)), st.integers(0, UNITS), st.booleans())
def test_whatever_the_end_nobody_has_more_than_the_window_for_nothing(
    course: list[tuple[str, int]], end: str, late: int, dies: bool
) -> None:
    """What is booked is what was acknowledged, as far as it had its effect: nothing that it read rests on the rest."""
    buyer = Buyer()
    follow(buyer, course)
    if dies:  # between the last acknowledgement and the end
        buyer.kill()
    ENDS[end](buyer)
    buyer.commit()
    buyer.speak(late)  # what comes after that reaches nobody
    buyer.see(Gathered())
    buyer.commit()
    assert buyer.read - buyer.booked <= buyer.bound
    if end != "cancels for little":
        assert buyer.booked <= buyer.acknowledged
    buyer.kill()
    assert buyer.read - buyer.booked <= buyer.bound


@settings(max_examples=300, deadline=None)
@given(COURSES, st.integers(0, UNITS))
def test_who_cancels_and_pays_what_it_acknowledged_pays_no_more(
    course: list[tuple[str, int]], late: int
) -> None:
    buyer = Buyer()
    follow(buyer, course)
    cancels_with(buyer.acknowledged)(buyer)
    buyer.commit()
    buyer.speak(late)
    assert buyer.booked == buyer.acknowledged
    assert buyer.orchestrator.payroll.earned(W) == part(Wei(PRICE.cost(buyer.acknowledged)), RULES.share_ppm)


@settings(max_examples=100, deadline=None)
@given(COURSES, st.integers(0, UNITS))
def test_who_acknowledges_more_than_it_has_read_only_binds_itself(
    course: list[tuple[str, int]], more: int
) -> None:
    buyer = Buyer()
    follow(buyer, course)
    buyer.acknowledge(more)
    for _ in range(UNITS):
        buyer.speak(1)
    buyer.commit()
    assert buyer.read - buyer.acknowledged <= buyer.bound
