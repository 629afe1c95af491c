"""An open-loop client: each request leaves when it is due, whatever became of those before it.

Times are counted from the moment at which a request was due, so that a slow network, or a slow client, cannot
hide behind requests that it kept back. It holds at most so many connections, and gives each answer up some time
after its deadline. Told to stop, it takes back what is open.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from shoal.cli.lines import Lines, Reply
from shoal.cli.mix import Writer
from shoal.errors import Failed, Lost, ShoalError
from shoal.machine import Value
from shoal.policy.retries import began
from shoal.sim.load.trace import Arrival, Ended
from shoal.units import SECOND_MS
from shoal.wire.words import Fault

#: Between the word to begin and the first moment of the trace.
LEAD_S = 0.05
#: The longest that a gateway lets anybody wait for an answer.
WAIT_MS_MAX = 600 * SECOND_MS
POLL_S = 0.5
#: When a client stops, taking its jobs back has this long.
TAKE_BACK_S = 5.0
LIST_JOBS_MAX = 1_000
BAD = 400
OPEN = ("queued", "running")
#: How many of the latest times are looked at for what is shown while it runs.
RECENT = 200
#: No answer came of a request that had left; nobody knows what became of it.
UNANSWERED = "unanswered"


class Rules(Value, frozen=True, kw_only=True):
    """How far a driver goes."""

    lines_max: int = 2_000
    #: An answer is waited for this long after its deadline.
    patience_ms: int = 10 * SECOND_MS


class _Fault(Struct, frozen=True):
    code: str = ""


class _Attempt(Struct, frozen=True):
    error: _Fault | None = None


class _Told(Struct, frozen=True):
    """What a gateway tells of a job, as far as it matters here; of a refusal it is the error alone."""

    id: str = ""
    state: str = ""
    attempts: tuple[_Attempt, ...] = ()
    orchestrator: str = ""
    queue_ms: int = 0
    run_ms: int = 0
    charged_wei: int = 0
    accepted_at_ms: int = 0
    error: _Fault | None = None


class _List(Struct, frozen=True):
    jobs: tuple[_Told, ...] = ()


_told = msgspec.json.Decoder(_Told)
_list = msgspec.json.Decoder(_List)


class _Story:
    """One request, from the moment at which it was due."""

    def __init__(self, index: int, arrival: Arrival, due_s: float) -> None:
        self.index = index
        self.arrival = arrival
        self.late_ms = 0.0
        self._due_s = due_s

    def sent(self, now_s: float) -> None:
        """It leaves now."""
        self.late_ms = (now_s - self._due_s) * SECOND_MS

    def refused(self, code: str, retry_after_ms: int, now_s: float) -> Ended:
        """It was turned away, or never reached anybody."""
        return self._ended(now_s, accepted=False, code=code, retry_after_ms=retry_after_ms)

    def unanswered(self, now_s: float) -> Ended:
        """It left, and nobody knows more."""
        return self._ended(now_s, accepted=True, code=UNANSWERED)

    def told(self, told: _Told, now_s: float) -> Ended:
        """It ended as the gateway says."""
        done = told.state == "done"
        faults = [attempt.error.code for attempt in told.attempts if attempt.error is not None]
        turned_away = sum(not began(Fault(code, "")) for code in faults)
        return self._ended(
            now_s,
            accepted=True,
            done=done,
            in_time=done and self._since_ms(now_s) <= self.arrival.deadline_ms,
            code="" if done else (told.error.code if told.error is not None else told.state),
            queue_ms=round(self.late_ms) + told.queue_ms,
            run_ms=told.run_ms,
            attempts=len(told.attempts),
            turned_away=turned_away,
            # All but the one that answered: a hedge's loser has no fault, and brought nothing either.
            failed=len(told.attempts) - turned_away - done,
            wei=told.charged_wei,
            orchestrator=told.orchestrator,
        )

    def _since_ms(self, now_s: float) -> int:
        return round((now_s - self._due_s) * SECOND_MS)

    def _ended(self, now_s: float, **facts: Any) -> Ended:
        arrival = self.arrival
        return Ended(
            index=self.index,
            at_ms=arrival.at_ms,
            tenant=arrival.tenant,
            pipeline=arrival.pipeline,
            model=arrival.model,
            work_ms=arrival.work_ms,
            total_ms=self._since_ms(now_s),
            **facts,
        )


def _retry_after_ms(reply: Reply) -> int:
    """When an answer says to come again; 0 if it does not, or gives a date as proxies may."""
    said = reply.headers.get(b"retry-after", b"")
    return int(said) * SECOND_MS if said.isdigit() and len(said) < 10 else 0


def _code(reply: Reply) -> str:
    """Why an answer says no."""
    try:
        error = _told.decode(reply.body).error
    except msgspec.DecodeError:
        error = None
    return error.code if error is not None and error.code else f"http_{reply.status}"


class Tally:
    """How it goes, while it runs."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sent = 0
        self.refused = 0
        self.done = 0
        self.in_time = 0
        self.failed = 0
        self.recent_ms: deque[int] = deque(maxlen=RECENT)
        #: How late each request left, in milliseconds.
        self.late_ms: list[float] = []

    @property
    def open(self) -> int:
        """Requests without an answer."""
        return self.sent - self.refused - self.done - self.failed

    def add(self, ended: Ended) -> None:
        """One more has ended."""
        if ended.done:
            self.done += 1
            self.in_time += ended.in_time
            self.recent_ms.append(ended.total_ms)
        elif ended.accepted:
            self.failed += 1
        else:
            self.refused += 1


