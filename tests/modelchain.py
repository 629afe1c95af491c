"""A chain of a few lines: blocks, one account, tickets and batches; it can go back, forget, be dear or be silent.

Its state is what its blocks come to, computed anew after every change, so that going back cannot go wrong.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import count

from shoal.ids import NodeId
from shoal.money.keccak import keccak256
from shoal.money.ticket import SignedTicket, Ticket, WinningTicket, aux_data, uint256
from shoal.redeemer.events import Broadcast, Draft, Look, Looked, Mined, Sent, Silent, Weigh, Weighed
from shoal.redeemer.intent import Pay, Redeem, What, pay_id, redeem_id

GWEI = 10**9
ETHER = 10**18
GAS = 100_000
BURNT_GAS = 40_000
VOID_GAS = 21_000
FIRST_BLOCK = 100
ROUND_BLOCKS = 200
VALIDITY_ROUNDS = 2


def address(number: int) -> NodeId:
    return NodeId(f"0x{number:040x}")


def winner(
    number: int, *, face_wei: int = ETHER // 10, block: int = FIRST_BLOCK, round_number: int = 0
) -> WinningTicket:
    """A ticket that wins in the model: there everything that is signed is right."""
    rand = uint256(number)
    ticket = Ticket(
        address(1),
        address(1_000 + number % 3),
        uint256(face_wei),
        uint256(2**255),
        number,
        keccak256(rand),
        aux_data(round_number, uint256(7)),
    )
    return WinningTicket(SignedTicket(ticket, bytes(65)), rand, block)


@dataclass
class Item:
    """A transaction in a block: ours, or what somebody else did."""

    hash: str
    draft: Draft | None = None
    #: Somebody else redeems this ticket.
    robs: str = ""


@dataclass
class State:
    """What the blocks come to."""

    nonce: int = 0
    balance: int = 100 * ETHER
    used: dict[str, str] = field(default_factory=dict)
    mined: dict[str, Mined] = field(default_factory=dict)
    nonces: list[int] = field(default_factory=list)


class ModelChain:
    """The chain and its node."""

    def __init__(
        self, *, confirmations: int = 6, balance: int = 100 * ETHER, deposit: int = 1_000 * ETHER
    ) -> None:
        self.blocks: list[tuple[int, list[Item]]] = [(n, []) for n in range(8)]
        self.pool: dict[str, Draft] = {}
        self.drafts: dict[str, Draft] = {}
        self.price_wei = GWEI
        self.confirmations = confirmations
        self.down = False
        #: What it is sent it takes, and forgets.
        self.forgetful = False
        self.initialised = True
        self.deposit = deposit
        self.refuses = ""
        self._balance = balance
        self._names = count(100)
        self.state = self._replay()

    @property
    def head(self) -> int:
        return FIRST_BLOCK + len(self.blocks) - 1

    @property
    def round(self) -> int:
        return (self.head - FIRST_BLOCK) // ROUND_BLOCKS

    # The node's answers

    def sign(self, draft: Draft) -> tuple[bytes, str]:
        name = "0x" + hashlib.sha256(repr(draft).encode()).hexdigest()
        self.drafts[name] = draft
        return name.encode(), name

    def look(self, effect: Look) -> Looked | Silent:
        if self.down:
            return Silent("it is down")
        names = {name for name, _ in effect.transactions}
        deep = max(0, len(self.state.nonces) - 1 - self.confirmations)
        return Looked(
            self.head,
            self.head,
            self.initialised,
            self.price_wei,
            None,
            self.state.balance,
            self.state.nonce,
            self.state.nonces[deep],
            tuple(m for name, m in self.state.mined.items() if name in names),
        )

    def weigh(self, effect: Weigh) -> Weighed:
        if self.down:
            return Weighed(effect.id, fault="it is down")
        if why := self._rejects(effect.what, self.state, self.round):
            mined = effect.nonce is not None and self.state.nonce > effect.nonce
            return Weighed(effect.id, fault=why, rejected=not mined)
        return Weighed(effect.id, GAS, self._pays(effect.what))

    def broadcast(self, effect: Broadcast) -> Sent:
        attempt = effect.attempt
        if self.down:
            return Sent(attempt.transaction, "it is down")
        draft = self.drafts[attempt.transaction]
        assert attempt.raw == attempt.transaction.encode()
        if attempt.transaction in self.pool or attempt.transaction in self.state.mined:
            return Sent(attempt.transaction)
        if draft.nonce < self.state.nonce:
            return Sent(attempt.transaction, "nonce too low")
        rival = next((name for name, each in self.pool.items() if each.nonce == draft.nonce), None)
        if rival is not None:
            if draft.max_fee_wei * 10 < self.pool[rival].max_fee_wei * 11:
                return Sent(attempt.transaction, "replacement transaction underpriced")
            del self.pool[rival]
        if not self.forgetful:
            self.pool[attempt.transaction] = draft
        return Sent(attempt.transaction)

    # What happens to it

    def mine(self, blocks: int = 1) -> None:
        """Blocks with what the pool has and pays enough."""
        for _ in range(blocks):
            items, nonce = [], self.state.nonce
            for name, draft in sorted(self.pool.items(), key=lambda pair: pair[1].nonce):
                if draft.nonce == nonce and draft.max_fee_wei >= self.price_wei:
                    items.append(Item(name, draft))
                    nonce += 1
            self._append(items)

    def rob(self, what: What) -> None:
        """Somebody else redeems a ticket of ours."""
        assert isinstance(what, Redeem)
        self._append([Item(f"robbed {next(self._names)}", robs=redeem_id(what.winning.ticket_hash))])

    def use_nonce(self) -> None:
        """Another program of our account sends something."""
        draft = Draft(Pay(b"elsewhere", ()), self.state.nonce, VOID_GAS, self.price_wei, None, True)
        self._append([Item(f"elsewhere {next(self._names)}", draft)])

    def reorganise(self, depth: int, *, forget: bool = False) -> None:
        """Take blocks back and put as many and one more in their place, empty ones; what they had waits again."""
        depth = min(depth, len(self.blocks) - 1)
        gone = [item for _, items in self.blocks[-depth:] for item in items] if depth else []
        del self.blocks[len(self.blocks) - depth :]
        self.state = self._replay()
        if not forget:
            self.pool |= {
                item.hash: item.draft for item in gone if item.draft is not None and item.hash in self.drafts
            }
        self._prune()
        for _ in range(depth + 1):
            self._append([])

    def forget_pool(self) -> None:
        self.pool.clear()

    # Its rules

    def _append(self, items: list[Item]) -> None:
        self.blocks.append((next(self._names), items))
        self.state = self._replay()
        self._prune()

    def _prune(self) -> None:
        self.pool = {name: each for name, each in self.pool.items() if each.nonce >= self.state.nonce}

    def _replay(self) -> State:
        state = State(balance=self._balance)
        for number, (_, items) in enumerate(self.blocks, FIRST_BLOCK):
            for item in items:
                if item.robs:
                    state.used.setdefault(item.robs, item.hash)
                elif item.draft is not None:
                    assert item.draft.nonce == state.nonce
                    state.nonce += 1
                    self._execute(item, item.draft, number, state)
            state.nonces.append(state.nonce)
        return state

    def _execute(self, item: Item, draft: Draft, number: int, state: State) -> None:
        round_number = (number - FIRST_BLOCK) // ROUND_BLOCKS
        good = draft.void or not self._rejects(draft.what, state, round_number)
        gas = VOID_GAS if draft.void else GAS if good else BURNT_GAS
        fee = gas * draft.max_fee_wei
        wei = 0
        if good and not draft.void:
            wei = self._pays(draft.what)
            state.used[name_of(draft.what)] = item.hash
            if isinstance(draft.what, Pay):
                state.balance -= draft.what.wei
                wei = 0
        state.balance -= fee
        state.mined[item.hash] = Mined(item.hash, number, good, fee, wei)

    def _rejects(self, what: What, state: State, round_number: int) -> str:
        if isinstance(what, Pay):
            return "batch is paid" if pay_id(what.batch) in state.used else ""
        assert isinstance(what, Redeem)
        if what.creation_round + VALIDITY_ROUNDS <= round_number:
            return "ticket is expired"
        if redeem_id(what.winning.ticket_hash) in state.used:
            return "ticket is used"
        return self.refuses

    def _pays(self, what: What) -> int:
        return min(what.winning.face_wei, self.deposit) if isinstance(what, Redeem) else 0


def name_of(what: What) -> str:
    return redeem_id(what.winning.ticket_hash) if isinstance(what, Redeem) else pay_id(what.batch)  # type: ignore[union-attr]
