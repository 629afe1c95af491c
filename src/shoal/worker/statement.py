"""A worker's earnings as its journal tells them: read beside a running worker or after it, never written."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.machine import Fact, Quarantined
from shoal.runtime.history import read_history
from shoal.runtime.host import Retired, Snapshot
from shoal.wire.codec import Coder
from shoal.worker.earnings import BOOKED, Earnings, EarningsState, Record

JOURNAL = "journal.sqlite3"


class Line(Struct, frozen=True):
    """How a worker stands with one orchestrator, in wei."""

    orchestrator: NodeId
    jobs: int
    earned: int
    paid: int
    #: What of that the chain has shown; None for a worker that does not look (which it says with the first account).
    confirmed: int | None
    owed: int
    #: The last payment: its transaction, "" for none, and whether the chain has shown it.
    transaction: str
    on_chain: bool
    #: Answers that nobody paid for.
    unpaid: int
    #: Why it gets no more work, "" if it does.
    left: str


def read_earnings(home: Path) -> list[Line]:
    """One line an orchestrator. Raises `Refused` if no worker has ever run there."""
    if not (home / JOURNAL).exists():
        raise Refused(f"no worker has kept its books in {home}; name its folder with --home")
    coder: Coder[Fact] = Coder(*BOOKED, Quarantined, Retired)
    earnings = Earnings()
    with read_history(home / JOURNAL) as history:
        if history.snapshot is not None:
            state = Coder(Snapshot).decode(history.snapshot[1]).state
            earnings.load(Coder(EarningsState).decode(state))
        for _, data in history.after_snapshot():
            fact = coder.decode(data)
            if (take := BOOKED.get(type(fact))) is not None:
                take(earnings, fact)
    return [_line(node, record, earnings) for node, record in sorted(earnings.records.items())]


def _line(node: NodeId, record: Record, earnings: Earnings) -> Line:
    latest = record.account.remittances[-1:] if record.account is not None else ()
    paid = earnings.paid(node, on_chain=record.on_chain)
    return Line(
        node,
        record.jobs,
        earnings.earned(node),
        record.announced_wei,
        record.found_wei if record.on_chain or record.account is None else None,
        earnings.earned(node) - paid,
        latest[0].transaction if latest else "",
        bool(latest) and latest[0].number in record.found,
        record.unpaid_wei,
        record.left,
    )
