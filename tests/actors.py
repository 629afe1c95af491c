"""Five who act on the contracts, one of whom comes in again whenever it is paid, and a book of what each has gained.

Whatever they do in whatever order, a contract holds what its accounts say, nobody gets more than theirs, and in the
end everything comes out again, though nobody opens a round any more. `make escrow` plays many more sequences.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from functools import cache
from typing import Any, ClassVar

from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from evm import Account, Contract, Evm
from onchain import ALWAYS, NOBODY, Onchain, refusal

#: How many sequences of each kind on each chain, in how many parts that begin anywhere else and can run side by side.
SEQUENCES = int(os.environ.get("ESCROW_SEQUENCES", "15"))
PARTS = 1 + SEQUENCES // 100
SEQUENCES_A_PART = -(-SEQUENCES // PARTS)
#: A part of many sequences takes its time.
PART_TIMEOUT_S = 3_600
STEPS = 30
POOL_MAX = 3
TOKENS = 1_000
DEPOSIT, RESERVE = 40, 90
#: Who signs for themselves; after them comes the contract.
SIGNERS = 4
CONTRACT = 4

actors = st.integers(0, CONTRACT)
signers = st.integers(0, SIGNERS - 1)
amounts = st.integers(0, 60)


@cache
def deployed(evm: Evm) -> tuple[Onchain, Contract]:
    """Everything, and the contract that comes in again. Two who sign and the contract are active nodes."""
    # Each transaction takes a block: none of them ends a round on its own.
    chain = Onchain(evm, pool_max=POOL_MAX, round_blocks=3 * STEPS)
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

    judge: ClassVar[Evm]
    played: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.evm = self.judge
        self.chain, self.contract = deployed(self.evm)
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
            type(self).played += 1
        finally:
            self.evm.revert(self.start)

    @abstractmethod
    def leave(self) -> None:
        """Take everything out."""


def play(machine: type[Actors], judge: Evm, part: int) -> None:
    """One part of a machine's sequences, all of them."""
    played: Any = type(machine.__name__, (machine,), {"judge": judge, "played": 0})
    most = settings(max_examples=SEQUENCES_A_PART, stateful_step_count=STEPS)
    run_state_machine_as_test(seed(part)(played), settings=most)
    assert played.played >= SEQUENCES_A_PART
