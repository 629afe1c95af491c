"""A stream over any attempts, losses and repeats: what is shown is one text, and nothing is paid unheard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.ids import JobId
from shoal.wire.words import Progress
from shoal.work.stream import Stream

PIECES = st.lists(st.text("ab ", min_size=1, max_size=3), min_size=1, max_size=6)


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[str, list[Progress | int]]:
    """An answer; then pieces of up to three attempts at it, some lost or doubled, and acknowledgements."""
    pieces = draw(PIECES)
    heard: list[Progress | int] = []
    for epoch in range(1, draw(st.integers(1, 3)) + 1):
        offset = 0
        for units, piece in enumerate(pieces[: draw(st.integers(0, len(pieces)))], start=1):
            word = Progress(JobId("job"), epoch, units, offset, piece)
            heard += [word] * draw(st.sampled_from([0, 1, 1, 1, 2]))
            offset += len(piece)
            if draw(st.booleans()):
                heard.append(draw(st.integers(0, 9)))
    return "".join(pieces), heard


@given(arrivals())
def test_what_is_shown_is_the_beginning_of_the_answer(case: tuple[str, list[Progress | int]]) -> None:
    answer, heard = case
    stream, shown, epoch, units, consumed = Stream(), "", 0, 0, 0
    for thing in heard:
        if isinstance(thing, int):
            stream.consume(thing)
            consumed = max(consumed, thing)
        else:
            shown += stream.hear(thing)
            units = max(units, thing.units) if thing.epoch == epoch else thing.units
            epoch = thing.epoch
        assert answer.startswith(shown)
        assert shown == stream.text
        assert not stream.diverged
        assert stream.acknowledged(epoch) <= min(consumed, units)
        assert stream.acknowledged(epoch + 1) == 0


def test_an_answer_that_goes_another_way_is_not_shown() -> None:
    stream = Stream()
    assert stream.hear(Progress(JobId("job"), 1, 1, 0, "one ")) == "one "
    assert stream.hear(Progress(JobId("job"), 2, 1, 0, "two ")) == ""
    assert stream.diverged
    assert stream.hear(Progress(JobId("job"), 2, 2, 4, "more")) == ""


def test_a_client_acknowledges_no_more_than_has_come() -> None:
    stream = Stream()
    stream.hear(Progress(JobId("job"), 1, 3, 0, "abc"))
    stream.consume(1_000)
    stream.hear(Progress(JobId("job"), 1, 5, 3, "de"))
    assert stream.acknowledged(1) == 3
