"""What a choice costs: one change of a node and one choice, beside a bare scan of the same list.

    python -m benchmarks.selection [--json] [--candidates N ...] [--rounds N]

The bare scan is the least that anybody would write: `min` over a list with a key of two attributes. Both
see the same changes; ours also asks every filter. Times are of the processor, so that neighbours count less.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from msgspec.structs import replace

from benchmarks.figures import Bound, estimate
from benchmarks.report import machine, table
from shoal.ids import JobId, NodeId
from shoal.money.wei import Price
from shoal.policy.pool import Pool
from shoal.policy.recipe import Policy
from shoal.policy.selection import POLICIES, choose
from shoal.policy.views import Candidate, Wish
from shoal.units import MINUTE_MS, Instant

SEED = 1
CHOICES = 2_000
#: Of so many candidates the issue's aims speak.
AIM_CANDIDATES = 1_000
AIMS = {"us": Bound(200.0, at_least=False), "ratio": Bound(1.0, at_least=False)}


@dataclass(frozen=True, slots=True)
class Cost:
    """One policy over so many candidates: medians of the rounds, and the interval of the ratio."""

    policy: str
    candidates: int
    us: float
    scan_us: float
    ratio: float
    ratio_low: float
    ratio_high: float


def candidate(number: int, rng: random.Random) -> Candidate:
    """A node like those of a mixed fleet: speeds of 1 to 10, one in ten untried, a third at work."""
    slots = rng.choice((1, 1, 2, 4, 8))
    return Candidate(
        node=NodeId(f"0x{number:040x}"),
        slots=slots,
        free=rng.choice((0, slots, slots)),
        price=Price(rng.randint(500, 1_500)),
        run_ms=0.0 if rng.random() < 0.1 else rng.uniform(500.0, 5_000.0),
        success=rng.choice((1.0, 1.0, 1.0, 0.9)),
        cold_ms=rng.choice((0, 0, 0, 8_000)),
        link_ms=rng.uniform(1.0, 80.0),
        stake=rng.randint(1, 10**6) * 10**15,
        reputation=rng.choice((None, 0.4, 0.9)),
        turn=number,
        heard_at=Instant(rng.randint(0, 60_000)),
    )


def changed(known: Candidate, turn: int, rng: random.Random) -> Candidate:
    """What one event makes of a node: a slot is taken, a slot comes free, or an answer comes."""
    now = Instant(60_000 + turn)
    if known.free > 0 and rng.random() < 0.5:
        return replace(known, free=known.free - 1, turn=turn, uses=known.uses + 1)
    free = min(known.slots, known.free + 1)
    return replace(
        known, free=free, run_ms=(known.run_ms or 1_000.0) * rng.uniform(0.9, 1.1), heard_at=now, uses=0
    )


def changes(candidates: Sequence[Candidate], rng: random.Random) -> list[tuple[int, Candidate]]:
    """So many changes in a row, each of a node as the ones before left it."""
    known = list(candidates)
    made = []
    for turn in range(CHOICES):
        place = rng.randrange(len(known))
        known[place] = changed(known[place], len(known) + turn, rng)
        made.append((place, known[place]))
    return made


def wishes() -> list[Wish]:
    return [
        Wish(
            job=JobId(f"job_{number:032x}"),
            now=Instant(60_000 + number),
            limit=Price(1_400),
            left_ms=MINUTE_MS,
        )
        for number in range(CHOICES)
    ]


def choose_us(
    policy: Policy, candidates: Sequence[Candidate], made: Sequence[tuple[int, Candidate]]
) -> float:
    """Processor time of one change and one choice."""
    pool, asked = Pool(candidates), wishes()
    choose(policy, pool, asked[0])
    began = time.process_time_ns()
    for wish, (_, new) in zip(asked, made, strict=True):
        pool.put(new)
        choose(policy, pool, wish)
    return (time.process_time_ns() - began) / CHOICES / 1e3


def scan_us(candidates: Sequence[Candidate], made: Sequence[tuple[int, Candidate]]) -> float:
    """Processor time of one change and one bare scan."""
    known = list(candidates)
    began = time.process_time_ns()
    for place, new in made:
        known[place] = new
        min(known, key=lambda one: one.run_ms / one.success)
    return (time.process_time_ns() - began) / CHOICES / 1e3


def measure(count: int, rounds: int) -> list[Cost]:
    """Every policy in every round, forwards and backwards, a bare scan beside each."""
    ours: dict[str, list[float]] = {name: [] for name in POLICIES}
    scans: dict[str, list[float]] = {name: [] for name in POLICIES}
    for round_ in range(rounds):
        rng = random.Random(SEED + round_)
        candidates = [candidate(number, rng) for number in range(count)]
        made = changes(candidates, rng)
        for name in POLICIES if round_ % 2 == 0 else reversed(list(POLICIES)):
            ours[name].append(choose_us(POLICIES[name], candidates, made))
            scans[name].append(scan_us(candidates, made))
    costs = []
    for name in POLICIES:
        ratio = estimate([one / other for one, other in zip(ours[name], scans[name], strict=True)])
        costs.append(
            Cost(name, count, median(ours[name]), median(scans[name]), ratio.value, ratio.low, ratio.high)
        )
    return costs


def line(cost: Cost) -> list[str]:
    met = ""
    if cost.candidates == AIM_CANDIDATES:
        met = "met" if AIMS["us"].holds(cost.us) and AIMS["ratio"].holds(cost.ratio_high) else "not met"
    return [
        cost.policy,
        f"{cost.candidates:,}",
        f"{cost.us:.1f}",
        f"{cost.scan_us:.1f}",
        f"{cost.ratio:.2f}",
        f"{cost.ratio_low:.2f} to {cost.ratio_high:.2f}",
        met,
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a choice costs, beside a bare scan.")
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON a policy, in place of the table"
    )
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 10, 100, 1_000], metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    chosen = parser.parse_args()
    costs = [cost for count in chosen.candidates for cost in measure(count, chosen.rounds)]
    if chosen.json:
        print("\n".join(json.dumps(asdict(cost)) for cost in costs))
        return
    head = ("policy", "candidates", "change + choice µs", "bare scan µs", "ratio", "95 % interval", "aim")
    print(f"{chosen.rounds} rounds of {CHOICES} choices; processor time; {machine()}.\n")
    print(table(head, [line(cost) for cost in costs]))
    print(f"\nAim over {AIM_CANDIDATES} candidates: {AIMS['us']} µs, and a ratio {AIMS['ratio']}.")


if __name__ == "__main__":
    main()
