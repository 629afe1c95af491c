"""Tickets that are forged, replayed, late or unpaid: what is accepted, the contract would redeem, and the reverse."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from msgspec.structs import replace

from broker import OnChain, Refusal
from forgery import FACE_WEI, SPOILED, Forged, World, fields
from shoal.errors import Broken
from shoal.money.refusal import Fault
from shoal.money.ticket import SignedNonce, TicketParams, WinningTicket
from shoal.runtime.keys import NodeKey
from tickets import ETHER, PAYER, drawn_up, payee

TICKETS = 100_000
#: In this world a sender is trusted with as much beyond our share of its reserve.
FLOAT_WEI = 3 * FACE_WEI
#: Limits that have tests of their own.
ELSEWHERE = {
    Fault.SENDERS.value,
    Fault.PARAMS.value,
    Fault.TICKETS.value,
    Fault.NO_WIN.value,
    Fault.NONCES.value,
    Fault.FLOAT.value,
}

#: A payee knows no hashes of rounds long past, and looks at the recipient before any signature.
BY_ANOTHER_NAME = {
    "round": {Fault.RAND, Fault.ROUND_EXPIRED},
    "round hash": {Fault.RAND},
    "recipient": {Fault.RECIPIENT},
}


class Sender:
    """A sender who makes good tickets, and remembers what it can play again."""

    def __init__(self, world: World, key: NodeKey) -> None:
        self.world = world
        self.key = key
        self.params: TicketParams
        self.sent: list[Forged] = []
        self.spare: list[Forged] = []
        self.renew()

    def renew(self) -> None:
        """Ask for new parameters."""
        self.params = self.world.params(self.key.id)
        self.nonces = itertools.count(1)
        self.spare = []

    def fresh(self) -> Forged:
        """A good ticket that was never sent; a spoiled one was not, so it is used again."""
        if self.spare:
            return self.spare.pop()
        forged = Forged(self.params, self.key.id, SignedNonce(next(self.nonces), b""))
        return forged.sealed(self.key)


def turn_of_events(world: World, sender: Sender) -> None:
    """Something happens on the chain."""
    chance, name = world.chance, sender.key.id
    event = chance.choice(
        ("block", "round", "unlock", "stay", "drain", "fund", "pool", "renew", "renew", "renew")
    )
    if event == "block":
        world.block += chance.randint(0, 25)
    elif event == "round":
        world.new_round()
    elif event == "unlock":
        world.broker.withdraw_rounds[name] = world.broker.round + chance.randint(0, 3)
    elif event == "stay":
        world.broker.withdraw_rounds[name] = 0
    elif event == "drain":  # somebody else redeemed
        world.broker.deposits[name] = chance.choice((0, FACE_WEI - 1, FACE_WEI, 2 * FACE_WEI))
        world.broker.reserves[name] = chance.choice((0, 1, FACE_WEI - 1, 5 * FACE_WEI))
    elif event == "pool":
        world.broker.pool_size = chance.choice((0, 1, 4, 100))
    else:
        world.broker.pool_size = 4
        world.broker.withdraw_rounds[name] = 0
        world.broker.deposits[name] = 100 * ETHER
        world.broker.reserves[name] = 4 * ETHER
        if event == "renew":
            sender.renew()


def broken_promises(world: World, forged: Forged) -> set[Fault]:
    """Which of the payee's promises speak against a ticket, told without asking the payee."""
    funds, view = world.funds(forged.sender), world.view
    return {
        fault
        for fault, broken in (
            (Fault.PARAMS_EXPIRED, forged.params.expiration_block <= view.block),
            (Fault.UNLOCKS_SOON, funds.withdraw_round == view.round + 1),
        )
        if broken
    }


def spoil(world: World, good: Forged) -> tuple[str, Forged]:
    """A good ticket, spoiled in one way, by a sender who may sign what came of it."""
    way = world.chance.choice(list(SPOILED))
    spoiled = SPOILED[way](good, world.chance)
    if spoiled.sender in world.keys and world.chance.random() < 0.3:
        return f"{way}, signed anew", spoiled.sealed(world.keys[spoiled.sender])
    return way, spoiled


def spoiled_alone(world: World, good: Forged, ticket: Forged) -> bool:
    """Whether nothing is wrong with a ticket but what was done to it."""
    return ticket is not good and ticket.sender == good.sender and world.reason(good) is None


