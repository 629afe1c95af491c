"""The gateway decides: what is accepted, who gets it, what is paid.

Every accepted job reaches one end. A job is bound to an orchestrator only when
that one has a free slot; an answer counts only under the live lease's epoch;
money moves only with an accepted answer, or for the units of a stream that its client has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

from msgspec.structs import replace

from shoal.errors import Expired, Failed, Lost, Refused, Unpaid, Untrusted
from shoal.errors import Quarantined as QuarantinedError
from shoal.gateway.accounts import AccountAsked, Accounts, Decided
from shoal.gateway.config import Rules
from shoal.gateway.events import (
    CancelAsked,
    Consumed,
    Notice,
    Reply,
    Streamed,
    Submitted,
    TicketsSigned,
)
from shoal.gateway.placement import Placement
from shoal.gateway.settlement import account, order_key, settlement, settlement_key
from shoal.ids import Digest, JobId, NodeId, digest
from shoal.machine import (
    Absent,
    Alarm,
    Connected,
    Disconnected,
    Event,
    Heard,
    Keep,
    Restarted,
    Retire,
    Send,
    Tick,
    Value,
)
from shoal.money.payer import Payer
from shoal.money.wei import Wei, part
from shoal.policy.retries import began, counts, retryable
from shoal.policy.views import size_class
from shoal.units import Instant, later
from shoal.wire import words
from shoal.wire.count import flaw
from shoal.wire.faults import fault_of
from shoal.work.lease import Lease
from shoal.work.lifecycle import (
    ENDED,
    LEASED,
    Abandoned,
    Accepted,
    Acknowledged,
    Answered,
    Fallen,
    Job,
    Returned,
    Withdrawn,
    begun,
    expired,
)
from shoal.work.receipt import NO_ANSWER, Terms
from shoal.work.seal import signed_bytes
from shoal.work.stream import Stream, stride

#: Tells whether a node signed these bytes.
Verify = Callable[[NodeId, bytes, bytes], bool]
MISFIT = "the orchestrator's receipt does not fit its answer"


class GatewayMachine(Placement):
    """Decides over the books, by what it knows of its orchestrators."""

    __slots__ = ("_strides", "_verify")

    def __init__(
        self,
        rules: Rules,
        *,
        verify: Verify,
        payer: Payer | None = None,
        accounts: Accounts | None = None,
    ) -> None:
        """`payer` makes tickets for orchestrators who want to be paid ahead; without it they get no jobs.

        `accounts` hold the keys of the settings, if there are any.
        """
        super().__init__(rules, payer)
        if accounts is not None:
            self.accounts = accounts
        self._verify = verify
        #: So much of a stream is acknowledged at once, by what its orchestrator lets be under way.
        self._strides: dict[NodeId, int] = {}

    # What the doors may ask

    def stream(self, job: JobId) -> Stream:
        """A job's stream as far as it has come."""
        return self.streams.setdefault(job, Stream())

    def units_done(self, job: JobId) -> int:
        """How many of a running job's units are done, if its runner tells."""
        stream = self.streams.get(job)
        return stream.units if stream is not None else 0

    # Clients

    def _on_submitted(self, event: Submitted, now: Instant) -> None:
        request = Digest("")
        if event.key:  # how a job is to be served is no part of what it is
            request = digest(repr(replace(event.spec, session="")).encode() + event.body)
        try:
            known = self.keys.seen(event.client, event.key, request) if event.key else None
            if known is None:
                self._accept(event, request, now)
            else:
                self.emit(Reply(event.job, known))
        except (Refused, Failed) as error:
            self.emit(Reply(event.job, None, fault_of(error)))

    def _set_aside(self, event: Event, error: Exception, now: Instant) -> None:
        super()._set_aside(event, error, now)
        fault = words.Fault(QuarantinedError.code, QuarantinedError().message)
        if isinstance(event, Submitted):  # its client waits
            self.emit(Reply(event.job, None, fault))
        elif isinstance(event, AccountAsked):
            self.emit(Decided(event.asked, fault))

    def _on_account_asked(self, event: AccountAsked, now: Instant) -> None:
        try:
            self.accounts.require(event.fact, now)
        except (Refused, Failed) as error:
            self.emit(Decided(event.asked, fault_of(error)))
        else:
            self.decide(event.fact, now)
            self.emit(Decided(event.asked))

    def _accept(self, event: Submitted, request: Digest, now: Instant) -> None:
        self.policy_of(event.preference.policy)
        need = (event.spec.pipeline, event.spec.model)
        most = event.limit.cost(event.spec.units_max)
        hold = Wei(most + part(most, self.rules.fee_ppm))
        self.accounts.require_job(event.client, event.api_key, need, hold, now)
        self.sellers.require(need, event.limit, event.preference.region, self.rules.lease_ms)
        self.queue.admit(event.client, retry_after_ms=partial(self.sellers.leave_ms, need))
        if now - self.sellers.woken_at >= self.rules.tick_ms:
            self.sellers.wake(now)  # while nothing was open there were no ticks
        self.require_time(event)
        self.ledger.require(account(event.client), hold)
        deadline_ms = min(event.deadline_ms, self.rules.deadline_max_ms)
        body = digest(event.body)
        self.emit(Keep(body, event.body, self.rules.body_keep_ms + deadline_ms))
        accepted = Accepted(
            event.job,
            event.client,
            event.spec,
            body,
            event.limit,
            hold,
            deadline_ms,
            event.key,
            request,
            event.preference,
            event.api_key,
        )
        placed = self.first_slot(begun(accepted, now), now)
        self.decide(accepted if placed is None else replace(accepted, placed=placed), now)
        self.emit(Reply(event.job, event.job))
        if placed is None:
            self.place(now)
        else:
            self.note_placed(placed, now)

    def _on_cancel_asked(self, event: CancelAsked, now: Instant) -> None:
        job = self.jobs.get(event.job)
        if job is None or job.client != event.client:
            raise Untrusted(f"{event.client} asked to cancel {event.job}, which is not its own")
        if job.phase in ENDED:
            return
        self.decide(Withdrawn(job.id, job.epoch, *self._received(job)), now)
        self.place(now)

    def _received(self, job: Job) -> tuple[int, Wei, Wei]:
        """What the client has of the running attempt, and is charged for: units, wei and our fee."""
        units = job.owed
        if job.phase is LEASED and job.id in self.streams:
            units = max(units, min(self.streams[job.id].acknowledged(job.epoch), job.spec.units_max))
        wei = job.price.cost(units)
        return units, wei, part(wei, self.rules.fee_ppm)

    def _on_consumed(self, event: Consumed, now: Instant) -> None:
        job = self.jobs.get(event.job)
        if job is not None and job.phase is LEASED:
            stream = self.stream(job.id)
            stream.consume(event.units)
            self._acknowledge(job, stream.acknowledged(job.epoch), now)

    def _acknowledge(self, job: Job, units: int, now: Instant) -> None:
        """The client has so many units of an attempt: once it is worth a word, we owe them, and say so."""
        if units - job.acknowledged >= self._strides.get(job.orchestrator, 1):
            self.decide(Acknowledged(job.id, job.epoch, units), now)
            self.emit(Send(job.orchestrator, words.Acknowledge(job.id, job.epoch, units)))

    def _on_tickets_signed(self, event: TicketsSigned, now: Instant) -> None:
        super().take_tickets(event, now)
        self.place(now)

    def _hear_credited(self, peer: NodeId, word: words.Credited, now: Instant) -> None:
        super().hear_credited(peer, word, now)
        self.place(now)

    # Orchestrators

    def _on_connected(self, event: Connected, now: Instant) -> None:
        self.sellers.connect(event.peer)
        held = tuple(words.Held(JobId(lease.task), lease.epoch) for _, lease in self.leased_to(event.peer))
        if held:  # that one has failed may have been said while nobody was here
            self.emit(Send(event.peer, words.Heartbeat(held)))
        for job in [self.jobs[lease.job] for lease in held]:
            if job.acknowledged:  # and that may have been lost with the last connection
                self.emit(Send(event.peer, words.Acknowledge(job.id, job.epoch, job.acknowledged)))

    def _on_disconnected(self, event: Disconnected, now: Instant) -> None:
        self.sellers.disconnect(event.peer)
        until = later(now, self.rules.reconnect_ms)
        for leases, lease in self.leased_to(event.peer):
            leases.until(lease.task, min(lease.until, until))

    def _on_heard(self, event: Heard, now: Instant) -> None:
        listen = self._HEARD.get(type(event.word))
        if listen is None or event.peer not in self.sellers:
            raise Untrusted(f"{event.peer} sent {type(event.word).__name__} to a gateway")
        listen(self, event.peer, event.word, now)

    def _hear_capacity(self, peer: NodeId, word: words.Capacity, now: Instant) -> None:
        self.wants_payment(peer, word.prepaid)
        self._strides[peer] = stride(word.window_units)
        self.sellers.quote(peer, word.quotes, word.region, now)
        self.place(now)

    def _hear_lease(self, peer: NodeId, word: words.Lease, now: Instant) -> None:
        if self._renew(peer, words.Held(word.job, word.epoch), now):
            self.workers[word.job] = word.worker
        self.emit(Retire(order_key(peer, word.job, word.epoch)))

    def _hear_heartbeat(self, peer: NodeId, word: words.Heartbeat, now: Instant) -> None:
        for held in word.leases:
            self._renew(peer, held, now)

    def _hear_progress(self, peer: NodeId, word: words.Progress, now: Instant) -> None:
        if not self._renew(peer, words.Held(word.job, word.epoch), now):
            return
        stream, job = self.stream(word.job), self.jobs[word.job]
        if job.spec.stream and (bad := stream.overclaim(job.spec, word)):
            self._fall(job, word.epoch, words.Fault(Failed.code, bad), now, owed=job.owed)
            return
        before = stream.acknowledged(word.epoch)
        news = stream.hear(word)
        if news:
            self.emit(Streamed(word.job, len(stream.text) - len(news), news, stream.units))
        elif (units := stream.acknowledged(word.epoch)) > before:
            self._acknowledge(self.jobs[word.job], units, now)
        elif not word.text:
            self.emit(Notice(word.job))

    def _hear_result(self, peer: NodeId, word: words.Result, now: Instant) -> None:
        if self.live(word.job, word.epoch, peer) is None:
            self._refuse_late(peer, word.job, word.epoch)
            return
        job = self.jobs[word.job]
        receipt = word.receipt
        if receipt is None or not self._believes(job, word, receipt):
            self._fall(job, word.epoch, words.Fault(Failed.code, MISFIT), now, owed=job.owed)
            return
        if bad := flaw(job.spec, word.units, word.body):
            self._fall(job, word.epoch, words.Fault(Failed.code, bad), now, owed=job.owed)
            return
        self.reconcile(peer, receipt.credit, receipt.wei, now)
        took_ms = now - job.attempt(word.epoch).placed_at
        self.sellers.answered(peer, job.need, size_class(job.spec.units_max), word.run_ms, took_ms, now)
        if job.hedge and word.epoch == job.hedge and self.overdue(job, job.attempt(job.epoch), now):
            self.sellers.failed(job.orchestrator, job.need, now)
        self.emit(Keep(word.digest, word.body, self.rules.body_keep_ms))
        fee = part(receipt.wei, self.rules.fee_ppm)
        fact = Answered(
            job.id, word.epoch, receipt.units, receipt.wei, fee, word.digest, receipt, word.run_ms
        )
        self.decide(fact, now)
        self.place(now)

    def _believes(self, job: Job, word: words.Result, receipt: words.Receipt) -> bool:
        terms = self._terms_of(job, word.epoch)
        return (
            word.units >= 0
            and word.digest == digest(word.body)
            and self._is_signed(terms, receipt, word.units, word.digest, word.run_ms)
        )

    def _terms_of(self, job: Job, epoch: int) -> Terms:
        attempt = job.attempt(epoch)
        return Terms(job.id, epoch, attempt.orchestrator, job.spec, attempt.price, job.request)

    def _is_signed(
        self, terms: Terms, receipt: words.Receipt, units: int, answer: Digest, run_ms: int
    ) -> bool:
        """True if a receipt says this, and the orchestrator has signed it."""
        return terms.fits(receipt, units, answer, run_ms) and self._verify(
            terms.orchestrator, signed_bytes(receipt), receipt.signature
        )

    def _hear_failure(self, peer: NodeId, word: words.Failure, now: Instant) -> None:
        if self.live(word.job, word.epoch, peer) is None:
            return
        job = self.jobs[word.job]
        ran_out = job.spec.stream and word.fault.code == Expired.code
        self._heed_receipt(peer, job, word, now, ran_out=ran_out)
        if ran_out and job.deadline <= now:
            self._expire(job.id, now)
            self.place(now)
        else:
            self._fall(job, word.epoch, word.fault, now, owed=job.owed if ran_out else 0)

    def _heed_receipt(
        self, peer: NodeId, job: Job, word: words.Failure, now: Instant, *, ran_out: bool
    ) -> None:
        """Compare what an orchestrator has booked for an attempt without an answer: only where its time ran out."""
        receipt, terms = word.receipt, self._terms_of(job, word.epoch)
        units = receipt.units if receipt is not None and ran_out else 0
        if receipt is None or not self._is_signed(terms, receipt, units, NO_ANSWER, 0):
            return
        if units > job.owed:
            why = f"it has booked {units} units of {job.id}, and {job.owed} were acknowledged"
            self.estrange(peer, why, now, wei=Wei(receipt.wei - terms.wei(job.owed)))
        else:
            self.reconcile(peer, receipt.credit, receipt.wei, now)

    def _hear_settled(self, peer: NodeId, word: words.Settled, now: Instant) -> None:
        for closed in word.leases:
            self.guard(closed.job, partial(self._compare, peer, closed), now)

    def _compare(self, peer: NodeId, closed: words.Closed) -> None:
        """A settlement has been heard: see that it is booked there as it is here."""
        self.emit(Retire(settlement_key(peer, closed.job, closed.epoch)))
        paid = self._settlement(peer, closed.job, closed.epoch)
        if paid is not None and closed.wei != paid.wei:
            self.emit(
                Alarm(
                    f"{peer} booked {closed.wei} wei for {closed.job}, and {paid.wei} were paid: its books differ"
                )
            )

    def _settlement(self, peer: NodeId, job_id: JobId, epoch: int) -> words.Accept | words.Cancel | None:
        """What an orchestrator is told of the end of its attempt; None if it runs, or there was none."""
        job = self.jobs.get(job_id)
        if job is None or not 0 < epoch < job.next_epoch or job.attempt(epoch).orchestrator != peer:
            return None
        return settlement(job, epoch) if self.live(job_id, epoch, peer) is None else None

    def _refuse_late(self, peer: NodeId, job_id: JobId, epoch: int) -> None:
        # The outbox has said so before; but a large order may be overtaken by its own settlement.
        self.emit(Send(peer, self._settlement(peer, job_id, epoch) or words.Cancel(job_id, epoch)))

    def _renew(self, peer: NodeId, held: words.Held, now: Instant) -> bool:
        leases = self.live(held.job, held.epoch, peer)
        if leases is None:
            self._refuse_late(peer, held.job, held.epoch)
            return False
        leases.until(held.job, max(leases[held.job].until, later(now, self.rules.lease_ms)))
        return True

    def _fall(self, job: Job, epoch: int, fault: words.Fault, now: Instant, *, owed: int = 0) -> None:
        """An attempt has failed: let the other one go on, or the job wait again, or give it up.

        Unless it said itself that it failed, its orchestrator is `owed` what was acknowledged.
        """
        peer = job.attempt(epoch).orchestrator
        if fault.code == Unpaid.code:
            self.turned_down(peer, job.attempt(epoch).price.cost(job.spec.units_max), now)
        if not began(fault):
            self.sellers.turned_away(peer, job.need, now)
        elif retryable(fault):
            self.sellers.failed(peer, job.need, now)
        if job.hedge:
            self.decide(Fallen(job.id, epoch, fault, counts(fault)), now)
        else:
            wei = job.price.cost(owed)
            self.decide(Returned(job.id, epoch, fault, counts(fault), owed, wei), now)
            job = self.jobs[job.id]
            tried = job.failures >= self.rules.attempts_max or len(job.attempts) >= self.rules.tries_max
            if tried or not retryable(fault):
                self.decide(Abandoned(job.id, fault), now)
        self.place(now)

    # Time

    def _on_tick(self, event: Tick, now: Instant) -> None:
        for leases in (self.leases, self.hedges):
            for lease in leases.lapsed(now):
                self.guard(JobId(lease.task), partial(self._lapse, lease, now), now)
        for job_id in self.queue.expired(now):
            self.guard(job_id, partial(self._expire, job_id, now), now)
        self.look_for_overdue(now)
        self.sellers.wake(now)
        self.place(now)

    def _lapse(self, lease: Lease, now: Instant) -> None:
        job = self.jobs[JobId(lease.task)]
        if job.owed and job.deadline <= now:
            return  # its client has that, and it expires now: so it is charged
        if lease.epoch in (job.epoch, job.hedge):
            silent = words.Fault(Lost.code, f"{lease.holder} fell silent")
            self._fall(job, lease.epoch, silent, now, owed=job.owed)

    def _expire(self, job_id: JobId, now: Instant) -> None:
        job = self.jobs[job_id]
        self.decide(Abandoned(job_id, expired(job), *self._received(job)), now)

    def _on_restarted(self, event: Restarted, now: Instant) -> None:
        """Nobody is judged by our own absence: every lease gets two leases' grace."""
        self.sellers.views.begin(now)
        for leases in (self.leases, self.hedges):
            for lease in list(leases):
                leases.until(lease.task, later(now, 2 * self.rules.lease_ms))

    def _on_absent(self, event: Absent, now: Instant) -> None:
        for leases in (self.leases, self.hedges):
            for lease in list(leases):
                leases.until(lease.task, later(lease.until, event.gap_ms))

    handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        **Placement.fact_handlers,
        Submitted: _on_submitted,
        AccountAsked: _on_account_asked,
        CancelAsked: _on_cancel_asked,
        Consumed: _on_consumed,
        Connected: _on_connected,
        Disconnected: _on_disconnected,
        Heard: _on_heard,
        Tick: _on_tick,
        Restarted: _on_restarted,
        Absent: _on_absent,
        **Placement.payment_handlers,
        TicketsSigned: _on_tickets_signed,
    }

    _HEARD: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        **Placement.payment_words,
        words.Credited: _hear_credited,
        words.Capacity: _hear_capacity,
        words.Lease: _hear_lease,
        words.Heartbeat: _hear_heartbeat,
        words.Progress: _hear_progress,
        words.Result: _hear_result,
        words.Failure: _hear_failure,
        words.Settled: _hear_settled,
    }
