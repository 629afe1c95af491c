"""Who is put to a load: our gateway under each of its policies, and the rivals, all by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.machine import Value
from shoal.policy.presets import DEFAULT, POLICIES
from shoal.runtime.virtual import Network
from shoal.sim.load.livepeer import Early, Present
from shoal.sim.load.rivals import BoundByLot, BoundInTurn, Rival
from shoal.sim.load.stalls import OurGateway, RivalGateway
from shoal.sim.load.street import MakeGateway, our_rules
from shoal.sim.load.trace import Trace

#: Makes a rival, given luck and the stakes of a fleet.
MakeRival = Callable[[Random, Mapping[NodeId, int]], Rival]

#: Added to the name of one of our policies: every job asks a second node if the first takes too long.
HEDGED = "+hedge"
#: What is put to every load unless somebody says otherwise.
OURS: tuple[str, ...] = (*POLICIES, DEFAULT + HEDGED)


class Entrant(Value, frozen=True):
    """A rival, and what it is."""

    about: str
    make: MakeRival


RIVALS: dict[str, Entrant] = {
    "bound-round-robin": Entrant(
        "each job is bound in turn when it comes, and waits in that node's line",
        lambda rng, _: BoundInTurn(rng),
    ),
    "bound-random": Entrant(
        "each job is bound by lot when it comes, and waits in that node's line",
        lambda rng, _: BoundByLot(rng),
    ),
    "livepeer-early": Entrant("the list, four times, the quickest so far first; no queue", Early),
    "livepeer-stake": Entrant(
        "version 0.9 on chain: warm pool, 20 tries in 2 s, 0.3 by lot and 0.7 by stake",
        lambda rng, stakes: Present(rng, stakes, on_chain=True),
    ),
    "livepeer-latency": Entrant(
        "version 0.9 off chain: warm pool, 20 tries in 2 s, the least latency first",
        lambda rng, stakes: Present(rng, stakes, on_chain=False),
    ),
}


#: Who runs at every rate of a sweep; all run where one rate is enough.
FEW: tuple[str, ...] = (DEFAULT, *RIVALS)


def names() -> tuple[str, ...]:
    """Everybody who can be put to a load."""
    return (*OURS, *RIVALS)


def require(name: str) -> None:
    """Raise `Refused`, with the names that there are, unless this is one."""
    if name.removesuffix(HEDGED) not in POLICIES and name not in RIVALS:
        raise Refused(f"there is no policy {name!r}; there are {', '.join(names())}")


def contender(name: str, trace: Trace) -> MakeGateway:
    """How to make this contender's gateway. Raises `Refused` with the names that there are."""
    require(name)
    policy = name.removesuffix(HEDGED)
    if policy in POLICIES:

        def ours(node: NodeId, network: Network, rng: Random) -> OurGateway:
            return OurGateway(node, network, rng, our_rules(trace, policy), hedge=policy != name)

        return ours
    entrant = RIVALS[name]
    stakes = {NodeId(operator.name): operator.stake for operator in trace.fleet.orchestrators}

    def theirs(node: NodeId, network: Network, rng: Random) -> RivalGateway:
        return RivalGateway(node, network, rng, lambda luck: entrant.make(luck, stakes))

    return theirs
