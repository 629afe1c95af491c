"""What was paid ahead, compared: tickets against tickets, credit against credit, winners against the chain.

I4: each nonce is accepted once; each winner is redeemed once, or it is said why
not; nobody's tickets bring more than it put down. I8: what was believed of the
chain is what it says. And how much a gateway had at stake, at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from shoal.ids import NodeId
from shoal.money.nonces import Range
from shoal.money.ticket import WinningTicket
from shoal.sim.evidence import UNCHECKED, ChainTruth, Evidence, Finding
from shoal.sim.redeemer_books import RedeemerBooks


class Tender(Struct):
    """A payment ahead as its gateway's facts tell it. `booked` is None until the other side has said so."""

    sender: str
    rand_hash: bytes
    nonces: tuple[int, ...]
    ticket_wei: int
    wei: int
    booked: int | None = None


class Stake(Struct, frozen=True):
    """How it stood when a gateway paid ahead: its credit then, and what had been delivered to it."""

    orchestrator: str
    number: int
    credit: int
    delivered: int
    ticket_wei: int


class Booking(Struct, frozen=True):
    """A payment as an orchestrator booked it."""

    sender: str
    rand_hash: bytes
    nonces: tuple[Range, ...]
    wei: int
    winners: tuple[WinningTicket, ...]

    @property
    def count(self) -> int:
        """How many tickets it took."""
        return sum(last - first + 1 for first, last in self.nonces)


class PaidAhead(Struct):
    """A gateway's dealings ahead of work, all of them."""

    tenders: dict[tuple[str, int], Tender] = {}
    stakes: list[Stake] = []
    sent: dict[str, int] = {}
    lost: dict[str, int] = {}
    estranged: dict[str, str] = {}


Sides = Mapping[str, PaidAhead]
#: What each orchestrator booked: by gateway and number.
Bookings = Mapping[str, Mapping[tuple[str, int], Booking]]
#: What one job of a gateway may cost at an orchestrator, at most.
OneJob = Mapping[tuple[str, str], int]


def compare_tenders(gateways: Sides, bookings: Bookings, drained: bool, findings: list[Finding]) -> None:
    """What a gateway sent, lost, and has booked there, and what was booked there of it: to the wei."""
    _nonces_once(bookings, findings)
    for name, ahead in gateways.items():
        for (node, number), tender in ahead.tenders.items():
            where = f"{name} {node} payment {number}"
            booking = bookings.get(node, {}).get((name, number))
            if node not in bookings:
                findings.append(Finding(UNCHECKED, name, f"there is no journal of {node}"))
                continue
            if tender.booked is None:
                if drained:
                    findings.append(Finding("credit", where, "nobody has said what was booked"))
                continue
            wei = booking.wei if booking is not None else 0
            if wei != tender.booked:
                text = f"{tender.booked} wei are booked by its gateway's word, {wei} by {node}'s"
                findings.append(Finding("credit", where, text))
    for node, theirs in bookings.items():
        for (name, number), booking in theirs.items():
            if name in gateways:
                findings += _booking(f"{node} {name} payment {number}", gateways[name], node, number, booking)


def _booking(where: str, ahead: PaidAhead, node: str, number: int, booking: Booking) -> list[Finding]:
    tender = ahead.tenders.get((node, number))
    if tender is None:
        return [Finding("I4", where, f"{booking.wei} wei booked of a payment that was never sent")]
    taken = {nonce for first, last in booking.nonces for nonce in range(first, last + 1)}
    found = []
    if booking.nonces and (booking.rand_hash, booking.sender) != (tender.rand_hash, tender.sender):
        found.append(Finding("I4", where, "other tickets were booked than were sent"))
    if not taken <= set(tender.nonces):
        found.append(Finding("I4", where, f"nonces {taken} booked, and {tender.nonces} sent"))
    if booking.wei != len(taken) * tender.ticket_wei:
        text = f"{booking.wei} wei booked for {len(taken)} tickets of {tender.ticket_wei} wei"
        found.append(Finding("credit", where, text))
    return found


def _nonces_once(bookings: Bookings, findings: list[Finding]) -> None:
    """Each (sender, parameters, nonce) is accepted once, by whomever."""
    seen: dict[tuple[str, bytes, int], str] = {}
    for node, theirs in bookings.items():
        for (name, number), booking in theirs.items():
            here = f"{node} {name} payment {number}"
            for first, last in booking.nonces:
                for nonce in range(first, last + 1):
                    before = seen.setdefault((booking.sender, booking.rand_hash, nonce), here)
                    if before != here:
                        findings.append(Finding("I4", here, f"nonce {nonce} was accepted before: {before}"))


def compare_stakes(gateways: Sides, one_job: OneJob, findings: list[Finding]) -> None:
    """A gateway never has more at stake than one job, or than was ever delivered to it, and one ticket."""
    for name, ahead in gateways.items():
        for stake in ahead.stakes:
            most = one_job.get((name, stake.orchestrator), 0)
            bound = max(most, stake.delivered) + stake.ticket_wei
            if stake.credit > bound:
                where = f"{name} {stake.orchestrator} payment {stake.number}"
                text = (
                    f"{stake.credit} wei at stake: one job costs {most}, {stake.delivered} were delivered, "
                    f"a ticket is worth {stake.ticket_wei}"
                )
                findings.append(Finding("exposure", where, text))


