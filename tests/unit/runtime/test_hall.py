"""What all connections of a server share."""

from __future__ import annotations

import asyncio

import pytest

from shoal.runtime.hall import Hall, Limits

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Guest:
    """One of a crowd: what it asks for has something follow from it."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name = name
        self.told = told

    def begin(self) -> None:
        self.told.append(self.name)
        asyncio.get_running_loop().call_soon(self.told.append, "what follows")

    def flush(self) -> None: ...

    def leave(self) -> None: ...

    def abort(self) -> None: ...


async def test_a_crowd_is_begun_with_in_groups_and_in_its_order() -> None:
    told: list[str] = []
    hall = Hall(lambda request, answer: None, Limits(served_at_once=2))
    for number in range(5):
        hall.begin_soon(Guest(str(number), told))
    assert told == ["0", "1"], "whoever is among the first does not wait at all"
    told.clear()
    follows = ["what follows"] * 2
    await asyncio.sleep(0)
    hall.begin_soon(Guest("late", told))
    assert sorted(told) == ["2", "3", *follows]
    told.clear()
    await asyncio.sleep(0)
    assert sorted(told) == ["4", "late", *follows], "nobody passes by"
    await asyncio.sleep(0)
    hall.begin_soon(Guest("alone", told))
    assert told[-1] == "alone"
