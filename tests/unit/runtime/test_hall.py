"""What all connections of a server share."""

from __future__ import annotations

import asyncio

import pytest

from shoal.runtime.body import Body, Intake
from shoal.runtime.door import Answer, Presence, Request
from shoal.runtime.hall import Hall, Limits


pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def request(path: str) -> Request:
    return Request("GET", path, "", {}, Body(Intake()), Presence())


async def test_a_crowd_is_served_in_groups_and_in_its_order() -> None:
    served: list[str] = []

    def serve(request: Request, answer: Answer) -> None:
        served.append(request.path)
        asyncio.get_running_loop().call_soon(served.append, "what follows")

    hall = Hall(serve, Limits(served_at_once=2))
    for number in range(5):
        hall.serve(request(str(number)), lambda reply: None)
    assert served == []
    follows = ["what follows"] * 2
    for turn in (["0", "1"], [*follows, "2", "3"], [*follows, "4"], follows[:1]):
        await asyncio.sleep(0)
        assert served == turn
        served.clear()
