"""The ledger against a model that only adds up: whatever is done in whatever order, the books balance."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from shoal.errors import Broken, NoCredit
from shoal.money.ledger import Book, Ledger
from shoal.money.wei import Price, Wei, part
from shoal.wire.codec import Coder

ACCOUNTS = ("anna", "ben", "cleo")
FLOOR = Wei(-1_000)
AMOUNTS = st.integers(0, 700).map(Wei)


class LedgerMachine(RuleBasedStateMachine):
    """Holds are opened, posted and voided; a second ledger is loaded from dumps as it goes."""

    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(default_floor=FLOOR)
        self.balances = dict.fromkeys(ACCOUNTS, 0)
        self.open: dict[str, tuple[str, int]] = {}
        self.names = 0

    def available(self, account: str) -> int:
        held = sum(wei for owner, wei in self.open.values() if owner == account)
        return self.balances[account] - held - FLOOR

    @rule(target=holds, account=st.sampled_from(ACCOUNTS), wei=AMOUNTS)
    def pend(self, account: str, wei: Wei) -> str:
        self.names += 1
        name = f"hold {self.names}"
        if wei > self.available(account):
            with pytest.raises(NoCredit):
                self.ledger.pend(name, account, wei)
        else:
            self.ledger.pend(name, account, wei)
            self.open[name] = (account, wei)
        return name

    @rule(name=holds, first=AMOUNTS, second=AMOUNTS)
    def post(self, name: str, first: Wei, second: Wei) -> None:
        credits = {"ben": first, "cleo": second}
        owner, held = self.open.get(name, ("", -1))
        if first + second > held:
            with pytest.raises(Broken):
                self.ledger.post(name, credits)
            return
        self.ledger.post(name, credits)
        del self.open[name]
        self.balances[owner] -= first + second
        self.balances["ben"] += first
        self.balances["cleo"] += second

    @rule(name=consumes(holds))
    def void(self, name: str) -> None:
        if self.open.pop(name, None) is None:
            with pytest.raises(Broken):
                self.ledger.void(name)
        else:
            self.ledger.void(name)

    @rule(name=holds)
    def pend_twice(self, name: str) -> None:
        if name in self.open:
            with pytest.raises(Broken):
                self.ledger.pend(name, "anna", Wei(0))

    @rule()
    def restart(self) -> None:
        book = self.ledger.dump()
        self.ledger = Ledger(default_floor=FLOOR)
        self.ledger.load(book)

    @invariant()
    def the_books_are_the_models(self) -> None:
        self.ledger.check()
        for account in ACCOUNTS:
            assert self.ledger.balances.get(account, 0) == self.balances[account]
            assert self.ledger.available(account) == self.available(account)
        assert self.ledger.holds.keys() == self.open.keys()


TestLedger = LedgerMachine.TestCase


@pytest.mark.parametrize("wei", [Wei(-1), Wei(1_001)])
def test_a_hold_below_nothing_or_beyond_the_floor_is_refused(wei: Wei) -> None:
    with pytest.raises(NoCredit):
        Ledger(default_floor=FLOOR).pend("hold", "anna", wei)


def test_a_snapshot_holds_any_amount() -> None:
    ledger = Ledger(default_floor=Wei(-(10**30)))
    ledger.pend("hold", "anna", Wei(10**29))
    ledger.transfer("anna", {"ben": Wei(10**28)})
    coder = Coder(Book)
    copy = Ledger(default_floor=Wei(-(10**30)))
    copy.load(coder.decode(coder.encode(ledger.dump())))
    copy.check()
    assert (copy.balances, copy.holds) == (ledger.balances, ledger.holds)


def test_check_finds_money_from_nowhere() -> None:
    ledger = Ledger()
    ledger.balances["anna"] = Wei(1)
    with pytest.raises(Broken):
        ledger.check()


@pytest.mark.parametrize(("units", "cost"), [(0, 0), (1, 1), (6, 1), (7, 1), (8, 2), (14, 2), (15, 3)])
def test_work_is_never_free_by_rounding(units: int, cost: int) -> None:
    assert Price(1, 7).cost(units) == cost


@pytest.mark.parametrize("share_ppm", [0, 1, 333_333, 999_999, 1_000_000])
def test_a_share_and_the_rest_are_the_whole(share_ppm: int) -> None:
    for amount in (0, 1, 2, 999, 10**18 + 1):
        share = part(Wei(amount), share_ppm)
        assert 0 <= share <= amount
        assert share * 1_000_000 <= amount * share_ppm
