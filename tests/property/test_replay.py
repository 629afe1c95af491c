"""The replay guard against a set that forgets nothing: crashes, snapshots and a chain that steps back included.

What the model holds is what was acknowledged: a payment that was judged and taken, and whose fact reached the disk.
"""

from __future__ import annotations

from functools import cache

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.money.payee import Payee, PayeeBook, TicketsTaken, WinnerSettled
from shoal.money.payer import Payer, PayerBook, TicketsIssued
from shoal.money.refusal import Fault
from shoal.money.ticket import SignedNonce, TicketParams
from shoal.runtime.keys import NodeKey
from shoal.wire.codec import Coder
from tickets import EV_WEI, FUNDS, OTHER_PAYER, PAYER, VIEW, at_block, payee, payer

FACTS = Coder(TicketsTaken, WinnerSettled)
BOOKS = Coder(PayeeBook)
NONCES_MAX = 12
PARAMS_MAX = 3
RULES = {
    "face_wei_max": 2 * EV_WEI,
    "redeem_gas": 1,
    "params_blocks": 5,
    "nonces_max": NONCES_MAX,
    "params_per_sender_max": PARAMS_MAX,
    "float_wei_max": 10**30,
}
KEYS = [PAYER, OTHER_PAYER]


@cache
def draw(key: NodeKey, params: TicketParams, nonce: int) -> SignedNonce:
    """A signed ticket; the same one is the same in every run."""
    return SignedNonce(nonce, key.sign_hash(params.ticket(key.id, nonce).signed_hash))


class ReplayGuard(RuleBasedStateMachine):
    """Payments come, blocks pass, the process dies."""

    def __init__(self) -> None:
        super().__init__()
        self.payee = payee(**RULES)
        self.block = VIEW.block
        self.params: list[tuple[NodeKey, TicketParams]] = []
        #: Encoded facts in order, how many of them are on disk, and the last snapshot with how many it covers.
        self.journal: list[bytes] = []
        self.committed = 0
        self.snapshot = (BOOKS.encode(PayeeBook()), 0)
        #: Of each fact, which tickets it took.
        self.taken: list[set[tuple[str, bytes, int]]] = []
        self.ask(PAYER)

    @property
    def seen(self) -> set[tuple[str, bytes, int]]:
        """Every ticket that was taken and not lost with its fact."""
        return set().union(*self.taken)

    @rule(key=st.sampled_from(KEYS))
    def ask(self, key: NodeKey) -> None:
        self.params.append((key, self.payee.params(key.id, EV_WEI, at_block(VIEW, self.block), FUNDS)))

    @rule(data=st.data(), nonces=st.lists(st.integers(1, 15), min_size=1, max_size=6))
    def pay(self, data: st.DataObject, nonces: list[int]) -> None:
        """A payment, of which each ticket is taken if it is new, in time, and within the limits."""
        key, params = data.draw(st.sampled_from(self.params[-6:]))
        tickets = [draw(key, params, nonce) for nonce in nonces]
        judged = self.payee.judge(params, key.id, tickets, at_block(VIEW, self.block), FUNDS)
        good = {
            (key.id, params.recipient_rand_hash, nonce)
            for first, last in (judged.taken.nonces if judged.taken else ())
            for nonce in range(first, last + 1)
        }
        asked = [(key.id, params.recipient_rand_hash, nonce) for nonce in nonces]
        fresh = set(asked) - self.seen
        assert good <= fresh
        assert judged.credit_wei == params.ev_wei * len(good)
        faults = {refusal.fault for refusal in judged.refusals} - {Fault.NONCE}
        if not faults:
            assert good == fresh
        elif faults == {Fault.NONCES}:
            assert len({each for each in self.seen | good if each[:2] == asked[0][:2]}) == NONCES_MAX
        elif faults == {Fault.PARAMS_EXPIRED}:
            assert params.expiration_block <= self.highest
        else:
            assert faults == {Fault.PARAMS}
            live = {each[:2] for each in self.seen if each[0] == key.id}
            assert len(live) >= PARAMS_MAX
        if judged.taken:
            self.happen(judged.taken, good)

    @property
    def highest(self) -> int:
        """The highest block that a live fact was judged at, or the chain's."""
        blocks = [fact.block for fact in map(FACTS.decode, self.journal) if isinstance(fact, TicketsTaken)]
        return max([self.block, *blocks])

    @precondition(lambda self: any(self.payee.pending(key.id) for key in KEYS))
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """A winner was redeemed, or given up."""
        winners = [winner for key in KEYS for winner in self.payee.pending(key.id)]
        winner = data.draw(st.sampled_from(winners))
        self.happen(WinnerSettled(winner.signed.ticket.sender, winner.ticket_hash), set())

    def happen(self, fact: TicketsTaken | WinnerSettled, tickets: set[tuple[str, bytes, int]]) -> None:
        self.payee.take(fact)
        self.journal.append(FACTS.encode(fact))
        self.taken.append(tickets)

    @rule(blocks=st.integers(-4, 6))
    def pass_blocks(self, blocks: int) -> None:
        """Time passes, or another node of the chain answers that stands further back."""
        self.block += blocks

    @rule()
    def commit(self) -> None:
        self.committed = len(self.journal)

    @rule()
    def take_snapshot(self) -> None:
        self.commit()
        self.snapshot = (BOOKS.encode(self.payee.dump()), self.committed)

    @rule(data=st.data(), reached=st.booleans())
    def crash(self, data: st.DataObject, *, reached: bool) -> None:
        """The process dies: of what was not committed, any beginning may have reached the disk."""
        kept = data.draw(st.integers(self.committed, len(self.journal))) if reached else self.committed
        del self.journal[kept:]
        del self.taken[kept:]
        self.committed = kept
        self.payee = self.rebuilt()

    def rebuilt(self, *, from_snapshot: bool = True) -> Payee:
        """What a new process makes of snapshot and journal."""
        book, covered = self.snapshot if from_snapshot else (BOOKS.encode(PayeeBook()), 0)
        fresh = payee(**RULES)
        fresh._draw_seed = self.payee._draw_seed
        fresh.load(BOOKS.decode(book))
        for fact in self.journal[covered:]:
            fresh.take(FACTS.decode(fact))
        return fresh

    @invariant()
    def holds(self) -> None:
        self.payee.check()

    @invariant()
    def a_replay_arrives_at_the_same_place(self) -> None:
        assert self.rebuilt().dump() == self.rebuilt(from_snapshot=False).dump() == self.payee.dump()

    @invariant()
    def what_was_credited_is_what_was_taken(self) -> None:
        credited = sum(
            fact.credit_wei for fact in map(FACTS.decode, self.journal) if isinstance(fact, TicketsTaken)
        )
        assert credited == sum(len(tickets) for tickets in self.taken) * EV_WEI

    def teardown(self) -> None:
        """In the end everything is played once more: nothing is taken twice."""
        for key, params in self.params:
            nonces = range(1, 16)
            tickets = [draw(key, params, nonce) for nonce in nonces]
            judged = self.payee.judge(params, key.id, tickets, at_block(VIEW, VIEW.block), FUNDS)
            again = {
                (key.id, params.recipient_rand_hash, nonce)
                for first, last in (judged.taken.nonces if judged.taken else ())
                for nonce in range(first, last + 1)
            }
            assert not again & self.seen


