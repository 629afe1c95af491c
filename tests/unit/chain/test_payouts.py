"""Payouts: many workers at once, each batch once, and nothing stays behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evm import Contract, Evm, Reverted
from onchain import NOBODY, Onchain, refusal

BATCH = b"\1" * 32
MONTH_S = 30 * 24 * 3600


@pytest.fixture(scope="module")
def deployed(evm: Evm) -> Onchain:
    return Onchain(evm)


@pytest.fixture
def chain(deployed: Onchain) -> Iterator[Onchain]:
    with deployed.evm.undone():
        yield deployed


@pytest.fixture
def unwilling(chain: Onchain) -> Contract:
    """A worker's address that takes no money."""
    contract = chain.deploy("Reenterer")
    contract.send("plan", NOBODY, b"", True)
    return contract


def test_each_worker_is_paid_their_amount(chain: Onchain) -> None:
    operator, *workers = chain.people[:4]
    addresses = [worker.address for worker in workers]
    before = [chain.evm.balance(address) for address in addresses]
    sent = chain.payouts.send("payOut", BATCH, addresses, [5, 0, 7], value=12, sender=operator)
    assert [event.args for event in sent.events] == [
        {"operator": operator.address, "worker": address, "batch": BATCH, "amount": amount}
        for address, amount in zip(addresses, (5, 0, 7), strict=True)
    ]
    paid = [chain.evm.balance(address) - old for address, old in zip(addresses, before, strict=True)]
    assert paid == [5, 0, 7]
    assert chain.evm.balance(chain.payouts.address) == 0
    assert chain.payouts.call("paidTo", operator.address, addresses[2]) == 7
    chain.payouts.send("payOut", b"\2" * 32, [addresses[2]] * 2, [1, 2], value=3, sender=operator)
    assert chain.payouts.call("paidTo", operator.address, addresses[2]) == 10


def test_a_batch_of_an_operator_is_paid_once(chain: Onchain) -> None:
    operator, other, worker = chain.people[:3]
    args = (BATCH, [worker.address], [5])
    assert not chain.payouts.call("isPaid", operator.address, BATCH)
    assert refusal(chain.payouts, "payOut", *args, value=5, sender=operator) == ""
    assert chain.payouts.call("isPaid", operator.address, BATCH)
    assert refusal(chain.payouts, "payOut", *args, value=5, sender=operator) == "batch is paid"
    # Whoever else uses the same name stands in nobody's way.
    assert refusal(chain.payouts, "payOut", *args, value=5, sender=other) == ""
    assert chain.payouts.call("paidTo", operator.address, worker.address) == 5


@pytest.mark.parametrize(
    ("amounts", "value", "reason"),
    [
        ([5, 5], 9, "value sent is not the sum of the amounts"),
        ([5, 5], 11, "value sent is not the sum of the amounts"),
        ([2**256 - 1, 2], 1, "value sent is not the sum of the amounts"),
        ([5], 5, "workers and amounts differ in number"),
    ],
)
def test_what_does_not_add_up_is_refused_whole(
    chain: Onchain, amounts: list[int], value: int, reason: str
) -> None:
    workers = [chain.people[1].address, chain.people[2].address]
    assert refusal(chain.payouts, "payOut", BATCH, workers, amounts, value=value) == reason
    assert not chain.payouts.call("isPaid", chain.owner.address, BATCH)


def test_nobody_is_not_a_worker(chain: Onchain) -> None:
    assert refusal(chain.payouts, "payOut", BATCH, [NOBODY], [1], value=1) == "worker is null address"
    with pytest.raises(Reverted):
        chain.evm.send(chain.payouts.address, value=1)


