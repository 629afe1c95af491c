"""The simulator's chain and the contracts agree: what they pay, what they refuse, and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import shoal.chain.contracts
from evm import Account, Contract, Evm, Reverted
from shoal.chain.reader import ticket_tuple
from shoal.ids import NodeId
from shoal.money.ticket import (
    NO_HASH,
    WIN_PROB_MAX,
    SignedTicket,
    TicketParams,
    WinningTicket,
    rand_hash,
    uint256,
)
from shoal.runtime.keys import NodeKey
from shoal.sim.broker import Broker, Rejected
from shoal.wire.words import Payee

CONTRACTS = Path(shoal.chain.contracts.__path__[0])
ROUND_BLOCKS = 25
SENDERS, RECIPIENTS = 2, 3
STEPS = 300
COMPARED_EVERY = 10


def artifact(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((CONTRACTS / f"{name}.json").read_text())
    return value


class Pair:
    """The contracts and the model of them, one beside the other."""

    def __init__(self, evm: Evm, seed: int) -> None:
        self.rng = Random(seed)
        self.evm = evm
        self.people = self.evm.accounts[: SENDERS + RECIPIENTS]
        controller = self.evm.deploy(artifact("Controller"))
        self.rounds = self.evm.deploy(artifact("Rounds"), ROUND_BLOCKS)
        self.start = self.evm.block
        token = self.evm.deploy(artifact("Token"))
        bonding = self.evm.deploy(artifact("Bonding"), token.address, self.rounds.address, 3, 10)
        places = (controller.address, self.rounds.address, bonding.address)
        self.broker = self.evm.deploy(artifact("TicketBroker"), *places, 2, 2)
        self.payouts = self.evm.deploy(artifact("Payouts"))
        self.rounds.send("initializeRound")
        token.send("setMinter", self.evm.accounts[0].address)
        # One recipient is not in the pool: it claims nothing of a reserve.
        self.pool = self.recipients[:-1]
        for one in self.pool:
            token.send("mint", one.address, 10)
            token.send("approve", bonding.address, 10, sender=one)
            bonding.send("bond", 10, one.address, sender=one)
        self.model = Broker(tuple(NodeId(one.address) for one in self.pool), round_blocks=ROUND_BLOCKS)
        self.model.round_hashes[1] = self.rounds.call("blockHashForRound", 1)
        self.to_next_round()
        self.open_round()
        assert self.broker.call("claimableReserve", self.people[0].address, self.pool[0].address) == 0
        assert bonding.call("getTranscoderPoolSize") == len(self.pool)

    @property
    def senders(self) -> tuple[Account, ...]:
        return self.people[:SENDERS]

    @property
    def recipients(self) -> tuple[Account, ...]:
        return self.people[SENDERS:]

    def both(self, contract: Contract, name: str, *args: object, sender: Account, value: int = 0) -> str:
        """Send to the contract; why it refuses, "" if it does not."""
        try:
            contract.send(name, *args, sender=sender, value=value)
        except Reverted as error:
            return error.message.removeprefix("execution reverted: ")
        finally:
            self.model.block = self.evm.block - self.start
        return ""

    def to_next_round(self) -> None:
        self.evm.mine(ROUND_BLOCKS - (self.evm.block - self.start) % ROUND_BLOCKS)
        self.model.block = self.evm.block - self.start

    def open_round(self) -> None:
        theirs = self.both(self.rounds, "initializeRound", sender=self.people[0])
        block_hash = self.rounds.call("blockHashForRound", self.rounds.call("currentRound"))
        assert theirs == said(lambda: self.model.initialise_round(block_hash))

    def winner(self, sender: Account, recipient: Account, face_wei: int, nonce: int) -> WinningTicket:
        """A ticket that wins, dated now, or wrong in a way that is drawn."""
        rng = self.rng
        rand = uint256(rng.randrange(2**256))
        number = self.model.round if rng.random() < 0.8 else rng.randint(0, self.model.round + 1)
        known = self.model.round_hashes.get(number, NO_HASH)
        block_hash = known if rng.random() < 0.95 else rng.randbytes(32)
        params = TicketParams(
            NodeId(recipient.address),
            uint256(face_wei),
            uint256(WIN_PROB_MAX if rng.random() < 0.9 else 0),
            rand_hash(rand) if rng.random() < 0.95 else rng.randbytes(32),
            NO_HASH,
            0,
            number,
            block_hash,
        )
        ticket = params.ticket(NodeId(sender.address), nonce)
        signer = NodeKey((sender if rng.random() < 0.85 else recipient).secret)
        signature = signer.sign_hash(ticket.signed_hash)
        if rng.random() < 0.05:
            signature = signature[: rng.choice((0, 64))]
        return WinningTicket(SignedTicket(ticket, signature), rand, 0)


def said(call: Any) -> str:
    try:
        call()
    except Rejected as rejection:
        return str(rejection)
    return ""


class Life(Pair):
    """Whatever may happen, in an order that is drawn."""

    def __init__(self, evm: Evm, seed: int) -> None:
        super().__init__(evm, seed)
        self.tickets: list[WinningTicket] = []
        self.reasons: dict[str, int] = {}
        self.nonce = 0

    def step(self) -> None:
        """One thing more, on both sides."""
        does = self.rng.choice(
            (self.fund, self.redeem, self.redeem, self.redeem, self.leave, self.go_on, self.pay)
        )
        does()

    def agree(self, theirs: str, ours: str) -> None:
        assert theirs == ours
        self.reasons[theirs] = self.reasons.get(theirs, 0) + 1

    def fund(self) -> None:
        sender, rng = self.rng.choice(self.senders), self.rng
        deposit, reserve = rng.choice((0, 50, 1_000)), rng.choice((0, 90, 1_000))
        theirs = self.both(
            self.broker, "fundDepositAndReserve", deposit, reserve, sender=sender, value=deposit + reserve
        )
        self.agree(theirs, said(lambda: self.model.fund(NodeId(sender.address), deposit, reserve)))

    def redeem(self) -> None:
        rng = self.rng
        if self.tickets and rng.random() < 0.3:
            winning = rng.choice(self.tickets)
        else:
            self.nonce += 1
            face_wei = rng.choice((1, 40, 700, 5_000))
            sender, recipient = rng.choice(self.senders), rng.choice(self.recipients)
            winning = self.winner(sender, recipient, face_wei, self.nonce)
            self.tickets.append(winning)
        ticket, signature = ticket_tuple(winning.signed.ticket), winning.signed.signature
        payee, number = winning.signed.ticket.recipient, int.from_bytes(winning.recipient_rand)
        before, paid = self.evm.balance(payee), [0]
        theirs = self.both(
            self.broker, "redeemWinningTicket", ticket, signature, number, sender=self.evm.accounts[-1]
        )

        def redeem() -> None:
            paid[0] = self.model.redeem(winning)

        self.agree(theirs, said(redeem))
        assert self.evm.balance(payee) - before == paid[0]

    def leave(self) -> None:
        sender = self.rng.choice(self.senders)
        node = NodeId(sender.address)
        if self.rng.random() < 0.5:
            theirs = self.both(self.broker, "unlock", sender=sender)
            self.agree(theirs, said(lambda: self.model.unlock(node)))
        else:
            theirs = self.both(self.broker, "withdraw", sender=sender)
            self.agree(theirs, said(lambda: self.model.withdraw(node)))

    def go_on(self) -> None:
        if self.rng.random() < 0.5:
            self.to_next_round()
        if self.rng.random() < 0.8:
            self.open_round()

    def pay(self) -> None:
        operator = self.rng.choice(self.people)
        batch = uint256(self.rng.randrange(3))
        payees = tuple(
            Payee(NodeId(one.address), uint256(self.rng.randint(1, 9)))
            for one in self.rng.sample(self.people, 2)
        )
        workers = [payee.node for payee in payees]
        amounts = [int.from_bytes(payee.wei) for payee in payees]
        theirs = self.both(
            self.payouts, "payOut", batch, workers, amounts, sender=operator, value=sum(amounts)
        )
        self.agree(theirs, said(lambda: self.model.pay_out(NodeId(operator.address), batch, payees)))
        for worker in workers:
            paid = self.model.paid.get((NodeId(operator.address), worker), 0)
            assert self.payouts.call("paidTo", operator.address, worker) == paid

    def compare(self) -> None:
        """Every account, as both sides see it."""
        assert self.rounds.call("currentRound") == self.model.round
        assert self.rounds.call("currentRoundInitialized") == self.model.round_initialised
        for sender in self.senders:
            (deposit, withdraw_round), (reserve, claimed) = self.broker.call("getSenderInfo", sender.address)
            for recipient in self.recipients:
                ours = self.model.funds(NodeId(sender.address), NodeId(recipient.address))
                theirs = (deposit, reserve, withdraw_round, claimed)
                assert (ours.deposit, ours.reserve, ours.withdraw_round, ours.claimed_by_all) == theirs
                claimable = self.broker.call("claimableReserve", sender.address, recipient.address)
                assert self.model.claimable(NodeId(sender.address), NodeId(recipient.address)) == claimable


def test_the_model_and_the_contracts_say_the_same(evm: Evm) -> None:
    life = Life(evm, 0)
    for step in range(STEPS):
        life.step()
        if step % COMPARED_EVERY == 0:
            life.compare()
    reasons = life.reasons
    assert reasons[""] > 50
    assert reasons.keys() >= {
        "current round is not initialized",
        "invalid length for ticket auxData: must be 64 bytes",
        "ticket creationRound does not have a block hash",
        "ticket creationRoundBlockHash invalid for creationRound",
        "ticket is expired",
        "recipientRand does not match recipientRandHash",
        "ticket is used",
        "INVALID_SIGNATURE_LENGTH",
        "invalid signature over ticket hash",
        "ticket did not win",
        "sender is unlocked",
        "sender deposit and reserve are zero",
        "unlock already initiated",
        "no unlock request in progress",
        "account is locked",
        "batch is paid",
    }
