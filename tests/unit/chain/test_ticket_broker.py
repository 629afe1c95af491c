"""TicketBroker: what it pays, what it refuses and in which order, and how money leaves it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evm import Account, Evm, Reverted
from onchain import ALWAYS, NOBODY, ROUND_BLOCKS, Draw, Onchain, keccak256, other_form, refusal, sign

#: Fields of a ticket that are not nought, and its hash: published vectors.
GOLDEN = {
    (0, 0, 2**32 - 1): "e1393fc7f6de093780674022f96cb8e3872235167d037c04d554e58c0e63d280",
    (0, 0, 1): "ce0918ba94518293e9712effbe5fca4f1f431089833a5b8c257cb1e024595f68",
    (1, 500, 0): "87ef13f2d37e4d5352a01d3c77b8179d80e0887f1953bfabfd0bfd7b0f689ddd",
    (500, 1, 0): "aa4b35071043587992ac8b9dd1b2cf1d8311130e6458cf0b2342484e21af5f5b",
}


@pytest.fixture(scope="module")
def deployed(evm: Evm) -> Onchain:
    chain = Onchain(evm)
    for node in chain.people[2:4]:
        chain.stake(node, 100)
    chain.next_round()
    return chain


@pytest.fixture
def chain(deployed: Onchain) -> Iterator[Onchain]:
    with deployed.evm.undone():
        yield deployed


@pytest.fixture
def ann(chain: Onchain) -> Account:
    """Who pays: a deposit of 100, and a reserve of 60."""
    sender = chain.people[0]
    chain.broker.send("fundDepositAndReserve", 100, 60, value=160, sender=sender)
    return sender


@pytest.fixture
def node(chain: Onchain) -> Account:
    """Who is paid: one of two that are active."""
    return chain.people[2]


@pytest.fixture
def draw(chain: Onchain, ann: Account, node: Account) -> Draw:
    """A ticket of 10 that wins."""
    return chain.draw(ann, node.address)


def redeem(chain: Onchain, draw: Draw) -> str:
    """Why a ticket is not redeemed; "" if it is."""
    return refusal(chain.broker, "redeemWinningTicket", *draw.args)


def info(chain: Onchain, sender: Account) -> tuple[int, ...]:
    """Deposit, withdraw round, reserve, claimed in this round."""
    (deposit, withdraw_round), (reserve, claimed) = chain.broker.call("getSenderInfo", sender.address)
    assert (reserve, claimed) == chain.broker.call("getReserveInfo", sender.address)
    assert chain.broker.call("isUnlockInProgress", sender.address) == (withdraw_round > 0)
    return deposit, withdraw_round, reserve, claimed


@pytest.mark.parametrize(("fields", "golden"), GOLDEN.items())
def test_a_ticket_hash_is_everybodys(chain: Onchain, fields: tuple[int, ...], golden: str) -> None:
    ticket = (NOBODY, NOBODY, *fields, bytes(32), b"")
    assert chain.broker.call("getTicketHash", ticket).hex() == golden


def test_a_ticket_hash_covers_every_field(chain: Onchain, draw: Draw) -> None:
    assert chain.broker.call("getTicketHash", draw.ticket) == draw.hash


# Redeeming.


def test_a_winning_ticket_is_paid_from_the_deposit_once(chain: Onchain, draw: Draw, ann: Account) -> None:
    before = chain.evm.balance(draw.recipient)
    sent = chain.broker.send("redeemWinningTicket", *draw.args, sender=chain.people[5])
    assert chain.evm.balance(draw.recipient) == before + 10
    assert info(chain, ann) == (90, 0, 60, 0)
    assert chain.broker.call("usedTickets", draw.hash)
    who = {"sender": ann.address, "recipient": draw.recipient}
    assert [(event.name, event.args) for event in sent.events] == [
        ("WinningTicketTransfer", {**who, "amount": 10}),
        (
            "WinningTicketRedeemed",
            {
                **who,
                "faceValue": 10,
                "winProb": ALWAYS,
                "senderNonce": 1,
                "recipientRand": draw.rand,
                "auxData": draw.aux_data,
            },
        ),
    ]
    assert redeem(chain, draw) == "ticket is used"


def test_what_the_deposit_lacks_comes_from_the_reserve(chain: Onchain, draw: Draw, ann: Account) -> None:
    sent = chain.broker.send("redeemWinningTicket", *draw.but(face_value=120).args)
    assert info(chain, ann) == (0, 0, 40, 20)
    assert [event.name for event in sent.events] == [
        "ReserveClaimed",
        "WinningTicketTransfer",
        "WinningTicketRedeemed",
    ]
    assert sent.events[0].args == {"reserveHolder": ann.address, "claimant": draw.recipient, "amount": 20}
    assert sent.events[1].args["amount"] == 120


def test_each_active_node_claims_its_share_of_a_reserve_in_each_round(
    chain: Onchain, draw: Draw, ann: Account
) -> None:
    first, second = (chain.people[place].address for place in (2, 3))

    def claimable() -> list[int]:
        return [chain.broker.call("claimableReserve", ann.address, node) for node in (first, second)]

    assert claimable() == [30, 30]
    assert redeem(chain, draw.but(face_value=110)) == ""
    assert claimable() == [20, 30]
    assert redeem(chain, draw.but(face_value=1_000, nonce=2)) == ""
    assert claimable() == [0, 30]
    assert [chain.broker.call("claimedReserve", ann.address, node) for node in (first, second)] == [30, 0]
    assert redeem(chain, draw.but(face_value=5, nonce=3, recipient=second)) == ""
    assert claimable() == [0, 25]
    assert info(chain, ann) == (0, 0, 25, 35)

    chain.next_round()
    assert claimable() == [12, 12]
    assert info(chain, ann) == (0, 0, 25, 0)


def test_who_is_not_active_is_paid_from_the_deposit_alone(chain: Onchain, draw: Draw, ann: Account) -> None:
    stranger = chain.people[6].address
    before = chain.evm.balance(stranger)
    assert redeem(chain, draw.but(recipient=stranger, face_value=1_000)) == ""
    assert chain.evm.balance(stranger) == before + 100
    assert chain.broker.call("claimableReserve", ann.address, stranger) == 0
    # There is a reserve, so the ticket counts, and takes nothing.
    sent = chain.broker.send("redeemWinningTicket", *draw.but(recipient=stranger, nonce=2).args)
    assert [event.name for event in sent.events] == ["WinningTicketRedeemed"]
    assert info(chain, ann) == (0, 0, 60, 0)


def test_without_a_pool_nobody_claims(chain: Onchain, ann: Account) -> None:
    chain = Onchain(chain.evm)
    chain.broker.send("fundReserve", value=60, sender=chain.people[0])
    assert chain.broker.call("claimableReserve", ann.address, chain.people[2].address) == 0


def test_a_sender_who_pays_themselves_is_a_sender_all_the_same(chain: Onchain, draw: Draw) -> None:
    assert redeem(chain, draw.but(recipient=draw.sender)) == ""


def test_a_ticket_of_nothing_moves_nothing(chain: Onchain, draw: Draw) -> None:
    sent = chain.broker.send("redeemWinningTicket", *draw.but(face_value=0).args)
    assert [event.name for event in sent.events] == ["WinningTicketRedeemed"]


def losing(draw: Draw) -> Draw:
    """With half a chance, the first nonce that loses."""
    tries = (draw.but(win_prob=2**255, nonce=nonce) for nonce in range(100))
    return next(one for one in tries if not one.wins)


def bad_tickets(draw: Draw, other: Account) -> dict[str, list[Draw]]:
    """For each reason, tickets that have it and, where they can, every reason that is looked for later."""
    signature = sign(draw.signer, draw.hash)
    used_later = draw.but(rand=0)
    return {
        "ticket recipient is null address": [draw.but(recipient=NOBODY, sender=NOBODY)],
        "ticket sender is null address": [draw.but(sender=NOBODY, aux_data=b"")],
        "invalid length for ticket auxData: must be 64 bytes": [
            draw.but(aux_data=aux) for aux in (b"", draw.aux_data[:63], draw.aux_data + b"\0", bytes(128))
        ],
        "ticket creationRound does not have a block hash": [
            draw.but(aux_data=round_.to_bytes(32) + block_hash)
            for round_ in (0, 3, 2**256 - 1)
            for block_hash in (bytes(32), draw.aux_data[32:])
        ],
        "ticket creationRoundBlockHash invalid for creationRound": [
            used_later.but(aux_data=draw.aux_data[:32] + bytes(32)),
            used_later.but(aux_data=(1).to_bytes(32) + draw.aux_data[32:]),
        ],
        "recipientRand does not match recipientRandHash": [
            used_later,
            draw.but(rand_hash=bytes(32), signature=b""),
        ],
        "INVALID_SIGNATURE_LENGTH": [
            draw.but(signature=one) for one in (signature[:64], signature + b"\0", bytes(1), bytes(128))
        ],
        "ECDSA: invalid signature 's' value": [
            draw.but(signature=other_form(signature), win_prob=0),
            draw.but(signature=signature[:32] + b"\xff" * 32 + b"\0"),
        ],
        "ECDSA: invalid signature 'v' value": [
            draw.but(signature=signature[:64] + bytes([v])) for v in (0, 1, 26, 29, 255)
        ],
        "ECDSA: invalid signature": [draw.but(signature=bytes(32) + signature[32:])],
        "invalid signature over ticket hash": [
            draw.but(signer=other),
            draw.but(face_value=11, signature=signature),
            draw.but(signature=signature[:64] + bytes([55 - signature[64]]), win_prob=0),
        ],
        "ticket did not win": [draw.but(win_prob=0), losing(draw)],
    }


REASONS = list(
    bad_tickets(
        Draw(Account(b"\1" * 32, NOBODY), NOBODY, NOBODY, 0, 0, 0, 0, b"", bytes(64)), Account(b"", "")
    )
)


@pytest.mark.parametrize("reason", REASONS)
def test_a_ticket_is_refused_for_the_first_thing_that_is_wrong(
    chain: Onchain, draw: Draw, reason: str
) -> None:
    for bad in bad_tickets(draw, chain.people[4])[reason]:
        assert redeem(chain, bad) == reason
    assert redeem(chain, draw) == ""


def test_a_used_ticket_is_known_before_its_signature_is_read(chain: Onchain, draw: Draw) -> None:
    assert redeem(chain, draw) == ""
    assert redeem(chain, draw.but(signature=b"?")) == "ticket is used"


def test_tickets_are_good_in_their_round_and_the_next(chain: Onchain, draw: Draw) -> None:
    chain.next_round()
    assert redeem(chain, draw) == ""
    chain.next_round()
    assert redeem(chain, draw.but(nonce=2, rand=0)) == "ticket is expired"


def test_nothing_is_redeemed_before_the_round_is_open(chain: Onchain, draw: Draw) -> None:
    chain.next_round(initialise=False)
    assert redeem(chain, draw.but(recipient=NOBODY)) == "current round is not initialized"
    batch = [[one] for one in draw.args]
    assert refusal(chain.broker, "batchRedeemWinningTickets", *batch) == "current round is not initialized"


def test_an_empty_account_redeems_nothing_and_keeps_the_ticket(chain: Onchain, draw: Draw) -> None:
    poor = chain.people[4]
    of_poor = draw.but(sender=poor.address, signer=poor)
    assert redeem(chain, of_poor) == "sender deposit and reserve are zero"
    chain.broker.send("fundDeposit", value=10, sender=poor)
    assert redeem(chain, of_poor) == ""


def test_who_will_not_be_paid_leaves_the_ticket_and_the_money(
    chain: Onchain, draw: Draw, ann: Account
) -> None:
    contract = chain.deploy("Reenterer")
    contract.send("plan", NOBODY, b"", True)
    unwanted = draw.but(recipient=contract.address)
    assert redeem(chain, unwanted) == "payee refused the payment"
    assert info(chain, ann) == (100, 0, 60, 0)
    contract.send("plan", NOBODY, b"", False)
    assert redeem(chain, unwanted) == ""
    assert chain.evm.balance(contract.address) == 10


def test_nobody_is_paid_again_while_being_paid(chain: Onchain, draw: Draw, ann: Account) -> None:
    contract = chain.deploy("Reenterer")
    mine, more = (draw.but(recipient=contract.address, nonce=nonce) for nonce in (1, 2))
    contract.send("plan", chain.broker.address, chain.broker.data("redeemWinningTicket", *more.args), False)
    assert redeem(chain, mine) == ""
    assert chain.evm.balance(contract.address) == 10
    assert contract.call("entered") == 0
    # A batch may be called, but redeems nothing while another redemption goes on.
    batch = chain.broker.data("batchRedeemWinningTickets", *([one] for one in more.args))
    contract.send("plan", chain.broker.address, batch, False)
    assert redeem(chain, mine.but(nonce=3)) == ""
    assert contract.call("entered") == 1
    assert (chain.evm.balance(contract.address), info(chain, ann)) == (20, (80, 0, 60, 0))
    assert redeem(chain, more) == ""


# Many at once.


def test_a_batch_passes_over_what_cannot_be_redeemed(chain: Onchain, draw: Draw, ann: Account) -> None:
    draws = [draw.but(nonce=nonce) for nonce in range(5)]
    draws[1] = draws[1].but(win_prob=0)
    draws[3] = draws[2]
    sent = chain.broker.send(
        "batchRedeemWinningTickets", *map(list, zip(*(one.args for one in draws), strict=True))
    )
    redeemed = [event for event in sent.events if event.name == "WinningTicketRedeemed"]
    assert [event.args["senderNonce"] for event in redeemed] == [0, 2, 4]
    assert info(chain, ann)[0] == 70


def test_a_batch_has_room_for_64_and_needs_a_signature_and_a_number_for_each(
    chain: Onchain, draw: Draw
) -> None:
    many = [draw.but(face_value=1, nonce=nonce) for nonce in range(65)]
    tickets, signatures, rands = map(list, zip(*(one.args for one in many), strict=True))
    name = "batchRedeemWinningTickets"
    with pytest.raises(Reverted):
        chain.broker.send(name, tickets, signatures, rands)
    with pytest.raises(Reverted):
        chain.broker.send(name, tickets[:3], signatures[:2], rands[:3])
    assert chain.broker.send(name, tickets[:64], signatures[:64], rands[:64]).events
    assert chain.broker.send(name, [], [], []).events == ()


# Funding.


def test_each_way_to_fund_says_where_the_money_went(chain: Onchain) -> None:
    payer, friend = chain.people[4:6]
    ways: list[tuple[str, tuple[object, ...], Account, list[tuple[str, str, int]]]] = [
        ("fundDeposit", (), payer, [("DepositFunded", "sender", 5)]),
        ("fundReserve", (), payer, [("ReserveFunded", "reserveHolder", 5)]),
        (
            "fundDepositAndReserve",
            (3, 2),
            payer,
            [("ReserveFunded", "reserveHolder", 2), ("DepositFunded", "sender", 3)],
        ),
        (
            "fundDepositAndReserveFor",
            (friend.address, 4, 1),
            friend,
            [("ReserveFunded", "reserveHolder", 1), ("DepositFunded", "sender", 4)],
        ),
    ]
    for name, args, whose, said in ways:
        sent = chain.broker.send(name, *args, value=5, sender=payer)
        assert [(event.name, event.args) for event in sent.events] == [
            (event, {role: whose.address, "amount": amount}) for event, role, amount in said
        ]
    assert info(chain, payer) == (8, 0, 7, 0)
    assert info(chain, friend) == (4, 0, 1, 0)


@pytest.mark.parametrize("amounts", [(5, 6), (0, 0), (11, 0), (2**256 - 1, 11), (6, 2**256 - 1)])
def test_the_value_must_be_the_sum(chain: Onchain, amounts: tuple[int, int]) -> None:
    reason = "msg.value does not equal sum of deposit amount and reserve amount"
    assert refusal(chain.broker, "fundDepositAndReserve", *amounts, value=10) == reason
    someone = chain.people[4].address
    assert refusal(chain.broker, "fundDepositAndReserveFor", someone, *amounts, value=10) == reason


def test_nobody_funds_the_null_address_or_just_sends_money(chain: Onchain) -> None:
    assert (
        refusal(chain.broker, "fundDepositAndReserveFor", NOBODY, 1, 1, value=2) == "sender is null address"
    )
    with pytest.raises(Reverted):
        chain.evm.send(chain.broker.address, value=1)


# The way out.


def test_what_is_unlocked_pays_tickets_until_it_may_be_withdrawn(
    chain: Onchain, draw: Draw, ann: Account
) -> None:
    sent = chain.broker.send("unlock", sender=ann)
    assert sent.events[0].args == {"sender": ann.address, "startRound": 2, "endRound": 4}
    assert refusal(chain.broker, "unlock", sender=ann) == "unlock already initiated"
    chain.next_round()
    assert redeem(chain, draw) == ""
    assert refusal(chain.broker, "withdraw", sender=ann) == "account is locked"
    chain.next_round(initialise=False)
    before = chain.evm.balance(ann.address)
    sent = chain.broker.send("withdraw", sender=ann)
    assert sent.events[0].args == {"sender": ann.address, "deposit": 90, "reserve": 60}
    assert chain.evm.balance(ann.address) == before + 150
    assert chain.evm.balance(chain.broker.address) == 0
    assert refusal(chain.broker, "withdraw", sender=ann) == "sender deposit and reserve are zero"


def test_no_ticket_is_paid_from_the_withdraw_round_on(chain: Onchain, draw: Draw, ann: Account) -> None:
    chain.broker.send("unlock", sender=ann)
    chain.next_round(2)
    late = draw.but(aux_data=chain.aux_data())
    assert redeem(chain, late) == "sender is unlocked"
    chain.broker.send("cancelUnlock", sender=ann)
    assert redeem(chain, late) == ""


@pytest.mark.parametrize(
    ("function", "args"), [("fundDeposit", ()), ("fundReserve", ()), ("fundDepositAndReserve", (1, 0))]
)
def test_who_funds_their_own_account_wants_to_stay(
    chain: Onchain, ann: Account, function: str, args: tuple[int, ...]
) -> None:
    chain.broker.send("unlock", sender=ann)
    chain.broker.send("fundDepositAndReserveFor", ann.address, 1, 0, value=1, sender=chain.people[4])
    assert info(chain, ann)[1] > 0
    sent = chain.broker.send(function, *args, value=1, sender=ann)
    assert "UnlockCancelled" in [event.name for event in sent.events]
    assert info(chain, ann)[1] == 0


def test_who_has_not_unlocked_has_nothing_to_cancel_or_withdraw(chain: Onchain, ann: Account) -> None:
    assert refusal(chain.broker, "cancelUnlock", sender=ann) == "no unlock request in progress"
    assert refusal(chain.broker, "withdraw", sender=ann) == "no unlock request in progress"
    poor = chain.people[4]
    assert refusal(chain.broker, "unlock", sender=poor) == "sender deposit and reserve are zero"
    assert refusal(chain.broker, "withdraw", sender=poor) == "sender deposit and reserve are zero"


def test_a_reserve_funded_anew_begins_with_untouched_shares(chain: Onchain, ann: Account, draw: Draw) -> None:
    chain.broker.send("unlock", sender=ann)
    chain.next_round()
    assert redeem(chain, draw.but(face_value=130)) == ""
    chain.next_round()
    chain.broker.send("withdraw", sender=ann)
    chain.broker.send("fundReserve", value=60, sender=ann)
    assert chain.broker.call("claimableReserve", ann.address, draw.recipient) == 30
    assert redeem(chain, draw.but(aux_data=chain.aux_data(), face_value=500)) == ""
    assert info(chain, ann) == (0, 0, 30, 30)


# Parameters.


def test_only_the_controllers_owner_sets_periods_within_limits(chain: Onchain, ann: Account) -> None:
    for setter in ("setUnlockPeriod", "setTicketValidityPeriod"):
        assert refusal(chain.broker, setter, 5, sender=ann) == "caller must be Controller owner"
    for rounds in (0, 101, 2**256 - 1):
        assert refusal(chain.broker, "setUnlockPeriod", rounds) == "unlockPeriod out of range"
    assert (
        refusal(chain.broker, "setTicketValidityPeriod", 0) == "ticketValidityPeriod must be greater than 0"
    )
    for setter, getter in (
        ("setUnlockPeriod", "unlockPeriod"),
        ("setTicketValidityPeriod", "ticketValidityPeriod"),
    ):
        sent = chain.broker.send(setter, 7)
        assert [(event.name, event.args) for event in sent.events] == [("ParameterUpdate", {"param": getter})]
        assert chain.broker.call(getter) == 7
    chain.controller.send("transferOwnership", NOBODY)
    assert refusal(chain.broker, "setUnlockPeriod", 5) == "caller must be Controller owner"


def test_a_longer_period_holds_nobody_who_has_unlocked(chain: Onchain, ann: Account) -> None:
    chain.broker.send("unlock", sender=ann)
    chain.broker.send("setUnlockPeriod", 100)
    chain.evm.mine(2 * ROUND_BLOCKS)
    assert refusal(chain.broker, "withdraw", sender=ann) == ""


def test_the_longest_validity_overflows_nothing(chain: Onchain, draw: Draw) -> None:
    chain.broker.send("setTicketValidityPeriod", 2**256 - 1)
    assert redeem(chain, draw) == ""


def test_a_preimage_is_the_number_in_32_bytes(chain: Onchain, draw: Draw) -> None:
    small = draw.but(rand=1, rand_hash=keccak256((1).to_bytes(32)))
    assert redeem(chain, small) == ""
    assert redeem(chain, draw.but(rand=1, rand_hash=keccak256(b"\1"), nonce=2)).startswith("recipientRand")