def test_one_who_will_not_be_paid_holds_up_nobody_else(chain: Onchain, unwilling: Contract) -> None:
    operator, worker = chain.people[:2]
    before = chain.evm.balance(worker.address)
    args = (BATCH, [unwilling.address, worker.address], [5, 7])
    sent = chain.payouts.send("payOut", *args, value=12, sender=operator)
    assert [event.name for event in sent.events] == ["PaidOut", "Refused", "PaidOut"]
    assert chain.evm.balance(worker.address) == before + 7
    assert chain.payouts.call("waiting", operator.address, unwilling.address) == 5
    assert chain.evm.balance(chain.payouts.address) == 5

    # The worker has it sent elsewhere.
    fetch = chain.payouts.data("fetch", operator.address, worker.address)
    unwilling.send("act", chain.payouts.address, fetch)
    assert chain.evm.balance(worker.address) == before + 12
    assert chain.evm.balance(chain.payouts.address) == 0
    assert chain.payouts.call("paidTo", operator.address, unwilling.address) == 5
    assert refusal(unwilling, "act", chain.payouts.address, fetch) == "nothing is waiting"


def test_what_nobody_fetches_goes_back_after_a_month(chain: Onchain, unwilling: Contract) -> None:
    operator = chain.people[0]
    chain.payouts.send("payOut", BATCH, [unwilling.address], [5], value=5, sender=operator)
    take_back = (chain.payouts, "takeBack", unwilling.address)
    chain.evm.pass_time(MONTH_S - 60)
    assert refusal(*take_back, sender=operator) == "payment still waits for its worker"
    chain.evm.pass_time(60)
    assert refusal(*take_back, sender=chain.people[1]) == "nothing is waiting"
    before = chain.evm.balance(operator.address)
    sent = chain.payouts.send("takeBack", unwilling.address, sender=operator)
    assert sent.events[0].args == {"operator": operator.address, "worker": unwilling.address, "amount": 5}
    assert chain.evm.balance(operator.address) == before + 5
    assert chain.payouts.call("paidTo", operator.address, unwilling.address) == 0
    assert refusal(*take_back, sender=operator) == "nothing is waiting"


def test_what_waits_is_not_sent_to_nobody_or_to_who_refuses(chain: Onchain, unwilling: Contract) -> None:
    operator = chain.people[0]
    chain.payouts.send("payOut", BATCH, [unwilling.address], [5], value=5, sender=operator)
    for to, reason in (
        (NOBODY, "receiver is null address"),
        (unwilling.address, "receiver refused the payment"),
    ):
        fetch = chain.payouts.data("fetch", operator.address, to)
        assert refusal(unwilling, "act", chain.payouts.address, fetch) == reason
    assert chain.payouts.call("waiting", operator.address, unwilling.address) == 5


def test_a_worker_does_not_come_in_again_while_being_paid(chain: Onchain, unwilling: Contract) -> None:
    operator = chain.people[0]
    chain.payouts.send("payOut", BATCH, [unwilling.address], [5], value=5, sender=operator)
    fetch = chain.payouts.data("fetch", operator.address, unwilling.address)
    unwilling.send("plan", chain.payouts.address, fetch, False)
    args = (b"\2" * 32, [unwilling.address, chain.people[1].address], [6, 7])
    chain.payouts.send("payOut", *args, value=13, sender=operator)
    unwilling.send("act", chain.payouts.address, fetch)
    assert unwilling.call("entered") == 0
    assert chain.evm.balance(unwilling.address) == 11
    assert chain.evm.balance(chain.payouts.address) == 0


def test_256_are_paid_at_once(chain: Onchain) -> None:
    workers = [f"0x{number:040x}" for number in range(10**9, 10**9 + 256)]
    sent = chain.payouts.send("payOut", BATCH, workers, [1] * 256, value=256, gas=25_000_000)
    assert all(chain.evm.balance(worker) == 1 for worker in workers)
    assert sent.gas_used < 20_000_000
    with pytest.raises(Reverted):
        chain.payouts.send("payOut", b"\2" * 32, [*workers, workers[0]], [1] * 257, value=257, gas=25_000_000)
