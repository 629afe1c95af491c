"""Why a job ran where it ran, and why it waits: each choice made again from what the gateway knew then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from shoal.gateway.machine import GatewayMachine
from shoal.gateway.placement import wish_of
from shoal.ids import NodeId
from shoal.policy.draws import DRAWS
from shoal.policy.patience import Finish
from shoal.policy.ranks import RANKS
from shoal.policy.selection import Explanation, explain
from shoal.policy.views import Candidate, size_class
from shoal.units import Instant
from shoal.work.lifecycle import QUEUED, Attempt, Job

FORGOTTEN = (
    "what this gateway knew then is forgotten: it keeps the latest changes only, and none over a restart"
)


#: Why a job waits.
QUICKER = "a quicker node is about to be free, and would end it sooner than any slot that is free now"
NOBODY = "no slot that it may have is free"
TURN = "its turn comes at the next look"
UNPAID = "retries are a small part of all attempts, and there are enough: it has what no first attempt wants"


def why_value(machine: GatewayMachine, job: Job, now: Instant) -> dict[str, Any]:
    """A job's choices as JSON: for each attempt the best candidates with facts and scores, and who was left out."""
    return {
        "id": job.id,
        "pipeline": job.spec.pipeline,
        "model": job.spec.model,
        "state": job.phase.value,
        "attempts": [_attempt_value(machine, job, attempt) for attempt in job.attempts],
        "waiting": _waiting_value(machine, job, now) if job.phase is QUEUED else None,
    }


def _attempt_value(machine: GatewayMachine, job: Job, attempt: Attempt) -> dict[str, Any]:
    kind = (job.need, size_class(job.spec.units_max))
    then = machine.sellers.views.at(attempt.view, kind, machine.sellers.pool(*kind))
    value: dict[str, Any] = {
        "epoch": attempt.epoch,
        "orchestrator": attempt.orchestrator,
        "waited_ms": attempt.placed_at - job.accepted_at,
        "policy": attempt.policy,
        "view": attempt.view,
        "ended": attempt.fault.message if attempt.fault is not None else _ending(job, attempt),
        "failed": attempt.fault is not None,
    }
    if then is None:
        return {**value, "forgotten": FORGOTTEN}
    wish = wish_of(job, attempt.epoch, attempt.home, attempt.placed_at, then)
    return {**value, **_choice_value(explain(machine.policy_of(attempt.policy), then, wish), then)}


def _waiting_value(machine: GatewayMachine, job: Job, now: Instant) -> dict[str, Any]:
    pool = list(machine.sellers.pool(job.need, size_class(job.spec.units_max)))
    home = machine.homes.home((job.spec.session,), now) if job.spec.session else NodeId("")
    wish = wish_of(job, job.next_epoch, home, now, pool)
    policy = machine.policy_of(job.preference.policy)
    choice = explain(policy, pool, wish)
    quicker = machine.awaits(job, now)
    unpaid = machine.unpaid(job)
    if quicker is not None:
        reason = QUICKER
    elif choice.chosen is None:
        reason = NOBODY
    else:
        reason = TURN
    return {
        "position": machine.position(job.id),
        "start_estimate_ms": machine.start_ms(job.id),
        "policy": policy.name,
        "reason": f"{UNPAID}; {reason}" if unpaid else reason,
        "quicker": _finish_value(quicker) if quicker is not None else None,
        "retry_unpaid": unpaid,
        **_choice_value(choice, pool),
    }


def _finish_value(finish: Finish) -> dict[str, Any]:
    return {
        "node": finish.node,
        "free_in_ms": round(finish.start_ms),
        "done_in_ms": round(finish.end_ms),
    }


def policies_value(machine: GatewayMachine) -> dict[str, Any]:
    """What a request may ask for by `Shoal-Policy`, the gateway's own choice first among them."""
    default = machine.policy_of("")
    return {
        "default": default.name,
        "policies": [
            {
                "name": policy.name,
                "about": policy.about,
                "source": policy.source,
                "filters": policy.filters,
                "score": RANKS[policy.rank].formula,
                "draw": DRAWS[policy.draw].about,
                "patient": policy.patience_ppm > 0,
            }
            for policy in dict.fromkeys((default, *machine.policies))
        ],
    }


def _choice_value(choice: Explanation, then: Sequence[Candidate]) -> dict[str, Any]:
    known = {candidate.node: candidate for candidate in then}
    return {
        "chosen": choice.chosen,
        "formula": choice.formula,
        "draw": choice.draw,
        "explored": choice.explored,
        "candidates_in_all": choice.passed,
        "candidates": [
            {
                "node": standing.node,
                "chosen": standing.node == choice.chosen,
                "score": standing.score,
                "terms": {term.name: term.value for term in standing.terms},
                "units": {term.name: term.unit for term in standing.terms},
                "facts": msgspec.to_builtins(known[standing.node]),
            }
            for standing in choice.best
        ],
        "excluded": [
            {"filter": out.filter, "why": out.why, "count": out.count, "example": out.example}
            for out in choice.excluded
        ],
        "lifted": choice.lifted,
    }


def _ending(job: Job, attempt: Attempt) -> str:
    if attempt.epoch == job.epoch:
        return job.phase.value
    return "running" if attempt.epoch == job.hedge else "the other attempt was quicker"
