"""The auditor finds what is wrong: a sound run's journals are falsified, one place at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from shoal.gateway.purse import Booked, Tendered
from shoal.machine import Fact, Quarantined
from shoal.money.payee import WinnerSettled
from shoal.money.ticket import uint256
from shoal.money.wei import Wei
from shoal.orchestrator.payroll import PayoutEnded, PayoutPlanned
from shoal.orchestrator.till import Paid
from shoal.redeemer.intent import Confirmed, Signed, Taken
from shoal.sim.auditor import audit
from shoal.sim.evidence import UNCHECKED, Acknowledged, ClientWord, Ended, Evidence, Finding, Journal, Missing
from shoal.sim.journals import read_journal
from shoal.sim.world import Faults, Plan, World
from shoal.wire.words import Fault
from shoal.work import lifecycle, task
from shoal.work.lifecycle import Accepted, Answered, Placed, Returned, Withdrawn
from shoal.work.task import Earned, Leased, Released

Change = Callable[[Fact], list[Fact]]


@pytest.fixture(scope="module")
def world() -> World:
    """A run in which jobs are done, fail and are cancelled."""
    made = World(22, Plan(jobs=60, faults=Faults(runner_fail_ppm=300_000)))
    assert made.run().findings == ()
    return made


@pytest.fixture(scope="module")
def sound(world: World) -> Evidence:
    """What that run left behind."""
    evidence = world.evidence(drained=True)
    assert violations(evidence) == []
    kinds = {type(fact) for journal in evidence.journals for _, _, fact in journal.facts}
    assert {Accepted, Placed, Answered, Withdrawn, Leased, Earned, Released} <= kinds
    return evidence


def violations(evidence: Evidence) -> list[Finding]:
    return [finding for finding in audit(evidence) if finding.rule != UNCHECKED]


def falsify(evidence: Evidence, kind: type[Fact], change: Change) -> Evidence:
    """Change the first fact of a kind in whichever journal has one; numbers stay in a row.

    A placement that came to nothing is missed by nobody: of those it is the first that was answered. Of what a
    redeemer did it is the first ticket.
    """
    answers = {
        fact.job for journal in evidence.journals for *_, fact in journal.facts if type(fact) is Answered
    }
    journals, done = [], False
    for journal in evidence.journals:
        facts: list[Fact] = []
        for _, _, fact in journal.facts:
            hit = not done and type(fact) is kind and (not isinstance(fact, Placed) or fact.job in answers)
            hit = hit and (not isinstance(fact, Confirmed) or fact.id.startswith("ticket/"))
            facts += change(fact) if hit else [fact]
            done = done or hit
        numbered = [(n, 0, fact) for n, fact in enumerate(facts, start=1)]
        journals.append(Journal(node=journal.node, role=journal.role, facts=numbered))
    assert done
    return replace(evidence, journals=tuple(journals))


LIES: dict[str, tuple[str, type[Fact], Change]] = {
    "a job vanishes": ("I1", Accepted, lambda fact: []),
    "a job is accepted twice": ("I1", Accepted, lambda fact: [fact, fact]),
    "an answer vanishes": ("I1", Answered, lambda fact: []),
    "an answer is accepted twice": ("I2", Answered, lambda fact: [fact, fact]),
    "an answer costs a wei more": ("I2", Answered, lambda fact: [replace(fact, wei=fact.wei + 1)]),
    "an answer has other units": ("I2", Answered, lambda fact: [replace(fact, units=fact.units + 1)]),
    "an answer is another": ("I2", Answered, lambda fact: [replace(fact, answer="other")]),
    "an answer is of another epoch": ("I2", Answered, lambda fact: [replace(fact, epoch=fact.epoch + 1)]),
    "a fee grows": ("I2", Answered, lambda fact: [replace(fact, fee=fact.fee + 1)]),
    "a fee exceeds the hold": ("I3", Answered, lambda fact: [replace(fact, fee=10**18)]),
    "a receipt is not signed": (
        "I2",
        Answered,
        lambda fact: [replace(fact, receipt=replace(fact.receipt, signature=b""))],
    ),
    "a receipt is another's": (
        "I2",
        Answered,
        lambda fact: [replace(fact, receipt=replace(fact.receipt, worker="w99"))],
    ),
    "a placement vanishes": ("I2", Placed, lambda fact: []),
    "an epoch is skipped": ("I2", Placed, lambda fact: [replace(fact, epoch=fact.epoch + 1)]),
    "a cancel pays": ("I2", Withdrawn, lambda fact: [replace(fact, units=1, wei=Wei(1))]),
    "more is acknowledged than was received": (
        "I2",
        lifecycle.Acknowledged,
        lambda fact: [replace(fact, units=fact.units + 100)],
    ),
    "a gateway acknowledges twice": ("I2", lifecycle.Acknowledged, lambda fact: [fact, fact]),
    "an orchestrator hears an acknowledgement twice": ("I2", task.Acknowledged, lambda fact: [fact, fact]),
    "what was acknowledged is not booked": (
        "I2",
        task.Acknowledged,
        lambda fact: [fact, Released(fact.job, fact.epoch, "g0", Fault("expired", "too late"))],
    ),
    "what was not acknowledged is booked": (
        "I2",
        Earned,
        lambda fact: [replace(fact, fault=Fault("expired", "too late"))],
    ),
    "what broke off is paid beyond what was acknowledged": (
        "I2",
        Answered,
        lambda fact: [Returned(fact.job, fact.epoch, Fault("lost", "gone"), True, 9, fact.wei), fact],
    ),
    "a lease vanishes": ("I2", Leased, lambda fact: []),
    "a slot is leased again": (
        "I5",
        Leased,
        lambda fact: [replace(fact, epoch=100 + n) for n in range(9)] + [fact],
    ),
    "a payment vanishes": ("I2", Earned, lambda fact: []),
    "a payment is booked twice": ("I2", Earned, lambda fact: [fact, fact]),
    "a payment is a wei less": ("I2", Earned, lambda fact: [replace(fact, wei=fact.wei - 1)]),
    "a share is a wei more": ("I2", Earned, lambda fact: [replace(fact, share=fact.share + 1)]),
    "a release vanishes": ("I3", Released, lambda fact: []),
    "a job is set aside": ("bug", Accepted, lambda fact: [fact, Quarantined(fact.job, "a bug")]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_falsified_journal_is_found_out(sound: Evidence, lie: str) -> None:
    rule, kind, change = LIES[lie]
    assert rule in {finding.rule for finding in violations(falsify(sound, kind, change))}


MONEY_LIES: dict[str, tuple[str, type[Fact], Change]] = {
    "a payment was never sent": ("I4", Tendered, lambda fact: []),
    "a payment is sent twice": ("I4", Tendered, lambda fact: [fact, fact]),
    "a payment costs a wei less": ("credit", Tendered, lambda fact: [replace(fact, wei=fact.wei - 1)]),
    "nonces are used again": (
        "I4",
        Tendered,
        lambda fact: [fact, replace(fact, number=fact.number + 1_000)],
    ),
    "nobody says what was booked": ("credit", Booked, lambda fact: []),
    "less is booked than the other side says": (
        "credit",
        Booked,
        lambda fact: [replace(fact, wei=fact.wei - 1)],
    ),
    "tickets are taken twice": ("I4", Paid, lambda fact: [fact, replace(fact, number=fact.number + 1_000)]),
    "a payment is booked twice": ("I4", Paid, lambda fact: [fact, fact]),
    "a wei more is booked": ("I4", Paid, lambda fact: [replace(fact, wei=fact.wei + 1)]),
    "a ticket is settled twice": ("I4", WinnerSettled, lambda fact: [fact, fact]),
    "a redemption is forgotten": ("I4", Taken, lambda fact: []),
    "a redemption brings a wei more": (
        "I8",
        Confirmed,
        lambda fact: [replace(fact, wei=uint256(int.from_bytes(fact.wei) + 1))],
    ),
    "a redemption is in another block": ("I8", Confirmed, lambda fact: [replace(fact, block=fact.block + 1)]),
    "a redemption never ends": ("I4", Confirmed, lambda fact: []),
    "a redemption ends twice": ("I4", Confirmed, lambda fact: [fact, fact]),
    "a nonce has two owners": (
        "I4",
        Signed,
        lambda fact: [fact, Signed("ticket/ghost", fact.attempt)],
    ),
    "a batch pays more than is owed": (
        "I3",
        PayoutPlanned,
        lambda fact: [replace(fact, dues=tuple(replace(due, wei=uint256(10**18)) for due in fact.dues))],
    ),
    "a batch was paid by something else": (
        "I8",
        PayoutEnded,
        lambda fact: [replace(fact, transaction="0x00")],
    ),
    "a batch never ends": ("I4", PayoutEnded, lambda fact: []),
}


@pytest.fixture(scope="module")
def paid_ahead() -> Evidence:
    """What a run left behind in which work was paid ahead, tickets won, and workers were paid."""
    world = World(10, Plan(jobs=60, faults=Faults(), prepaid=True))
    assert world.run().findings == ()
    evidence = world.evidence(drained=True)
    assert violations(evidence) == []
    return evidence


@pytest.mark.parametrize("lie", MONEY_LIES)
def test_a_lie_about_money_is_found_out(paid_ahead: Evidence, lie: str) -> None:
    rule, kind, change = MONEY_LIES[lie]
    assert rule in {finding.rule for finding in violations(falsify(paid_ahead, kind, change))}


def test_a_chain_that_says_otherwise_is_found_out(paid_ahead: Evidence) -> None:
    chain = paid_ahead.chain
    assert chain is not None
    ticket, there = next(iter(chain.redeemed.items()))
    for redeemed, funded, rule in (
        ({**chain.redeemed, ticket: there * 2}, chain.funded, "I4"),
        ({**chain.redeemed, ticket: ()}, chain.funded, "I8"),
        ({**chain.redeemed, b"ghost": there}, chain.funded, "I8"),
        (chain.redeemed, dict.fromkeys(chain.funded, 0), "I4"),
    ):
        false = replace(paid_ahead, chain=replace(chain, redeemed=redeemed, funded=funded))
        assert rule in {finding.rule for finding in violations(false)}


def words_of(evidence: Evidence) -> tuple[ClientWord, ...]:
    assert evidence.client_words is not None
    return evidence.client_words


CLIENT_LIES: dict[str, tuple[str, Callable[[ClientWord], list[ClientWord]]]] = {
    "an end was never read": ("I1", lambda word: [] if isinstance(word, Ended) else [word]),
    "another end was read": (
        "I1",
        lambda word: (
            [replace(word, end="failed" if word.end == "done" else "done")]
            if isinstance(word, Ended)
            else [word]
        ),
    ),
    "two ends were read": (
        "I6",
        lambda word: [word, replace(word, units=word.units + 1)] if isinstance(word, Ended) else [word],
    ),
    "another price was read": (
        "I2",
        lambda word: [replace(word, charged_wei=word.charged_wei + 1)] if isinstance(word, Ended) else [word],
    ),
    "another answer was read": (
        "I6",
        lambda word: [replace(word, answer="other")] if isinstance(word, Ended) else [word],
    ),
    "a job was unknown": (
        "I1",
        lambda word: [word, Missing(word.client, word.job)] if isinstance(word, Ended) else [word],
    ),
    "a job is in no journal": (
        "I1",
        lambda word: [word, replace(word, job="ghost", key="")] if isinstance(word, Acknowledged) else [word],
    ),
    "a key made two jobs": (
        "I6",
        lambda word: [word, replace(word, job="ghost")] if isinstance(word, Acknowledged) else [word],
    ),
    "a key took two requests": (
        "I6",
        lambda word: [word, replace(word, request="other")] if isinstance(word, Acknowledged) else [word],
    ),
}


@pytest.mark.parametrize("lie", CLIENT_LIES)
def test_a_falsified_client_log_is_found_out(sound: Evidence, lie: str) -> None:
    rule, change = CLIENT_LIES[lie]
    false = tuple(told for word in words_of(sound) for told in change(word))
    found = violations(replace(sound, client_words=false))
    assert rule in {finding.rule for finding in found}


def test_a_machine_that_says_other_than_its_facts_is_found_out(sound: Evidence) -> None:
    paid = [j for j in sound.journals if any(type(fact) in (Answered, Earned) for *_, fact in j.facts)]
    first, second = paid[0], paid[-1]
    assert {first.role, second.role} == {"gateway", "orchestrator"}
    for journal in (first, second):
        assert journal.closing is not None
        empty = type(journal.closing)()
        others = tuple(other for other in sound.journals if other is not journal)
        false = replace(sound, journals=(*others, replace(journal, closing=empty)))
        assert "I3" in {finding.rule for finding in violations(false)}


def test_what_is_missing_is_not_checked_and_said_so(sound: Evidence) -> None:
    gateways = tuple(journal for journal in sound.journals if journal.role == "gateway")
    bare = Evidence(journals=gateways)
    texts = [str(finding) for finding in audit(bare)]
    assert violations(bare) == []
    assert any("no journal of o" in text for text in texts)
    assert any("no log" in text for text in texts)
    assert any("signatures" in text for text in texts)


def snapshotted() -> World:
    """The first of a few worlds whose every node took a snapshot that is not the last thing it did."""
    for seed in range(21, 61):
        world = World(seed, Plan(jobs=60, faults=Faults(runner_fail_ppm=300_000)))
        assert world.run().findings == ()
        taken = [
            (n.journal.last_snapshot, n.journal.history) for n in (*world.gateways, *world.orchestrators)
        ]
        if all(last is not None and 0 < last[0] < len(history) for last, history in taken):
            return world
    pytest.fail("no world has such snapshots")


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_a_history_without_its_beginning_is_audited_from_there(with_snapshot: bool) -> None:
    world = snapshotted()
    journals = []
    for node in (*world.gateways, *world.orchestrators):
        assert node.journal.last_snapshot is not None
        covered, state = node.journal.last_snapshot
        rows = [(n, at, data) for n, (at, data) in enumerate(node.journal.history, start=1)]
        snapshot = state if with_snapshot else None
        journals.append(read_journal(node.name, node.role, rows[covered:], snapshot=snapshot))
    evidence = replace(world.evidence(drained=with_snapshot), journals=tuple(journals))
    assert violations(evidence) == []
    assert any(finding.rule == UNCHECKED for finding in audit(evidence))
