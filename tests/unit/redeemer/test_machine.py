"""What the redeemer does, case by case, over a model chain."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from modelchain import ETHER, GAS, GWEI, ROUND_BLOCKS, ModelChain, address, winner
from redeeming import ORCHESTRATOR, RULES, Desk
from shoal.errors import IllegalMove, Untrusted
from shoal.ids import NodeId
from shoal.machine import Connected, Fact, Heard
from shoal.money.ticket import uint256
from shoal.redeemer.books import PAYOUTS
from shoal.redeemer.intent import (
    MOVES,
    Attempt,
    Confirmed,
    Displaced,
    Intent,
    Phase,
    Redeem,
    Refused,
    Reverted,
    Signed,
    redeem_id,
)
from shoal.units import Instant
from shoal.wire import words
from shoal.wire.words import Payee

TICKET = winner(1)
NAME = redeem_id(TICKET.ticket_hash)
WINNER = words.Winner(TICKET, "llm")
BATCH = words.Payout(uint256(9), (Payee(address(5), uint256(7)), Payee(address(6), uint256(8))))


def desk(**chain: int) -> Desk:
    return Desk(ModelChain(**chain))


def states(made: Desk) -> list[str]:
    return [word.state for word in made.said]


# The table

FACTS: list[Fact] = [
    Signed("i", Attempt("t", b"", 0, 1, 1, None, Instant(0))),
    Confirmed("i", "t", 1, uint256(1), uint256(1)),
    Reverted("i", "t", uint256(1), "why"),
    Displaced("i"),
    Refused("i", "why"),
]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
@pytest.mark.parametrize("phase", Phase)
def test_every_fact_in_every_phase(phase: Phase, fact: Fact) -> None:
    attempt = Attempt("t", b"", 0, 1, 1, None, Instant(0))
    intent = Intent("i", ORCHESTRATOR, Redeem(TICKET, ""), Instant(0), phase, (attempt,))
    to = MOVES.get((phase, type(fact)))
    if to is None:
        with pytest.raises(IllegalMove, match="of i while"):
            intent.move(fact, Instant(1))  # type: ignore[arg-type]
    else:
        assert intent.move(fact, Instant(1)).phase is to  # type: ignore[arg-type]


# A ticket's way


def test_a_winner_is_redeemed_and_told_at_every_step() -> None:
    made = desk()
    made.hear(WINNER)
    made.tick()
    made.tick(8, mine=1)
    assert states(made) == ["taken", "sent", "confirmed"]
    done = made.said[-1]
    assert (done.ticket, int.from_bytes(done.wei)) == (TICKET.ticket_hash, TICKET.face_wei)
    assert made.chain.state.used[NAME] == done.transaction
    total = made.machine.totals["llm"]
    assert (total.taken, total.confirmed, total.wei) == (1, 1, uint256(TICKET.face_wei))
    assert total.fee_wei == uint256(GAS * made.sent[0].max_fee_wei)


def test_whoever_says_it_again_hears_how_far_it_is_and_nothing_else_happens() -> None:
    made = desk()
    for _ in range(3):
        made.hear(WINNER)
    made.tick(9, mine=1)
    made.hear(WINNER)
    assert states(made) == ["taken", "taken", "taken", "sent", "confirmed", "confirmed"]
    assert len(made.sent) == 1


def test_its_number_stays_secret_until_its_parameters_have_expired() -> None:
    made = desk()
    made.hear(words.Winner(winner(1, block=made.chain.head + 3), "llm"))
    made.tick(2, mine=1)
    assert made.sent == []
    assert "stays secret" in made.machine.why(made.intent(NAME))  # the block is not part of a ticket
    made.tick(mine=1)
    assert len(made.sent) == 1


def test_nothing_is_redeemed_while_the_round_has_not_begun() -> None:
    made = desk()
    made.chain.initialised = False
    made.hear(WINNER)
    made.tick(3)
    assert made.sent == []
    assert made.machine.why(made.intent(NAME)) == "the current round is not initialized"
    made.chain.initialised = True
    made.tick()
    assert len(made.sent) == 1


def test_what_expires_first_goes_first() -> None:
    made = desk()
    made.chain.mine(ROUND_BLOCKS)
    made.chain.down = True
    for number, round_number in ((1, 1), (2, 0), (3, 1), (4, 0)):
        made.hear(words.Winner(winner(number, round_number=round_number), "llm"))
    made.chain.down = False
    made.tick(ms=60_000)
    rounds = [d.what.creation_round for d in made.sent if isinstance(d.what, Redeem)]
    assert rounds == [0, 0, 1]
    assert [draft.nonce for draft in made.sent] == [0, 1, 2], "and no more than in_flight_max"
    made.tick(2, mine=1)
    assert len(made.sent) == 3, "a mined one still counts until it lies deep enough"
    made.tick(8, mine=1)
    assert len(made.sent) == 4


@pytest.mark.parametrize("confirmations", [0, 1, 6])
def test_it_counts_once_so_many_blocks_lie_on_it(confirmations: int) -> None:
    chain = ModelChain(confirmations=confirmations)
    rules = type(RULES)(confirmations=confirmations)
    made = Desk(chain, rules)
    made.hear(WINNER)
    made.tick()
    made.tick(mine=1)
    for _ in range(confirmations):
        assert states(made)[-1] == "sent"
        made.tick(mine=1)
    assert states(made)[-1] == "confirmed"


def test_a_reorganisation_puts_it_back_and_it_is_sent_again() -> None:
    made = desk()
    made.hear(WINNER)
    made.tick()
    made.tick(6, mine=1)
    assert made.machine.mined(made.intent(NAME)) is not None
    made.chain.reorganise(6, forget=True)
    made.tick()
    assert made.machine.mined(made.intent(NAME)) is None
    assert states(made)[-1] == "sent"
    made.tick(2)  # rebroadcast_ms
    assert made.sent[0] == made.sent[1]
    made.tick(7, mine=1)
    assert states(made)[-1] == "confirmed"


# Transactions that nobody mines


def test_a_forgotten_transaction_is_sent_again_as_it_was() -> None:
    made = desk()
    made.chain.forgetful = True
    made.hear(WINNER)
    made.tick(3)
    assert len(made.sent) == 2
    assert made.sent[0] == made.sent[1]


def test_a_stuck_one_is_replaced_by_a_dearer_one_under_its_nonce() -> None:
    made = desk()
    made.hear(WINNER)
    made.tick()
    made.chain.price_wei = 3 * GWEI
    made.tick(5, mine=1)
    first, last = made.sent[0], made.sent[-1]
    assert first.nonce == last.nonce
    assert last.max_fee_wei >= first.max_fee_wei * 9 // 8
    assert last.max_fee_wei >= 3 * GWEI
    made.tick(8, mine=1)
    assert states(made)[-1] == "confirmed"
    assert len(made.chain.state.mined) == 1


def test_it_is_raised_by_an_eighth_even_if_gas_is_no_dearer() -> None:
    made = desk()
    made.chain.forgetful = True
    made.hear(WINNER)
    made.tick(ms=1_000)
    made.tick(ms=RULES.stuck_ms)
    assert made.sent[-1].max_fee_wei == made.sent[0].max_fee_wei * 9 // 8


def test_a_spike_of_gas_is_waited_for() -> None:
    made = desk()
    made.chain.price_wei = 501 * GWEI
    made.hear(WINNER)
    made.hear(BATCH)
    made.tick(10)
    assert made.sent == []
    assert "gas is at 501000000000 wei" in made.machine.why(made.intent(NAME))
    made.chain.price_wei = GWEI
    made.tick(2)
    assert len(made.sent) == 2


def test_one_on_its_way_is_not_replaced_beyond_what_it_brings() -> None:
    made = desk()
    ticket = winner(1, face_wei=GAS * 2 * GWEI)
    made.hear(words.Winner(ticket, "llm"))
    made.tick()
    made.chain.price_wei = 100 * GWEI
    made.tick(20, mine=1)
    assert [draft.max_fee_wei for draft in made.sent[:1]] == [GWEI]
    assert max(draft.max_fee_wei for draft in made.sent) == GWEI
    made.chain.price_wei = GWEI
    made.tick(8, mine=1)
    assert states(made)[-1] == "confirmed"


# What is not redeemed, and why


def test_nothing_is_redeemed_at_a_loss() -> None:
    made = desk()
    ticket = winner(1, face_wei=GAS * GWEI)
    made.hear(words.Winner(ticket, "llm"))
    made.tick(20, mine=1)
    assert made.sent == []
    assert "its gas would cost more" in made.machine.why(made.intent(redeem_id(ticket.ticket_hash)))
    made.tick(2 * ROUND_BLOCKS, mine=1)
    assert states(made)[-1] == "refused"
    assert made.said[-1].why.startswith("ticket is expired; before that: it pays 100000000000000 wei")


def test_a_sender_without_funds_is_looked_at_again() -> None:
    made = desk(deposit=0)
    made.hear(WINNER)
    made.tick(3)
    assert made.sent == []
    made.chain.deposit = ETHER
    made.tick(2)
    assert len(made.sent) == 1


def test_a_used_one_is_refused_once_that_lies_deep_enough() -> None:
    made = desk()
    made.chain.rob(Redeem(TICKET, ""))
    made.hear(WINNER)
    made.tick(3, mine=1)
    assert states(made) == ["taken"]
    made.chain.reorganise(4)  # whoever used it has not
    made.tick(2)
    made.tick(8, mine=1)
    assert states(made)[-1] == "confirmed"


def test_a_used_one_is_refused() -> None:
    made = desk()
    made.chain.rob(Redeem(TICKET, ""))
    made.hear(WINNER)
    made.tick(12, mine=1)
    assert (states(made)[-1], made.said[-1].why) == ("refused", "ticket is used")
    assert made.sent == []


def test_those_that_the_contract_rejects_are_found_out_side_by_side() -> None:
    made = Desk(ModelChain(), replace(RULES, weighed_max=1, again_ms=15_000))
    for number in (1, 2, 3):
        made.chain.rob(Redeem(winner(number), ""))
        made.hear(words.Winner(winner(number), "llm"))
    made.tick(12, mine=1)
    assert states(made)[-3:] == ["refused"] * 3, "one after the other takes seven blocks each"


def test_what_passes_is_waited_for() -> None:
    made = desk()
    made.chain.refuses = "sender is unlocked"
    made.hear(WINNER)
    made.tick(20, mine=1)
    assert states(made) == ["taken"]
    made.chain.refuses = ""
    made.tick(10, mine=1)
    assert states(made)[-1] == "confirmed"


def test_one_that_is_overtaken_burns_its_gas_and_is_reported() -> None:
    made = desk()
    made.hear(WINNER)
    made.tick()
    made.chain.rob(Redeem(TICKET, ""))
    made.tick(20, mine=1)
    assert (states(made)[-1], made.said[-1].why) == ("refused", "ticket is used")
    assert int.from_bytes(made.machine.totals["llm"].fee_wei) > 0


def test_one_that_is_overtaken_while_stuck_is_called_back() -> None:
    made = desk()
    made.hear(WINNER)
    made.tick()
    made.chain.price_wei = 3 * GWEI
    made.chain.rob(Redeem(TICKET, ""))
    made.tick(20, mine=1)
    assert made.sent[-1].void
    made.tick(20, mine=1)
    assert (states(made)[-1], made.said[-1].why) == ("refused", "ticket is used")


# Nonces


def test_a_nonce_that_another_program_took_is_given_up_once_that_lies_deep_enough() -> None:
    made = desk()
    made.chain.forgetful = True
    made.hear(WINNER)
    made.tick()
    made.chain.use_nonce()
    made.chain.forgetful = False
    made.tick(3, mine=1)
    made.chain.reorganise(5)  # the other one is gone again: ours is still good
    made.tick(10, mine=1)
    assert states(made)[-1] == "confirmed"
    assert {draft.nonce for draft in made.sent} == {0}


def test_with_its_nonce_gone_for_good_it_gets_another() -> None:
    made = desk()
    made.chain.forgetful = True
    made.hear(WINNER)
    made.tick()
    made.chain.use_nonce()
    made.chain.forgetful = False
    made.tick(20, mine=1)
    assert states(made)[-1] == "confirmed"
    assert made.sent[-1].nonce == 1


def test_a_nonce_that_was_left_open_is_filled() -> None:
    made = desk()
    made.chain.use_nonce()
    made.hear(WINNER)
    made.tick()
    assert made.sent[0].nonce == 1
    made.chain.reorganise(1)  # and nobody sends the other program's transaction again
    made.tick(5, mine=1)
    fill = next(draft for draft in made.sent if draft.void)
    assert fill.nonce == 0
    made.tick(20, mine=1)
    assert states(made)[-1] == "confirmed"
    assert made.machine.intents == {}


# The chain does not answer


def test_silence_is_said_once_and_borne() -> None:
    made = desk()
    made.chain.down = True
    made.hear(WINNER)
    made.tick(60)
    assert len(made.alarms) == 1
    made.chain.down = False
    made.tick(6, ms=30_000)
    made.tick(8, mine=1)
    assert made.alarms[1:] == ["the chain answers again"]
    assert states(made)[-1] == "confirmed"


def test_an_account_without_money_waits_and_says_so_once() -> None:
    made = desk(balance=GAS * GWEI)
    made.hear(WINNER)
    made.tick(10)
    assert made.sent == []
    assert [alarm for alarm in made.alarms if "send it some" in alarm] == made.alarms
    assert len(made.alarms) == 1


# Payouts


def test_a_batch_is_paid_once() -> None:
    made = desk()
    made.hear(BATCH)
    made.hear(BATCH)
    made.tick(9, mine=1)
    assert states(made) == ["taken", "taken", "sent", "confirmed"]
    assert len(made.sent) == 1
    assert made.machine.totals[PAYOUTS].confirmed == 1


def test_a_batch_has_one_content() -> None:
    made = desk()
    made.hear(BATCH)
    with pytest.raises(Untrusted, match="another content"):
        made.hear(words.Payout(BATCH.batch, BATCH.payees[:1]))


def test_words_that_are_not_for_a_redeemer_are_untrusted() -> None:
    made = desk()
    with pytest.raises(Untrusted, match="to a redeemer"):
        made.hear(words.Demand("llm", "m", 1))
    made.answers = []
    made.post(Connected(NodeId("g"), "gateway", "boot"))
    with pytest.raises(Untrusted, match="to a redeemer"):
        made.post(Heard(NodeId("g"), WINNER))


# Its journal


def test_a_snapshot_brings_everything_back() -> None:
    made = desk()
    made.see_through(WINNER)
    made.hear(BATCH)
    made.hear(words.Winner(winner(2), "llm"))
    made.tick()
    state = made.machine.dump()
    made.machine.load(state)
    made.machine.check()
    assert made.machine.dump() == state
    made.tick(9, mine=1)
    assert states(made)[-2:] == ["confirmed", "confirmed"]


def test_after_a_restart_the_same_transaction_is_sent() -> None:
    made = desk()
    made.chain.forgetful = True
    made.hear(WINNER)
    made.tick()
    made.chain.forgetful = False
    made.restart()
    assert made.sent[0] == made.sent[1]
    made.tick(8, mine=1)
    assert len(made.chain.state.mined) == 1
