"""What a gateway's doors tell its machine, and what the machine has them do."""

from __future__ import annotations

from shoal.ids import ClientId, JobId, KeyId, NodeId
from shoal.machine import Effect, Event
from shoal.money.ticket import SignedNonce, Ticket, TicketParams
from shoal.money.wei import Price
from shoal.wire.words import Fault, JobSpec
from shoal.work.lifecycle import Preference


class Submitted(Event, frozen=True):
    """A client asks for a job; its request has been read and measured.

    `limit` is the most that the client pays for a unit; the same `key` with the
    same request means the same job, whatever its id here.
    """

    job: JobId
    client: ClientId
    spec: JobSpec
    body: bytes
    limit: Price
    deadline_ms: int
    key: str = ""
    preference: Preference = Preference()
    #: The name of the API key by which it came, "" if none was needed.
    api_key: KeyId = KeyId("")


class CancelAsked(Event, frozen=True):
    """A client wants its job stopped."""

    job: JobId
    client: ClientId


class Consumed(Event, frozen=True):
    """A client has received its stream up to so many units."""

    job: JobId
    units: int


class TicketsSigned(Event, frozen=True):
    """The tickets that were asked for, signed."""

    orchestrator: NodeId
    params: TicketParams
    tickets: tuple[SignedNonce, ...]


class SigningFailed(Event, frozen=True):
    """Whoever signs tickets did not."""

    orchestrator: NodeId
    fault: Fault


class ForgivenessAsked(Event, frozen=True):
    """The operator wants an orchestrator dealt with again, though its books did not fit ours."""

    orchestrator: NodeId


class SenderKnown(Event, frozen=True):
    """Whose tickets those who sign sign: it is their deposit that pays."""

    sender: NodeId


class SignTickets(Effect, frozen=True):
    """Have these tickets for an orchestrator signed; `TicketsSigned` or `SigningFailed` follows."""

    orchestrator: NodeId
    params: TicketParams
    tickets: tuple[Ticket, ...]


class Reply(Effect, frozen=True):
    """Answer a submission: the job that it made (or had made before), or why it was turned away."""

    asked: JobId
    job: JobId | None = None
    fault: Fault | None = None


class Notice(Effect, frozen=True):
    """Tell whoever waits for this job that it has moved, or has come to its end."""

    job: JobId
    ended: bool = False


class Streamed(Effect, frozen=True):
    """Hand a piece of a stream, which begins at `offset` (in characters), to whoever listens."""

    job: JobId
    offset: int
    text: str
    units: int
