"""An echo runner that sleeps: it takes as long as it is asked to, divided by its speed.

What a worker starts in the place of a model (`command` in its settings) when a load is replayed in less time
than it took: `python -m benchmarks.sleeper --speed 0.5`. It computes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable

import msgspec

from shoal.errors import Refused
from shoal.worker.pipelines import echo
from shoal.worker.pipelines.server import Answer, Call, Hands, Reply, main


class Sleeper(echo.Echo):
    """An echo whose milliseconds are longer or shorter than ours."""

    def __init__(self, speed: float) -> None:
        self.speed = speed

    def answer(self, call: Call, hands: Hands) -> Reply | Awaitable[Reply]:
        try:
            request = echo.decoder.decode(call.body)
        except msgspec.DecodeError as error:
            raise Refused(f"the request is not valid: {error}") from error
        # As the simulator rounds: `Operator.run_ms`.
        return echo.later(Answer(call.body, 1), max(1, round(request.sleep_ms / self.speed)))


def speed_of(arguments: list[str]) -> float:
    """Take `--speed` out of the arguments; the rest are every runner's."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--speed", type=float, default=1.0)
    own, arguments[:] = parser.parse_known_args(arguments)
    if own.speed <= 0:
        raise SystemExit("a speed is above 0")
    return float(own.speed)


if __name__ == "__main__":
    words = sys.argv[1:]
    sleeper = Sleeper(speed_of(words))
    sys.argv[1:] = words
    main(sleeper)
