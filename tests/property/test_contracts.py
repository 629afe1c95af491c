"""The contracts against models that only add up: five actors, one of whom comes in again whenever it is paid.

Whatever is done in whatever order, a contract holds what its accounts say, nobody gets more than theirs, and in the
end everything comes out again, though nobody opens a round any more. `make escrow` runs many more sequences.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from typing import Any

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from evm import Account, Contract
from onchain import (
    ALWAYS,
    NOBODY,
    ORDER,
    UNBONDING_ROUNDS,
    UNLOCK_ROUNDS,
    VALID_ROUNDS,
    Draw,
    Onchain,
    keccak256,
    other_form,
    refusal,
    sign,
)

#: How many sequences, in how many parts that begin anywhere else: parts can run side by side.
SEQUENCES = int(os.environ.get("ESCROW_SEQUENCES", "15"))
PARTS = 1 + SEQUENCES // 100
STEPS = 30
POOL_MAX = 3
TOKENS = 1_000
DEPOSIT, RESERVE = 40, 90
MONTH_S = 30 * 24 * 3600
#: Who signs for themselves; after them comes the contract.
SIGNERS = 4
CONTRACT = 4
SETTINGS = settings(max_examples=SEQUENCES // PARTS, stateful_step_count=STEPS)

actors = st.integers(0, CONTRACT)
signers = st.integers(0, SIGNERS - 1)
amounts = st.integers(0, 60)
face_values = st.sampled_from((0, 1, 15, 30, 60, 60, 200, 1_000))


@cache
def deployed() -> tuple[Onchain, Contract]:
    """Everything, and the contract that comes in again. Two who sign and the contract are active nodes."""
    # Each transaction takes a block: none of them ends a round on its own.
    chain = Onchain(pool_max=POOL_MAX, round_blocks=3 * STEPS)
    contract = chain.deploy("Reenterer")
    for person in chain.people[:SIGNERS]:
        chain.token.send("mint", person.address, TOKENS)
        chain.token.send("approve", chain.bonding.address, ALWAYS, sender=person)
    chain.token.send("mint", contract.address, TOKENS)
    for callee, words in (
        (chain.token, chain.token.data("approve", chain.bonding.address, ALWAYS)),
        (chain.bonding, chain.bonding.data("bond", 15, contract.address)),
    ):
        contract.send("act", callee.address, words)
    for place in (2, 3):
        chain.bonding.send("bond", 10 * place, chain.people[place].address, sender=chain.people[place])
    for person in chain.people[:SIGNERS]:
        chain.broker.send("fundDepositAndReserve", DEPOSIT, RESERVE, value=DEPOSIT + RESERVE, sender=person)
    fund = chain.broker.data("fundDepositAndReserve", DEPOSIT, RESERVE)
    contract.send("act", chain.broker.address, fund, value=DEPOSIT + RESERVE)
    chain.next_round()
    return chain, contract


class Actors(RuleBasedStateMachine):
    """Five who act in their own name; the contract is told what to do by somebody who pays for it."""

    def __init__(self) -> None:
        super().__init__()
        self.chain, self.contract = deployed()
        self.evm = self.chain.evm
        self.start = self.evm.snapshot()
        self.voice = self.chain.people[CONTRACT]
        self.addresses = [one.address for one in self.chain.people[:SIGNERS]] + [self.contract.address]
        self.steps = 0
        self.round = self.chain.round
        self.open = True
        self.refuses = False
        #: A batch may be called at any time; what it calls may not.
        self.batch = self.chain.broker.data("batchRedeemWinningTickets", [], [], [])[:4]
        self.may_enter = False
        self.gained = [0] * len(self.addresses)
        self.wealth_at_start = [self.wealth(actor) for actor in range(len(self.addresses))]

    def wealth(self, actor: int) -> int:
        """An actor's ether."""
        behind = self.evm.balance(self.voice.address) if actor == CONTRACT else 0
        return self.evm.balance(self.addresses[actor]) + behind

    def signer(self, actor: int) -> Account:
        """Whose transaction it is when an actor acts."""
        return self.voice if actor == CONTRACT else self.chain.people[actor]

    def do(self, actor: int, callee: Contract, name: str, *args: object, value: int = 0) -> str:
        """Why an actor's transaction was refused; "" if it was not."""
        more: dict[str, Any] = {"sender": self.signer(actor), "value": value}
        if actor != CONTRACT:
            return refusal(callee, name, *args, **more)
        return refusal(self.contract, "act", callee.address, callee.data(name, *args), **more)

    def plan(self, victim: str, words: bytes, *, refuses: bool = False) -> None:
        """What the contract will do when it is paid."""
        self.refuses = refuses
        self.may_enter |= victim == self.chain.broker.address and words[:4] == self.batch
        self.contract.send("plan", victim, words, refuses, sender=self.voice)

    @rule(rounds=st.integers(1, 3), initialise=st.sampled_from((True, True, False)))
    def rounds_pass(self, rounds: int, initialise: bool) -> None:
        self.chain.next_round(rounds, initialise=initialise)
        self.round += rounds
        self.open = initialise

    @precondition(lambda self: not self.open)
    @rule(actor=actors)
    def open_round(self, actor: int) -> None:
        assert self.do(actor, self.chain.rounds, "initializeRound") == ""
        self.open = True

    @invariant()
    def nobody_has_more_than_theirs(self) -> None:
        gained = [self.wealth(actor) - before for actor, before in enumerate(self.wealth_at_start)]
        assert gained == self.gained

    def teardown(self) -> None:
        try:
            self.plan(NOBODY, b"")
            self.leave()
            assert self.may_enter or not self.contract.call("entered")
            self.nobody_has_more_than_theirs()
        finally:
            self.evm.revert(self.start)

    def leave(self) -> None:
        """Take everything out."""
        raise NotImplementedError


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


