"""An errand goes on in the very call that brings what it awaits, and needs no task."""

from __future__ import annotations

import asyncio

import pytest

from shoal.runtime.errand import Abandoned, Errand, Later


def test_an_errand_that_awaits_nothing_is_over_at_once() -> None:
    async def work() -> int:
        return 7

    came: list[object] = []
    Errand(work(), came.append)
    assert came == [7]


def test_an_errand_goes_on_where_its_value_comes() -> None:
    first, second = Later[int](), Later[int]()

    async def work() -> int:
        return await first + await second

    came: list[object] = []
    Errand(work(), came.append)
    second.set(2)
    assert came == []
    first.set(1)
    assert came == [3]


def test_what_goes_wrong_is_handed_on() -> None:
    later = Later[int]()

    async def work() -> int:
        return await later

    came: list[object] = []
    Errand(work(), came.append)
    error = ValueError("x")
    later.fail(error)
    later.set(1)
    assert came == [error]
    with pytest.raises(ValueError, match="x"):
        later.result()


def test_an_errand_may_await_what_is_asyncios() -> None:
    async def nap() -> int:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return 7

    async def work() -> int:
        await asyncio.sleep(0)
        return await asyncio.create_task(nap())

    async def main() -> None:
        came: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        Errand(work(), came.set_result)
        assert await came == 7

    asyncio.run(main())


def test_an_errand_is_told_that_what_it_awaits_was_cancelled() -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def work() -> int:
            return await future

        came: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        Errand(work(), came.set_result)
        future.cancel()
        assert isinstance(await came, Abandoned)

    asyncio.run(main())
