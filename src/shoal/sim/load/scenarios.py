"""The loads that every policy is put to, each with its source and how it was read.

A scenario makes a trace from a seed and a `rate`: how many times as many jobs
come as it would have them. What its source leaves open is assumed here, in the
open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from shoal.errors import Refused
from shoal.machine import Value
from shoal.sim.load.arrivals import Kind, bursts, crowd, draw, merge, poisson, replay
from shoal.sim.load.trace import Arrival, Fleet, Operator, Taken, Trace, Trouble, Ware
from shoal.units import HOUR_MS, MINUTE_MS, SECOND_MS

#: Makes a scenario's trace: seed, rate.
Make = Callable[[int, float], Trace]

IMAGES = Kind(
    pipeline="text-to-image",
    model="ByteDance/SDXL-Lightning",
    deadline_ms=5 * MINUTE_MS,
    work_min_ms=2_000,
    work_max_ms=4_000,
)
VIDEOS = Kind(
    pipeline="image-to-video",
    model="stabilityai/stable-video-diffusion-img2vid-xt-1-1",
    deadline_ms=10 * MINUTE_MS,
    work_min_ms=23_000,
    work_max_ms=60_000,
)


class Scenario(Value, frozen=True, kw_only=True):
    """One load, and where it comes from."""

    name: str
    title: str
    #: Where its figures come from.
    source: str
    #: What the source leaves open, and how it was read.
    reading: str
    make: Make
    #: The rates of a sweep; just one if the scenario has no other.
    rates: tuple[float, ...] = (1.0,)
    #: What the rate counts, for tables.
    rate_unit: str = "times"
    #: How many seeds are enough, and who is put to it, where a round costs much; 0 and () for all that are asked for.
    seeds_max: int = 0
    policies: tuple[str, ...] = ()


def _tenants(count: int) -> tuple[str, ...]:
    return tuple(f"t{n}" for n in range(count))


def _ware(kind: Kind, slots: int = 1, wei: int = 100) -> Ware:
    return Ware(pipeline=kind.pipeline, model=kind.model, slots=slots, wei=wei)


def _operators(
    count: int, wares: Sequence[Ware], *, first: int = 0, speeds: Sequence[float] = (1.0,), workers: int = 1
) -> tuple[Operator, ...]:
    """So many alike but for their speeds; the n-th has 1/n of the first one's stake, as such lists go."""
    return tuple(
        Operator(
            name=f"o{n}",
            wares=tuple(wares),
            workers=workers,
            speed=speeds[n % len(speeds)],
            stake=100_000 // (n + 1),
        )
        for n in range(first, first + count)
    )


def _rng(name: str, seed: int) -> Random:
    return Random(f"{name} {seed}")


# 1. The simulated load test and the event of 2023


def load_test(seed: int, rate: float) -> Trace:
    """`rate` jobs of each kind a minute, for twenty minutes."""
    rng = _rng("load-test", seed)
    end_ms = 20 * MINUTE_MS
    streams = [
        draw(poisson(rng, rate / 60), [kind], _tenants(10), rng, until_ms=end_ms) for kind in (IMAGES, VIDEOS)
    ]
    fleet = Fleet(
        orchestrators=_operators(3, [_ware(IMAGES)]) + _operators(3, [_ware(VIDEOS)], first=3),
    )
    return Trace(name="load-test", seed=seed, fleet=fleet, arrivals=merge(*streams), until_ms=end_ms)


def event(seed: int, rate: float) -> Trace:
    """All 192 and 119 jobs, spread by lot over the `rate`-th part of an hour."""
    rng = _rng("event", seed)
    span_ms = round(HOUR_MS / rate)

    def at_s(count: int) -> list[float]:
        return [rng.random() * span_ms / SECOND_MS for _ in range(count)]

    streams = [
        draw(replay(at_s(count)), [kind], _tenants(40), rng) for kind, count in ((IMAGES, 192), (VIDEOS, 119))
    ]
    fleet = Fleet(
        orchestrators=_operators(3, [_ware(IMAGES)])
        + _operators(3, [_ware(VIDEOS)], first=3)
        + _operators(3, [_ware(IMAGES), _ware(VIDEOS)], first=6)
    )
    return Trace(name="event", seed=seed, fleet=fleet, arrivals=merge(*streams), until_ms=span_ms)