class Stakes(Actors):
    """Bonding."""

    def __init__(self) -> None:
        super().__init__()
        self.bonding = self.chain.bonding
        self.bonded = dict(zip(self.addresses, (0, 0, 20, 30, 15), strict=True))
        self.pool = [self.addresses[place] for place in (3, 2, CONTRACT)]
        self.active = list(self.pool)
        self.active_stake = 65
        self.locks: dict[tuple[int, int], tuple[int, int]] = {}
        self.locks_made: Counter[int] = Counter()

    def settle(self, node: str) -> None:
        """A node's place in the pool after its stake has changed."""
        stake = self.bonded[node]
        if node in self.pool:
            self.pool.remove(node)
        elif len(self.pool) == POOL_MAX:
            if stake <= self.bonded[self.pool[-1]]:
                return
            self.pool.pop()
        if stake:
            ahead = [one for one in self.pool if self.bonded[one] >= stake]
            self.pool.insert(len(ahead), node)

    @rule(actor=actors, amount=st.integers(0, 40))
    def bond(self, actor: int, amount: int) -> None:
        node = self.addresses[actor]
        spare = self.chain.token.call("balanceOf", node)
        why = self.do(actor, self.bonding, "bond", amount, node)
        if not self.open:
            assert why == "current round is not initialized"
        elif not self.bonded[node] + amount:
            assert why == "delegation amount must be greater than 0"
        elif amount > spare:
            assert why == "insufficient balance"
        else:
            assert why == ""
            self.bonded[node] += amount
            if amount or node not in self.pool:
                self.settle(node)

    @rule(actor=actors, amount=st.integers(0, 40), all_of_it=st.booleans())
    def unbond(self, actor: int, amount: int, all_of_it: bool) -> None:
        node = self.addresses[actor]
        amount = self.bonded[node] if all_of_it else amount
        why = self.do(actor, self.bonding, "unbond", amount)
        if not self.bonded[node]:
            assert why == "caller must be bonded"
        elif not amount:
            assert why == "unbond amount must be greater than 0"
        elif amount > self.bonded[node]:
            assert why == "amount is greater than bonded amount"
        else:
            assert why == ""
            self.locks[actor, self.locks_made[actor]] = (amount, self.round + UNBONDING_ROUNDS)
            self.locks_made[actor] += 1
            self.bonded[node] -= amount
            if node in self.pool:
                self.settle(node)

    def some_lock(self, place: int) -> tuple[int, int]:
        """Whose lock, and which: one that there is, or was, or never was."""
        made = [(actor, lock) for actor, count in self.locks_made.items() for lock in range(count + 1)]
        return made[place % len(made)] if made else (0, 0)

    @rule(place=st.integers(0, 10**6))
    def rebond(self, place: int) -> None:
        actor, lock = self.some_lock(place)
        node = self.addresses[actor]
        if self.bonded[node]:
            why = self.do(actor, self.bonding, "rebond", lock)
        else:
            why = self.do(actor, self.bonding, "rebondFromUnbonded", node, lock)
        amount, _ = self.locks.pop((actor, lock), (0, 0))
        assert why == ("" if amount else "invalid unbonding lock ID")
        if amount:
            self.bonded[node] += amount
            self.settle(node)

    @rule(place=st.integers(0, 10**6))
    def withdraw_some(self, place: int) -> None:
        self.withdraw_stake(*self.some_lock(place))

    def withdraw_stake(self, actor: int, lock: int) -> None:
        why = self.do(actor, self.bonding, "withdrawStake", lock)
        _, withdraw_round = self.locks.get((actor, lock), (0, 0))
        if not withdraw_round:
            assert why == "invalid unbonding lock ID"
        elif self.round < withdraw_round:
            assert why == "withdraw round must be before or equal to the current round"
        else:
            assert why == ""
            del self.locks[actor, lock]

    @rule(rounds=st.integers(1, 3), initialise=st.booleans())
    def rounds_pass(self, rounds: int, initialise: bool) -> None:
        super().rounds_pass(rounds, initialise)
        self.active = list(self.pool)
        self.active_stake = sum(self.bonded[node] for node in self.pool)

    @invariant()
    def the_pool_is_the_models(self) -> None:
        members = [self.bonding.call("getFirstTranscoderInPool")]
        while members[-1] != NOBODY:
            members.append(self.bonding.call("getNextTranscoderInPool", members[-1]))
        assert members[:-1] == self.pool
        assert self.bonding.call("nextRoundTotalActiveStake") == sum(self.bonded[node] for node in self.pool)
        self.steps += 1
        node = self.addresses[self.steps % len(self.addresses)]
        assert self.bonding.call("isActiveTranscoder", node) == (node in self.active)
        assert self.bonding.call("getTranscoderPoolSize") == len(self.active)
        assert self.bonding.call("getTotalBonded") == self.active_stake

    @invariant()
    def the_tokens_are_all_there(self) -> None:
        held = sum(self.bonded.values()) + sum(amount for amount, _ in self.locks.values())
        assert self.chain.token.call("balanceOf", self.bonding.address) == held

    def leave(self) -> None:
        for actor, node in enumerate(self.addresses):
            assert self.bonding.call("transcoderTotalStake", node) == self.bonded[node]
            if self.bonded[node]:
                self.unbond(actor, 0, all_of_it=True)
        self.rounds_pass(UNBONDING_ROUNDS, initialise=False)
        for actor, lock in list(self.locks):
            self.withdraw_stake(actor, lock)
        held = [self.chain.token.call("balanceOf", one) for one in self.addresses]
        assert held == [TOKENS] * len(held)