def test_a_hundred_thousand_tickets_are_accepted_if_and_only_if_the_contract_would_redeem_them() -> None:
    world = World(seed=3, float_wei_max=FLOAT_WEI)
    senders = [Sender(world, key) for key in world.keys.values()]
    outcomes: Counter[str] = Counter()
    for number in range(TICKETS):
        sender = world.chance.choice(senders)
        if number % 40 == 39:
            turn_of_events(world, sender)
        good = sender.fresh()
        draw = world.chance.random()
        if draw < 0.25 or not sender.sent:
            way, ticket = "good", good
        elif draw < 0.35:
            way, ticket = "replayed", world.chance.choice(sender.sent)
        else:
            way, ticket = spoil(world, good)
        reason, promises = world.reason(ticket), broken_promises(world, ticket)
        judged = world.judge(ticket)
        assert (judged.taken is not None) == (reason is None and not promises), (way, reason, judged.fault)
        if judged.taken is not None:
            assert judged.credit_wei == ticket.params.ev_wei
            sender.sent = [*sender.sent[-200:], ticket]
            outcomes["accepted"] += world.settle(judged)
            continue
        if way != "replayed" and ticket is not good:
            sender.spare.append(good)
        assert judged.fault in promises or reason is not None, (way, judged.fault)
        if number % 10 == 0 and spoiled_alone(world, good, ticket) and not promises:
            assert judged.fault in {reason} | BY_ANOTHER_NAME.get(way.split(",")[0], set()), way
        outcomes[str(judged.fault)] += 1
    world.payee.check()
    assert outcomes["accepted"] > TICKETS / 10
    assert set(outcomes) == {"accepted"} | {fault.value for fault in Fault} - ELSEWHERE


def test_tickets_that_come_at_once_are_taken_once() -> None:
    """Fifty connections bring the same payment: all were judged before the first was taken."""
    world = World(seed=4)
    sender = Sender(world, PAYER)
    payment = [sender.fresh() for _ in range(20)]
    judged = [world.judge(*payment) for _ in range(50)]
    assert {each.fault for each in judged} == {None}
    world.settle(judged[0])
    for late in judged[1:]:
        assert late.taken is not None
        with pytest.raises(Broken, match="taken twice"):
            world.payee.take(late.taken)
    assert {refusal.fault for refusal in world.judge(*payment).refusals} == {Fault.NONCE}
    world.payee.check()


def test_a_ticket_twice_in_one_payment_counts_once() -> None:
    world = World(seed=5)
    sender = Sender(world, PAYER)
    first, second = sender.fresh(), sender.fresh()
    judged = world.judge(first, second, first, replace(second, ticket=first.ticket))
    assert judged.credit_wei == 2 * FACE_WEI
    assert [(each.nonce, each.fault) for each in judged.refusals] == [(1, Fault.NONCE), (1, Fault.NONCE)]


def test_a_bad_ticket_costs_the_good_ones_beside_it_nothing() -> None:
    world = World(seed=6)
    sender = Sender(world, PAYER)
    payment = [sender.fresh() for _ in range(5)]
    payment[2] = SPOILED["high s"](payment[2], world.chance)
    judged = world.judge(*payment)
    assert judged.fault == Fault.SIGNATURE
    assert judged.taken is not None
    assert judged.taken.nonces == ((1, 2), (4, 5))
    assert judged.credit_wei == 4 * FACE_WEI


def redeemed(world: World, winner: WinningTicket) -> int:
    """What the contract pays for a winner, whenever it comes."""
    try:
        ticket = OnChain(*fields(winner.signed.ticket))
        return world.broker.redeem(ticket, winner.signed.signature, winner.recipient_rand)
    except Refusal:
        return 0


def test_a_sender_who_spends_one_deposit_with_ten_payees_cheats_each_of_no_more_than_its_float() -> None:
    """All ten wait until parameters have expired before they redeem; the deposit pays the first alone."""
    world = World(seed=7, float_wei_max=FLOAT_WEI)
    world.broker.pool_size = 10
    world.broker.deposits[PAYER.id] = 20 * FLOAT_WEI
    world.broker.reserves[PAYER.id] = 10 * FACE_WEI
    keys = [NodeKey((100 + number).to_bytes(32)) for number in range(10)]
    payees = [payee(key, face_wei_max=FACE_WEI, float_wei_max=FLOAT_WEI) for key in keys]
    seen = world.funds(PAYER.id)
    share = seen.reserve_share(10)
    for one in payees:
        params = one.params(PAYER.id, FACE_WEI, world.view, seen)
        judged = one.judge(params, PAYER.id, drawn_up(PAYER, params, range(1, 101)), world.view, seen)
        assert judged.fault == Fault.FLOAT
        assert judged.taken is not None
        one.take(judged.taken)
        assert one.pending_wei(PAYER.id) == share + FLOAT_WEI
    world.broker.deposits[PAYER.id] = 0  # whoever was first has it all
    for one in payees:
        paid = sum(redeemed(world, winner) for winner in one.pending(PAYER.id))
        assert one.pending_wei(PAYER.id) - paid <= FLOAT_WEI
        assert paid == share