def compare_winners(
    bookings: Bookings, redeemers: Mapping[str, RedeemerBooks], evidence: Evidence, findings: list[Finding]
) -> None:
    """Every winner, and what became of it."""
    winners = {
        winner.ticket_hash: winner
        for theirs in bookings.values()
        for booking in theirs.values()
        for winner in booking.winners
    }
    intents = {ticket: entry for books in redeemers.values() for ticket, entry in books.tickets().items()}
    whole = all(books.whole for books in redeemers.values())
    if not whole:
        return
    for ticket, winner in winners.items():
        entry = intents.get(ticket)
        if entry is None and evidence.drained:
            where = f"ticket {ticket.hex()[:16]}"
            text = f"it won {winner.face_wei} wei, and no redeemer has heard of it"
            findings.append(Finding("I4", where, text))
    findings += [
        Finding("I4", f"ticket {ticket.hex()[:16]}", "redeemed, and nobody booked it")
        for ticket in intents.keys() - winners.keys()
    ]
    if evidence.chain is None:
        findings.append(Finding(UNCHECKED, "chain", "nobody says what the chain says"))
    else:
        _compare_chain(redeemers, evidence.chain, evidence, findings)


def _compare_chain(
    redeemers: Mapping[str, RedeemerBooks], chain: ChainTruth, evidence: Evidence, findings: list[Finding]
) -> None:
    for name, books in redeemers.items():
        for ticket, entry in books.tickets().items():
            where = f"{name} ticket {ticket.hex()[:16]}"
            there = chain.redeemed.get(ticket, ())
            if len(there) > 1:
                findings.append(Finding("I4", where, f"redeemed {len(there)} times"))
            said = [(one.transaction, one.block, one.wei) for one in there]
            if entry.end == "confirmed" and (entry.transaction, entry.block, entry.wei) not in said:
                text = f"confirmed in block {entry.block} with {entry.wei} wei; the chain says {said}"
                findings.append(Finding("I8", where, text))
            if entry.end != "confirmed" and said and evidence.drained:
                findings.append(Finding("I8", where, f"{entry.end}, and the chain says {said}"))
    _compare_funds(redeemers, chain, findings)


def _compare_funds(
    redeemers: Mapping[str, RedeemerBooks], chain: ChainTruth, findings: list[Finding]
) -> None:
    brought: dict[NodeId, int] = {}
    for ticket, there in chain.redeemed.items():
        for one in there:
            brought[one.sender] = brought.get(one.sender, 0) + one.wei
        known = any(ticket in books.tickets() for books in redeemers.values())
        if not known:
            text = "redeemed, and in no journal"
            findings.append(Finding("I8", f"ticket {ticket.hex()[:16]}", text))
    for sender, wei in brought.items():
        if wei > chain.funded.get(sender, 0):
            text = f"its tickets brought {wei} wei, and it put down {chain.funded.get(sender, 0)}"
            findings.append(Finding("I4", sender, text))


#: Each batch of an orchestrator: what it pays where, and by which transaction it was; None while that is not known.
Batches = Mapping[str, Sequence[tuple[bytes, Mapping[str, int], str | None]]]


def compare_payouts(
    batches: Batches, redeemers: Mapping[str, RedeemerBooks], evidence: Evidence, findings: list[Finding]
) -> None:
    """Each batch is paid once, and what workers got on chain is what their operators' books say."""
    chain = evidence.chain
    if chain is None:
        return
    booked: dict[str, int] = {}
    for node, theirs in batches.items():
        for batch, dues, transaction in theirs:
            where = f"{node} batch {batch.hex()[:16]}"
            there = chain.batches.get(batch, ())
            findings += _batch(where, transaction, there, evidence.drained)
            if transaction:
                for worker, wei in dues.items():
                    booked[worker] = booked.get(worker, 0) + wei
    if evidence.drained:
        for worker in sorted(booked.keys() | chain.paid.keys()):
            if booked.get(worker, 0) != chain.paid.get(NodeId(worker), 0):
                text = f"{booked.get(worker, 0)} wei paid by the books, {chain.paid.get(NodeId(worker), 0)} on chain"
                findings.append(Finding("I8", worker, text))


def _batch(where: str, transaction: str | None, there: tuple[str, ...], drained: bool) -> list[Finding]:
    found = []
    if len(there) > 1:
        found.append(Finding("I4", where, f"paid {len(there)} times"))
    if transaction is None and drained:
        found.append(Finding("I4", where, "nobody has said what became of it"))
    if transaction is not None and there != ((transaction,) if transaction else ()):
        found.append(Finding("I8", where, f"paid by {transaction!r}, and the chain says {there}"))
    return found