class Paying(Actors):
    """Payouts: everybody is an operator, and everybody is a worker."""

    def __init__(self) -> None:
        super().__init__()
        self.payouts = self.chain.payouts
        self.batches: set[tuple[int, int]] = set()
        self.paid: Counter[tuple[int, int]] = Counter()
        self.waiting: Counter[tuple[int, int]] = Counter()
        self.until_s: Counter[tuple[int, int]] = Counter()

    def clock_s(self) -> int:
        """The time of the last block."""
        return self.evm.chain.head.timestamp_s

    @rule(
        operator=actors,
        batch=st.integers(0, 3),
        shares=st.lists(st.tuples(actors, amounts), max_size=4),
        off_by=st.sampled_from((0, 0, 0, -1, 1)),
    )
    def pay_out(self, operator: int, batch: int, shares: list[tuple[int, int]], off_by: int) -> None:
        total = sum(amount for _, amount in shares)
        value = max(total + off_by, 0)
        workers = [self.addresses[worker] for worker, _ in shares]
        args = (batch.to_bytes(32), workers, [amount for _, amount in shares])
        why = self.do(operator, self.payouts, "payOut", *args, value=value)
        if (operator, batch) in self.batches:
            assert why == "batch is paid"
        elif value != total:
            assert why == "value sent is not the sum of the amounts"
        else:
            assert why == ""
            self.batches.add((operator, batch))
            self.gained[operator] -= total
            for worker, amount in shares:
                self.paid[operator, worker] += amount
                if worker == CONTRACT and self.refuses:
                    self.waiting[operator, worker] += amount
                    self.until_s[operator, worker] = self.clock_s() + MONTH_S
                else:
                    self.gained[worker] += amount

    @rule(operator=actors, batch=st.integers(4, 30), amount=st.integers(1, 60))
    def pay_the_unwilling(self, operator: int, batch: int, amount: int) -> None:
        self.scheme("refuse", operator)
        self.pay_out(operator, batch, [(CONTRACT, amount), (0, 1), (CONTRACT, 2)], 0)

    @rule(worker=actors, operator=actors, to=actors)
    def fetch(self, worker: int, operator: int, to: int) -> None:
        amount = self.waiting[operator, worker]
        why = self.do(worker, self.payouts, "fetch", self.addresses[operator], self.addresses[to])
        if not amount:
            assert why == "nothing is waiting"
        elif to == CONTRACT and self.refuses:
            assert why == "receiver refused the payment"
        else:
            assert why == ""
            self.waiting[operator, worker] = 0
            self.gained[to] += amount

    @rule(operator=actors, worker=st.sampled_from((CONTRACT, CONTRACT, 0)))
    def take_back(self, operator: int, worker: int) -> None:
        amount = self.waiting[operator, worker]
        why = self.do(operator, self.payouts, "takeBack", self.addresses[worker])
        if self.clock_s() < self.until_s[operator, worker]:
            assert why == "payment still waits for its worker"
        elif not amount:
            assert why == "nothing is waiting"
        elif operator == CONTRACT and self.refuses:
            assert why == "receiver refused the payment"
        else:
            assert why == ""
            self.waiting[operator, worker] = 0
            self.paid[operator, worker] -= amount
            self.gained[operator] += amount

    @rule(seconds=st.sampled_from((1, MONTH_S // 2, MONTH_S)))
    def time_passes(self, seconds: int) -> None:
        self.evm.pass_time(seconds)
        self.evm.mine()

    @rule(kind=st.sampled_from(("payOut", "fetch", "takeBack", "refuse", "refuse")), operator=actors)
    def scheme(self, kind: str, operator: int) -> None:
        """What the contract will try while it is being paid: none of it does anything."""
        args: dict[str, tuple[object, ...]] = {
            "payOut": (b"\7" * 32, [], []),
            "fetch": (self.addresses[operator], self.contract.address),
            "takeBack": (self.contract.address,),
        }
        words = self.payouts.data(kind, *args[kind]) if kind in args else b""
        self.plan(self.payouts.address, words, refuses=kind == "refuse")

    @invariant()
    def nothing_stays_but_what_waits(self) -> None:
        assert self.evm.balance(self.payouts.address) == self.waiting.total()
        self.steps += 1
        operator, worker = self.steps % 5, CONTRACT if self.steps % 2 else self.steps % 3
        assert (
            self.payouts.call("paidTo", self.addresses[operator], self.addresses[worker])
            == (self.paid[operator, worker])
        )

    def leave(self) -> None:
        self.time_passes(MONTH_S)
        for operator, worker in [pair for pair, amount in self.waiting.items() if amount]:
            self.take_back(operator, worker)
        assert self.evm.balance(self.payouts.address) == 0


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("machine", [Escrow, Stakes, Paying])
def test_the_books_balance_whatever_is_done(machine: type[Actors], part: int) -> None:
    run_state_machine_as_test(seed(part)(type(machine.__name__, (machine,), {})), settings=SETTINGS)
