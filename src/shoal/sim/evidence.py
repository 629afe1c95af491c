"""What an auditor is given: the nodes' journals and the clients' logs, of a simulated or a real run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from shoal.ids import NodeId
from shoal.machine import Fact
from shoal.units import HOUR_MS
from shoal.work.queue import Need


class Acknowledged(Struct, frozen=True):
    """A client was told that its request is this job."""

    client: str
    job: str
    key: str
    request: str
    #: The digest of the only right answer, if there is one.
    expected: str = ""


class TurnedAway(Struct, frozen=True):
    """A client was told that its request makes no job."""

    client: str
    key: str
    request: str
    code: str


class Consumed(Struct, frozen=True):
    """A client has received its stream up to so many units."""

    client: str
    job: str
    units: int


class Ended(Struct, frozen=True):
    """A client read how its job ended."""

    client: str
    job: str
    #: "done", "failed" or "cancelled".
    end: str
    units: int
    charged_wei: int
    #: The digest of the bytes that the client read, "" if there were none.
    answer: str


class Missing(Struct, frozen=True):
    """A client was told that there is no such job, after it had been acknowledged."""

    client: str
    job: str


ClientWord = Acknowledged | TurnedAway | Consumed | Ended | Missing


class Journal(Struct, frozen=True, kw_only=True):
    """One node's facts, in order: (number, at, fact). The first is 1, or follows the snapshot `state`."""

    node: NodeId
    role: str
    facts: Iterable[tuple[int, int, Fact]]
    #: The machine's `State` in the snapshot that the facts follow.
    state: Struct | None = None
    #: The machine's `State` after the last fact, to be compared with what the facts say.
    closing: Struct | None = None


class Redeemed(Struct, frozen=True):
    """A ticket that the chain has paid."""

    sender: NodeId
    recipient: NodeId
    transaction: str
    block: int
    wei: int


class ChainTruth(Struct, frozen=True):
    """What the chain says in the end: what was redeemed, by ticket hash, and all that was ever put down.

    And how often each batch of payments was paid, and all that each worker got of each operator.
    """

    redeemed: dict[bytes, tuple[Redeemed, ...]]
    funded: dict[NodeId, int]
    batches: dict[bytes, tuple[str, ...]] = {}
    paid: dict[NodeId, int] = {}


class Evidence(Struct, frozen=True, kw_only=True):
    """Everything about one run. What is left out is not checked, and said so."""

    journals: tuple[Journal, ...]
    client_words: tuple[ClientWord, ...] | None = None
    #: True if the run went on until nothing was open: then every job must have ended.
    drained: bool = False
    #: How many jobs each worker runs at once.
    slots: dict[tuple[NodeId, Need], int] | None = None
    #: Tells whether a node signed these bytes.
    verify: Callable[[NodeId, bytes, bytes], bool] | None = None
    key_window_ms: int = 24 * HOUR_MS
    #: What the chain says, where anybody was paid on one.
    chain: ChainTruth | None = None


class Finding(Struct, frozen=True, order=True):
    """Something that must not be; or, under the rule `unchecked`, something that could not be checked."""

    rule: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule} {self.where}: {self.text}"


UNCHECKED = "unchecked"


def amounts(balances: Mapping[str, int | str]) -> dict[str, int]:
    """Balances as numbers, empty accounts left out."""
    return {account: int(wei) for account, wei in balances.items() if int(wei)}
