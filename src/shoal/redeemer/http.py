"""The operator's door of a redeemer: what is to be redeemed and paid, and what came of it. It changes nothing."""

from __future__ import annotations

from shoal.ids import NodeId
from shoal.redeemer.machine import RedeemerMachine
from shoal.redeemer.statement import statement
from shoal.runtime.door import Door, Reply, Request, encode


def operator_door(machine: RedeemerMachine, account: NodeId) -> Door:
    """`GET /health` and `GET /payouts`."""

    async def health(request: Request) -> Reply:
        ready = not machine.silence and machine.view is not None
        idle = not machine.intents
        return Reply(encode({"ready": ready or idle, "node": account}), 200 if ready or idle else 503)

    async def payouts(request: Request) -> Reply:
        return Reply(encode(statement(machine, account)))

    return Door({"GET /health": health, "GET /payouts": payouts})
