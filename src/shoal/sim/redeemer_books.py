"""A redeemer's facts as the auditor folds them: every intent, every nonce, every end."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from msgspec import Struct

from shoal.machine import Fact, Quarantined
from shoal.redeemer.books import State
from shoal.redeemer.intent import (
    Confirmed,
    Displaced,
    Pay,
    Redeem,
    Refused,
    Reverted,
    Signed,
    Taken,
    What,
)
from shoal.sim.evidence import UNCHECKED, Evidence, Finding, Journal


class IntentEntry(Struct):
    """An intent as the facts tell it."""

    what: What
    #: "open", "confirmed" or "refused".
    end: str = "open"
    #: The nonce that it holds now, if it holds one.
    nonce: int | None = None
    transactions: list[str] = []
    transaction: str = ""
    block: int = 0
    wei: int = 0
    why: str = ""


class RedeemerBooks:
    """One redeemer, folded."""

    def __init__(self, journal: Journal, evidence: Evidence, findings: list[Finding]) -> None:
        self.node = journal.node
        self.intents: dict[str, IntentEntry] = {}
        self.nonces: dict[int, str] = {}
        self.whole = True
        self._findings = findings
        if journal.state is not None:
            self._begin(journal.state)
        expected = 0
        for number, _, fact in journal.facts:
            if expected and number != expected:
                self._find("I1", "", f"fact {number} follows fact {expected - 1}")
            elif not expected and number != 1 and journal.state is None:
                self.whole = False
            expected = number + 1
            fold = self._FOLDS.get(type(fact))
            if fold is not None:
                fold(self, fact)
        if not self.whole:
            self._find(UNCHECKED, "", "the journal does not begin at its first fact")
        if evidence.drained:
            for name, entry in self.intents.items():
                if entry.end == "open":
                    self._find("I4", name, "it is open after everything ended")

    def tickets(self) -> dict[bytes, IntentEntry]:
        """The tickets that were to be redeemed, by their hashes."""
        return {
            entry.what.winning.ticket_hash: entry
            for entry in self.intents.values()
            if isinstance(entry.what, Redeem)
        }

    def batches(self) -> dict[bytes, IntentEntry]:
        """The batches of payments, by their names."""
        return {entry.what.batch: entry for entry in self.intents.values() if isinstance(entry.what, Pay)}

    def _find(self, rule: str, name: str, text: str) -> None:
        self._findings.append(Finding(rule, f"{self.node} {name}".strip(), text))

    def _begin(self, state: Struct) -> None:
        assert isinstance(state, State)
        self.whole = False
        for intent in (*state.intents, *state.ended):
            entry = self.intents[intent.id] = IntentEntry(intent.what)
            entry.transactions = [attempt.transaction for attempt in intent.attempts]
            entry.transaction, entry.wei = intent.transaction, int.from_bytes(intent.wei)
            entry.end = intent.phase.value if not intent.open else "open"
            if intent.phase.value == "sent":
                self.nonces[intent.last.nonce] = intent.id
                entry.nonce = intent.last.nonce

    def _entry(self, fact: Signed | Confirmed | Reverted | Displaced | Refused) -> IntentEntry | None:
        entry = self.intents.get(fact.id)
        if entry is None:
            self._find("I4" if self.whole else UNCHECKED, fact.id, f"{type(fact).__name__}, never taken")
        elif entry.end != "open":
            self._find("I4", fact.id, f"{type(fact).__name__} of what was {entry.end}")
        return entry

    def _taken(self, fact: Taken) -> None:
        if fact.id in self.intents:
            self._find("I4", fact.id, "taken twice")
        self.intents[fact.id] = IntentEntry(fact.what)

    def _signed(self, fact: Signed) -> None:
        entry = self._entry(fact)
        if entry is None:
            return
        attempt = fact.attempt
        holder = self.nonces.setdefault(attempt.nonce, fact.id)
        if holder != fact.id:
            self._find("I4", fact.id, f"nonce {attempt.nonce} belongs to {holder}")
        if entry.nonce not in (None, attempt.nonce):
            self._find("I4", fact.id, f"nonce {attempt.nonce}, and it has {entry.nonce} already")
        entry.nonce = attempt.nonce
        entry.transactions.append(attempt.transaction)

    def _freed(self, fact: Confirmed | Reverted | Displaced | Refused) -> IntentEntry | None:
        entry = self._entry(fact)
        if entry is not None and entry.nonce is not None:
            self.nonces.pop(entry.nonce, None)
            entry.nonce = None
        return entry

    def _gave_way(self, fact: Reverted | Displaced) -> None:
        self._freed(fact)

    def _confirmed(self, fact: Confirmed) -> None:
        entry = self._freed(fact)
        if entry is None:
            return
        if fact.transaction not in entry.transactions:
            self._find("I4", fact.id, f"confirmed by {fact.transaction}, which nobody signed")
        entry.end, entry.transaction, entry.block = "confirmed", fact.transaction, fact.block
        entry.wei = int.from_bytes(fact.wei)

    def _refused(self, fact: Refused) -> None:
        entry = self._freed(fact)
        if entry is None:
            return
        entry.end, entry.why = "refused", fact.why
        if not fact.why:
            self._find("I4", fact.id, "refused, and nobody says why")

    def _quarantined(self, fact: Quarantined) -> None:
        self._find("bug", fact.job, f"set aside: {fact.cause}")

    _FOLDS: ClassVar[dict[type[Fact], Callable[..., None]]] = {
        Taken: _taken,
        Signed: _signed,
        Confirmed: _confirmed,
        Reverted: _gave_way,
        Displaced: _gave_way,
        Refused: _refused,
        Quarantined: _quarantined,
    }
