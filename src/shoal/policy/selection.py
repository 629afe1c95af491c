"""Selection: which of the nodes with a free slot gets a job.

Pure functions over views: gateways choose orchestrators and orchestrators
choose workers by the same ones, and so does the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shoal.ids import NodeId
from shoal.policy.views import Candidate

#: Picks one of at least one candidate.
Selection = Callable[[Sequence[Candidate]], NodeId]


def quickest_free(candidates: Sequence[Candidate]) -> NodeId:
    """The one with the largest free part of its slots; among equals the quicker, then the cheaper."""

    def rank(candidate: Candidate) -> tuple[float, float, float, str]:
        price = candidate.price.wei / candidate.price.per_units
        return (-candidate.free / candidate.slots, candidate.run_ms, price, candidate.node)

    return candidates[0].node if len(candidates) == 1 else min(candidates, key=rank).node
