"""Nobody can bias a draw. What each side may choose, it must choose before it learns what the other chose.

The payer chooses nonces, and which of many valid signatures to send; it knows the hash of the number, not the
number. The payee chooses the number; it must commit to it before there is a signature. Each test of a strategy is
told what it would gain if it could look, so that it is seen to have teeth.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from random import Random

import pytest
from coincurve import PrivateKey
from coincurve._libsecp256k1 import ffi
from msgspec.structs import replace

from shoal.errors import Refused
from shoal.money.keccak import keccak256
from shoal.money.refusal import Fault
from shoal.money.terms import win_prob_of
from shoal.money.ticket import WIN_PROB_MAX, SignedNonce, Ticket, drawn, rand_hash, uint256
from tickets import EV_WEI, FUNDS, PAYER, VIEW, at_block, drawn_up, payee, payer, signed

DRAWS = 1_000_000
#: What a chi-square of so many degrees of freedom exceeds once in a thousand times.
CHI_SQUARE_MAX = {5: 20.515, 255: 330.52}
#: Five and a half standard deviations: once in ten million times.
SIGMAS = 5.5


def plausible(wins: int, draws: int, chance: float) -> bool:
    """Whether so many wins are what a fair draw gives."""
    return abs(wins - draws * chance) < SIGMAS * sqrt(draws * chance * (1 - chance))


def some_signature(random: Random) -> bytes:
    """What a signature looks like to somebody without the key."""
    return random.randbytes(64) + b"\x1b"


def test_a_million_tickets_win_as_often_as_they_promise() -> None:
    random = Random(1)
    prices = (2, 10, 100, 1_000, 10_000)
    probabilities = [win_prob_of(EV_WEI * price, EV_WEI) for price in prices]
    rand = random.randbytes(32)
    wins = [0] * len(prices)
    buckets = [0] * 256
    for number in range(DRAWS):
        if number % 600 == 0:
            rand = random.randbytes(32)
        value = drawn(some_signature(random), rand)
        buckets[value >> 248] += 1
        kind = number % len(prices)
        wins[kind] += value < probabilities[kind]
    of_each = DRAWS // len(prices)
    chi_square = sum(
        (won - of_each / price) ** 2 / (of_each / price) / (1 - 1 / price)
        for won, price in zip(wins, prices, strict=True)
    )
    assert chi_square < CHI_SQUARE_MAX[len(prices)], wins
    even = DRAWS / len(buckets)
    assert sum((count - even) ** 2 / even for count in buckets) < CHI_SQUARE_MAX[255]


def test_what_is_signed_and_judged_wins_as_often_as_it_promises() -> None:
    """The same by the front door: twelve thousand real signatures."""
    one, other = payee(face_wei_max=10 * EV_WEI, redeem_gas=1, float_wei_max=10**30), payer()
    funds = replace(FUNDS, deposit=10**30)
    won = taken = 0
    for _ in range(20):
        params = one.params(PAYER.id, EV_WEI, VIEW, funds)
        assert params.face_wei == 10 * EV_WEI
        judged = one.judge(params, PAYER.id, signed(PAYER, other.issue(params, 600)), VIEW, funds)
        assert judged.taken is not None
        one.take(judged.taken)
        taken += 600
        won += len(judged.winners)
    assert plausible(won, taken, 1 / 10)


Score = Callable[[bytes, bytes], int]
#: What one might choose by, of a signature and of what is known of a number.
SCORES: dict[str, Score] = {
    "the least signature": lambda signature, known: int.from_bytes(signature),
    "the least number": lambda signature, known: int.from_bytes(known),
    "what would be drawn": drawn,
    "what would not": lambda signature, known: -drawn(signature, known),
    "the other way round": lambda signature, known: int.from_bytes(keccak256(known + signature)),
}


def best_of(candidates: int, draws: int, score: Score, *, by: str) -> int:
    """How many of `draws` win when a side takes, of so many candidates each time, the one with the least score.

    The payer's candidates are signatures and its score may look at the hash of the number; the payee's are numbers,
    and its score may look at a signature of the past.
    """
    random = Random(candidates)
    past = some_signature(random)
    probability = WIN_PROB_MAX // 4
    wins = 0
    for _ in range(draws):
        if by == "payer":
            rand = random.randbytes(32)
            known = rand_hash(rand)
            sent = min(
                (some_signature(random) for _ in range(candidates)), key=lambda each: score(each, known)
            )
        else:
            rand = min((random.randbytes(32) for _ in range(candidates)), key=lambda each: score(past, each))
            sent = some_signature(random)
        wins += drawn(sent, rand) < probability
    return wins


@pytest.mark.parametrize("by", ["payer", "payee"])
@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_choosing_by_what_one_knows_gains_nothing(by: str, score: Score) -> None:
    assert plausible(best_of(16, 5_000, score, by=by), 5_000, 1 / 4)


def test_choosing_by_what_one_must_not_know_would_gain_nearly_everything() -> None:
    random = Random(2)
    rand = random.randbytes(32)
    probability = WIN_PROB_MAX // 4
    worst_of_16 = [max(drawn(some_signature(random), rand) for _ in range(16)) for _ in range(1_000)]
    assert not plausible(sum(value < probability for value in worst_of_16), 1_000, 1 / 4)
    signature = some_signature(random)
    best_of_16 = [min(drawn(signature, random.randbytes(32)) for _ in range(16)) for _ in range(1_000)]
    assert not plausible(sum(value < probability for value in best_of_16), 1_000, 1 / 4)


def another_signature(ticket: Ticket, number: int) -> bytes:
    """One of the many valid signatures that a sender can make of one ticket: the key's own nonce varies."""
    entropy = ffi.new("unsigned char[32]", uint256(number))
    key = PrivateKey(PAYER._private.secret)
    made = key.sign_recoverable(ticket.signed_hash, hasher=None, custom_nonce=(ffi.NULL, entropy))
    return made[:64] + bytes([27 + made[64]])


