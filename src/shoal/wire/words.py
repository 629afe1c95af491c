"""Every word that two of our nodes exchange.

Durations cross the wire, instants never. A body is an encoded `Payload`,
opaque on its way, named by its digest. `epoch` fences: it is issued by the
gateway, one per attempt, and a word under an old epoch is refused.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from shoal.ids import Digest, JobId, NodeId
from shoal.machine import Value
from shoal.money.ticket import Address, Hash, Payment, TicketParams, Uint256, WinningTicket
from shoal.money.wei import WEI_MAX, Price, Wei


class Part(Struct, frozen=True, array_like=True, gc=False):
    """A value inside words and facts; it has no tag of its own."""


class Media(Part, frozen=True, array_like=True):
    """One file of a request or an answer: the form field, its media type, its bytes."""

    field: str
    content_type: str
    data: bytes


class Payload(Part, frozen=True, array_like=True):
    """What a runner takes or gives: JSON parameters and files."""

    params: bytes
    media: tuple[Media, ...] = ()


class JobSpec(Part, frozen=True, array_like=True):
    """What is to be run: everything about a job but its body.

    Jobs of one `session` begin alike: whoever ran the last one may have half of the next one done already.
    `pieces_max` tokens or files are the most that its answer has, and what it is worth if it has less follows from
    that (`count.worth`); 0 if none are counted.
    """

    pipeline: str
    model: str
    units_max: int
    stream: bool = False
    session: str = ""
    pieces_max: int = 0


class Fault(Part, frozen=True, array_like=True):
    """An error that crosses the wire: a code of `errors.BY_CODE` and one line."""

    code: str
    message: str
    retry_after_ms: int = 0


class Offer(Part, frozen=True, array_like=True):
    """What a worker can run: so many jobs of this pipeline and model at once.

    `cold_ms` is what loading the model would take, 0 if it is loaded; of `batch` jobs at once none takes
    notably longer than one alone.
    """

    pipeline: str
    model: str
    slots: int
    cold_ms: int = 0
    batch: int = 1


class Quote(Part, frozen=True, array_like=True):
    """What an orchestrator sells: slots in all, those that other buyers hold, and the price.

    `cold_ms` and `batch` as in an `Offer`: of the worker that would get the next job.
    """

    pipeline: str
    model: str
    slots: int
    taken: int
    price: Price
    cold_ms: int = 0
    batch: int = 1


class Held(Part, frozen=True, array_like=True):
    """A lease by its name."""

    job: JobId
    epoch: int


class Closed(Part, frozen=True, array_like=True):
    """A lease that is closed. To a gateway: the wei booked. To a worker: its share of them."""

    job: JobId
    epoch: int
    wei: Wei


#: One step up a hash tree: on which side the other hash stands (0 left, 1 right), and that hash.
Step = Annotated[bytes, Meta(min_length=33, max_length=33)]


class Receipt(Part, frozen=True, array_like=True):
    """An orchestrator's signed word about how one attempt ended.

    `path` leads from the other fields to the root (`work.seal`) that the signature
    (65 bytes, recoverable secp256k1) covers. `credit` is what the gateway has left there
    once this is paid, below 0 what it owes; open attempts are not counted.
    """

    job: JobId
    epoch: int
    orchestrator: NodeId
    worker: NodeId
    pipeline: str
    model: str
    units: int
    wei: Wei
    request: Digest
    answer: Digest
    run_ms: int
    path: Annotated[tuple[Step, ...], Meta(max_length=32)] = ()
    signature: bytes = b""
    credit: Wei = Wei(0)


#: Where a worker is paid: "" is its own address.
PayoutAddress = Annotated[NodeId, Meta(pattern=r"^(0x[0-9a-f]{40})?\Z", max_length=42)]


class Remittance(Part, frozen=True, array_like=True):
    """What one worker was paid in the operator's batch `number`, on chain."""

    number: int
    wei: Uint256
    transaction: Annotated[str, Meta(max_length=66)]


class Payee(Part, frozen=True, array_like=True):
    """Somebody who is paid on chain."""

    node: Address
    wei: Uint256


class Word(Value, frozen=True, array_like=True, tag=True):
    """A message from one node to another.

    A `patient` word may wait a moment for another one to travel with: nobody
    stands still until it comes.
    """

    patient: ClassVar[bool] = False


class Capacity(Word, frozen=True):
    """Orchestrator to gateway: everything it sells now, and where. Replaces what it said before.

    Who is `prepaid` takes no job that the gateway's credit there does not cover. Of a stream so many units
    are under way unacknowledged, at most: it is time to acknowledge when half of them have come.
    """

    quotes: tuple[Quote, ...]
    region: str = ""
    prepaid: bool = False
    window_units: int = 0


class Demand(Word, frozen=True):
    """Gateway to orchestrator: so many of my jobs wait for a slot for this. 0 once none does."""

    pipeline: str
    model: str
    jobs: int


class Offers(Word, frozen=True):
    """Worker to orchestrator: everything it can run now, and its terms. Replaces what it said before.

    It is paid at the address `payout` ("" for its own), has at least `share_ppm_min`
    of every price, and works on while no more than `float_wei` is owed to it.
    """

    offers: tuple[Offer, ...]
    payout: PayoutAddress = NodeId("")
    share_ppm_min: int = 0
    float_wei: Wei = WEI_MAX


class Job(Word, frozen=True):
    """Run this. Gateway to orchestrator at `price`; to a worker with its share of it, and where that is paid."""

    job: JobId
    epoch: int
    spec: JobSpec
    price: Price
    deadline_ms: int
    digest: Digest
    body: bytes = b""
    share_ppm: int = 0
    payout: NodeId = NodeId("")


