"""A streamed job at an orchestrator: how much a gateway can read that it has not acknowledged, whatever it does.

Beyond what it acknowledged a gateway has at most the window, or one piece; one that pays for what it acknowledged
when it cancels, at any moment, has no more than that for nothing. The worker is paid its share of all of it.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.ids import JobId, NodeId, digest
from shoal.machine import Connected, Disconnected, Event, Gathered, Heard, Send, Tick
from shoal.money.wei import Price, Wei, part
from shoal.orchestrator.config import Rules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.codec import encode_payload
from shoal.wire.words import JobSpec, Payload

G, W = NodeId("g"), NodeId("w")
JOB = JobId("job")
PRICE = Price(7, 3)
UNITS = 60
BODY = encode_payload(Payload(b"{}"))
WINDOW = 8
RULES = Rules(prices={"llm": PRICE}, window_units_max=WINDOW, share_ppm=700_000)


class Buyer:
    """A gateway that does as it likes, and what it has got out of it."""

    def __init__(self) -> None:
        self.now = Instant(1_000_000)
        self.orchestrator = OrchestratorMachine(RULES, node=NodeId("o"), sign=lambda data: b"signed")
        self.spoken = self.read = self.acknowledged = 0
        self.largest = 1
        spec = JobSpec("llm", "m", UNITS, stream=True)
        order = words.Job(JOB, 1, spec, PRICE, 60_000, digest(BODY), BODY)
        offers = words.Offers((words.Offer("llm", "m", 1),))
        for event in (
            Connected(G, "gateway", "boot"),
            Connected(W, "worker", "boot"),
            Heard(W, offers),
            Heard(G, order),
        ):
            self.see(event)

    def see(self, event: Event) -> None:
        for effect in self.orchestrator.handle(event, self.now):
            if isinstance(effect, Send) and effect.peer == G and isinstance(effect.word, words.Progress):
                self.read = max(self.read, effect.word.units)
        self.orchestrator.check()

    def speak(self, units: int) -> None:
        """The worker gives a piece of so many units."""
        if self.spoken < UNITS:
            before, self.spoken = self.spoken, min(UNITS, self.spoken + units)
            self.largest = max(self.largest, self.spoken - before)
            self.see(Heard(W, words.Progress(JOB, 1, self.spoken, before, "x" * (self.spoken - before))))

    def acknowledge(self, units: int) -> None:
        """It says that it has some of what it has, or as much as it likes."""
        if G not in self.orchestrator.gateways:
            return
        self.acknowledged = max(self.acknowledged, units)
        self.see(Heard(G, words.Acknowledge(JOB, 1, units)))

    @property
    def earned(self) -> int:
        """What the worker has."""
        return self.orchestrator.payroll.earned(W)


PIECES = st.tuples(st.just("speak"), st.integers(1, 12))
CLAIMS = st.tuples(st.just("acknowledge"), st.integers(0, UNITS))
PAUSES = st.tuples(st.sampled_from(["tick", "gone", "back"]), st.just(0))
COURSES = st.lists(st.one_of(PIECES, PIECES, CLAIMS, PAUSES), max_size=40)


def follow(buyer: Buyer, course: list[tuple[str, int]]) -> None:
    for what, units in course:
        match what:
            case "speak":
                buyer.speak(units)
            case "acknowledge":
                buyer.acknowledge(min(units, buyer.read))
            case "tick":
                buyer.now = later(buyer.now, 1_000)
                buyer.see(Tick())
            case "gone":
                buyer.see(Disconnected(G))
            case _:
                buyer.see(Connected(G, "gateway", "boot"))
        assert buyer.read - buyer.acknowledged <= max(WINDOW, buyer.largest)


@settings(max_examples=300, deadline=None)
@given(COURSES)
def test_nobody_reads_further_than_the_window_beyond_what_it_acknowledged(
    course: list[tuple[str, int]],
) -> None:
    follow(Buyer(), course)


@settings(max_examples=300, deadline=None)
@given(COURSES, st.integers(0, UNITS))
def test_who_cancels_and_pays_what_it_acknowledged_has_no_more_than_the_window_for_nothing(
    course: list[tuple[str, int]], late: int
) -> None:
    buyer = Buyer()
    follow(buyer, course)
    buyer.see(Connected(G, "gateway", "boot"))
    paid = Wei(PRICE.cost(buyer.acknowledged))
    buyer.see(Heard(G, words.Cancel(JOB, 1, buyer.acknowledged, paid)))
    buyer.speak(late)  # what comes after that reaches nobody
    buyer.see(Gathered())
    assert buyer.earned == part(paid, RULES.share_ppm)
    assert buyer.read - buyer.acknowledged <= max(WINDOW, buyer.largest)


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
    assert buyer.read - buyer.acknowledged <= max(WINDOW, buyer.largest)
