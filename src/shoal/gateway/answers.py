"""From what the network says to what clients read: jobs, answers, receipts and the network itself as JSON."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec

from shoal.errors import Failed, NotFound
from shoal.gateway.machine import GatewayMachine
from shoal.gateway.settlement import FEES, SPILT, seller, tickets_to
from shoal.ids import JobId, NodeId
from shoal.money.wei import Price
from shoal.runtime.door import Headers, Reply, encode, error_value
from shoal.wire.answers import LlmAnswer
from shoal.wire.codec import receipt_bytes
from shoal.wire.faults import error_of
from shoal.wire.pipelines import PIPELINES, Pipeline
from shoal.wire.references import with_urls
from shoal.wire.words import Fault, Media, Payload, Receipt
from shoal.work.lifecycle import DONE, ENDED, Attempt, Job
from shoal.work.seal import signed_bytes

HOW_TO_CHECK = (
    "The signature is r, s and a recovery id (65 bytes, secp256k1) over the SHA-256 of `signed_hex`. "
    "The key that it recovers to has the Ethereum address `orchestrator`. `signed_hex` is a line and a hash: "
    "begin with SHA-256(00 receipt_hex); for each step of `path` (a byte and a hash) go on with "
    "SHA-256(01 step hash) if that byte is 00, else with SHA-256(01 hash step)."
)


#: Gives a client the address of one of an answer's files: (job, file).
Locate = Callable[[Job, Media], str]

#: A file that an answer holds never changes; only who knows its address has it.
FILE: Headers = (
    (b"cache-control", b"private, max-age=86400, immutable"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
)

_llm_answers = msgspec.json.Decoder(LlmAnswer)


def llm_answer(payload: Payload) -> LlmAnswer:
    """A chat's answer. Raises `Failed` if what the worker sent is none."""
    try:
        return _llm_answers.decode(payload.params)
    except msgspec.DecodeError as error:
        raise Failed("the answer is not of the form that this pipeline has") from error


def answer_text(payload: Payload) -> str:
    """The whole text of a streamed answer."""
    return llm_answer(payload).choices[0].message.content


def job_headers(job_id: JobId) -> Headers:
    """The headers that name a job."""
    return ((b"shoal-job-id", job_id.encode()),)


def answer_reply(job: Job, payload: Payload, locate: Locate) -> Reply:
    """An answer as Livepeer's API has it."""
    return Reply(encode(result_value(job, payload, locate)), headers=job_headers(job.id))


def file_reply(job: Job, payload: Payload, name: str = "") -> Reply:
    """The bytes of an answer's file, the first unless another is named. Raises `NotFound`.

    Its type is the table's: a worker's word could make a browser run it.
    """
    for media in payload.media:
        if name in ("", media.field):
            content_type = PIPELINES[job.spec.pipeline].answers or "application/octet-stream"
            headers = (*FILE, *job_headers(job.id))
            return Reply(media.data, content_type=content_type.encode(), headers=headers)
    raise NotFound(f"job {job.id} has no file {name[:100]!r}")


def file_url(origin: str, job: Job, media: Media) -> str:
    """Where an answer's file can be fetched by whoever knows the job's id."""
    return f"{origin}/media/{job.id}.{media.field}"


def data_url(origin: str, job: Job, media: Media) -> str:
    """An answer's file as an address that holds it."""
    content_type = PIPELINES[job.spec.pipeline].answers
    return f"data:{content_type};base64,{base64.b64encode(media.data).decode()}"


def job_value(machine: GatewayMachine, job: Job) -> dict[str, Any]:
    """Everything about a job that its owner may see."""
    receipt = job.receipt
    return {
        "id": job.id,
        "pipeline": job.spec.pipeline,
        "model": job.spec.model,
        "state": job.phase.value,
        "position": machine.position(job.id),
        "start_estimate_ms": machine.start_ms(job.id),
        "attempts": [_attempt_value(attempt) for attempt in job.attempts],
        "orchestrator": job.orchestrator,
        "worker": receipt.worker if receipt is not None else machine.workers.get(job.id, ""),
        "queue_ms": job.queue_ms,
        "run_ms": job.run_ms,
        "units": job.units,
        "unit": PIPELINES[job.spec.pipeline].unit,
        "progress": _progress(machine, job),
        "priority": job.preference.priority,
        "policy": job.preference.policy,
        "region": job.preference.region,
        "hedge": job.preference.hedge,
        "price": _price_value(job.price),
        "limit": _price_value(job.limit),
        "charged_wei": job.wei + job.fee,
        "hold_wei": 0 if job.phase in ENDED else job.hold,
        "accepted_at_ms": job.accepted_at,
        "deadline_at_ms": job.deadline,
        "ended_at_ms": job.ended_at,
        "error": error_value(error_of(job.fault))["error"] if job.fault is not None else None,
    }