TestReplayGuard = ReplayGuard.TestCase
TestReplayGuard.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class NonceMaker(RuleBasedStateMachine):
    """The payer's side: no nonce leaves the house twice, whenever the process dies."""

    def __init__(self) -> None:
        super().__init__()
        self.payer = payer(nonces_max=40)
        self.block = VIEW.block
        asked = payee(params_blocks=10)
        self.params = [asked.params(PAYER.id, EV_WEI, VIEW, FUNDS) for _ in range(3)]
        self.journal: list[TicketsIssued] = []
        self.committed = 0
        self.snapshot = (PayerBook(), 0)
        self.sent: set[tuple[bytes, int]] = set()

    @rule(which=st.integers(0, 2), count=st.integers(1, 15), reached=st.booleans())
    def issue(self, which: int, count: int, *, reached: bool) -> None:
        """Tickets leave only once their fact is on disk."""
        params = self.params[which]
        view = at_block(VIEW, self.block)
        if params.expiration_block <= self.payer._latest(view) or self.payer.left(params) < count:
            return
        tickets, fact = self.payer.issue(params, count), self.payer.issued(params, count, view)
        self.payer.take(fact)
        self.journal.append(fact)
        if reached:
            self.committed = len(self.journal)
            names = {(params.recipient_rand_hash, ticket.nonce) for ticket in tickets}
            assert len(names) == count
            assert not names & self.sent
            self.sent |= names

    @rule()
    def take_snapshot(self) -> None:
        self.committed = len(self.journal)
        self.snapshot = (self.payer.dump(), self.committed)

    @rule()
    def crash(self) -> None:
        del self.journal[self.committed :]
        fresh = Payer(PAYER.id, self.payer.rules)
        book, covered = self.snapshot
        fresh.load(book)
        for fact in self.journal[covered:]:
            fresh.take(fact)
        self.payer = fresh

    @rule(blocks=st.integers(-3, 4))
    def pass_blocks(self, blocks: int) -> None:
        self.block += blocks

    @invariant()
    def what_is_left_is_what_was_not_issued(self) -> None:
        for params in self.params:
            if params.recipient_rand_hash in self.payer._streams:
                issued = sum(
                    fact.count
                    for fact in self.journal
                    if fact.recipient_rand_hash == params.recipient_rand_hash
                )
                assert self.payer.left(params) == 40 - issued


TestNonceMaker = NonceMaker.TestCase
TestNonceMaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
