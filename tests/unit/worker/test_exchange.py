"""A worker's side of a runner's socket, against a listener that says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shoal.errors import Lost, Unreachable
from shoal.runtime.errand import Abandoned, Errand
from shoal.worker.exchange import Pool, Response

pytestmark = pytest.mark.anyio

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nShoal-Units: 3\r\nContent-Length: 4\r\n%b\r\nhere"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Listener:
    """What a runner's end sees."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._come, self.path)

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls.put_nowait((reader, writer))

    async def close(self) -> None:
        self._server.close()
        while not self.calls.empty():
            self.calls.get_nowait()[1].close()


@pytest.fixture
async def listener(tmp_path: Path) -> AsyncIterator[Listener]:
    listener = Listener(tmp_path / "runner.sock")
    await listener.open()
    yield listener
    await listener.close()


def ask(pool: Pool) -> tuple[Errand[Response], asyncio.Future[Response | Exception]]:
    came: asyncio.Future[Response | Exception] = asyncio.get_running_loop().create_future()
    return Errand(pool.post("/echo", "text/plain", b"body"), came.set_result), came


async def test_a_connection_serves_one_request_after_another(listener: Listener) -> None:
    pool = Pool(listener.path)
    _, came = ask(pool)
    reader, writer = await listener.calls.get()
    for _ in range(2):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"POST /echo HTTP/1.1\r\n")
        assert await reader.readexactly(4) == b"body"
        writer.write(ANSWER % b"")
        assert await came == Response(200, {"content-type": "x/y", "shoal-units": "3"}, b"here")
        _, came = ask(pool)
    assert listener.calls.empty()
    writer.close()
    assert isinstance(await came, Lost)


async def test_a_runner_that_closes_is_called_anew(listener: Listener) -> None:
    pool = Pool(listener.path)
    for _ in range(2):
        _, came = ask(pool)
        _, writer = await listener.calls.get()
        writer.write(ANSWER % b"Connection: close\r\n")
        assert isinstance(await came, Response)
        writer.close()


async def test_what_is_no_http_is_not_believed(listener: Listener) -> None:
    _, came = ask(Pool(listener.path))
    _, writer = await listener.calls.get()
    writer.write(b"what?\r\n\r\n")
    error = await came
    assert isinstance(error, Lost)
    assert "does not speak HTTP" in error.message
    writer.close()


async def test_a_job_that_is_stopped_hangs_up_and_the_next_has_a_connection_of_its_own(
    listener: Listener,
) -> None:
    pool = Pool(listener.path)
    job, came = ask(pool)
    reader, writer = await listener.calls.get()
    await reader.readuntil(b"body")
    job.cancel()
    assert isinstance(came.result(), Abandoned)
    assert await reader.read() == b""
    writer.close()
    _, came = ask(pool)
    _, writer = await listener.calls.get()
    writer.write(ANSWER % b"")
    assert isinstance(await came, Response)
    writer.close()


async def test_a_job_that_is_stopped_while_it_calls_gives_up(listener: Listener) -> None:
    job, came = ask(Pool(listener.path))
    job.cancel()
    assert isinstance(await came, Abandoned)


async def test_a_runner_that_is_not_there_cannot_be_reached(tmp_path: Path) -> None:
    _, came = ask(Pool(tmp_path / "nobody.sock"))
    assert isinstance(await came, Unreachable)
    with pytest.raises(Unreachable):
        await Pool(tmp_path / "nobody.sock").get("/health")
