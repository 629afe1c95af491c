"""The auditor compares workers' books with their orchestrators': a sound run's journals are falsified, one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from shoal.machine import Fact
from shoal.money.ticket import uint256
from shoal.sim.auditor import audit
from shoal.sim.evidence import UNCHECKED, Evidence, Finding, Journal
from shoal.sim.world import Faults, Plan, World
from shoal.work.task import Earned
from shoal.worker.earnings import Counted, Left, Stated


@pytest.fixture(scope="module")
def sound() -> Evidence:
    """What a run leaves behind in which workers count and are told their accounts."""
    world = World(22, Plan(jobs=60, faults=Faults(), prepaid=False))
    assert world.run().findings == ()
    return world.evidence(drained=True)


def found(evidence: Evidence) -> set[str]:
    return {finding.rule for finding in audit(evidence) if finding.rule != UNCHECKED}


def falsified(
    evidence: Evidence, role: str, kind: type[Fact], change: Callable[[Fact], list[Fact]]
) -> Evidence:
    """The evidence with the last fact of this kind, in every journal of this role, changed."""
    journals: list[Journal] = []
    for journal in evidence.journals:
        facts = list(journal.facts)
        last = max(
            (place for place, (_, _, fact) in enumerate(facts) if isinstance(fact, kind)), default=None
        )
        if journal.role == role and last is not None:
            number, at, fact = facts[last]
            facts[last : last + 1] = [(number, at, other) for other in change(fact)]
        journals.append(replace(journal, facts=facts, closing=None))
    return replace(evidence, journals=tuple(journals))


def more(fact: Fact) -> list[Fact]:
    """A count that is too high."""
    assert isinstance(fact, Counted)
    return [replace(fact, earned=uint256(int.from_bytes(fact.earned) + 10**12))]


def shrunk(fact: Fact) -> list[Fact]:
    """A count that goes back."""
    assert isinstance(fact, Counted)
    return [fact, replace(fact, earned=uint256(0), jobs=0)]


def forged(fact: Fact) -> list[Fact]:
    """An account that nobody signed."""
    assert isinstance(fact, Stated)
    return [replace(fact, account=replace(fact.account, signature=bytes(65)))]


def left(fact: Fact) -> list[Fact]:
    """An honest orchestrator is left."""
    assert isinstance(fact, Counted)
    return [fact, Left(fact.orchestrator, "a whim")]


def test_a_sound_run_is_sound(sound: Evidence) -> None:
    assert found(sound) == set()
    kinds = {
        type(fact) for journal in sound.journals if journal.role == "worker" for _, _, fact in journal.facts
    }
    assert {Counted, Stated} <= kinds


@pytest.mark.parametrize(
    ("kind", "change"), [(Counted, more), (Counted, shrunk), (Stated, forged), (Counted, left)]
)
def test_what_is_false_is_found(
    sound: Evidence, kind: type[Fact], change: Callable[[Fact], list[Fact]]
) -> None:
    assert "wages" in found(falsified(sound, "worker", kind, change))


def test_an_orchestrator_that_forgets_what_was_earned_is_found(sound: Evidence) -> None:
    forgetful = falsified(sound, "orchestrator", Earned, lambda fact: [])
    wages = [
        finding for finding in audit(forgetful) if isinstance(finding, Finding) and finding.rule == "wages"
    ]
    assert wages