class Lease(Word, frozen=True):
    """Orchestrator to gateway: your job has a worker, and lives as long as my heartbeats name it."""

    job: JobId
    epoch: int
    worker: NodeId


class Progress(Word, frozen=True):
    """A running job's news: work units so far, and the text from `offset` (in characters) on."""

    job: JobId
    epoch: int
    units: int
    offset: int = 0
    text: str = ""


class Acknowledge(Word, frozen=True):
    """Gateway to orchestrator: so many units of streamed work have reached the client, and are owed."""

    job: JobId
    epoch: int
    units: int


class Result(Word, frozen=True):
    """The answer, with the orchestrator's receipt on the way to the gateway."""

    job: JobId
    epoch: int
    units: int
    run_ms: int
    digest: Digest
    body: bytes
    receipt: Receipt | None = None


class Failure(Word, frozen=True):
    """This attempt has ended without an answer, and if it had begun a receipt says that nothing is owed for it.

    If its time ran out (`expired`) what was acknowledged is owed, and the receipt names it.
    """

    job: JobId
    epoch: int
    fault: Fault
    receipt: Receipt | None = None


class Accept(Word, frozen=True):
    """Gateway to orchestrator: the answer was accepted, and `wei` are yours."""

    patient: ClassVar[bool] = True

    job: JobId
    epoch: int
    units: int
    wei: Wei


class Cancel(Word, frozen=True):
    """Stop. `wei` pay for the units that reached the client: no fewer than were acknowledged."""

    job: JobId
    epoch: int
    units: int = 0
    wei: Wei = Wei(0)


class Settled(Word, frozen=True):
    """These leases are closed, all those of one moment in one word."""

    patient: ClassVar[bool] = True

    leases: tuple[Closed, ...]

    @classmethod
    def of(cls, job: JobId, epoch: int, wei: Wei) -> Settled:
        """The word about one lease."""
        return cls((Closed(job, epoch, wei),))


class Account(Word, frozen=True):
    """Orchestrator to worker: all that you have ever earned here and been paid, signed (`work.account`).

    Said on every connection, after every payment, and now and then. Neither sum ever shrinks.
    """

    earned: Uint256
    paid: Uint256
    #: The latest payments, oldest first.
    remittances: Annotated[tuple[Remittance, ...], Meta(max_length=16)] = ()
    signature: bytes = b""


class AccountAsked(Word, frozen=True):
    """Worker to orchestrator: what have I earned?"""


class ReceiptAsked(Word, frozen=True):
    """Worker to orchestrator: which receipt went out with my answer?"""

    job: JobId
    epoch: int


class ReceiptShown(Word, frozen=True):
    """Orchestrator to worker: this one; none if it was too long ago."""

    job: JobId
    epoch: int
    receipt: Receipt | None


class TermsAsked(Word, frozen=True):
    """Gateway to orchestrator: what must tickets of `sender` be like, each worth about `wei`?"""

    sender: Address
    wei: Wei


class Terms(Word, frozen=True):
    """Orchestrator to gateway: such tickets of yours I take, until their block has come. Or why none."""

    params: TicketParams | None
    fault: Fault | None = None


class Tender(Word, frozen=True):
    """Gateway to orchestrator: tickets, paid ahead for work to come. `number` counts its payments there.

    `pipeline` is what the job needed for which this was paid.
    """

    number: int
    payment: Payment
    pipeline: Annotated[str, Meta(max_length=64)] = ""


class Credited(Word, frozen=True):
    """Orchestrator to gateway: of your payment `number` so much was booked; less than it is worth has a reason."""

    number: int
    wei: Wei
    fault: Fault | None = None


class Heartbeat(Word, frozen=True):
    """These leases live, as far as I know: from the one who works, to renew them; from the one who waits, to ask."""

    leases: tuple[Held, ...] = ()


class Winner(Word, frozen=True):
    """Orchestrator to redeemer: a ticket that won. Said again until its `Redemption` has ended.

    `pipeline` is what the ticket was for, as far as anybody can say.
    """

    winning: WinningTicket
    pipeline: Annotated[str, Meta(max_length=64)] = ""


class Payout(Word, frozen=True):
    """Orchestrator to redeemer: pay these workers. Said again until its `PaidOut` has ended.

    A `batch` is paid once: with the same number it is the same batch.
    """

    batch: Hash
    payees: Annotated[tuple[Payee, ...], Meta(min_length=1, max_length=256)]


class Redemption(Word, frozen=True):
    """Redeemer to orchestrator: how far a winning ticket is, after every `Winner` and whenever it changes.

    `state` is taken, sent, confirmed or refused; the last two are the end. `wei` is what it has brought.
    """

    ticket: Hash
    state: str
    transaction: str = ""
    wei: bytes = b""
    why: str = ""


class PaidOut(Word, frozen=True):
    """Redeemer to orchestrator: how far a batch is, in the words of a `Redemption`."""

    batch: Hash
    state: str
    transaction: str = ""
    why: str = ""


WORDS: tuple[type[Word], ...] = (
    Capacity,
    Offers,
    Job,
    Lease,
    Progress,
    Acknowledge,
    Result,
    Failure,
    Accept,
    Cancel,
    Settled,
    Heartbeat,
    Demand,
    TermsAsked,
    Terms,
    Tender,
    Credited,
    Winner,
    Payout,
    Redemption,
    PaidOut,
    Account,
    AccountAsked,
    ReceiptAsked,
    ReceiptShown,
)
