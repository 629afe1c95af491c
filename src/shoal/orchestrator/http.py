"""The operator's door of an orchestrator: what it sells, who works here, what was earned. It changes nothing."""

from __future__ import annotations

from shoal.orchestrator.books import OWN
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.orchestrator.till import TICKETS
from shoal.runtime.door import Door, Reply, Request, encode
from shoal.work.task import EARNED, LEASED, RELEASED


def operator_door(machine: OrchestratorMachine) -> Door:
    """`GET /health`, `GET /status` and `GET /jobs/ID`."""

    async def health(request: Request) -> Reply:
        ready = any(slots for _, slots in machine.roster.slots())
        return Reply(encode({"ready": ready, "node": machine.node}), 200 if ready else 503)

    async def status(request: Request) -> Reply:
        return Reply(encode(_status(machine)))

    async def job(request: Request) -> Reply:
        return Reply(encode({"attempts": _attempts(machine, request.part)}))

    return Door({"GET /health": health, "GET /status": status, "GET /jobs/*": job})


def _attempts(machine: OrchestratorMachine, job: str) -> list[dict[str, object]]:
    """Every attempt at a job that was made here: by whom, and what it earned."""
    return [
        {
            "epoch": task.lease.epoch,
            "worker": task.lease.worker,
            "state": task.phase.value,
            "units": task.units,
            "wei": task.wei,
            "own_wei": task.wei - task.share,
            "worker_wei": task.share,
            "error": task.fault.message if task.fault is not None else None,
        }
        for task in machine.tasks.values()
        if task.lease.job == job
    ]


def _status(machine: OrchestratorMachine) -> dict[str, object]:
    ledger = machine.ledger
    payroll = machine.payroll
    shares = {worker: payroll.earned(worker) for worker in payroll.wages}
    credits = {a.removeprefix("gateway:"): w for a, w in ledger.balances.items() if a.startswith("gateway:")}
    ended = [task for task in machine.tasks.values() if task.phase is not LEASED]
    return {
        "node": machine.node,
        "gateways": sorted(machine.gateways),
        "workers": [
            {
                "node": worker.node,
                "connected": worker.connected,
                "offers": [
                    {
                        "pipeline": pipeline,
                        "model": model,
                        "slots": offer.slots,
                        "cold_ms": offer.cold_ms,
                        "leased": machine.leases.count(worker.node, (pipeline, model)),
                    }
                    for (pipeline, model), offer in worker.offers.items()
                ],
                "share_wei": shares.get(worker.node, 0),
                "owed_wei": shares.get(worker.node, 0) - payroll.paid(worker.node),
            }
            for worker in machine.roster.members()
        ],
        "earned_wei": -ledger.balances.get(TICKETS, 0) - sum(credits.values()),
        "credit_by_gateway_wei": credits,
        "own_wei": ledger.balances.get(OWN, 0),
        "worker_wei": sum(shares.values()),
        "owed_wei": sum(shares.values()) - sum(payroll.paid(worker) for worker in shares),
        "winners_pending": machine.pending_winners(),
        "holds_wei": sum(hold.wei for hold in ledger.holds.values()),
        "leases": len(machine.leases),
        "earned_tasks": sum(task.phase is EARNED for task in ended),
        "released_tasks": sum(task.phase is RELEASED for task in ended),
    }
