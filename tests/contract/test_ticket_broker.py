"""The payee and the TicketBroker, asked about the same tickets: one accepts what the other redeems.

On each chain that judges the contracts it is five thousand tickets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from random import Random

import pytest
from msgspec.structs import replace

from evm import Account, Evm, Reverted
from forgery import FACE_WEI, SPOILED, Forged
from onchain import Onchain
from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.money.funds import ChainView, Funds
from shoal.money.payee import Judged, WinnerSettled
from shoal.money.refusal import Fault
from shoal.money.terms import recipient_rand
from shoal.money.ticket import SignedNonce, Ticket, TicketParams, WinningTicket
from shoal.runtime.keys import NodeKey
from tickets import ETHER, OTHER_PAYEE, OTHER_PAYER, PAYEE, PAYER, drawn_up, payee

SEEDS = range(10)
CASES_A_SEED = 500
#: Longer than a round: tickets grow too old for the contract as well.
PARAMS_BLOCKS = 2_500


def account_of(key: NodeKey) -> Account:
    """A node's key as an account of the chain."""
    return Account(bytes(key._private.secret), key.id)


class Street:
    """A payee with a share of every reserve, two payers with money, and the contracts."""

    def __init__(self, evm: Evm, chance: Random) -> None:
        self.chance = chance
        self.onchain = Onchain(evm, round_blocks=1_000)
        self.payee = payee(face_wei_max=FACE_WEI, redeem_gas=1, params_blocks=PARAMS_BLOCKS)
        self.keys = {key.id: key for key in (PAYER, OTHER_PAYER)}
        for key in (PAYEE, OTHER_PAYEE, *self.keys.values()):
            self.onchain.evm.set_balance(key.id, 10_000 * ETHER)
        for key in (PAYEE, OTHER_PAYEE):
            self.onchain.stake(account_of(key), ETHER)
        self.onchain.next_round()
        for key in self.keys.values():
            self.fund(key, 100 * FACE_WEI, 10 * FACE_WEI)
        self.see()

    def fund(self, key: NodeKey, deposit: int, reserve: int) -> None:
        """Put money down."""
        self.onchain.broker.send(
            "fundDepositAndReserve", deposit, reserve, sender=account_of(key), value=deposit + reserve
        )

    def see(self, sender: NodeId | None = None) -> None:
        """Look at the chain, as a node does: at everything, or at one sender."""
        if sender is not None:
            self.view = replace(self.view, block=self.onchain.evm.block)
            self.funds[sender] = self.money(sender)
            return
        rounds = self.onchain.rounds
        last = rounds.call("lastInitializedRound")
        self.view = ChainView(
            rounds.call("blockNum"),
            last,
            rounds.call("blockHashForRound", last),
            rounds.call("currentRoundInitialized"),
            gas_price_wei=1,
            pool_size=self.onchain.bonding.call("getTranscoderPoolSize"),
        )
        self.funds = {sender: self.money(sender) for sender in self.keys}

    def money(self, sender: NodeId) -> Funds:
        """What a sender has, as a node sees it."""
        broker = self.onchain.broker
        (deposit, withdraw_round), (left, claimed) = broker.call("getSenderInfo", sender)
        return Funds(deposit, left, broker.call("claimedReserve", sender, PAYEE.id), withdraw_round, claimed)

    def ask(self, key: NodeKey) -> TicketParams:
        """Parameters for a sender."""
        return self.payee.params(key.id, FACE_WEI, self.view, self.funds[key.id])

    def drain(self, key: NodeKey, left: int) -> None:
        """Let somebody else win most of a deposit, and claim a share of the reserve."""
        other = payee(OTHER_PAYEE, redeem_gas=1, params_blocks=PARAMS_BLOCKS, float_wei_max=10**30)
        face = max(FACE_WEI, self.funds[key.id].deposit - left)
        seen = replace(self.funds[key.id], claimed_by_me=0, withdraw_round=0, reserve=10**30)
        other.rules = replace(other.rules, face_wei_max=face)
        params = other.params(key.id, face, self.view, seen)
        draw = drawn_up(key, params, [1])
        winner = other.judge(params, key.id, draw, self.view, replace(seen, deposit=10**30)).winners[0]
        self.onchain.broker.send(
            "redeemWinningTicket",
            fields(winner.signed.ticket),
            winner.signed.signature,
            int.from_bytes(winner.recipient_rand),
        )

    def reason(self, forged: Forged) -> str:
        """Why the contract does not redeem a ticket; "" if it would. Nothing changes."""
        broker = self.onchain.broker
        ticket = forged.params.ticket(forged.sender, forged.ticket.nonce)
        rand = recipient_rand(self.payee._secret, forged.params, forged.sender, forged.price)
        args = (fields(ticket), forged.ticket.signature, int.from_bytes(rand))
        try:
            broker.call("redeemWinningTicket", *args)
        except Reverted as reverted:
            return reverted.message.removeprefix("execution reverted: ")
        if ticket.recipient != PAYEE.id:
            return Fault.RECIPIENT
        share = broker.call("claimableReserve", forged.sender, PAYEE.id)
        return Fault.FUNDS if self.funds[forged.sender].deposit + share < ticket.face_wei else ""

    def judge(self, forged: Forged) -> Judged:
        """What the payee says."""
        funds = self.funds.get(forged.sender, Funds())
        return self.payee.judge(
            forged.params, forged.sender, [forged.ticket], self.view, funds, price=forged.price
        )

    def redeem(self, winner: WinningTicket) -> None:
        """Bring a winner to the contract, which must pay all of it."""
        before = self.onchain.evm.balance(PAYEE.id)
        self.onchain.broker.send(
            "redeemWinningTicket",
            fields(winner.signed.ticket),
            winner.signed.signature,
            int.from_bytes(winner.recipient_rand),
        )
        assert self.onchain.evm.balance(PAYEE.id) - before == winner.face_wei
        self.payee.take(WinnerSettled(winner.signed.ticket.sender, winner.ticket_hash))


