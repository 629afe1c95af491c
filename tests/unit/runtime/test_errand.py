"""An errand goes on in the very call that brings what it awaits, and needs no task."""

from __future__ import annotations

import asyncio

import pytest

from shoal.runtime.errand import Abandoned, Errand, Later, in_task


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


def test_an_errand_that_is_cancelled_is_told_where_it_waits_and_never_goes_on() -> None:
    later = Later[int]()
    steps: list[str] = []

    async def work() -> None:
        try:
            await later
            steps.append("went on")
        finally:
            steps.append("cleaned up")

    came: list[object] = []
    errand = Errand(work(), came.append)
    errand.cancel()
    assert errand.over
    assert steps == ["cleaned up"]
    later.set(1)
    errand.cancel()
    assert steps == ["cleaned up"]
    assert [type(one) for one in came] == [Abandoned]


def test_an_errand_may_wait_once_more_after_it_was_cancelled() -> None:
    first, second = Later[int](), Later[int]()

    async def work() -> int:
        try:
            return await first
        except asyncio.CancelledError:
            return await second

    came: list[object] = []
    errand = Errand(work(), came.append)
    errand.cancel()
    first.set(1)
    assert came == []
    second.set(2)
    assert came == [2]


def test_an_errand_that_is_cancelled_while_it_works_is_told_where_it_waits_next() -> None:
    first, second = Later[int](), Later[int]()

    async def work() -> int:
        await first
        errands[0].cancel()
        return await second

    came: list[object] = []
    errands = [Errand(work(), came.append)]
    first.set(1)
    assert [type(one) for one in came] == [Abandoned]


@pytest.mark.parametrize("there", [False, True])
def test_cancelling_an_errand_cancels_what_it_awaits_of_asyncios(there: bool) -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        came: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        async def work() -> int:
            return await future

        errand = Errand(work(), came.set_result)
        if there:
            future.set_result(7)  # the errand hears of it in the next turn
        errand.cancel()
        assert isinstance(await came, Abandoned)
        assert future.cancelled() is not there

    asyncio.run(main())


def test_an_errand_that_gives_way_can_be_cancelled() -> None:
    async def main() -> None:
        came: list[object] = []
        errand = Errand(asyncio.sleep(0), came.append)
        errand.cancel()
        assert [type(one) for one in came] == [Abandoned]
        await asyncio.sleep(0)
        assert len(came) == 1

    asyncio.run(main())


def test_a_task_can_await_an_errand() -> None:
    later, never = Later[int](), Later[int]()
    ended: list[str] = []

    async def work(later: Later[int]) -> int:
        try:
            return await later
        finally:
            ended.append("ended")

    async def broken() -> int:
        raise ValueError("x")

    async def main() -> None:
        asyncio.get_running_loop().call_soon(later.set, 7)
        assert await in_task(work(later)) == 7
        with pytest.raises(ValueError, match="x"):
            await in_task(broken())
        task = asyncio.create_task(in_task(work(never)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["ended", "ended"]

    asyncio.run(main())
