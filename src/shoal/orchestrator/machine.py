"""The orchestrator decides: which worker gets a job, whose answer counts, who earned what.

A slot is free when no lease holds it. An answer counts only from the worker
that holds the live lease, under its epoch. Nothing is earned until the gateway
says that it accepted the answer, and then the worker's share is booked with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

from msgspec.structs import replace

from shoal.errors import Busy, Cancelled, Expired, Failed, Lost, NoCapacity, Unpaid, Untrusted
from shoal.ids import JobId, NodeId, digest
from shoal.machine import (
    Absent,
    Connected,
    Disconnected,
    Event,
    Gathered,
    Heard,
    Restarted,
    Send,
    SendAtOnce,
    Tick,
    Value,
)
from shoal.money.payee import Payee
from shoal.money.wei import WEI_MAX, Wei, part
from shoal.orchestrator.config import Rules
from shoal.orchestrator.news import News
from shoal.orchestrator.payouts import Sign
from shoal.orchestrator.roster import Roster
from shoal.orchestrator.shares import Shares
from shoal.orchestrator.streams import Streams
from shoal.policy.affinity import Homes
from shoal.policy.selection import own_policies, policy
from shoal.policy.views import Wish, size_class
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.count import flaw, objection
from shoal.wire.pipelines import PIPELINES
from shoal.work.queue import Need
from shoal.work.receipt import NO_ANSWER
from shoal.work.task import EARNED, LEASED, Earned, Leased, Released, Task, task_id

#: Faults that speak against the worker; the others are the job's, the gateway's, or nobody's.
BLAMED = frozenset((Failed.code, Lost.code))
#: So many of a job's earlier attempts are looked at.
EPOCHS_MAX = 8


class OrchestratorMachine(Streams):
    """Decides over the books, by what it knows of its workers."""

    __slots__ = ("_heartbeat_due", "_homes", "_news", "_untold", "gateways", "roster", "shares")

    def __init__(self, rules: Rules, *, node: NodeId, sign: Sign, payee: Payee | None = None) -> None:
        """A `payee` judges tickets: then whoever is not trusted pays ahead."""
        super().__init__(rules, payee, node=node, sign=sign)
        chosen_by = policy(rules.policy, own_policies(rules.policies))
        self.roster = Roster(chosen_by, self.leases, self.price, rules.breaker)
        self._homes = Homes(homes_max=rules.homes_max, keep_ms=rules.home_keep_ms)
        self.gateways: set[NodeId] = set()
        self._news = News(rules.capacity_words_per_s_max)
        self.shares = Shares()
        self._heartbeat_due = Instant(0)
        #: Leases of which the gateway does not know: a quick job is answered before it is worth a word.
        self._untold: list[str] = []

    # Peers

    def _on_connected(self, event: Connected, now: Instant) -> None:
        if event.role == "gateway":
            self.gateways.add(event.peer)
            self._news.meet(event.peer)
            self.emit(Send(event.peer, self.capacity(event.peer)))
            self.doubt_answers(event.peer, now)
        elif event.role == "worker":
            self.roster.connect(event.peer, event.boot)
            for task in self._tasks_of(event.peer):
                if task.lease.boot != event.boot:
                    self._release(task, words.Fault(Lost.code, "the worker was restarted"), now)
            self._ask_for_leases(event.peer)
            self.meet_worker(event.peer, now)
        elif event.role == "redeemer":
            self.meet_redeemer(event)

    def _ask_for_leases(self, worker: NodeId) -> None:
        """Name a worker its leases: an order, or the news that it failed, may be lost with the last connection."""
        held = tuple(words.Held(task.lease.job, task.lease.epoch) for task in self._tasks_of(worker))
        if held:
            self.emit(Send(worker, words.Heartbeat(held)))

    def _on_disconnected(self, event: Disconnected, now: Instant) -> None:
        self.gateways.discard(event.peer)
        self._news.leave(event.peer)
        self.shares.leave(event.peer)
        self.forget_waiting(event.peer)
        self.part(event)
        if self.roster.disconnect(event.peer):
            until = later(now, self.rules.reconnect_ms)
            for lease in self.leases.of(event.peer):
                self.leases.until(lease.task, min(lease.until, until))
            self._announce()

    def _on_heard(self, event: Heard, now: Instant) -> None:
        peer = event.peer
        if peer in self.gateways:
            listen = self._FROM_GATEWAY.get(type(event.word))
        elif peer in self.roster:
            listen = self._FROM_WORKER.get(type(event.word))
        else:
            listen = self.redeemer_words.get(type(event.word)) if peer in self.redeemers else None
        if listen is None:
            raise Untrusted(f"{peer} may not send {type(event.word).__name__} to an orchestrator")
        listen(self, peer, event.word, now)

    def capacity(self, gateway: NodeId) -> words.Capacity:
        """What this gateway can buy: all slots, those that others hold or have a right to, and the price."""
        quotes = tuple(
            words.Quote(
                *need,
                slots,
                self._taken(gateway, need, slots),
                self.price(need),
                *self.roster.terms(need),
            )
            for need, slots in self.roster.slots()
        )
        return words.Capacity(quotes, self.rules.region, self.prepaid(gateway), self.rules.window_units_max)

    def _contended(self, need: Need) -> bool:
        """True if a gateway waits for this, and is not the only one here."""
        return len(self.gateways) > 1 and self.shares.contended(need)

    def _taken(self, gateway: NodeId, need: Need, slots: int) -> int:
        others = self.holdings.of_others(gateway, need)
        if not self._contended(need):
            return others
        return max(others, slots - self.shares.most(gateway, need, slots, self.holdings.by_gateway(need)))

    def _announce(self, but: NodeId | None = None) -> None:
        """Capacity has changed: let the gateways know, once all that comes in this moment has been handled."""
        if self._news.change(but):
            self.gather()

    def _tell_news(self, now: Instant) -> None:
        for gateway in self._news.due(now):
            self.emit(Send(gateway, self.capacity(gateway)))

    # Gateways

    def _hear_job(self, peer: NodeId, word: words.Job, now: Instant) -> None:
        task = self.tasks.get(task_id(word.job, word.epoch))
        if task is not None:
            if task.lease.gateway != peer:
                raise Untrusted(f"{peer} uses the id of a job that is not its own: {word.job}")
            self._repeat(task)
            return
        most = word.price.cost(word.spec.units_max)
        if word.spec.units_max < 0 or most > WEI_MAX:
            raise Untrusted(f"{peer} sent job {word.job} at a price that no receipt can name")
        if word.digest != digest(word.body):
            raise Untrusted(f"{peer} sent job {word.job} with another body than it names")
        need = (word.spec.pipeline, word.spec.model)
        objection = self._objection(peer, word, need, most)
        if objection is not None:
            self._turn_away(peer, word, objection)
        elif (worker := self._choose(peer, word, need, now)) is None:
            self._turn_away(peer, word, words.Fault(Busy.code, "every slot is taken"))
        else:
            self._lease(peer, word, need, worker, now)

    def _objection(self, peer: NodeId, word: words.Job, need: Need, most: Wei) -> words.Fault | None:
        """Why a job is not taken on, whoever might be free; None if it is."""
        if not self.roster.sells(need):
            return words.Fault(NoCapacity.code, f"nobody here runs {need[1]}")
        if not self.price(need).within(word.price):
            return words.Fault(Busy.code, "the price has risen")
        unpaid = self.unpaid(peer, most)
        return words.Fault(Unpaid.code, unpaid) if unpaid else objection(word.spec, word.body)

    def _choose(self, peer: NodeId, word: words.Job, need: Need, now: Instant) -> NodeId | None:
        """The worker for a job: where its session is at home, if that is nearly as good, and not where it failed."""
        if self.roster.rest(now):
            self._announce()
        spec = word.spec
        session = (peer, *need, spec.session) if spec.session else None
        wish = Wish(
            job=word.job,
            attempt=word.epoch,
            now=now,
            units=spec.units_max,
            limit=word.price,
            left_ms=word.deadline_ms,
            home=self._homes.home(session, now) if session else NodeId(""),
            avoid=self._failed_at(word) if word.epoch > 1 else (),
        )
        worker = self.roster.choose(need, size_class(spec.units_max), wish)
        if worker is not None and session:
            self._homes.settle(session, worker, now)
        return worker

    def _failed_at(self, word: words.Job) -> tuple[NodeId, ...]:
        """The workers that had this job before."""
        before = (self.tasks.get(task_id(word.job, epoch)) for epoch in range(1, word.epoch)[-EPOCHS_MAX:])
        return tuple(task.lease.worker for task in before if task is not None)

    def _lease(self, peer: NodeId, word: words.Job, need: Need, worker: NodeId, now: Instant) -> None:
        leased = Leased(
            word.job,
            word.epoch,
            peer,
            worker,
            self.roster.boot(worker),
            word.spec,
            word.price,
            self.rules.share_ppm,
            word.digest,
            word.deadline_ms,
            self.payouts[worker],
        )
        self.decide(leased, now)
        order = replace(word, share_ppm=leased.share_ppm, payout=leased.payout)
        # Nobody hears of an answer before the lease is on disk; if it never gets there, the worker ran for nothing.
        self.emit(SendAtOnce(worker, order))
        self._untold.append(task_id(word.job, word.epoch))
        news = self.roster.tried(worker, need)
        self.shares.served(peer, need)
        self._announce(but=None if news or self._contended(need) else peer)

    def _turn_away(self, peer: NodeId, word: words.Job, fault: words.Fault) -> None:
        self.emit(
            Send(peer, words.Failure(word.job, word.epoch, fault)),
            Send(peer, self.capacity(peer)),
        )

    def _repeat(self, task: Task) -> None:
        """Say again what became of an attempt."""
        lease = task.lease
        if task.phase is LEASED:
            self.emit(Send(lease.gateway, words.Lease(lease.job, lease.epoch, lease.worker)))
        elif task.fault is not None:  # released, or the gateway has yet to say what it pays
            self.emit(Send(lease.gateway, words.Failure(lease.job, lease.epoch, task.fault)))
        else:
            self.emit(Send(lease.gateway, words.Settled.of(lease.job, lease.epoch, task.wei)))

    def _hear_accept(self, peer: NodeId, word: words.Accept, now: Instant) -> None:
        if (task := self._to_settle(peer, word)) is not None:
            self._earn(task, word.units, now)

    def _hear_cancel_by_gateway(self, peer: NodeId, word: words.Cancel, now: Instant) -> None:
        task = self._to_settle(peer, word)
        if task is None:
            return
        # What we released ourselves is paid if it says so; anything else as far as it was acknowledged, at least.
        if units := max(word.units, task.owed if task.phase is LEASED else 0):
            self._earn(task, units, now)
        else:
            unwanted = words.Fault(Cancelled.code, "the gateway needs no answer any more")
            self._release(task, unwanted, now, tell=False)
            self.emit(Send(peer, words.Settled.of(word.job, word.epoch, Wei(0))))

    def _to_settle(self, peer: NodeId, word: words.Accept | words.Cancel) -> Task | None:
        """The attempt that a gateway settles; None, and its answer again, if that is done or was never due."""
        task = self.tasks.get(task_id(word.job, word.epoch))
        if task is None or task.lease.gateway != peer:
            self.emit(Send(peer, words.Settled.of(word.job, word.epoch, Wei(0))))
            return None
        lease = task.lease
        if not 0 <= word.units <= lease.spec.units_max or word.wei != lease.price.cost(word.units):
            raise Untrusted(f"{peer} pays {word.wei} wei for {word.units} units of {task.id}: not the price")
        if task.phase is EARNED and (task.fault is None or word.wei <= task.wei):
            self.emit(Send(peer, words.Settled.of(word.job, word.epoch, task.wei)))
            return None
        return task

    def _earn(self, task: Task, units: int, now: Instant, fault: words.Fault | None = None) -> None:
        """Book an attempt; with a `fault` as its time ran out, and the gateway is told that it gave no answer."""
        lease = task.lease
        wei = lease.price.cost(units)
        share = part(wei, lease.share_ppm)
        self.decide(Earned(lease.job, lease.epoch, lease.gateway, units, wei, share, fault), now)
        self.close_soon(lease, share, None if fault is not None else wei)
        if fault is not None:
            self.seal_soon(task, words.Failure(lease.job, lease.epoch, fault), units, NO_ANSWER, 0)
        if task.phase is not LEASED:
            self.seal_again(task, units)
        else:
            self._announce(but=None if self._contended(task.need) else lease.gateway)

    def _hear_demand(self, peer: NodeId, word: words.Demand, now: Instant) -> None:
        need = (word.pipeline, word.model)
        if self.roster.sells(need) and self.shares.say(
            peer, need, word.jobs, later(now, self.rules.demand_keep_ms)
        ):
            self._announce()

    def _hear_heartbeat_of_gateway(self, peer: NodeId, word: words.Heartbeat, now: Instant) -> None:
        """A gateway is back, and still waits for these: it has not heard that some have ended."""
        for held in word.leases:
            task = self.tasks.get(task_id(held.job, held.epoch))
            if task is not None and task.lease.gateway == peer and task.phase is not LEASED:
                self._repeat(task)

    # Workers

    def _hear_offers(self, peer: NodeId, word: words.Offers, now: Instant) -> None:
        offers = word.offers if self.heed_terms(peer, word) else ()
        self.roster.offer(peer, [o for o in offers if o.pipeline in PIPELINES and o.slots > 0], now)
        self._announce()

    def _hear_progress(self, peer: NodeId, word: words.Progress, now: Instant) -> None:
        task = self._live(peer, word.job, word.epoch, now)
        if task is None:
            return
        spec = task.lease.spec
        if spec.stream and (bad := self.relay(task).overclaim(spec, word)):
            self._release(task, words.Fault(Failed.code, bad), now)
            return
        # Only what is delivered piece by piece waits for what was delivered before it.
        news = self.relay(task).hear(word) if spec.stream else replace(word, text="")
        if news is not None:
            self.emit(Send(task.lease.gateway, news))

    def _hear_result(self, peer: NodeId, word: words.Result, now: Instant) -> None:
        task = self._live(peer, word.job, word.epoch, now)
        if task is None:
            return
        broken = word.digest != digest(word.body) or word.units < 0
        if bad := "the answer is damaged" if broken else flaw(task.lease.spec, word.units, word.body):
            self._release(task, words.Fault(Failed.code, bad), now)
            return
        name, lease = task_id(word.job, word.epoch), task.lease
        if name not in self._answered:
            self._answer(name, lease.gateway, lease.price.cost(min(word.units, lease.spec.units_max)))
            size = size_class(lease.spec.units_max)
            if self.roster.answered(peer, task.need, size, word.run_ms, now):
                self._announce()
        self.seal_soon(task, word, word.units, word.digest, word.run_ms)

    def _on_gathered(self, event: Gathered, now: Instant) -> None:
        """Say what has been answered and paid for in this moment, and what has become of the capacity."""
        self.say_gathered()
        if self._news.waits:
            self._tell_news(now)

    def _hear_failure(self, peer: NodeId, word: words.Failure, now: Instant) -> None:
        task = self._live(peer, word.job, word.epoch, now)
        if task is not None:
            end = self._run_out if word.fault.code == Expired.code else self._release
            end(task, word.fault, now)

    def _hear_heartbeat(self, peer: NodeId, word: words.Heartbeat, now: Instant) -> None:
        for held in word.leases:
            self._live(peer, held.job, held.epoch, now)

    def _live(self, peer: NodeId, job: JobId, epoch: int, now: Instant) -> Task | None:
        """The task that a worker's word speaks for, its lease renewed; None, and a no, for a late or false word."""
        task = task_id(job, epoch)
        lease = self.leases.find(task, epoch, peer)
        if lease is None:
            self._refuse(peer, job, epoch)
            return None
        self.leases.until(task, max(lease.until, later(now, self.rules.lease_ms)))
        return self.tasks[task]

    def _refuse(self, worker: NodeId, job: JobId, epoch: int) -> None:
        ended = self.tasks.get(task_id(job, epoch))
        if ended is not None and ended.lease.worker == worker and ended.phase is EARNED:
            self.emit(Send(worker, words.Settled.of(job, epoch, ended.share)))
        else:
            self.emit(Send(worker, words.Cancel(job, epoch)))

    # Endings

    def _release(self, task: Task, fault: words.Fault, now: Instant, *, tell: bool = True) -> None:
        """End a live attempt that nobody will pay for; `tell` the gateway, and the worker in any case."""
        if task.phase is not LEASED:
            return
        lease = task.lease
        news = fault.code in BLAMED and self.roster.failed(lease.worker, task.need, now)
        self.decide(Released(lease.job, lease.epoch, lease.gateway, fault), now)
        # As soon as the order that takes its slot; whoever lives on after us asks for it again.
        self.emit(SendAtOnce(lease.worker, words.Cancel(lease.job, lease.epoch)))
        if tell:
            self.seal_soon(task, words.Failure(lease.job, lease.epoch, fault), 0, NO_ANSWER, 0)
        self._announce(but=None if news or self._contended(task.need) else lease.gateway)

    def _run_out(self, task: Task, fault: words.Fault, now: Instant) -> None:
        """End a live attempt whose time is over: what was acknowledged is paid, whoever is late."""
        if task.owed:
            self._earn(task, task.owed, now, fault)
        else:
            self._release(task, fault, now)

    def _end(self, name: str, was: Task, task: Task) -> None:
        super()._end(name, was, task)
        if was.phase is LEASED and self.roster.ended(task.lease.worker, task.need):
            self._announce()

    def _tasks_of(self, worker: NodeId) -> list[Task]:
        return [self.tasks[lease.task] for lease in self.leases.of(worker)]

    # Time

    def busy(self) -> bool:
        """True while leases live, a gateway waits or has yet to hear something, or a worker is left alone."""
        waits = self._news.waits or self.restless
        return super().busy() or waits or self.roster.resting or bool(self.shares)

    def _on_tick(self, event: Tick, now: Instant) -> None:
        for task, until in self._outlived(now):
            self.guard(task.lease.job, partial(self._look_at, task, until, now), now)
        untold, self._untold = self._untold, []
        for task_name in untold:
            if task_name in self.leases:
                self._repeat(self.tasks[task_name])
        if self.roster.rest(now) | self.shares.forget(now):
            self._announce()
        if self._news.waits:
            self._tell_news(now)
        self.look_at_wages(now)
        if self._heartbeat_due <= now:
            self._heartbeat_due = later(now, self.rules.heartbeat_ms)
            self._send_heartbeats(now)

    def _outlived(self, now: Instant) -> list[tuple[Task, Instant]]:
        """The few live attempts that may be over, and until when each was leased."""
        held = ((self.tasks[lease.task], lease.until) for lease in self.leases)
        given_up = now - 2 * self.rules.lease_ms
        return [(task, until) for task, until in held if until <= now or task.deadline <= given_up]

    def _look_at(self, task: Task, until: Instant, now: Instant) -> None:
        """Release an attempt whose time is over; one that has answered waits longer for the gateway's word."""
        answered = task.id in self._answered
        if later(task.deadline, 2 * self.rules.lease_ms) <= now:
            self._run_out(task, words.Fault(Expired.code, "the deadline passed"), now)
        elif until <= now and not answered:
            self._release(task, words.Fault(Lost.code, "the worker fell silent"), now)
        elif until <= now and later(task.deadline, self.rules.lease_ms) <= now:
            self._run_out(task, words.Fault(Expired.code, "nobody took the answer in time"), now)

    def _send_heartbeats(self, now: Instant) -> None:
        """Name to each gateway its leases that are old enough to need it."""
        held: dict[NodeId, list[words.Held]] = {}
        for lease in self.leases:
            task = self.tasks[lease.task]
            if now - task.leased_at >= self.rules.heartbeat_ms:
                held.setdefault(task.lease.gateway, []).append(words.Held(task.lease.job, task.lease.epoch))
        for gateway, leases in held.items():
            self.emit(Send(gateway, words.Heartbeat(tuple(leases))))

    def _on_restarted(self, event: Restarted, now: Instant) -> None:
        """Nobody is judged by our own absence: every lease gets two leases' grace."""
        self.hand_over_again()
        for lease in list(self.leases):
            self.leases.until(lease.task, later(now, 2 * self.rules.lease_ms))

    def _on_absent(self, event: Absent, now: Instant) -> None:
        for lease in list(self.leases):
            self.leases.until(lease.task, later(lease.until, event.gap_ms))

    handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        **Streams.fact_handlers,
        **Streams.payment_handlers,
        Connected: _on_connected,
        Disconnected: _on_disconnected,
        Heard: _on_heard,
        Gathered: _on_gathered,
        Tick: _on_tick,
        Restarted: _on_restarted,
        Absent: _on_absent,
    }

    _FROM_GATEWAY: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        words.Job: _hear_job,
        words.Accept: _hear_accept,
        words.Cancel: _hear_cancel_by_gateway,
        words.Demand: _hear_demand,
        words.Heartbeat: _hear_heartbeat_of_gateway,
        **Streams.stream_words,
        **Streams.payment_words,
    }

    _FROM_WORKER: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        words.Offers: _hear_offers,
        words.Progress: _hear_progress,
        words.Result: _hear_result,
        words.Failure: _hear_failure,
        words.Heartbeat: _hear_heartbeat,
        **Streams.worker_words,
    }
