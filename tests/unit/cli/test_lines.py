"""Lines and the driver against a gateway that answers as it is told: every way in which a request can end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self

import pytest

from shoal.cli.driver import UNANSWERED, Driver, Rules, Tally
from shoal.cli.lines import Lines
from shoal.cli.mix import Writer
from shoal.errors import Failed, Lost, Refused, Unreachable
from shoal.sim.load.trace import Arrival, Ended

#: Answers one request: method and path, head, body.
Answer = Callable[[str, dict[str, str], bytes], Awaitable[bytes | None]]


def reply(status: int, value: object, *headers: str) -> bytes:
    body = json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Gateway:
    """Listens on loopback, and keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[str] = []
        self.connections = 0
        self._answer = answer
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = dict(line.split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(fields.get("Content-Length", 0)))
                asked = head[0].rpartition(" ")[0]
                self.asked.append(asked)
                said = await self._answer(asked, fields, body)
                if said is None:
                    break
                writer.write(said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def arrival(at_ms: int = 0, **facts: Any) -> Arrival:
    given = {"pipeline": "echo", "model": "echo", "work_ms": 5, "deadline_ms": 1_000, **facts}
    return Arrival(at_ms=at_ms, **given)


def job(state: str, **facts: Any) -> dict[str, Any]:
    attempts = [{"orchestrator": "0xa", "error": None}]
    return {
        "id": "job_1",
        "state": state,
        "attempts": attempts,
        "orchestrator": "0xa",
        "error": None,
        **facts,
    }


async def drive(gateway: Gateway, *arrivals: Arrival, **rules: int) -> list[Ended]:
    chosen = Rules(**rules)
    lines = Lines(gateway.url, lines_max=chosen.lines_max)
    driver = Driver(lines, Writer(run="t"), Tally(len(arrivals)), chosen)
    assert await driver.drive(arrivals, asyncio.Event()) == 0
    return sorted(driver.ended, key=lambda one: one.index)


def against(answer: Answer, use: Callable[[Gateway], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with Gateway(answer) as gateway:
            await use(gateway)

    asyncio.run(run())


def test_a_line_is_used_again_and_no_more_are_opened_than_allowed() -> None:
    async def answer(asked: str, fields: dict[str, str], body: bytes) -> bytes:
        return reply(200, {"said": body.decode()})

    async def use(gateway: Gateway) -> None:
        lines = Lines(gateway.url, lines_max=2)
        bodies = [f"{number}".encode() for number in range(20)]
        replies = await asyncio.gather(*(lines.post("/x", "", body) for body in bodies))
        assert [json.loads(one.body)["said"].encode() for one in replies] == bodies
        assert gateway.connections <= 2
        lines.close()

    against(answer, use)


def test_what_goes_wrong_on_a_line_is_named() -> None:
    async def answer(asked: str, fields: dict[str, str], body: bytes) -> bytes | None:
        return None if asked == "GET /gone" else b"SPEAK ENGLISH\r\n\r\n"

    async def use(gateway: Gateway) -> None:
        lines = Lines(gateway.url, lines_max=2)
        with pytest.raises(Lost):
            await lines.send("GET", "/gone")
        with pytest.raises(Failed, match="does not speak HTTP"):
            await lines.send("GET", "/strange")
        lines.close()

    against(answer, use)
    with pytest.raises(Refused, match="is no gateway"):
        Lines("ftp://here", lines_max=1)


def test_nobody_there_is_unreachable() -> None:
    async def ask() -> None:
        async with Gateway(lambda *_: asyncio.sleep(0)) as gateway:
            lines = Lines(gateway.url, lines_max=1)
        with pytest.raises(Unreachable, match="no gateway answers"):
            await lines.send("GET", "/")

    asyncio.run(ask())


def test_an_answer_is_told_as_the_gateway_tells_it() -> None:
    seen: list[tuple[dict[str, str], Any]] = []

    async def answer(asked: str, fields: dict[str, str], body: bytes) -> bytes:
        seen.append((fields, json.loads(body)))
        attempts = [
            {"orchestrator": "0xb", "error": {"code": "busy", "message": ""}},
            {"orchestrator": "0xc", "error": {"code": "lost", "message": ""}},
            {"orchestrator": "0xa", "error": None},
        ]
        told = job("done", attempts=attempts, queue_ms=40, run_ms=5, charged_wei=7, result={})
        return reply(200, told, "Shoal-Job-Id: job_1")

    async def use(gateway: Gateway) -> None:
        (ended,) = await drive(gateway, arrival(tenant="b", session="s", priority="high"))
        assert ended.done
        assert ended.in_time
        assert (ended.attempts, ended.turned_away, ended.failed) == (3, 1, 1)
        assert (ended.run_ms, ended.wei, ended.orchestrator) == (5, 7, "0xa")
        assert ended.queue_ms >= 40
        ((fields, asked),) = seen
        assert asked == {"pipeline": "echo", "params": {"text": "hello", "model": "echo", "sleep_ms": 5}}
        assert fields["Authorization"] == "Bearer t-b"
        assert fields["Shoal-Deadline-Ms"] == "1000"
        assert fields["Shoal-Session"] == "s"
        assert fields["Shoal-Priority"] == "high"

    against(answer, use)


def test_a_refusal_and_a_failure_are_told_apart() -> None:
    async def answer(asked: str, fields: dict[str, str], body: bytes) -> bytes:
        if asked.startswith("GET"):
            return reply(200, job("failed", error={"code": "expired", "message": ""}, queue_ms=900))
        if json.loads(body)["params"]["sleep_ms"] == 1:
            return reply(503, {"error": {"code": "busy", "message": "full"}}, "Retry-After: 3")
        return reply(504, {"error": {"code": "expired", "message": "late"}}, "Shoal-Job-Id: job_1")

    async def use(gateway: Gateway) -> None:
        refused, failed = await drive(gateway, arrival(work_ms=1), arrival(work_ms=2))
        assert (refused.accepted, refused.code, refused.retry_after_ms) == (False, "busy", 3_000)
        assert refused.attempts == 0
        assert (failed.accepted, failed.done, failed.code) == (True, False, "expired")
        assert (failed.attempts, failed.failed) == (1, 1)

    against(answer, use)


def test_what_is_not_answered_in_time_is_given_up() -> None:
    async def answer(asked: str, fields: dict[str, str], body: bytes) -> bytes | None:
        if json.loads(body)["params"]["sleep_ms"] == 1:
            return None
        await asyncio.get_running_loop().create_future()
        return None

    async def use(gateway: Gateway) -> None:
        hung_up, silent = await drive(
            gateway, arrival(work_ms=1), arrival(work_ms=2, deadline_ms=50), patience_ms=50
        )
        assert (hung_up.accepted, hung_up.done, hung_up.code) == (True, False, UNANSWERED)
        assert (silent.accepted, silent.done, silent.code) == (True, False, UNANSWERED)
        assert silent.total_ms >= 100

    against(answer, use)


def test_time_counts_from_when_a_request_was_due_not_from_when_a_line_was_free() -> None:
    async def answer(asked: str, fields: dict[str, str], body: bytes) -> bytes:
        await asyncio.sleep(0.1)
        return reply(200, job("done", queue_ms=0, run_ms=100), "Shoal-Job-Id: job_1")

    async def use(gateway: Gateway) -> None:
        first, second, third = await drive(gateway, arrival(), arrival(), arrival(), lines_max=1)
        assert first.total_ms < second.total_ms < third.total_ms
        assert third.total_ms >= 300
        assert third.queue_ms >= 200

    against(answer, use)


def test_a_job_that_outlasts_the_wait_is_asked_for_again() -> None:
    async def answer(asked: str, fields: dict[str, str], body: bytes) -> bytes:
        if asked.startswith("POST"):
            return reply(202, job("running"), "Shoal-Job-Id: job_1")
        return reply(200, job("done", run_ms=3))

    async def use(gateway: Gateway) -> None:
        (ended,) = await drive(gateway, arrival())
        assert ended.done
        assert ended.run_ms == 3
        assert gateway.asked[-1] == "GET /v1/jobs/job_1"

    against(answer, use)


def test_a_bug_of_the_clients_own_is_not_taken_for_an_answer() -> None:
    async def answer(asked: str, fields: dict[str, str], body: bytes) -> bytes:
        raise AssertionError("nothing is sent")

    class Broken(Writer):
        def head(self, arrival: Arrival) -> str:
            raise KeyError(arrival.tenant)

    async def use(gateway: Gateway) -> None:
        driver = Driver(Lines(gateway.url, lines_max=1), Broken(run="t"), Tally(2), Rules())
        with pytest.raises(KeyError):
            await driver.drive([arrival(), arrival(20)], asyncio.Event())

    against(answer, use)


def test_told_to_stop_it_takes_its_own_jobs_back() -> None:
    told = asyncio.Event()

    async def answer(asked: str, fields: dict[str, str], body: bytes) -> bytes | None:
        if asked.startswith("POST"):
            told.set()
            await asyncio.get_running_loop().create_future()
        if asked.startswith("GET"):
            assert fields["Authorization"] == "Bearer t-t0"
            return reply(200, {"jobs": [job("running"), job("done", id="job_0")]})
        return reply(200, job("cancelled"))

    async def use(gateway: Gateway) -> None:
        tally = Tally(2)
        driver = Driver(Lines(gateway.url, lines_max=4), Writer(run="t"), tally, Rules())
        assert await driver.drive([arrival(), arrival(60_000)], told) == 1
        assert driver.ended == []
        assert tally.sent == 1
        assert [asked for asked in gateway.asked if asked.startswith("DELETE")] == ["DELETE /v1/jobs/job_1"]

    against(answer, use)
