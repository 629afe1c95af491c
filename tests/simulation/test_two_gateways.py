"""Two gateways with more work than there are slots: they share them, and hardly ever run for the same one."""

from __future__ import annotations

from random import Random

import pytest

from shoal.gateway.config import Rules
from shoal.gateway.events import Submitted
from shoal.ids import ClientId, JobId, NodeId
from shoal.money.wei import Price
from shoal.orchestrator.config import Rules as OrchestratorRules
from shoal.runtime.virtual import Calendar, Network, Weather
from shoal.sim.load.rivals import Outcome
from shoal.sim.load.stalls import Hands, OurGateway, Stall
from shoal.sim.load.trace import Operator, Ware
from shoal.units import SECOND_MS
from shoal.wire.words import JobSpec

RUN_MS = 2_000
JOBS = 200
#: As much as four slots can do in the time, and half as much again.
FOR_MS = round(2 * JOBS * RUN_MS / 4 / 1.5)


def served(orchestrators: int, slots: int, seed: int) -> dict[str, list[Outcome]]:
    """What became of each gateway's jobs; both were sent as many."""
    calendar, rng = Calendar(), Random(seed)
    network = Network(calendar, rng, Weather(delay_mean_ms=5))
    rules = Rules(queue_jobs_per_client_max=1_000)
    gateways = [OurGateway(NodeId(name), network, rng, rules) for name in ("g0", "g1")]
    nodes: list[OurGateway | Stall | Hands] = [*gateways]
    for number in range(orchestrators):
        operator = Operator(name=f"o{number}", wares=(Ware(pipeline="echo", model="echo", slots=slots),))
        stall = Stall(NodeId(operator.name), network, rng, OrchestratorRules())
        hands = Hands(NodeId(f"w{number}"), network, rng, operator, lambda body, operator: int(body))
        network.dial(hands.name, stall.name)
        for gateway in gateways:
            network.dial(gateway.name, stall.name)
        nodes += [stall, hands]
    for node in nodes:
        node.start()
    ended: dict[str, list[Outcome]] = {"g0": [], "g1": []}
    for gateway in gateways:
        for number in range(JOBS):
            job = Submitted(
                JobId(f"job_{gateway.name}_{number}"),
                ClientId("anna"),
                JobSpec("echo", "echo", 1),
                b"%d" % rng.randint(RUN_MS // 2, RUN_MS * 3 // 2),
                Price(10**12),
                60 * SECOND_MS,
            )
            at = 10 * SECOND_MS + rng.randint(0, FOR_MS)
            told = ended[gateway.name].append
            calendar.at(at, lambda gateway=gateway, job=job, told=told: gateway.ask(job, told))
    calendar.run(10 * SECOND_MS + FOR_MS + 120 * SECOND_MS)
    return ended


@pytest.mark.parametrize(("orchestrators", "slots"), [(1, 4), (4, 1), (2, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_two_busy_gateways_share_the_slots_and_seldom_meet_at_one(
    orchestrators: int, slots: int, seed: int
) -> None:
    ended = served(orchestrators, slots, seed)
    everything = [outcome for outcomes in ended.values() for outcome in outcomes]
    assert len(everything) == 2 * JOBS
    sent = sum(outcome.attempts for outcome in everything)
    assert sum(outcome.turned_away for outcome in everything) <= 0.02 * sent
    done = [sum(outcome.done for outcome in outcomes) for outcomes in ended.values()]
    print(done, sent, sum(outcome.turned_away for outcome in everything))
    assert min(done) >= 0.8 * max(done)