def fields(ticket: Ticket) -> tuple[object, ...]:
    """A ticket as the contract takes it."""
    return (
        ticket.recipient,
        ticket.sender,
        ticket.face_wei,
        int.from_bytes(ticket.win_prob),
        ticket.nonce,
        ticket.recipient_rand_hash,
        ticket.aux_data,
    )


class Traffic:
    """Tickets of two payers, most of them spoiled, while things happen on the chain."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self.chance = street.chance
        self.nonces = count(1)
        self.params: dict[NodeId, TicketParams] = {}
        self.sent: list[Forged] = []

    def turn_of_events(self, key: NodeKey) -> None:
        """Something happens on the chain."""
        broker, who, funds = self.street.onchain.broker, account_of(key), self.street.funds[key.id]
        event = self.chance.choice(("round", "unlock", "unlock", "drain", "fund", "fund"))
        if event == "round":
            self.street.onchain.next_round()
        elif event == "unlock" and funds.withdraw_round == 0 and funds.deposit + funds.reserve > 0:
            broker.send("unlock", sender=who)
        elif event == "drain" and funds.locked(self.street.view.round) and funds.deposit + funds.reserve > 0:
            self.street.drain(key, self.chance.choice((0, FACE_WEI - 1, FACE_WEI, 3 * FACE_WEI)))
        elif event == "fund":
            self.street.fund(key, 100 * FACE_WEI, 10 * FACE_WEI)
        self.street.see()

    def renew(self, key: NodeKey) -> TicketParams:
        """Parameters of a sender, which is made to have the money if it has not."""
        known = self.params.get(key.id)
        expired = known is None or known.expiration_block <= self.street.view.block
        if self.chance.random() < (0.5 if expired else 0.03) or known is None:
            try:
                known = self.street.ask(key)
            except Refused:
                self.street.fund(key, 100 * FACE_WEI, 10 * FACE_WEI)
                self.street.see()
                known = self.street.ask(key)
            self.params[key.id] = known
        return known

    def next(self) -> Forged:
        """A ticket that comes in: one in six is good, if the chain allows."""
        key = self.chance.choice(list(self.street.keys.values()))
        if self.chance.random() < 0.03:
            self.turn_of_events(key)
        ticket = Forged(self.renew(key), key.id, SignedNonce(next(self.nonces), b"")).sealed(key)
        draw = self.chance.random()
        if draw < 0.1 and self.sent:
            return self.chance.choice(self.sent)
        if draw < 0.84:
            ticket = SPOILED[self.chance.choice(list(SPOILED))](ticket, self.chance)
            if self.chance.random() < 0.3 and ticket.sender in self.street.keys:
                ticket = ticket.sealed(self.street.keys[ticket.sender])
        return ticket


@pytest.fixture
def empty(evm: Evm) -> Iterator[Evm]:
    """A chain with nothing on it."""
    with evm.undone():
        yield evm


@pytest.mark.parametrize("seed", SEEDS)
def test_the_payee_accepts_what_the_contract_redeems(empty: Evm, seed: int) -> None:
    street = Street(empty, Random(seed))
    traffic = Traffic(street)
    outcomes: Counter[str] = Counter()
    for _ in range(CASES_A_SEED):
        ticket = traffic.next()
        reason = street.reason(ticket)
        judged = street.judge(ticket)
        outcomes[str(judged.fault)] += 1
        if judged.fault == Fault.PARAMS_EXPIRED:
            assert ticket.params.expiration_block <= street.view.block
        elif judged.fault == Fault.UNLOCKS_SOON:
            assert street.funds[ticket.sender].withdraw_round == street.view.round + 1
        else:
            assert (judged.fault is None) == (reason == ""), (judged.fault, reason)
        if judged.taken:
            street.payee.take(judged.taken)
            street.redeem(judged.winners[0])
            street.see(ticket.sender)
            traffic.sent.append(ticket)
    assert outcomes["None"] > CASES_A_SEED / 20, outcomes
    assert len(outcomes) >= 10, outcomes


def test_a_ticket_that_comes_before_a_round_is_opened_is_redeemed_once_it_is(empty: Evm) -> None:
    street = Street(empty, Random(9))
    params = street.ask(PAYER)
    street.onchain.next_round(initialise=False)
    street.see()
    ticket = Forged(params, PAYER.id, SignedNonce(1, b"")).sealed(PAYER)
    judged = street.judge(ticket)
    assert judged.taken is not None
    assert street.reason(ticket) == "current round is not initialized"
    street.payee.take(judged.taken)
    street.onchain.rounds.send("initializeRound")
    street.redeem(judged.winners[0])