def result_value(job: Job, payload: Payload, locate: Locate) -> Any:
    """An answer's JSON, with an address for each of its files. Raises `Failed` if it names one that did not come."""
    if not payload.media:
        return msgspec.Raw(payload.params)
    files = {media.field: media for media in payload.media}

    def address(name: str) -> str:
        if name not in files:
            raise Failed(f"the answer names a file that did not come with it: {name[:100]!r}")
        return locate(job, files[name])

    try:
        return with_urls(msgspec.json.decode(payload.params), address)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed("the answer is not of the form that this pipeline has") from error


def receipt_value(receipt: Receipt) -> dict[str, Any]:
    """A receipt with all that is needed to check it."""
    value: dict[str, Any] = msgspec.to_builtins(receipt)
    names = Receipt.__struct_fields__
    return {
        **dict(zip(names, value, strict=True)),
        "path": [step.hex() for step in receipt.path],
        "signature": receipt.signature.hex(),
        "receipt_hex": receipt_bytes(receipt).hex(),
        "signed_hex": signed_bytes(receipt).hex(),
        "how_to_check": HOW_TO_CHECK,
    }


def models_value(machine: GatewayMachine) -> dict[str, Any]:
    """What can be bought now, as OpenAI lists models."""
    models = [
        {
            "id": model,
            "object": "model",
            "created": 0,
            "owned_by": "shoal",
            "pipeline": pipeline,
            "slots": slots,
        }
        for (pipeline, model), slots in sorted(machine.sellers.models().items())
    ]
    return {"object": "list", "data": models}


def pipeline_value(row: Pipeline) -> dict[str, Any]:
    """A row of the table for people."""
    return {
        "name": row.name,
        "default_model": row.default_model,
        "unit": row.unit,
        "price": _price_value(row.price),
        "streams": row.streams,
        "example": msgspec.Raw(row.example.encode()),
    }


def network_value(machine: GatewayMachine) -> dict[str, Any]:
    """Who sells what, and how the ledger stands in all."""
    balances, purse = machine.ledger.balances, machine.purse
    known = (NodeId(name.partition(":")[2]) for name in balances if name.startswith(seller(NodeId(""))))
    earned = {node: purse.delivered(node) for node in known}
    charged_wei = -sum(wei for name, wei in balances.items() if name.startswith("client:"))
    return {
        "sellers": [
            {
                "node": node,
                "connected": standing.connected,
                "offers": [
                    {
                        "pipeline": quote.pipeline,
                        "model": quote.model,
                        "slots": quote.slots,
                        "taken_by_others": quote.taken,
                        "leased": machine.held(node, need),
                        "price": _price_value(quote.price),
                        "run_ms": round(stock.run_ms, 1),
                    }
                    for need, stock in standing.stocks.items()
                    if (quote := stock.quote) is not None
                ],
                "earned_wei": earned.get(node, 0),
                "payment": {
                    "ahead": node in purse.prepaid,
                    "credit_wei": purse.credit(node),
                    "tickets_sent": machine.purse.sent(node),
                    "not_paid_because": machine.unpaid_because.get(node),
                    "estranged_because": purse.estranged.get(node),
                },
            }
            for node, standing in machine.sellers.standings.items()
        ],
        "pipelines": [pipeline_value(row) for row in PIPELINES.values()],
        "jobs": {
            "queued": len(machine.queue),
            "running": len(machine.leases),
            "remembered": len(machine.jobs),
        },
        "ledger": {
            "charged_wei": charged_wei,
            "earned_wei": sum(earned.values()),
            "earned_by_orchestrator_wei": earned,
            "fees_wei": balances.get(FEES, 0),
            "spilt_wei": -balances.get(SPILT, 0),
            "tickets_wei": sum(balances.get(tickets_to(node), 0) for node in earned),
            "lost_wei": sum(purse.lost(node) for node in earned),
            "holds_wei": sum(hold.wei for hold in machine.ledger.holds.values()),
        },
    }


def _progress(machine: GatewayMachine, job: Job) -> float:
    """The share of a job's work that is done, as far as its runner tells."""
    if job.phase in ENDED:
        return float(job.phase is DONE)
    return round(min(machine.units_done(job.id) / max(1, job.spec.units_max), 1.0), 3)


def _attempt_value(attempt: Attempt) -> dict[str, Any]:
    return {
        "epoch": attempt.epoch,
        "orchestrator": attempt.orchestrator,
        "placed_at_ms": attempt.placed_at,
        "error": _fault_value(attempt.fault) if attempt.fault is not None else None,
    }


def _fault_value(fault: Fault) -> dict[str, Any]:
    return {"code": fault.code, "message": fault.message}


def _price_value(price: Price) -> dict[str, int]:
    return {"wei": price.wei, "per_units": price.per_units}
