"""How quick a model is on this computer: its runner is started, asked its pipeline's example twice, and stopped again.

The quicker of the two is remembered in the cache folder, under the model's name and its files' hashes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs
from msgspec import Struct

from shoal.cli import png
from shoal.errors import Failed, ShoalError
from shoal.ids import JobId
from shoal.machine import Event
from shoal.runtime.clock import stopwatch_s
from shoal.runtime.errand import in_task
from shoal.wire.pipelines import MediaField, Pipeline, pipeline
from shoal.wire.words import Media, Payload
from shoal.worker import translation
from shoal.worker.config import RunnerSettings
from shoal.worker.machine import RunnerGone, RunnerReady
from shoal.worker.models import Model, write_whole
from shoal.worker.runners import Runner
from shoal.worker.starts import Starts

READY_S = 120.0
CALLS = 2
TALK = Path(__file__).parents[3] / "examples" / "talk.wav"
WIDTH, HEIGHT = 128, 96


class Speed(Struct, frozen=True):
    """What a call took, and how much work it was."""

    unit: str
    units: int
    seconds: float

    def __str__(self) -> str:
        """`4,100 pixels/s`."""
        rate = self.units / max(self.seconds, 1e-6)
        return f"{rate:,.0f} {self.unit.split()[0].rstrip(',')}s/s" if rate >= 1 else f"{self.seconds:.1f} s"


def remembered(model: Model, environment: Mapping[str, str]) -> Speed | None:
    """What was measured on this computer before."""
    return _read(_file(environment)).get(_name(model))


def measure(model: Model, folder: Path, environment: Mapping[str, str]) -> Speed:
    """Time a short real call, and remember it. Raises what the runner fails of."""
    speed = asyncio.run(_measure(model, folder))
    path = _file(environment)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.encode(_read(path) | {_name(model): speed}))
    return speed


async def _measure(model: Model, folder: Path) -> Speed:
    row = pipeline(model.pipeline)
    state: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def post(event: Event) -> None:
        if isinstance(event, RunnerReady) and not state.done():
            state.set_result(None)
        elif isinstance(event, RunnerGone) and not state.done():
            state.set_exception(Failed(f"the runner of {model.id} does not start; its extra may be missing"))

    with tempfile.TemporaryDirectory(prefix="shoal-") as scratch:
        settings = RunnerSettings(pipeline=row.name, model=model.id, threads=os.cpu_count() or 1)
        starts = Starts(Path(scratch) / "starts.json")
        runner = Runner(settings, folder, Path(scratch) / "runner.sock", post, starts)
        keeping = asyncio.create_task(runner.run())
        try:
            await asyncio.wait_for(asyncio.shield(state), READY_S)
            return min([await _call(row, runner) for _ in range(CALLS)], key=lambda speed: speed.seconds)
        except TimeoutError as error:
            raise Failed(f"the runner of {model.id} is not ready after {READY_S:.0f} s") from error
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError, ShoalError):
                await keeping


async def _call(row: Pipeline, runner: Runner) -> Speed:
    files = tuple(_sample(field) for field in row.media if not field.optional)
    content_type, body = translation.request(row, JobId("measure"), Payload(row.example.encode(), files))
    steps = translation.Steps(1)
    began = stopwatch_s()
    asking = runner.pool.post(f"/{row.name}", content_type, body, on_piece=lambda data: _hear(steps, data))
    response = await in_task(asking)
    took_s = stopwatch_s() - began
    translation.require_good(response.status, response.body)
    units = steps.whole(row)[1] if steps.spoke else int(response.headers.get("shoal-units", "0"))
    return Speed(row.unit, units, took_s)


def _hear(steps: translation.Steps, data: bytes) -> None:
    steps.feed(data)


def _sample(field: MediaField) -> Media:
    if field.kind == "audio":
        if not TALK.is_file():
            raise Failed("there is no sound here to measure with: examples/talk.wav is missing")
        return Media(field.field, "audio/wav", TALK.read_bytes())
    return Media(field.field, "image/png", _ramp())


def _ramp() -> bytes:
    """A picture of colours that run into one another."""
    pixels = b"".join(
        bytes((2 * x % 256, 2 * y % 256, (x + y) % 256)) for y in range(HEIGHT) for x in range(WIDTH)
    )
    return png.encode(WIDTH, pixels, channels=png.RED_GREEN_BLUE)


def _name(model: Model) -> str:
    files = hashlib.sha256("".join(file.sha256 for file in model.files).encode()).hexdigest()[:12]
    return f"{model.pipeline}/{model.id}/{files}"


def _file(environment: Mapping[str, str]) -> Path:
    home = environment.get("SHOAL_HOME")
    return (Path(home) / "cache" if home else platformdirs.user_cache_path("shoal")) / "speeds.json"


def _read(path: Path) -> dict[str, Speed]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Speed])
    except (OSError, msgspec.DecodeError):
        return {}