class Driver:
    """Sends one trace's arrivals to one gateway."""

    def __init__(self, lines: Lines, writer: Writer, tally: Tally, rules: Rules) -> None:
        self.ended: list[Ended] = []
        self._lines = lines
        self._writer = writer
        self._tally = tally
        self._rules = rules
        self._open: dict[int, asyncio.Task[None]] = {}
        self._tenants: dict[int, str] = {}
        self._bug: BaseException | None = None
        self._loop = asyncio.get_running_loop()

    async def drive(self, arrivals: Sequence[Arrival], told: asyncio.Event) -> int:
        """Send them all and await every answer; or less, if told to stop. How many were left without an answer."""
        stop = asyncio.create_task(told.wait())
        pacing = asyncio.create_task(self._pace(arrivals))
        await asyncio.wait([pacing, stop], return_when=asyncio.FIRST_COMPLETED)
        if pacing.done():
            pacing.result()
        pacing.cancel()
        if self._open and not stop.done():
            await asyncio.wait(
                [asyncio.create_task(self._all_closed()), stop], return_when=asyncio.FIRST_COMPLETED
            )
        stop.cancel()
        left = dict(self._tenants)
        for task in self._open.values():
            task.cancel()
        if left and self._writer.own_tenants:
            await self._take_back(set(left.values()))
        self._lines.close()
        if self._bug is not None:
            raise self._bug
        return len(left)

    async def _all_closed(self) -> None:
        await asyncio.gather(*self._open.values(), return_exceptions=True)

    async def _pace(self, arrivals: Sequence[Arrival]) -> None:
        begin_s = self._loop.time() + LEAD_S
        for index, arrival in enumerate(arrivals):
            due_s = begin_s + arrival.at_ms / SECOND_MS
            wait_s = due_s - self._loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            self._tally.sent += 1
            self._tenants[index] = arrival.tenant
            task = self._open[index] = asyncio.create_task(self._send(index, arrival, due_s))
            task.add_done_callback(partial(self._close, index))

    def _close(self, index: int, task: asyncio.Task[None]) -> None:
        del self._open[index]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._bug = error  # whatever can go wrong with a request is told of it; this is something else

    async def _send(self, index: int, arrival: Arrival, due_s: float) -> None:
        until_s = due_s + (arrival.deadline_ms + self._rules.patience_ms) / SECOND_MS
        story = _Story(index, arrival, due_s)
        try:
            async with asyncio.timeout_at(until_s):
                ended = await self._ask(story, until_s)
        except (TimeoutError, Lost):
            ended = story.unanswered(self._loop.time())
        except (ShoalError, msgspec.DecodeError) as error:
            ended = story.refused(getattr(error, "code", Failed.code), 0, self._loop.time())
        self._tally.late_ms.append(story.late_ms)
        del self._tenants[index]
        self.ended.append(ended)
        self._tally.add(ended)

    async def _ask(self, story: _Story, until_s: float) -> Ended:
        arrival = story.arrival
        kind, body = self._writer.body(arrival)
        wait_ms = min(WAIT_MS_MAX, max(1, round((until_s - self._loop.time()) * SECOND_MS)))
        head = f"Content-Type: {kind}\r\n{self._writer.head(arrival)}"
        reply = await self._lines.post(
            f"/v1/jobs?wait_ms={wait_ms}", head, body, lambda: story.sent(self._loop.time())
        )
        now_s = self._loop.time()
        job = reply.headers.get(b"shoal-job-id", b"").decode("latin-1")
        if not job:
            return story.refused(_code(reply), _retry_after_ms(reply), now_s)
        if reply.status >= BAD:  # it has failed, and the answer says of what; the job says how
            return story.told(await self._look(job, arrival.tenant), now_s)
        told = _told.decode(reply.body)
        while told.state in OPEN:
            await asyncio.sleep(POLL_S)
            told = await self._look(job, arrival.tenant)
            now_s = self._loop.time()
        return story.told(told, now_s)

    async def _look(self, job: str, tenant: str) -> _Told:
        reply = await self._lines.send("GET", f"/v1/jobs/{job}", self._writer.authorization(tenant))
        return _told.decode(reply.body)

    async def _take_back(self, tenants: set[str]) -> None:
        """Cancel what is still open under names that are this run's own."""
        try:
            async with asyncio.timeout(TAKE_BACK_S):
                for tenant in sorted(tenants):
                    head = self._writer.authorization(tenant)
                    reply = await self._lines.send("GET", f"/v1/jobs?limit={LIST_JOBS_MAX}", head)
                    for job in _list.decode(reply.body).jobs:
                        if job.state in OPEN:
                            await self._lines.send("DELETE", f"/v1/jobs/{job.id}", head)
        except (TimeoutError, ShoalError, msgspec.DecodeError):
            return  # the gateway is gone, or too busy: deadlines end what is left