# 2. Half of them full


def half_full(seed: int, rate: float) -> Trace:
    """Ten orchestrators of four slots; another gateway's jobs fill five of them, every minute another five."""
    rng = _rng("half-full", seed)
    end_ms, spell_ms, slots = 6 * MINUTE_MS, MINUTE_MS, 4
    spells = -(-end_ms // spell_ms) + 2
    full = [set(rng.sample(range(10), 5)) for _ in range(spells)]
    operators = []
    for n, operator in enumerate(_operators(10, [_ware(IMAGES, slots)])):
        taken = tuple(
            Taken(
                at_ms=spell * spell_ms if spell else -2 * SECOND_MS,
                for_ms=spell_ms if spell else spell_ms + 2 * SECOND_MS,
                pipeline=IMAGES.pipeline,
                model=IMAGES.model,
                slots=slots,
            )
            for spell in range(spells)
            if n in full[spell]
        )
        operators.append(
            Operator(name=operator.name, wares=operator.wares, stake=operator.stake, taken=taken)
        )
    per_s = rate * 5 * slots * SECOND_MS / IMAGES.mean_ms
    arrivals = draw(poisson(rng, per_s), [IMAGES], _tenants(10), rng, until_ms=end_ms)
    return Trace(
        name="half-full",
        seed=seed,
        fleet=Fleet(orchestrators=tuple(operators)),
        arrivals=arrivals,
        until_ms=end_ms,
    )


# 3. Some are ten times as quick as others


def uneven(seed: int, rate: float) -> Trace:
    """Ten orchestrators of one slot and speeds 1 to 10; exponential work."""
    rng = _rng("uneven", seed)
    kind = Kind(pipeline=IMAGES.pipeline, model=IMAGES.model, deadline_ms=30 * MINUTE_MS, work_mean_ms=20_000)
    fleet = Fleet(orchestrators=_operators(10, [_ware(kind)], speeds=range(1, 11)))
    per_s = rate * fleet.speed((kind.pipeline, kind.model)) * SECOND_MS / kind.mean_ms
    arrivals = draw(poisson(rng, per_s), [kind], _tenants(10), rng, jobs=2_000)
    return Trace(
        name="uneven", seed=seed, fleet=fleet, arrivals=arrivals, from_ms=arrivals[len(arrivals) // 10].at_ms
    )


# 4. Some come and go, some die in silence


def flapping(seed: int, rate: float) -> Trace:
    """Ten orchestrators of two slots: three flap, one hangs, one is cut off, one fails whatever it gets."""
    rng = _rng("flapping", seed)
    end_ms = 6 * MINUTE_MS

    def flaps() -> tuple[Trouble, ...]:
        at_ms, found = rng.randrange(30 * SECOND_MS), []
        while at_ms < end_ms:
            for_ms = rng.randint(5, 20) * SECOND_MS
            found.append(Trouble(kind="crash", at_ms=at_ms, for_ms=for_ms))
            at_ms += for_ms + rng.randint(20, 40) * SECOND_MS
        return tuple(found)

    troubles: dict[int, tuple[Trouble, ...]] = {
        0: (Trouble(kind="hang", at_ms=MINUTE_MS, for_ms=end_ms + HOUR_MS),),
        1: flaps(),
        2: (Trouble(kind="fail", at_ms=MINUTE_MS, for_ms=3 * MINUTE_MS),),
        3: flaps(),
        4: (Trouble(kind="mute", at_ms=2 * MINUTE_MS, for_ms=2 * MINUTE_MS),),
        5: flaps(),
    }
    operators = tuple(
        Operator(name=o.name, wares=o.wares, stake=o.stake, troubles=troubles.get(n, ()))
        for n, o in enumerate(_operators(10, [_ware(IMAGES, 2)]))
    )
    per_s = rate * 20 * SECOND_MS / IMAGES.mean_ms
    arrivals = draw(poisson(rng, per_s), [IMAGES], _tenants(10), rng, until_ms=end_ms)
    return Trace(
        name="flapping",
        seed=seed,
        fleet=Fleet(orchestrators=operators),
        arrivals=arrivals,
        until_ms=end_ms,
    )


# 5. Three times too much


def overload(seed: int, rate: float) -> Trace:
    """`rate` times what six orchestrators of two slots can do, by five tenants who want the same."""
    return _overload("overload", seed, rate, (1.0,) * 5)


def flood(seed: int, rate: float) -> Trace:
    """The same, but one of the tenants sends ten times as much as each of the other four."""
    return _overload("flood", seed, rate, (10.0, 1.0, 1.0, 1.0, 1.0))


def _overload(name: str, seed: int, rate: float, weights: Sequence[float]) -> Trace:
    rng = _rng(name, seed)
    end_ms = 150 * SECOND_MS
    kind = Kind(
        pipeline=IMAGES.pipeline,
        model=IMAGES.model,
        deadline_ms=30 * SECOND_MS,
        work_min_ms=2_000,
        work_max_ms=4_000,
    )
    fleet = Fleet(orchestrators=_operators(6, [_ware(kind, 2)]))
    per_s = rate * 12 * SECOND_MS / kind.mean_ms
    streams = [
        draw(poisson(rng, per_s * weight / sum(weights)), [kind], [f"t{n}"], rng, until_ms=end_ms)
        for n, weight in enumerate(weights)
    ]
    return Trace(name=name, seed=seed, fleet=fleet, arrivals=merge(*streams), until_ms=end_ms)


# 6. All at once


def flash_crowd(seed: int, rate: float) -> Trace:
    """Half of what eight orchestrators of two slots can do; for thirty seconds `rate` times as much."""
    rng = _rng("crowd", seed)
    end_ms = 5 * MINUTE_MS
    fleet = Fleet(orchestrators=_operators(8, [_ware(IMAGES, 2)]))
    per_s = 0.5 * 16 * SECOND_MS / IMAGES.mean_ms
    times = crowd(rng, per_s, from_s=60, for_s=30, times=rate)
    arrivals: tuple[Arrival, ...] = draw(times, [IMAGES], _tenants(20), rng, until_ms=end_ms)
    return Trace(name="crowd", seed=seed, fleet=fleet, arrivals=arrivals, until_ms=end_ms)


def waves(seed: int, rate: float) -> Trace:
    """The same fleet at the same mean load, but jobs come in spells of ten seconds with fifty between."""
    rng = _rng("waves", seed)
    end_ms = 5 * MINUTE_MS
    fleet = Fleet(orchestrators=_operators(8, [_ware(IMAGES, 2)]))
    per_s = rate * 0.5 * 16 * SECOND_MS / IMAGES.mean_ms
    times = bursts(rng, per_s, on_s=10, off_s=50, quiet=0.02)
    arrivals = draw(times, [IMAGES], _tenants(20), rng, until_ms=end_ms)
    return Trace(name="waves", seed=seed, fleet=fleet, arrivals=arrivals, until_ms=end_ms)


# 7. A whole city


def city(seed: int, rate: float) -> Trace:
    """1,000 orchestrators with 20 workers each, speeds 1 to 4, at `rate` of what they can do."""
    return _city(seed, rate, orchestrators=1_000, workers=20)


def _city(seed: int, rate: float, *, orchestrators: int, workers: int) -> Trace:
    rng = _rng("city", seed)
    warm_ms, end_ms = 40 * SECOND_MS, 60 * SECOND_MS
    kind = Kind(
        pipeline=IMAGES.pipeline,
        model=IMAGES.model,
        deadline_ms=IMAGES.deadline_ms,
        work_min_ms=20_000,
        work_max_ms=60_000,
    )
    speeds = (1.0, 1.5, 2.0, 3.0, 4.0)
    fleet = Fleet(orchestrators=_operators(orchestrators, [_ware(kind)], speeds=speeds, workers=workers))
    per_s = rate * fleet.speed((kind.pipeline, kind.model)) * SECOND_MS / kind.mean_ms
    arrivals = draw(poisson(rng, per_s), [kind], _tenants(100), rng, until_ms=end_ms)
    return Trace(name="city", seed=seed, fleet=fleet, arrivals=arrivals, from_ms=warm_ms, until_ms=end_ms)


UPDATE = "Livepeer's AI network update of October 2023"
RELIABILITY = "the reliability goals R12 and R13"
TIMES = (
    "An image takes 2 to 4 s and a video 23 to 60 s, evenly (the source gives the latter alone); "
    "deadlines are the pipelines' own, 5 and 10 minutes."
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="load-test",
            title="The simulated load test",
            source=f"{UPDATE}, simulated load test",
            reading="Three operators make images and three make videos, one slot each. No rates are given, so they "
            f"are swept: so many jobs of each kind a minute, for 20 minutes, from ten tenants. {TIMES}",
            make=load_test,
            rates=(1, 2, 4, 5, 6, 8, 12, 24),
            rate_unit="of each kind a minute",
        ),
        Scenario(
            name="event",
            title="The event",
            source=f"{UPDATE}, community competition",
            reading="192 images and 119 videos at random moments of one hour (rate 1); its end, `12:30 AM`, may also "
            "mean thirteen hours (rate 1/13). Nine operators: the test's six, and three that have both models, one "
            f"slot for each (the source says `pre-loaded or dynamically assigned`). {TIMES}",
            make=event,
            rates=(1 / 13, 1, 4, 8, 16),
            rate_unit="times as fast as in one hour",
        ),
        Scenario(
            name="half-full",
            title="Ten orchestrators, half of them full",
            source=RELIABILITY,
            reading="Ten orchestrators of four slots; another gateway insists on all slots of five of them, every "
            "minute of another five. Our load is 60 % of what the other five can do. Images, as above.",
            make=half_full,
            rates=(0.6,),
            rate_unit="of the free half",
        ),
        Scenario(
            name="uneven",
            title="Speeds 1 to 10",
            source="our own queueing experiments (one job at a time, exponential work)",
            reading="Ten orchestrators of one slot, speeds 1, 2, ... 10, at 80 % load; work is exponential, 20 s on "
            "the slowest. The deadline (30 minutes) is far, so that the tail is seen. The first tenth is not counted.",
            make=uneven,
            rates=(0.8,),
            rate_unit="of capacity",
        ),
        Scenario(
            name="flapping",
            title="Flapping and silently dead nodes",
            source="failures named by Livepeer's operators: crashes, silent crashes, black holes",
            reading="Ten orchestrators of two slots at 40 % load for six minutes. Three crash for 5 to 20 s every 20 "
            "to 40 s; after a minute one hangs for good (its runners never answer, all else is well) and one fails "
            "every job at once for three minutes; after two minutes one is cut off without a word for two.",
            make=flapping,
            rates=(0.4,),
            rate_unit="of capacity",
        ),
        Scenario(
            name="overload",
            title="Three times too much",
            source=RELIABILITY,
            reading="Six orchestrators of two slots, images of 2 to 4 s, deadline 30 s, five tenants who want the "
            "same, for two and a half minutes.",
            make=overload,
            rates=(0.5, 0.8, 1.0, 1.5, 3.0),
            rate_unit="times capacity",
        ),
        Scenario(
            name="flood",
            title="One floods, four want little",
            source=RELIABILITY,
            reading="As before, at three times capacity, but one tenant sends ten times as much as each of the others.",
            make=flood,
            rates=(3.0,),
            rate_unit="times capacity",
        ),
        Scenario(
            name="crowd",
            title="A flash crowd",
            source="our own",
            reading="Eight orchestrators of two slots at half load; after a minute ten times as much for 30 s. All "
            "of it can be served before its deadline of five minutes.",
            make=flash_crowd,
            rates=(10.0,),
            rate_unit="times as many in the crowd",
        ),
        Scenario(
            name="waves",
            title="Jobs in waves",
            source="our own",
            reading="The same fleet at half load on average, but nearly all jobs come in spells of 10 s on average, "
            "with 50 s between.",
            make=waves,
            rate_unit="times half load",
        ),
        Scenario(
            name="city",
            title="1,000 orchestrators, 20,000 workers",
            source="our own",
            reading="Twenty workers of one slot at each orchestrator, speeds 1 to 4, images of 20 to 60 s on the "
            "slowest, 70 % load; counted for 20 s after 40 s of warming up.",
            make=city,
            rates=(0.7,),
            rate_unit="of capacity",
            seeds_max=3,
            policies=("balanced", "two-choices", "bound-random", "livepeer-stake"),
        ),
    )
}


def scenario(name: str) -> Scenario:
    """The scenario of this name. Raises `Refused` with the names that there are."""
    found = SCENARIOS.get(name)
    if found is None:
        raise Refused(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    return found
