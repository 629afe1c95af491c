"""What a conversation gains where its last turn ran: the time to the first token there, beside that elsewhere.

Two runners with the same model. A long first message is answered by one of them; the second turn goes to that one
and to the other. Only the ratio holds on another machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from shoal.machine import Event
from shoal.runtime.clock import stopwatch_s
from shoal.runtime.errand import in_task
from shoal.worker.config import RunnerSettings
from shoal.worker.exchange import Response
from shoal.worker.machine import RunnerReady
from shoal.worker.models import Model, ensure, find, models_home
from shoal.worker.runners import Runner
from shoal.worker.sources import sources
from shoal.worker.starts import Starts

READY_S = 120.0
TEXT = Path(__file__).parents[1] / "docs" / "architecture.md"
RULE = {"role": "system", "content": "Answer in one short sentence."}

Talk = list[dict[str, str]]


@asynccontextmanager
async def running(model: Model, folder: Path, threads: int) -> AsyncIterator[Runner]:
    """A runner that has loaded its model."""
    ready = asyncio.Event()

    def post(event: Event) -> None:
        if isinstance(event, RunnerReady):
            ready.set()

    with tempfile.TemporaryDirectory(prefix="shoal-") as scratch:
        settings = RunnerSettings(pipeline=model.pipeline, model=model.id, threads=threads)
        starts = Starts(Path(scratch) / "starts.json")
        runner = Runner(settings, folder, Path(scratch) / "r.sock", post, starts)
        keeping = asyncio.create_task(runner.run())
        try:
            await asyncio.wait_for(ready.wait(), READY_S)
            yield runner
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping


async def ask(runner: Runner, talk: Talk, **sampling: Any) -> tuple[float, str]:
    """The seconds to the first token, and the answer."""
    first_s: list[float] = []
    lines: list[bytes] = []

    def hear(piece: bytes) -> None:
        first_s.append(stopwatch_s())
        lines.append(piece)

    async def post(body: bytes) -> Response:
        return await runner.pool.post("/llm", "application/json", body, on_piece=hear)

    request = {"messages": talk, "max_tokens": 16, "stream": True} | sampling
    began_s = stopwatch_s()
    await in_task(post(json.dumps(request).encode()))
    events = [line[6:] for line in b"".join(lines).splitlines() if line.startswith(b"data: {")]
    pieces = [json.loads(event)["choices"][0]["delta"]["content"] for event in events]
    return first_s[0] - began_s, "".join(pieces)


def opening(characters: int, number: int) -> Talk:
    """A conversation that begins with a long message, another for each number."""
    text = TEXT.read_text()[:characters]
    return [RULE, {"role": "user", "content": f"Note {number}. {text}\n\nWhat is this about?"}]


async def measure(
    model: Model, folder: Path, *, characters: int, rounds: int, threads: int
) -> dict[str, float]:
    """Each turn's time to its first token, the middle one of some rounds."""
    times: dict[str, list[float]] = {"first_s": [], "home_s": [], "elsewhere_s": []}
    async with running(model, folder, threads) as home, running(model, folder, threads) as elsewhere:
        for number in range(rounds):
            talk = opening(characters, number)
            first_s, said = await ask(home, talk)
            talk += [
                {"role": "assistant", "content": said},
                {"role": "user", "content": "Who decides there?"},
            ]
            times["first_s"].append(first_s)
            times["elsewhere_s"].append((await ask(elsewhere, talk))[0])
            times["home_s"].append((await ask(home, talk))[0])
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    return middle | {"ratio": middle["elsewhere_s"] / middle["home_s"]}


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(
        description="Time the second turn of a conversation at home and elsewhere."
    )
    parser.add_argument("--characters", type=int, default=6_000, help="of the first message")
    parser.add_argument("--rounds", type=int, default=3, help="conversations")
    parser.add_argument("--threads", type=int, default=1, help="of each runner")
    options = parser.parse_args()
    model = find("llm", "")
    folder = ensure(model, models_home(os.environ), lambda *_: None, sources(os.environ))
    figures = asyncio.run(
        measure(
            model,
            folder,
            characters=options.characters,
            rounds=options.rounds,
            threads=options.threads,
        )
    )
    json.dump({name: round(figure, 3) for name, figure in figures.items()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
