"""A conversation at home: only what is new is read, others do not drive it out, and no seed is touched by it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from benchmarks.prefix import Talk, ask, measure, opening, running

from shoal.worker.models import Model, ensure, find, models_home
from shoal.worker.runners import Runner
from shoal.worker.sources import sources

LONG = 1_200
#: Reading it all is some twenty times as much work; what is left of that on a busy computer is far more than this.
FASTER = 3


@pytest.fixture(scope="module")
def model() -> Model:
    return find("llm", "")


@pytest.fixture(scope="module")
def folder(model: Model) -> Path:
    return ensure(model, models_home(os.environ), lambda *_: None, sources(os.environ))


def with_runner(model: Model, folder: Path, test: Callable[[Runner], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running(model, folder, 1) as runner:
            await test(runner)

    asyncio.run(run())


def turn(talk: Talk, said: str) -> Talk:
    return [*talk, {"role": "assistant", "content": said}, {"role": "user", "content": "Who decides?"}]


def test_the_second_turn_begins_sooner_at_home(model: Model, folder: Path) -> None:
    figures = asyncio.run(measure(model, folder, characters=LONG, rounds=1, threads=1))
    assert figures["ratio"] > FASTER, figures


def test_conversations_that_take_turns_in_one_slot_stay_at_home(model: Model, folder: Path) -> None:
    async def test(runner: Runner) -> None:
        talks = [
            [{"role": "user", "content": talk[1]["content"]}] for talk in (opening(LONG, 1), opening(LONG, 2))
        ]
        firsts = [await ask(runner, talk) for talk in talks]
        seconds = [await ask(runner, turn(talk, said)) for talk, (_, said) in zip(talks, firsts, strict=True)]
        for (first_s, _), (second_s, _) in zip(firsts, seconds, strict=True):
            assert second_s * FASTER < first_s

    with_runner(model, folder, test)


def test_a_seed_that_nobody_chose_is_no_hindrance(model: Model, folder: Path) -> None:
    async def test(runner: Runner) -> None:
        talk = opening(LONG, 4)
        first_s, said = await ask(runner, talk, seed=5, cache_prompt=True)
        second_s, _ = await ask(runner, turn(talk, said), seed=6, cache_prompt=True)
        assert second_s * FASTER < first_s

    with_runner(model, folder, test)


def test_a_seed_reads_everything_and_says_the_same_again(model: Model, folder: Path) -> None:
    async def test(runner: Runner) -> None:
        talk = opening(LONG, 3)
        first_s, fresh = await ask(runner, talk, seed=5)
        _, said = await ask(runner, talk)
        await ask(runner, turn(talk, said))
        again_s, again = await ask(runner, talk, seed=5)
        assert again == fresh
        assert again_s * FASTER > first_s

    with_runner(model, folder, test)
