"""Why a job waits: for nobody's sake, for a quicker node's, or for the retry budget."""

from __future__ import annotations

from typing import Any

from market import Market, uneven
from shoal.gateway.why import NOBODY, QUICKER, UNPAID, policies_value
from shoal.policy.recipe import Policy
from shoal.policy.selection import POLICIES


def waiting(market: Market, job: str) -> dict[str, Any]:
    value = market.why(job)["waiting"]
    assert value is not None
    return dict(value)


def test_a_job_that_waits_for_a_slot_says_so() -> None:
    market = Market()
    market.sells("o1", 1)
    market.submit("first")
    market.submit("second")
    value = waiting(market, "second")
    assert (value["reason"], value["position"], value["quicker"], value["chosen"]) == (NOBODY, 0, None, None)
    assert [(out["filter"], out["count"], out["example"]) for out in value["excluded"]] == [("free", 1, "o1")]
    assert market.why("first")["waiting"] is None


def test_a_job_that_waits_on_purpose_says_for_whom_and_until_when() -> None:
    market = uneven()
    market.submit("second")
    market.submit("third", "ben")
    market.after(250)
    second, third = waiting(market, "second"), waiting(market, "third")
    assert second["reason"] == QUICKER
    assert second["quicker"] == {"node": "quick", "free_in_ms": 750, "done_in_ms": 1_750}
    assert third["quicker"] == {"node": "quick", "free_in_ms": 1_750, "done_in_ms": 2_750}
    assert [candidate["node"] for candidate in second["candidates"]] == ["slow"]


def test_a_job_whose_retry_is_not_paid_for_says_so() -> None:
    market = Market(retry_burst=0)
    market.sells("o1", 1)
    for job in ("failed", "next", "last"):
        market.submit(job)
    market.fails("failed")
    value = waiting(market, "failed")
    assert value["retry_unpaid"]
    assert value["reason"].startswith(UNPAID)
    assert not waiting(market, "last")["retry_unpaid"]


def test_looking_changes_nothing() -> None:
    market = uneven()
    market.submit("second")
    before = market.machine.dump()
    assert waiting(market, "second") == waiting(market, "second")
    assert market.machine.dump() == before


def test_an_attempt_says_how_it_ended() -> None:
    market = Market()
    market.sells("o1", 1)
    market.sells("o2", 1)
    market.submit("job")
    market.fails("job")
    market.answers("job")
    first, second = market.why("job")["attempts"]
    assert (first["ended"], second["ended"]) == ("so it was", "done")
    assert [out["filter"] for out in second["excluded"]] == ["avoid"]


def test_at_most_twenty_candidates_are_shown_and_the_others_counted() -> None:
    market = Market()
    for number in range(30):
        market.sells(f"o{number:02}", 1, price=number)
    market.submit("job", policy="cheapest", limit=24)
    (attempt,) = market.why("job")["attempts"]
    assert (len(attempt["candidates"]), attempt["candidates_in_all"]) == (20, 25)
    assert attempt["candidates"][0]["node"] == attempt["chosen"] == "o00"
    assert [(out["filter"], out["count"]) for out in attempt["excluded"]] == [("limit", 5)]


def test_all_policies_are_listed_with_ones_own_and_the_default_first() -> None:
    market = Market(policy="mine", policies={"mine": Policy(about="as I like it", rank="price")})
    value = policies_value(market.machine)
    assert value["default"] == value["policies"][0]["name"] == "mine"
    assert {policy["name"] for policy in value["policies"]} == {"mine", *POLICIES}
    assert len(value["policies"]) == 1 + len(POLICIES)
