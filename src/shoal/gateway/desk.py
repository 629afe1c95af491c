"""Between the doors and the machine: questions go in, and whoever waits hears what became of them.

Nothing is said to a client before it is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from shoal.errors import Cancelled, Failed, NotFound
from shoal.gateway.accounts import AccountAsked, AccountFact, Decided
from shoal.gateway.events import CancelAsked, Consumed, ForgivenessAsked, Notice, Reply, Streamed, Submitted
from shoal.gateway.machine import GatewayMachine
from shoal.ids import ClientId, JobId, NodeId
from shoal.machine import Effect
from shoal.runtime.body import Left
from shoal.runtime.chance import new_job_id
from shoal.runtime.errand import Later
from shoal.runtime.node import Node
from shoal.units import SECOND_MS, Instant
from shoal.wire.codec import decode_payload
from shoal.wire.faults import error_of
from shoal.wire.words import Payload
from shoal.work.lifecycle import CANCELLED, DONE, ENDED, Job

#: How long news of what a client has received may gather before it is passed on.
CONSUMED_MS = 50
ENDING = "this gateway cannot write its journal, and ends; try again later"


class Watch:
    """One waiting client's view of one job: `news` at every step, `ended` once, with None if the client left."""

    __slots__ = ("_news", "ended", "job")

    def __init__(self, job: JobId) -> None:
        self.job = job
        self.ended: Later[Job | None] = Later()
        self._news: asyncio.Event | None = None

    @property
    def news(self) -> asyncio.Event:
        """Set at every step from now on; who waits only for the end needs none."""
        if self._news is None:
            self._news = asyncio.Event()
        return self._news

    def tell(self, ended: Job | None = None) -> None:
        """The job has moved, perhaps to its end."""
        if self._news is not None:
            self._news.set()
        if ended is not None:
            self.ended.set(ended)

    def leave(self) -> None:
        """The client is gone."""
        if self._news is not None:
            self._news.set()
        self.ended.set(None)

    async def wait(self, timeout_ms: int) -> bool:
        """True once there is news, False if there was none for so long."""
        try:
            async with asyncio.timeout(timeout_ms / SECOND_MS):
                await self.news.wait()
        except TimeoutError:
            return False
        return True

    async def over(self, timeout_ms: int) -> None:
        """Wait for the end, but no longer than this."""
        try:
            async with asyncio.timeout(timeout_ms / SECOND_MS):
                while not self.ended.done():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            pass


