"""Bonding: who is active when, and how stake comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evm import Account, Evm, Reverted
from onchain import NOBODY, Onchain, refusal

FOR_EVER = 2**256 - 1
UNBONDED, PENDING, BONDED = 2, 0, 1


@pytest.fixture(scope="module")
def deployed(evm: Evm) -> Onchain:
    chain = Onchain(evm, pool_max=3)
    for person in chain.people:
        chain.token.send("mint", person.address, 1_000)
        chain.token.send("approve", chain.bonding.address, FOR_EVER, sender=person)
    return chain


@pytest.fixture
def chain(deployed: Onchain) -> Iterator[Onchain]:
    with deployed.evm.undone():
        yield deployed


def bond(chain: Onchain, who: Account, amount: int) -> str:
    return refusal(chain.bonding, "bond", amount, who.address, sender=who)


def pool(chain: Onchain) -> list[str]:
    """The pool of the next round, the largest stake first."""
    members = [chain.bonding.call("getFirstTranscoderInPool")]
    while members[-1] != NOBODY:
        members.append(chain.bonding.call("getNextTranscoderInPool", members[-1]))
    return members[:-1]


def active(chain: Onchain) -> list[str]:
    """Who is active in this round."""
    those = [one.address for one in chain.people if chain.bonding.call("isActiveTranscoder", one.address)]
    assert len(those) == chain.bonding.call("getTranscoderPoolSize")
    return those


def test_a_stake_counts_from_the_next_round_on(chain: Onchain) -> None:
    ann = chain.people[0]
    sent = chain.bonding.send("bond", 10, ann.address, sender=ann)
    assert [(event.name, event.args) for event in sent.events if event.address == chain.bonding.address] == [
        ("TranscoderActivated", {"transcoder": ann.address, "activationRound": 2}),
        (
            "Bond",
            {
                "newDelegate": ann.address,
                "oldDelegate": NOBODY,
                "delegator": ann.address,
                "additionalAmount": 10,
                "bondedAmount": 10,
            },
        ),
    ]
    assert (pool(chain), active(chain), chain.bonding.call("getTotalBonded")) == ([ann.address], [], 0)
    assert chain.bonding.call("nextRoundTotalActiveStake") == 10
    assert chain.bonding.call("delegatorStatus", ann.address) == PENDING
    chain.next_round()
    assert (active(chain), chain.bonding.call("getTotalBonded")) == ([ann.address], 10)
    assert chain.bonding.call("delegatorStatus", ann.address) == BONDED
    assert chain.bonding.call("transcoderStatus", ann.address) == 1
    assert chain.bonding.call("isRegisteredTranscoder", ann.address)
    assert chain.bonding.call("transcoderTotalStake", ann.address) == 10
    assert chain.bonding.call("pendingStake", ann.address, 5) == 10
    assert chain.bonding.call("pendingFees", ann.address, 5) == 0
    assert chain.bonding.call("getDelegator", ann.address) == (10, 0, ann.address, 10, 2, 0, 0)
    assert chain.bonding.call("getTranscoder", ann.address) == (0, 0, 0, 0, 2, FOR_EVER, 0, 0, 0, 0)
    assert chain.token.call("balanceOf", chain.bonding.address) == 10


def test_the_pool_is_ordered_by_stake_and_then_by_who_came_first(chain: Onchain) -> None:
    ann, ben, cleo = (one.address for one in chain.people[:3])
    for who, amount in zip(chain.people, (10, 20, 10), strict=False):
        assert bond(chain, who, amount) == ""
    assert pool(chain) == [ben, ann, cleo]
    assert bond(chain, chain.people[2], 10) == ""
    assert pool(chain) == [ben, cleo, ann]
    chain.bonding.send("unbond", 15, sender=chain.people[1])
    assert pool(chain) == [cleo, ann, ben]
    # Who only asks again keeps their place.
    assert bond(chain, chain.people[0], 0) == ""
    assert bond(chain, chain.people[1], 5) == ""
    assert pool(chain) == [cleo, ann, ben]


def test_a_larger_stake_takes_the_place_of_the_smallest_when_the_round_ends(chain: Onchain) -> None:
    ann, ben, cleo, dan = chain.people[:4]
    for who, amount in ((ann, 30), (ben, 10), (cleo, 20)):
        assert bond(chain, who, amount) == ""
    chain.next_round()
    before = active(chain)
    assert bond(chain, dan, 10) == ""
    assert dan.address not in pool(chain)
    sent = chain.bonding.send("bond", 1, dan.address, sender=dan)
    assert [event.args for event in sent.events[:2]] == [
        {"transcoder": ben.address, "deactivationRound": 3},
        {"transcoder": dan.address, "activationRound": 3},
    ]
    assert pool(chain) == [ann.address, cleo.address, dan.address]
    assert (active(chain), chain.bonding.call("getTotalBonded")) == (before, 60)
    chain.next_round()
    assert active(chain) == [ann.address, cleo.address, dan.address]
    assert chain.bonding.call("getTotalBonded") == 61
    # What was pushed out is still staked, and can come back.
    assert bond(chain, ben, 2) == ""
    assert pool(chain) == [ann.address, cleo.address, ben.address]
    assert chain.bonding.call("delegatorStatus", ben.address) == BONDED


def test_who_leaves_stays_active_until_the_round_ends_and_may_change_their_mind(chain: Onchain) -> None:
    ann = chain.people[0]
    assert bond(chain, ann, 10) == ""
    chain.next_round()
    chain.bonding.send("unbond", 10, sender=ann)
    assert (pool(chain), active(chain)) == ([], [ann.address])
    assert chain.bonding.call("delegatorStatus", ann.address) == UNBONDED
    assert refusal(chain.bonding, "rebond", 0, sender=ann) == "caller must be bonded"
    chain.bonding.send("rebondFromUnbonded", ann.address, 0, sender=ann)
    assert active(chain) == [ann.address]
    chain.next_round()
    assert active(chain) == [ann.address]
    chain.bonding.send("unbond", 10, sender=ann)
    chain.next_round()
    assert (active(chain), chain.bonding.call("getTotalBonded")) == ([], 0)


def test_who_comes_and_goes_within_a_round_was_never_active(chain: Onchain) -> None:
    ann = chain.people[0]
    for _ in range(2):
        assert bond(chain, ann, 10) == ""
        chain.bonding.send("unbond", 10, sender=ann)
    assert active(chain) == []
    chain.next_round()
    assert active(chain) == []


def test_stake_comes_back_after_the_unbonding_period_though_nobody_opens_rounds(chain: Onchain) -> None:
    ann = chain.people[0]
    assert bond(chain, ann, 10) == ""
    sent = chain.bonding.send("unbond", 4, sender=ann)
    assert sent.events[0].args == {
        "delegate": ann.address,
        "delegator": ann.address,
        "unbondingLockId": 0,
        "amount": 4,
        "withdrawRound": 4,
    }
    chain.bonding.send("unbond", 6, sender=ann)
    assert chain.bonding.call("getDelegatorUnbondingLock", ann.address, 1) == (6, 4)
    chain.next_round(2, initialise=False)
    early = "withdraw round must be before or equal to the current round"
    assert refusal(chain.bonding, "withdrawStake", 0, sender=ann) == early
    chain.next_round(initialise=False)
    sent = chain.bonding.send("withdrawStake", 0, sender=ann)
    assert ("WithdrawStake", 4) in [(event.name, event.args.get("amount")) for event in sent.events]
    assert refusal(chain.bonding, "withdrawStake", 0, sender=ann) == "invalid unbonding lock ID"
    assert not chain.bonding.call("isValidUnbondingLock", ann.address, 0)
    assert chain.bonding.call("isValidUnbondingLock", ann.address, 1)
    chain.bonding.send("withdrawStake", 1, sender=ann)
    assert chain.token.call("balanceOf", ann.address) == 1_000
    assert chain.token.call("balanceOf", chain.bonding.address) == 0


def test_what_waits_behind_a_lock_can_be_bonded_again(chain: Onchain) -> None:
    ann = chain.people[0]
    assert bond(chain, ann, 10) == ""
    chain.bonding.send("unbond", 4, sender=ann)
    sent = chain.bonding.send("rebond", 0, sender=ann)
    assert sent.events[-1].args == {
        "delegate": ann.address,
        "delegator": ann.address,
        "unbondingLockId": 0,
        "amount": 4,
    }
    assert chain.bonding.call("transcoderTotalStake", ann.address) == 10
    for function, args in (("rebond", (0,)), ("withdrawStake", (0,)), ("rebond", (7,))):
        assert refusal(chain.bonding, function, *args, sender=ann) == "invalid unbonding lock ID"
    assert (
        refusal(chain.bonding, "rebondFromUnbonded", ann.address, 0, sender=ann) == "caller must be unbonded"
    )


def test_what_makes_no_sense_is_refused(chain: Onchain) -> None:
    ann, ben = chain.people[:2]
    own = "stake can only be bonded to oneself"
    assert refusal(chain.bonding, "bond", 1, ben.address, sender=ann) == own
    assert bond(chain, ann, 0) == "delegation amount must be greater than 0"
    assert bond(chain, ann, 1_001) == "insufficient balance"
    assert refusal(chain.bonding, "unbond", 1, sender=ann) == "caller must be bonded"
    assert refusal(chain.bonding, "rebondFromUnbonded", ben.address, 0, sender=ann) == own
    assert bond(chain, ann, 5) == ""
    assert refusal(chain.bonding, "unbond", 0, sender=ann) == "unbond amount must be greater than 0"
    assert refusal(chain.bonding, "unbond", 6, sender=ann) == "amount is greater than bonded amount"


def test_a_node_says_its_shares_and_that_it_is_there(chain: Onchain) -> None:
    ann = chain.people[0]
    not_yet = "transcoder must be registered"
    assert refusal(chain.bonding, "transcoder", 1, 2, sender=ann) == not_yet
    assert bond(chain, ann, 5) == ""
    for shares, reason in (
        ((1_000_001, 0), "invalid rewardCut percentage"),
        ((0, 1_000_001), "invalid feeShare percentage"),
    ):
        assert refusal(chain.bonding, "transcoder", *shares, sender=ann) == reason
    sent = chain.bonding.send("transcoder", 100, 200, sender=ann)
    assert sent.events[-1].args == {"transcoder": ann.address, "rewardCut": 100, "feeShare": 200}
    assert refusal(chain.bonding, "reward", sender=ann) == "caller must be an active transcoder"
    chain.next_round()
    assert chain.bonding.send("reward", sender=ann).events[0].args == {"transcoder": ann.address, "amount": 0}
    again = "caller has already called reward for the current round"
    assert refusal(chain.bonding, "reward", sender=ann) == again
    assert chain.bonding.call("getTranscoder", ann.address)[:3] == (2, 100, 200)


def test_nothing_comes_in_before_the_round_is_open(chain: Onchain) -> None:
    ann = chain.people[0]
    chain.next_round(initialise=False)
    closed = "current round is not initialized"
    for function, args in (("bond", (1, ann.address)), ("transcoder", (0, 0)), ("reward", ())):
        assert refusal(chain.bonding, function, *args, sender=ann) == closed


def test_a_hundred_fit_in(chain: Onchain) -> None:
    chain = Onchain(chain.evm, pool_max=100, round_blocks=1_000)
    crowd = chain.crowd(101)
    for place, node in enumerate(crowd):
        chain.stake(node, 1 + place)
    assert pool(chain) == [node.address for node in reversed(crowd[1:])]
    chain.next_round()
    assert (
        chain.bonding.call("getTranscoderPoolSize") == chain.bonding.call("getTranscoderPoolMaxSize") == 100
    )
    assert not chain.bonding.call("isActiveTranscoder", crowd[0].address)
    # The longest way through the list: the first falls behind everybody else.
    sent = chain.bonding.send("unbond", 100, sender=crowd[100])
    assert pool(chain)[-1] == crowd[100].address
    assert sent.gas_used < 1_000_000


@pytest.mark.parametrize(("period", "size"), [(0, 3), (101, 3), (3, 0), (3, 101)])
def test_limits_hold_from_the_start(chain: Onchain, period: int, size: int) -> None:
    with pytest.raises(Reverted, match="out of range"):
        chain.deploy("Bonding", chain.token.address, chain.rounds.address, period, size)
