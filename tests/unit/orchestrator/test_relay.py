"""How far a stream may run ahead of what was acknowledged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.ids import JobId
from shoal.orchestrator.relay import Relay
from shoal.wire.words import Progress

WINDOW = 8


#: Less than this under way is not acknowledged at once.
STRIDE = 4


def piece(units: int, *, first: bool = False) -> Progress:
    return Progress(JobId("j"), 1, units, 0 if first else units, "text")


def test_a_first_piece_that_counts_a_long_question_goes_on_alone() -> None:
    relay = Relay(WINDOW)
    assert relay.hear(piece(500, first=True)) == piece(500, first=True)
    assert relay.hear(piece(501)) is None
    assert relay.acknowledge(492) == []
    assert relay.acknowledge(493) == [piece(501)]


def test_a_large_piece_goes_on_when_too_little_is_under_way_to_be_acknowledged() -> None:
    relay = Relay(WINDOW)
    assert relay.hear(piece(STRIDE - 1, first=True))
    assert relay.hear(piece(100)) == piece(100)
    assert relay.hear(piece(101)) is None
    assert relay.acknowledge(100) == [piece(101)]


def test_after_a_restart_everything_may_be_under_way_that_could_be() -> None:
    relay = Relay(WINDOW, acknowledged=100)
    assert relay.hear(piece(100 + WINDOW)) == piece(100 + WINDOW)
    relay = Relay(WINDOW, acknowledged=100)
    assert relay.hear(piece(101 + WINDOW)) is None
    assert relay.acknowledge(101) == [piece(101 + WINDOW)]


def test_pieces_go_on_in_their_order_as_the_window_moves() -> None:
    relay = Relay(WINDOW)
    sent = [units for units in range(1, 20) if relay.hear(piece(units, first=units == 1))]
    assert sent == list(range(1, WINDOW + 1))
    assert relay.acknowledge(3) == [piece(units) for units in range(WINDOW + 1, WINDOW + 4)]


@given(
    steps=st.lists(st.integers(1, 300), min_size=1, max_size=60),
    acknowledgements=st.lists(st.integers(0, 400), max_size=60),
)
def test_nothing_is_lost_and_no_more_than_the_window_or_one_piece_is_unpaid(
    steps: list[int], acknowledgements: list[int]
) -> None:
    relay, acknowledged, sent, total = Relay(WINDOW), 0, list[Progress](), 0
    asked = iter(acknowledgements)

    def note(gone: list[Progress]) -> None:
        for one in gone:
            before = sent[-1].units if sent else 0
            assert one.units - acknowledged <= WINDOW or before - acknowledged < STRIDE
            sent.append(one)

    for number, step in enumerate(steps):
        total += step
        gone = relay.hear(piece(total, first=number == 0))
        note([gone] if gone is not None else [])
        acknowledged = max(acknowledged, min(next(asked, 0), sent[-1].units if sent else 0))
        note(relay.acknowledge(acknowledged))
    while sent[-1].units < total:  # a client that goes on reading gets everything
        acknowledged = sent[-1].units
        note(relay.acknowledge(acknowledged))
    assert len(sent) == len(steps)
