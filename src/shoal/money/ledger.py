"""A double-entry ledger with two-phase holds: pend, then post or void.

A hold sets money aside and moves nothing; posting moves at most what is held
and frees the rest; voiding frees it all. Every transfer sums to zero, and no
account sinks below its floor, holds included.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from shoal.errors import Broken, NoCredit
from shoal.money.wei import NOTHING, Wei, minus, plus


class Hold(Struct, frozen=True, gc=False):
    """Money of one account that is set aside for one purpose."""

    account: str
    wei: Wei


class Book(Struct, frozen=True, array_like=True):
    """A ledger's whole state, for a snapshot. Amounts are decimal: sums outgrow the 64 bits of an encoder."""

    balances: dict[str, str] = {}
    #: Account and amount of each hold.
    holds: dict[str, tuple[str, str]] = {}


class Ledger:
    """Balances by account name, holds by their own id. An unknown account stands at 0."""

    def __init__(self, floors: Mapping[str, Wei] | None = None, *, default_floor: Wei = Wei(0)) -> None:
        self.balances: dict[str, Wei] = {}
        self.holds: dict[str, Hold] = {}
        self._held: dict[str, Wei] = {}
        self._floors = dict(floors or {})
        self._default_floor = default_floor

    def available(self, account: str) -> Wei:
        """What `account` could still set aside before it stood on its floor."""
        free = minus(self.balances.get(account, NOTHING), self._held.get(account, NOTHING))
        return minus(free, self._floors.get(account, self._default_floor))

    def require(self, account: str, wei: Wei) -> None:
        """Raise `NoCredit` if `account` could not set `wei` aside."""
        if wei < 0 or wei > self.available(account):
            raise NoCredit(f"{account} has {self.available(account)} wei to spend, and this may cost {wei}")

    def pend(self, hold: str, account: str, wei: Wei) -> None:
        """Set `wei` of `account` aside. Raises `NoCredit` if it has not got them."""
        if hold in self.holds:
            raise Broken(f"hold {hold} is pended twice")
        self.require(account, wei)
        self.holds[hold] = Hold(account, wei)
        self._held[account] = plus(self._held.get(account, NOTHING), wei)

    def post(self, hold: str, credits: Mapping[str, Wei]) -> None:
        """Pay `credits` from a hold and free the rest. Raises `Broken` if they exceed it."""
        held = self.holds.get(hold)
        total = sum(credits.values())
        if held is None:
            raise Broken(f"hold {hold} is posted, but it is not open")
        if total > held.wei or min(credits.values(), default=0) < 0:
            raise Broken(f"hold {hold} is {held.wei} wei; {dict(credits)} cannot be paid from it")
        self._free(hold, held)
        self.transfer(held.account, credits)

    def void(self, hold: str) -> None:
        """Free a hold; nothing moves."""
        held = self.holds.get(hold)
        if held is None:
            raise Broken(f"hold {hold} is voided, but it is not open")
        self._free(hold, held)

    def transfer(self, account: str, credits: Mapping[str, Wei]) -> None:
        """Pay `credits` from `account`."""
        self._add(account, Wei(-sum(credits.values())))
        for payee, wei in credits.items():
            self._add(payee, wei)

    def check(self) -> None:
        """Raise `Broken` unless everything sums to zero and every account stands above its floor."""
        if sum(self.balances.values()) != 0:
            raise Broken(f"the balances sum to {sum(self.balances.values())} wei, not to 0")
        held: dict[str, Wei] = {}
        for hold in self.holds.values():
            held[hold.account] = Wei(held.get(hold.account, 0) + hold.wei)
        if any(held.get(account, 0) != self._held.get(account, 0) for account in held.keys() | self._held):
            raise Broken("the holds do not add up to what the accounts have set aside")
        for account in self.balances.keys() | held.keys():
            if self.available(account) < 0:
                raise Broken(f"{account} is {-self.available(account)} wei below its floor")

    def dump(self) -> Book:
        """Everything, for a snapshot."""
        return Book(
            {account: str(wei) for account, wei in self.balances.items()},
            {name: (hold.account, str(hold.wei)) for name, hold in self.holds.items()},
        )

    def load(self, book: Book) -> None:
        """Take a snapshot's state."""
        self.balances = {account: Wei(int(wei)) for account, wei in book.balances.items()}
        self.holds = {name: Hold(account, Wei(int(wei))) for name, (account, wei) in book.holds.items()}
        self._held = {}
        for hold in self.holds.values():
            self._held[hold.account] = Wei(self._held.get(hold.account, 0) + hold.wei)

    def _free(self, hold: str, held: Hold) -> None:
        del self.holds[hold]
        left = minus(self._held.get(held.account, NOTHING), held.wei)
        if left:
            self._held[held.account] = left
        else:
            self._held.pop(held.account, None)

    def _add(self, account: str, wei: Wei) -> None:
        self.balances[account] = plus(self.balances.get(account, NOTHING), wei)
