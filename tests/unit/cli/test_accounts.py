"""The sums: books that agree are right, and every single coin that is not where it should be is told."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shoal.cli.accounts import Books, Row, differences

NODE = "0x1"
ROW = Row(
    id="job_1",
    pipeline="llm",
    model="m",
    method="guesses",
    state="done",
    attempts=1,
    queue_ms=0,
    run_ms=1,
    units=10,
    unit="token",
    price_wei=10,
    price_units=1,
    charged_wei=105,
    orchestrator="orchestrator-1",
    worker="worker-1",
    orchestrator_wei=20,
    worker_wei=80,
    failed_attempts_wei=0,
)


def books(**changes: int) -> Books:
    gateway = {"charged_wei": 105, "fees_wei": 5, "spilt_wei": 0, "holds_wei": 0}
    report = {"earned_wei": 100, "own_wei": 20, "worker_wei": 80, "holds_wei": 0}
    owed = {NODE: changes.pop("owed_wei", 100)}
    for name, wei in changes.items():
        side, _, field = name.partition("_")
        (gateway if side == "gateway" else report)[field] = wei
    return Books(gateway | {"earned_by_orchestrator_wei": owed}, {NODE: report})


def test_books_that_agree_have_no_differences() -> None:
    assert differences(books(), [ROW]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"gateway_charged_wei": 106},
        {"gateway_fees_wei": 4},
        {"gateway_spilt_wei": 1},
        {"gateway_holds_wei": 1},
        {"seller_earned_wei": 101},
        {"seller_own_wei": 21},
        {"seller_worker_wei": 79},
        {"seller_holds_wei": 1},
        {"owed_wei": 99},
    ],
)
def test_every_coin_out_of_place_is_told(changes: dict[str, int]) -> None:
    assert differences(books(**changes), [ROW])


def test_a_failed_attempt_that_earned_is_told() -> None:
    found = differences(books(), [replace(ROW, failed_attempts_wei=1)])
    assert found == ["earned by failed attempts: 1 wei, but spilt: 0 wei"]
