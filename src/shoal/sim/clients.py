"""Clients as they are: they ask twice, change their minds, lose the line, and read how it ended.

What a client was told goes into its log, for the auditor. A client never
trusts silence: it asks again under the same key, or gives up if it has none.
"""

from __future__ import annotations

from random import Random

from msgspec import Struct

from shoal.gateway.events import Reply, Streamed, Submitted
from shoal.ids import JOB_ID_BYTES, ClientId, JobId, digest, job_id
from shoal.money.wei import Price
from shoal.policy.retries import TURNED_AWAY
from shoal.runtime.virtual import Call
from shoal.sim.evidence import Acknowledged, ClientWord, Consumed, Ended, Missing, TurnedAway
from shoal.sim.houses import GatewayNode, View, answer_to
from shoal.wire.words import JobSpec
from shoal.work.lifecycle import Phase, Preference

#: A request is sent again when no reply has come for so long.
REPLY_MS = 4_000


class Wish(Struct, kw_only=True):
    """One thing that a client wants, and how it behaves about it."""

    at: int
    spec: JobSpec
    body: bytes
    limit: Price
    deadline_ms: int
    key: str = ""
    preference: Preference = Preference()
    #: Ask so many times at once.
    abreast: int = 1
    #: Ask once more, later, under the same key.
    again_after_ms: int = 0
    #: Cancel so long after it was accepted; 0: never.
    cancel_after_ms: int = 0


class Ask(Struct, eq=False):
    """One request on its way: the wish, how often it was sent, and the job it became."""

    wish: Wish
    sends: int = 0
    closed: bool = False
    job: JobId | None = None
    shown: str = ""
    units: int = 0


class Client:
    """One client of one gateway."""

    def __init__(self, name: ClientId, gateway: GatewayNode, rng: Random) -> None:
        self.name = name
        self.log: list[ClientWord] = []
        self.open = 0
        self.jobs = 0
        #: The chance that a request or a reply is lost on its way.
        self.loss_ppm = 0
        #: Nobody asks anew once the drain has begun.
        self.patient = True
        self._gateway = gateway
        self._calendar = gateway.calendar
        self._rng = rng

    def wish(self, wish: Wish) -> None:
        """Make a wish when its time comes."""
        self.open += 1
        self._calendar.at(wish.at, lambda: self._begin(wish))

    def _begin(self, wish: Wish) -> None:
        self.open -= 1
        for _ in range(wish.abreast):
            self._ask(Ask(wish))
        if wish.again_after_ms:
            self.open += 1
            self._after(wish.again_after_ms, lambda: self._again(wish))

    def _again(self, wish: Wish) -> None:
        self.open -= 1
        self._ask(Ask(wish))

    def _ask(self, ask: Ask) -> None:
        self.open += 1
        self._send(ask)

    def _send(self, ask: Ask) -> None:
        """Send a request; whatever happens to it, look after it again."""
        if ask.closed or ask.job is not None:
            return
        ask.sends += 1
        sends = ask.sends
        job = job_id(self._rng.randbytes(JOB_ID_BYTES))
        wish = ask.wish
        event = Submitted(
            job, self.name, wish.spec, wish.body, wish.limit, wish.deadline_ms, wish.key, wish.preference
        )

        def heard(reply: Reply) -> None:
            self._back(lambda: self._heard(ask, reply, sends))

        self._forth(lambda: self._gateway.submit(event, heard))
        self._after(REPLY_MS, lambda: self._unanswered(ask, sends))

    def _unanswered(self, ask: Ask, sends: int) -> None:
        if ask.closed or ask.job is not None or ask.sends != sends:
            return
        if ask.wish.key:
            self._send(ask)
        else:
            self._close(ask)

    def _heard(self, ask: Ask, reply: Reply, sends: int) -> None:
        if ask.closed or ask.job is not None or ask.sends != sends:
            return
        if reply.job is not None:
            self._acknowledged(ask, reply.job)
            return
        assert reply.fault is not None
        self.log.append(TurnedAway(self.name, ask.wish.key, digest(ask.wish.body), reply.fault.code))
        if reply.fault.code in TURNED_AWAY and self.patient and ask.sends < 8:
            ask.sends += 1  # the reply of the earlier request is of no use any more
            self._after(self._rng.randint(200, 3_000), lambda: self._send(ask))
        else:
            self._close(ask)

    def _acknowledged(self, ask: Ask, job: JobId) -> None:
        ask.job = job
        self.jobs += 1
        wish = ask.wish
        expected = digest(answer_to(wish.body, wish.spec.stream).body)
        self.log.append(Acknowledged(self.name, job, wish.key, digest(wish.body), expected))
        if wish.spec.stream:
            self._listen(ask, job)
        if wish.cancel_after_ms:
            self._cancel(ask, job, wish.cancel_after_ms)
        self._look_later(ask, job)

    def _cancel(self, ask: Ask, job: JobId, delay_ms: int) -> None:
        """Cancel and look at once, and once more in case that was lost."""

        def cancel() -> None:
            self._gateway.cancel(job, self.name)
            self._gateway.look(job, lambda view: self._back(lambda: self._told(ask, job, view)))

        for nth in (1, 2):
            self._after(delay_ms * nth, lambda: self._forth(cancel))

    # The stream

    def _listen(self, ask: Ask, job: JobId) -> None:
        def piece(effect: Streamed) -> None:
            self._back(lambda: self._piece(ask, job, effect))

        self._forth(lambda: self._gateway.listen(job, piece))

    def _piece(self, ask: Ask, job: JobId, effect: Streamed) -> None:
        whole = "".join(answer_to(ask.wish.body, stream=True).pieces)
        assert whole[effect.offset :].startswith(effect.text), f"{job} streams what is not its answer"
        if effect.offset != len(ask.shown):
            return  # a piece was lost on its way: what follows it is not acknowledged
        ask.shown += effect.text
        ask.units = max(ask.units, effect.units)
        self.log.append(Consumed(self.name, job, ask.units))
        self._forth(lambda: self._gateway.consumed(job, ask.units))

    # The end

    def _look_later(self, ask: Ask, job: JobId) -> None:
        self._after(self._rng.randint(300, 3_000), lambda: self._look(ask, job))

    def _look(self, ask: Ask, job: JobId) -> None:
        def told(view: View | None) -> None:
            self._back(lambda: self._told(ask, job, view))

        if ask.closed:
            return
        self._forth(lambda: self._gateway.look(job, told))
        self._look_later(ask, job)

    def _told(self, ask: Ask, job: JobId, view: View | None) -> None:
        if ask.closed:
            return
        if view is None:
            self.log.append(Missing(self.name, job))
            self._close(ask)
        elif view.ended:
            answer = digest(view.body) if view.phase is Phase.DONE else ""
            self.log.append(Ended(self.name, job, view.phase.value, view.units, view.charged_wei, answer))
            self._close(ask)

    def _close(self, ask: Ask) -> None:
        ask.closed = True
        self.open -= 1

    # The line

    def _forth(self, call: Call) -> None:
        """Do something in the gateway's process, if the request arrives there."""
        if not self._lost() and self._gateway.life.alive:
            self._gateway.life.after(self._rng.randint(1, 10), call)

    def _back(self, call: Call) -> None:
        """Hear something from the gateway, if it arrives."""
        if not self._lost():
            self._after(self._rng.randint(1, 10), call)

    def _after(self, delay_ms: int, call: Call) -> None:
        self._calendar.at(self._calendar.now + delay_ms, call)

    def _lost(self) -> bool:
        return bool(self.loss_ppm) and self._rng.randrange(1_000_000) < self.loss_ppm
