"""What a policy may see: a new field here is a decision about what the market can see."""

from __future__ import annotations

from shoal.ids import NodeId
from shoal.machine import Value
from shoal.money.wei import Price


class Candidate(Value, frozen=True):
    """One node's standing for one (pipeline, model), as the one who chooses knows it."""

    node: NodeId
    slots: int
    free: int
    price: Price
    #: Mean time of its recent answers, 0 while there are none.
    run_ms: float