def test_a_payer_has_one_signature_a_nonce() -> None:
    """It can make as many as it likes; whichever comes first is drawn with, and no other."""
    one = payee()
    params = one.params(PAYER.id, EV_WEI, VIEW, FUNDS)
    ticket = params.ticket(PAYER.id, 1)
    first, second = (another_signature(ticket, number) for number in (1, 2))
    assert first != second
    for signature in (first, second):  # each alone is good
        assert one.judge(params, PAYER.id, [SignedNonce(1, signature)], VIEW, FUNDS).fault is None
    both = one.judge(params, PAYER.id, [SignedNonce(1, first), SignedNonce(1, second)], VIEW, FUNDS)
    assert both.credit_wei == params.ev_wei
    assert both.fault == Fault.NONCE
    assert both.taken is not None
    one.take(both.taken)
    assert one.judge(params, PAYER.id, [SignedNonce(1, second)], VIEW, FUNDS).fault == Fault.NONCE


def test_a_payer_learns_the_number_when_it_is_of_no_use_to_it_any_more() -> None:
    """A redemption shows the number to all: it may come only when the number is drawn with no more."""
    one = payee(face_wei_max=4 * EV_WEI, redeem_gas=1)
    params = one.params(PAYER.id, EV_WEI, VIEW, FUNDS)
    judged = one.judge(params, PAYER.id, drawn_up(PAYER, params, range(1, 51)), VIEW, FUNDS)
    assert judged.taken is not None
    one.take(judged.taken)
    winner = judged.winners[0]
    losers = [
        each
        for each in drawn_up(PAYER, params, range(51, 151))
        if drawn(each.signature, winner.recipient_rand) >= int.from_bytes(params.win_prob)
    ]
    assert len(losers) > 50  # this is what it could pay with
    public = at_block(VIEW, winner.expiration_block)
    refused = one.judge(params, PAYER.id, losers, public, FUNDS)
    assert refused.taken is None
    assert {each.fault for each in refused.refusals} == {Fault.PARAMS_EXPIRED}


def test_a_payee_cannot_draw_with_another_number_than_it_named() -> None:
    """Whatever else it finds from another seed, the hash that was signed is not that number's."""
    one = payee()
    params = one.params(PAYER.id, EV_WEI, VIEW, FUNDS)
    draw = drawn_up(PAYER, params, [1])
    for seed in range(100, 200):
        swapped = replace(params, seed=uint256(seed))
        assert one.judge(swapped, PAYER.id, draw, VIEW, FUNDS).fault == Fault.RAND
    winner = one.judge(
        one.params(PAYER.id, 10 * EV_WEI, VIEW, FUNDS), PAYER.id, draw, VIEW, FUNDS
    )  # nor take a signature under other parameters
    assert winner.fault == Fault.SIGNATURE


def test_a_payee_that_refuses_what_lost_gets_no_second_draw_for_it() -> None:
    """The payer's nonces are used when its tickets leave, whatever is said of them; its books count what it sent."""
    one = payer()
    params = payee().params(PAYER.id, EV_WEI, VIEW, FUNDS)
    used = set()
    for _ in range(6):
        tickets = one.issue(params, 100)
        one.take(one.issued(params, 100, VIEW))
        used |= {ticket.nonce for ticket in tickets}
    assert used == set(range(1, 601))
    with pytest.raises(Refused, match="leave 0 tickets"):
        one.issue(params, 1)
