"""A redeemer's books read from its journal, whether it runs or not. Nothing is written."""

from __future__ import annotations

from pathlib import Path

from shoal.errors import Broken
from shoal.machine import Fact
from shoal.redeemer.events import Draft
from shoal.redeemer.machine import RedeemerMachine
from shoal.redeemer.rules import Rules
from shoal.runtime.history import read_history
from shoal.runtime.host import Retired, Snapshot
from shoal.wire.codec import Coder


def read_books(journal: Path) -> RedeemerMachine:
    """The books as they stand. Raises `Refused` if there is no journal, `Broken` if it is damaged."""
    machine = RedeemerMachine(Rules(), sign=_never)
    facts: Coder[Fact] = Coder(*RedeemerMachine.facts, Retired)
    with read_history(journal) as history:
        if history.snapshot is not None:
            snapshot = Coder(Snapshot).decode(history.snapshot[1])
            machine.load(Coder(RedeemerMachine.state).decode(snapshot.state))
        for at, data in history.after_snapshot():
            fact = facts.decode(data)
            if not isinstance(fact, Retired):
                machine.handle(fact, at)
    return machine


def _never(draft: Draft) -> tuple[bytes, str]:
    raise Broken("whoever reads books signs nothing")
