"""What `shoal why` prints: the candidates in columns with their units, and who was left out."""

from __future__ import annotations

from market import Market, uneven
from shoal.cli.why import lines


def said(market: Market, job: str, **known: str) -> list[str]:
    return list(lines(market.why(job), known))


def test_an_attempt_is_shown_with_its_candidates() -> None:
    market = Market()
    market.sells("o1", 2, price=1)
    market.sells("o2", 4, price=2)
    market.sells("o3", 4, price=3)
    market.sells("o4", 4, price=4)
    market.submit("job", policy="cheapest", limit=2)
    assert said(market, "job", o1="the first") == [
        "job: echo for echo, running",
        "",
        "attempt 1, at once, by cheapest: the first; running",
        "",
        "     node         free  score  price wei a unit",
        "  >  the first  2 of 2      1                 1",
        "     o2         4 of 4      2                 2",
        "  score: price; the least is the best",
        "  taken: one of those that score within a margin of the best",
        "  left out: o3 and 1 more: it asks more than the job's limit",
    ]


def test_what_is_nothing_for_everybody_takes_no_column() -> None:
    market = Market()
    market.sells("o1", 1)
    market.submit("job")
    told = said(market, "job")
    assert "     node    free  score  run ms  success  dear" in told
    assert "     0 for all of them: link, cold, home, crowd" in told


def test_failures_and_waiting_are_said() -> None:
    market = Market()
    market.sells("o1", 1)
    market.submit("job")
    market.sells("o2", 1, taken=1)
    market.after(340)
    market.fails("job")
    told = said(market, "job")
    assert told[2] == "attempt 1, at once, by balanced: o1; it failed: so it was"
    assert told[-4:] == [
        "it waits by balanced, 0 before it, and starts in about 512 ms",
        "  no slot that it may have is free",
        "  left out: o2: no slot is free",
        "  left out: o1: the job has failed there before",
    ]


def test_waiting_on_purpose_is_said_with_times() -> None:
    market = uneven()
    market.submit("second")
    told = said(market, "second")
    assert "  quick: free in about 1.0 s, and the job done in 2.0 s" in told
    assert any("slow" in line for line in told)


def test_what_is_forgotten_is_said() -> None:
    market = Market()
    market.sells("o1", 1)
    market.submit("job")
    market.now = type(market.now)(market.now + 1)
    market.restart()
    assert "forgotten" in said(market, "job")[-1]
