"""Candidates and wishes for tests: what a test does not care about is filled in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shoal.ids import JobId, NodeId
from shoal.money.wei import Price
from shoal.policy.views import Candidate, Wish

PLENTY = Price(1_000_000)


def node(name: str, **known: Any) -> Candidate:
    """One with four free slots that asks one wei a unit."""
    fields: dict[str, Any] = {"slots": 4, "free": 4, "price": Price(1), **known}
    return Candidate(node=NodeId(name), **fields)


def wish(number: int = 1, **wanted: Any) -> Wish:
    """The wish of one job of many."""
    fields: dict[str, Any] = {"limit": PLENTY, "left_ms": 60_000, **wanted}
    return Wish(job=JobId(f"job_{number:032x}"), **fields)


def wishes(count: int, **wanted: Any) -> Iterator[Wish]:
    """So many jobs that wish the same."""
    return (wish(number, **wanted) for number in range(count))
