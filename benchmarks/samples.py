"""One measured window is one sample, kept as one line of JSON for ever after.

Lines are appended under `benchmarks/results/`, noisy ones included and marked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
#: A window during which strangers used more of the machine than this is set aside.
FOREIGN_CORES_MAX = 0.15


@dataclass(frozen=True, slots=True)
class Sample:
    """What one peer did for one number of clients in one window."""

    run: str
    round: int
    peer: str
    clients: int
    seconds: float
    answered: int
    errors: int
    examples: list[str]
    jobs_s: float
    p50_us: float
    p99_us: float
    cpu_us_a_job: float
    load_cpu_us_a_job: float
    foreign_cores: float
    ready_s: float

    @property
    def quiet(self) -> bool:
        return self.foreign_cores <= FOREIGN_CORES_MAX


def append(part: str, records: Iterable[dict[str, object]]) -> None:
    """Add lines to the part's file of results."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{part}.jsonl").open("a") as lines:
        for record in records:
            lines.write(json.dumps(record) + "\n")


def record_of(sample: Sample) -> dict[str, object]:
    return {**asdict(sample), "quiet": sample.quiet}


@dataclass(frozen=True, slots=True)
class Cell:
    """The samples of one peer at one number of clients that are worth using."""

    samples: tuple[Sample, ...]
    taken: int
    #: Wrong or missing answers in all windows, noisy ones too.
    errors: int
    #: False when every sample was noisy, and all had to be used.
    quiet: bool

    def by_round(self, metric: Callable[[Sample], float]) -> dict[int, float]:
        """One value a round: the last sample taken in it."""
        return {sample.round: metric(sample) for sample in self.samples}


def cell(samples: Sequence[Sample], peer: str, clients: int) -> Cell | None:
    """Quiet samples if there are any, else all; None if none was taken."""
    taken = [sample for sample in samples if sample.peer == peer and sample.clients == clients]
    if not taken:
        return None
    quiet = [sample for sample in taken if sample.quiet]
    return Cell(tuple(quiet or taken), len(taken), sum(sample.errors for sample in taken), bool(quiet))
