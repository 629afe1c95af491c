"""TicketBroker against a model that only adds up: what five may do with deposits, reserves and tickets."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from actors import (
    CONTRACT,
    DEPOSIT,
    PART_TIMEOUT_S,
    PARTS,
    RESERVE,
    SIGNERS,
    Actors,
    actors,
    amounts,
    play,
    signers,
)
from evm import Evm
from onchain import NOBODY, ORDER, UNLOCK_ROUNDS, VALID_ROUNDS, Draw, keccak256, other_form, sign

face_values = st.sampled_from((0, 1, 15, 30, 60, 60, 200, 1_000))
#: What the contract may try while it is being paid.
SCHEMES = ("withdraw", "unlock", "fundDeposit", "cancelUnlock", "ticket", "batch", "refuse")
#: What a ticket may be like, beside good.
TWISTS = ("win_prob", "halves", "rand", "forged", "other form", "short", "aux", "no round", "null")


class Escrow(Actors):
    """TicketBroker, with nodes that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = self.chain.broker
        self.deposits = Counter(dict.fromkeys(self.addresses, DEPOSIT))
        self.reserves = Counter(dict.fromkeys(self.addresses, RESERVE))
        self.withdraw_rounds: Counter[str] = Counter()
        self.claimed: Counter[tuple[str, int]] = Counter()
        self.claimed_by: Counter[tuple[str, int, str]] = Counter()
        self.used: set[bytes] = set()
        self.drawn: list[Draw] = []
        self.hashes = {self.round: self.chain.rounds.call("blockHashForRound", self.round)}

    # Funding, and the way out.

    def stay(self, actor: int) -> None:
        self.withdraw_rounds[self.addresses[actor]] = 0

    @rule(actor=actors, amount=amounts)
    def fund_deposit(self, actor: int, amount: int) -> None:
        assert self.do(actor, self.broker, "fundDeposit", value=amount) == ""
        self.deposits[self.addresses[actor]] += amount
        self.gained[actor] -= amount
        self.stay(actor)

    @rule(actor=actors, amount=amounts)
    def fund_reserve(self, actor: int, amount: int) -> None:
        assert self.do(actor, self.broker, "fundReserve", value=amount) == ""
        self.reserves[self.addresses[actor]] += amount
        self.gained[actor] -= amount
        self.stay(actor)

    @rule(actor=actors, whose=actors, deposit=amounts, reserve=amounts, short=st.sampled_from((0, 0, 0, 1)))
    def fund_for(self, actor: int, whose: int, deposit: int, reserve: int, short: int) -> None:
        value = max(deposit + reserve - short, 0)
        args = (self.addresses[whose], deposit, reserve)
        why = self.do(actor, self.broker, "fundDepositAndReserveFor", *args, value=value)
        if value != deposit + reserve:
            assert why == "msg.value does not equal sum of deposit amount and reserve amount"
            return
        assert why == ""
        self.deposits[self.addresses[whose]] += deposit
        self.reserves[self.addresses[whose]] += reserve
        self.gained[actor] -= value
        if actor == whose:
            self.stay(actor)

    @rule(actor=actors)
    def unlock(self, actor: int) -> None:
        address = self.addresses[actor]
        why = self.do(actor, self.broker, "unlock")
        if not self.deposits[address] + self.reserves[address]:
            assert why == "sender deposit and reserve are zero"
        elif self.withdraw_rounds[address]:
            assert why == "unlock already initiated"
        else:
            assert why == ""
            self.withdraw_rounds[address] = self.round + UNLOCK_ROUNDS

    @rule(actor=actors)
    def cancel_unlock(self, actor: int) -> None:
        why = self.do(actor, self.broker, "cancelUnlock")
        unlocking = self.withdraw_rounds[self.addresses[actor]]
        assert why == ("" if unlocking else "no unlock request in progress")
        self.stay(actor)

    @rule(actor=actors)
    def withdraw(self, actor: int) -> None:
        address = self.addresses[actor]
        funds = self.deposits[address] + self.reserves[address]
        why = self.do(actor, self.broker, "withdraw")
        if not funds:
            assert why == "sender deposit and reserve are zero"
        elif not self.withdraw_rounds[address]:
            assert why == "no unlock request in progress"
        elif self.round < self.withdraw_rounds[address]:
            assert why == "account is locked"
        elif actor == CONTRACT and self.refuses:
            assert why == "payee refused the payment"
        else:
            assert why == ""
            self.deposits[address] = self.reserves[address] = 0
            self.gained[actor] += funds

    @rule(actor=actors, rounds=st.integers(UNLOCK_ROUNDS - 1, UNLOCK_ROUNDS), then_withdraw=st.booleans())
    def wait_to_leave(self, actor: int, rounds: int, then_withdraw: bool) -> None:
        self.unlock(actor)
        self.rounds_pass(rounds, initialise=True)
        if then_withdraw:
            self.withdraw(actor)

    @rule(actor=actors, whose=actors)
    def help_a_leaver(self, actor: int, whose: int) -> None:
        self.unlock(whose)
        self.fund_for(actor, whose, 1, 1, 0)

    @rule(kind=st.sampled_from(SCHEMES))
    def leave_more_than_once(self, kind: str) -> None:
        self.scheme(kind)
        self.wait_to_leave(CONTRACT, UNLOCK_ROUNDS, then_withdraw=True)

    # Tickets.

    def draw(self, sender: int, recipient: int, face_value: int, twist: str) -> Draw:
        """A new ticket, good but for its twist."""
        people = self.chain.people
        draw = self.chain.draw(people[sender], self.addresses[recipient], face_value, nonce=len(self.drawn))
        match twist:
            case "win_prob":
                draw = draw.but(win_prob=0)
            case "halves":
                draw = draw.but(win_prob=2**255)
            case "rand":
                draw = draw.but(rand=draw.rand + 1)
            case "forged":
                draw = draw.but(signer=self.voice)
            case "other form":
                draw = draw.but(signature=other_form(sign(draw.signer, draw.hash)))
            case "short":
                draw = draw.but(signature=sign(draw.signer, draw.hash)[:64])
            case "aux":
                draw = draw.but(aux_data=draw.aux_data[:40])
            case "no round":
                draw = draw.but(aux_data=(self.round + 1).to_bytes(32) + draw.aux_data[32:])
            case "null":
                draw = draw.but(recipient=NOBODY)
        self.drawn.append(draw)
        return draw

    def flaw(self, draw: Draw) -> str:
        """The first thing that is wrong with a ticket."""
        creation_round, block_hash = int.from_bytes(draw.aux_data[:32]), draw.aux_data[32:]
        known = self.hashes.get(creation_round)
        flaws = {
            "current round is not initialized": not self.open,
            "ticket recipient is null address": draw.recipient == NOBODY,
            "invalid length for ticket auxData: must be 64 bytes": len(draw.aux_data) != 64,
            "ticket creationRound does not have a block hash": known is None,
            "ticket creationRoundBlockHash invalid for creationRound": known != block_hash,
            "ticket is expired": creation_round + VALID_ROUNDS <= self.round,
            "recipientRand does not match recipientRandHash": keccak256(draw.rand.to_bytes(32))
            != draw.rand_hash,
            "ticket is used": draw.hash in self.used,
            "INVALID_SIGNATURE_LENGTH": len(draw.signed) != 65,
            "ECDSA: invalid signature 's' value": int.from_bytes(draw.signed[32:64]) > ORDER // 2,
            "invalid signature over ticket hash": draw.signer.address != draw.sender,
            "ticket did not win": not draw.wins,
        }
        return next((flaw for flaw, there in flaws.items() if there), "")

    def claimable(self, sender: str, recipient: str) -> int:
        if not self.chain.bonding.call("isActiveTranscoder", recipient):
            return 0
        pool = self.chain.bonding.call("getTranscoderPoolSize")
        share: int = (self.reserves[sender] + self.claimed[sender, self.round]) // pool
        return share - self.claimed_by[sender, self.round, recipient]

    def due(self, draw: Draw) -> tuple[str, int, int]:
        """Why a ticket is refused, or what it takes from the deposit and from the reserve."""
        if why := self.flaw(draw):
            return why, 0, 0
        unlocked = self.withdraw_rounds[draw.sender]
        if unlocked and self.round >= unlocked:
            return "sender is unlocked", 0, 0
        if not self.deposits[draw.sender] + self.reserves[draw.sender]:
            return "sender deposit and reserve are zero", 0, 0
        deposit = min(draw.face_value, self.deposits[draw.sender])
        reserve = min(draw.face_value - deposit, self.claimable(draw.sender, draw.recipient))
        if draw.recipient == self.contract.address and self.refuses and deposit + reserve:
            return "payee refused the payment", 0, 0
        return "", deposit, reserve

    def take(self, draw: Draw) -> str:
        """What a redemption does to the model; why it does nothing."""
        why, deposit, reserve = self.due(draw)
        if not why:
            self.used.add(draw.hash)
            self.deposits[draw.sender] -= deposit
            self.reserves[draw.sender] -= reserve
            self.claimed[draw.sender, self.round] += reserve
            self.claimed_by[draw.sender, self.round, draw.recipient] += reserve
            self.gained[self.addresses.index(draw.recipient)] += deposit + reserve
        return why

    @rule(
        actor=actors,
        sender=signers,
        recipient=actors,
        face_value=face_values,
        twist=st.sampled_from(("", *TWISTS)),
    )
    def redeem(self, actor: int, sender: int, recipient: int, face_value: int, twist: str) -> None:
        draw = self.draw(sender, recipient, face_value, twist)
        why = self.take(draw)
        assert self.do(actor, self.broker, "redeemWinningTicket", *draw.args) == why

    @rule(actor=actors, sender=signers, recipient=actors, face_value=face_values)
    def redeem_good(self, actor: int, sender: int, recipient: int, face_value: int) -> None:
        self.redeem(actor, sender, recipient, face_value, "")

    @precondition(lambda self: self.drawn)
    @rule(actor=actors, place=st.integers(0, 10**6))
    def redeem_again(self, actor: int, place: int) -> None:
        draw = self.drawn[place % len(self.drawn)]
        why = self.take(draw)
        assert self.do(actor, self.broker, "redeemWinningTicket", *draw.args) == why

    @rule(
        actor=actors,
        old=st.lists(st.integers(0, 10**6), max_size=2),
        new=st.lists(st.tuples(signers, actors, face_values, st.sampled_from(("", "", *TWISTS))), max_size=3),
    )
    def redeem_many(self, actor: int, old: list[int], new: list[tuple[int, int, int, str]]) -> None:
        draws = [self.drawn[place % len(self.drawn)] for place in old if self.drawn]
        draws += [self.draw(*one) for one in new]
        columns = [[draw.args[part] for draw in draws] for part in range(3)]
        why = self.do(actor, self.broker, "batchRedeemWinningTickets", *columns)
        assert why == ("" if self.open else "current round is not initialized")
        for draw in draws:
            self.take(draw)

    @rule(kind=st.sampled_from(SCHEMES))
    def scheme(self, kind: str) -> None:
        """What the contract will try while it is being paid: none of it does anything."""
        if kind in ("ticket", "batch"):
            args = self.draw(0, CONTRACT, 30, "").args
            name = "redeemWinningTicket" if kind == "ticket" else "batchRedeemWinningTickets"
            words = self.broker.data(name, *(args if kind == "ticket" else ([one] for one in args)))
        else:
            words = b"" if kind == "refuse" else self.broker.data(kind)
        self.plan(self.broker.address, words, refuses=kind == "refuse")

    # Nodes, and time.

    @rule(node=actors, amount=st.integers(1, 30), leave=st.booleans())
    def restake(self, node: int, amount: int, leave: bool) -> None:
        args = (amount,) if leave else (amount, self.addresses[node])
        why = self.do(node, self.chain.bonding, "unbond" if leave else "bond", *args)
        assert why in (
            "",
            "caller must be bonded",
            "amount is greater than bonded amount",
            "current round is not initialized",
        )

    @invariant()
    def the_books_are_the_contracts(self) -> None:
        if self.open and self.round not in self.hashes:
            self.hashes[self.round] = self.chain.rounds.call("blockHashForRound", self.round)
        held = self.deposits.total() + self.reserves.total()
        assert self.evm.balance(self.broker.address) == held
        self.steps += 1
        self.check(self.addresses[self.steps % len(self.addresses)])

    def check(self, sender: str) -> None:
        """One account of the contract's."""
        assert self.broker.call("getSenderInfo", sender) == (
            (self.deposits[sender], self.withdraw_rounds[sender]),
            (self.reserves[sender], self.claimed[sender, self.round]),
        )
        node = self.addresses[self.steps % SIGNERS]
        assert self.broker.call("claimableReserve", sender, node) == self.claimable(sender, node)

    def leave(self) -> None:
        for address in self.addresses:
            self.check(address)
        rich = [n for n, one in enumerate(self.addresses) if self.deposits[one] + self.reserves[one]]
        for actor in rich:
            if not self.withdraw_rounds[self.addresses[actor]]:
                self.unlock(actor)
        self.rounds_pass(UNLOCK_ROUNDS, initialise=False)
        for actor in rich:
            self.withdraw(actor)
        assert self.evm.balance(self.broker.address) == 0
        for address in self.addresses:
            self.check(address)


@pytest.mark.timeout(PART_TIMEOUT_S)
@pytest.mark.parametrize("part", range(PARTS))
def test_deposits_and_reserves_balance_whatever_is_done(evm: Evm, part: int) -> None:
    play(Escrow, evm, part)
