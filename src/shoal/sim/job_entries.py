"""What the auditor keeps of a job and of its attempts: what the gateway's facts say, and nothing else."""

from __future__ import annotations

from msgspec import Struct

OPEN = ("queued", "running")


class Running(Struct, frozen=True):
    """One attempt as the facts tell it."""

    epoch: int
    orchestrator: str
    price_wei: int
    price_units: int


class JobEntry(Struct):
    """A job as the facts tell it."""

    client: str
    pipeline: str
    model: str
    units_max: int
    request: str
    limit_wei: int
    limit_units: int
    hold: int
    key: str
    at: int
    phase: str = "queued"
    epoch: int = 0
    orchestrator: str = ""
    price_wei: int = 0
    price_units: int = 1
    #: The second attempt that runs beside the one above, and the latest epoch that was issued.
    hedge: Running | None = None
    issued: int = 0

    def stand_by(self, attempt: Running) -> None:
        """This is the attempt that counts."""
        self.epoch, self.orchestrator = attempt.epoch, attempt.orchestrator
        self.price_wei, self.price_units = attempt.price_wei, attempt.price_units

    #: What was acknowledged of the running attempt; and of the one of which most was.
    acknowledged: int = 0
    acknowledged_max: int = 0
    units: int = 0
    wei: int = 0
    fee: int = 0
    answer: str = ""

    @property
    def owed(self) -> int:
        """The units that are paid however the running attempt ends, unless its orchestrator gave it up."""
        return min(self.acknowledged, self.units_max)

    def cost(self, units: int) -> int:
        """What so many units cost."""
        return -(-units * self.price_wei // self.price_units)


class Paid(Struct, frozen=True):
    """What a gateway paid for one attempt, and to whom. `worker` is "" where no receipt names one."""

    orchestrator: str
    wei: int
    units: int
    price_wei: int
    price_units: int
    request: str
    worker: str