class Desk:
    """Where the doors ask."""

    def __init__(self, machine: GatewayMachine, node: Node) -> None:
        self.machine = machine
        #: True once this gateway takes nothing new.
        self.closing = False
        #: True once no answer can come any more: the journal has failed.
        self.failed = False
        self._node = node
        self._replies: dict[JobId, Later[Reply]] = {}
        self._decisions: dict[JobId, Later[Decided]] = {}
        self._watches: dict[JobId, list[Watch]] = {}
        self._consumed: dict[JobId, int] = {}
        #: What follows each effect of a gateway's own.
        self._performs: dict[type[Effect], Callable[[Any], None]] = {
            Notice: self._notice,
            Reply: self._reply,
            Decided: self._decide,
            Streamed: self._stream,
        }

    def now(self) -> Instant:
        """This node's instant."""
        return self._node.clock.now()

    # Asking

    async def submit(self, event: Submitted) -> JobId:
        """The job that a submission made, or had made before. Raises why it was turned away.

        A new job may not be on disk yet: whoever waits for what becomes of it waits for that as well.
        """
        reply: Later[Reply] = Later()
        self._replies[event.job] = reply
        try:
            self._node.post(event)
            if event.job in self.machine.jobs:
                return event.job
            said = await reply
        finally:
            del self._replies[event.job]
        if said.fault is not None:
            raise error_of(said.fault)
        assert said.job is not None
        return said.job

    async def settle(self, fact: AccountFact) -> None:
        """Make this a fact about accounts, on disk. Raises why it cannot be one."""
        asked, decision = new_job_id(), Later[Decided]()
        self._decisions[asked] = decision
        try:
            self._node.post(AccountAsked(asked, fact))
            said = await decision
        finally:
            del self._decisions[asked]
        if said.fault is not None:
            raise error_of(said.fault)

    async def forgive(self, node: NodeId) -> str:
        """Deal with an orchestrator again; why we did not. Raises `NotFound` if we do."""
        cause = self.machine.purse.estranged.get(node)
        if cause is None:
            raise NotFound(f"{node[:80]} is not estranged; `GET /status` names who is")
        self._node.post(ForgivenessAsked(node))
        await self._node.durable()
        return cause

    def watch(self, job_id: JobId) -> Watch:
        """Hear of a job from now on, and at once if it has ended."""
        watch = Watch(job_id)
        self._watches.setdefault(job_id, []).append(watch)
        job = self.machine.jobs.get(job_id)
        if job is not None and job.phase in ENDED:
            self._node.host.when_durable(lambda: watch.tell(job))
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Hear no more."""
        watches = self._watches[watch.job]
        watches.remove(watch)
        if not watches:
            del self._watches[watch.job]

    def cancel(self, job_id: JobId, client: ClientId) -> None:
        """Stop a job of this client; what it has received of a stream is paid."""
        self._pass_on_consumed(job_id)
        if job_id in self.machine.jobs:
            self._node.post(CancelAsked(job_id, client))

    def let_go(self, job_id: JobId, client: ClientId) -> None:
        """Stop a job whose client has left, once the machine is through with what it does now."""
        asyncio.get_running_loop().call_soon(self.cancel, job_id, client)

    def consumed(self, job_id: JobId, units: int) -> None:
        """A client has been handed its stream up to so many units."""
        if job_id not in self._consumed:
            asyncio.get_running_loop().call_later(CONSUMED_MS / SECOND_MS, self._pass_on_consumed, job_id)
        self._consumed[job_id] = max(units, self._consumed.get(job_id, 0))

    async def durable(self) -> None:
        """Wait until all that was decided so far is on disk."""
        await self._node.durable()

    async def own(self, client: ClientId, job_id: str) -> Job:
        """A client's job as it stands. Raises `NotFound` also for the jobs of others."""
        job = self.machine.jobs.get(JobId(job_id))
        if job is None or job.client != client:
            raise NotFound(f"there is no job {job_id[:100]}")
        await self.durable()
        return job

    def answer(self, job: Job) -> Payload:
        """A job's answer. Raises what went wrong if there is none."""
        if job.phase is CANCELLED:
            raise Cancelled(f"job {job.id} was cancelled by its owner")
        if job.fault is not None:
            raise error_of(job.fault)
        body = self._node.journal.body(job.answer) if job.phase is DONE else None
        if body is None:
            raise NotFound(f"job {job.id} is {job.phase.value}, and there is no answer of it here")
        return decode_payload(body)

    def close(self, *, failed: bool) -> None:
        """Let those go who only listen, and everybody if this gateway has `failed`: no answer will come of it."""
        self.closing, self.failed = True, failed
        for watch in [watch for watches in self._watches.values() for watch in watches]:
            watch.leave() if failed else watch.tell()
        waiting: list[Later[Reply] | Later[Decided]] = [*self._replies.values(), *self._decisions.values()]
        for later in waiting if failed else ():
            later.fail(Failed(ENDING))

    def parting(self) -> Exception:
        """Why nothing comes for somebody who waited: it left, or this gateway has failed."""
        return Failed(ENDING) if self.failed else Left()

    # Hearing

    def perform(self, effect: Effect) -> None:
        """Pass on what the machine wants said; all that it rests on is on disk."""
        self._performs[type(effect)](effect)

    def _notice(self, effect: Notice) -> None:
        if (watches := self._watches.get(effect.job)) is not None:
            ended = self.machine.jobs.get(effect.job) if effect.ended else None
            for watch in tuple(watches):  # who hears the end goes on at once, and watches no more
                watch.tell(ended)

    def _reply(self, effect: Reply) -> None:
        reply = self._replies.get(effect.asked)
        if reply is not None:
            reply.set(effect)

    def _decide(self, effect: Decided) -> None:
        decision = self._decisions.get(effect.asked)
        if decision is not None:
            decision.set(effect)

    def _stream(self, effect: Streamed) -> None:
        for watch in self._watches.get(effect.job, ()):
            watch.tell()

    def _pass_on_consumed(self, job_id: JobId) -> None:
        units = self._consumed.pop(job_id, None)
        if units is not None:
            self._node.post(Consumed(job_id, units))
