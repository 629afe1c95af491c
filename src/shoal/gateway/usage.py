"""What was used, by whom, of what and when: rows that add up to the ledger, to the wei.

A job counts on the day (UTC) of its end. Rows that are too old or too many are laid together; nothing is ever left out
of the sums.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from shoal.gateway.limits import DAY_MS
from shoal.ids import ClientId, KeyId
from shoal.machine import Value
from shoal.units import Instant
from shoal.work.lifecycle import DONE, FAILED, Job

#: Stands for all days of which the single ones are not known any more.
EARLIER = 0

#: Tenant, key, pipeline, model, and the day: so many since the epoch.
Place = tuple[ClientId, KeyId, str, str, int]


class Row:
    """What came of one key's jobs for one model on one day."""

    __slots__ = ("cancelled", "done", "failed", "units", "wei")

    def __init__(self) -> None:
        self.done = self.failed = self.cancelled = 0
        self.units = self.wei = 0

    def add(self, other: Row) -> None:
        """Lay another row on this one."""
        for name in Row.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Line(Value, frozen=True, array_like=True):
    """A row in a snapshot. Amounts are decimal."""

    tenant: ClientId
    key: KeyId
    pipeline: str
    model: str
    day: int
    done: int
    failed: int
    cancelled: int
    units: str
    wei: str


class Usage:
    """All rows."""

    def __init__(self, *, days_max: int, rows_max: int) -> None:
        self.rows: dict[Place, Row] = {}
        self._days_max = days_max
        self._rows_max = rows_max
        #: No row that names its day is older.
        self._first_day = EARLIER

    def count(self, job: Job, wei: int, now: Instant) -> None:
        """A job has ended, and this much was charged for it."""
        place = (job.client, job.api_key, job.spec.pipeline, job.spec.model, now // DAY_MS)
        row = self.rows.get(place)
        if row is None:
            row = self._begin(place)
        if job.phase is DONE:
            row.done += 1
        elif job.phase is FAILED:
            row.failed += 1
        else:
            row.cancelled += 1
        row.units += job.units
        row.wei += wei

    def note(self, tenant: ClientId, wei: int) -> None:
        """This much was charged before anybody counted."""
        self._row((tenant, KeyId(""), "", "", EARLIER)).wei += wei

    def charged(self) -> dict[ClientId, int]:
        """What was charged in all, by tenant."""
        sums: dict[ClientId, int] = {}
        for (tenant, *_), row in self.rows.items():
            sums[tenant] = sums.get(tenant, 0) + row.wei
        return sums

    def _begin(self, place: Place) -> Row:
        """A row that was not there; the first one of a day is the time to lay the oldest together."""
        day = place[-1]
        self._first_day = self._first_day or day
        if day - self._first_day >= self._days_max or len(self.rows) >= self._rows_max:
            self._lay_together(day - self._days_max + 1)
        return self._row(place)

    def _row(self, place: Place) -> Row:
        row = self.rows.get(place)
        if row is None:
            row = self.rows[place] = Row()
        return row

    def _lay_together(self, first_day: int) -> None:
        """Keep the days from this one on, or fewer if they are too many rows."""
        days = sorted({place[-1] for place in self.rows} - {EARLIER})
        while days and (days[0] < first_day or len(self.rows) >= self._rows_max):
            oldest = days.pop(0)
            for place in [place for place in self.rows if place[-1] == oldest]:
                row = self.rows.pop(place)
                self._row((*place[:-1], EARLIER)).add(row)
        self._first_day = days[0] if days else EARLIER

    def dump(self) -> tuple[Line, ...]:
        """For a snapshot."""
        return tuple(
            Line(*place, row.done, row.failed, row.cancelled, str(row.units), str(row.wei))
            for place, row in self.rows.items()
        )

    def load(self, lines: Iterable[Line]) -> None:
        """Take what a snapshot says."""
        self.rows = {}
        for line in lines:
            row = self._row((line.tenant, line.key, line.pipeline, line.model, line.day))
            row.done, row.failed, row.cancelled = line.done, line.failed, line.cancelled
            row.units, row.wei = int(line.units), int(line.wei)
        self._first_day = min({place[-1] for place in self.rows} - {EARLIER}, default=EARLIER)


# A statement


class Entry(Struct):
    """One line of a statement: what its place has in common, and the sums. "" and None stand for all of them."""

    tenant: str = ""
    key: str = ""
    pipeline: str = ""
    model: str = ""
    day: int | None = None
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    open: int = 0
    units: int = 0
    charged_wei: int = 0
    held_wei: int = 0


class Statement(Struct, frozen=True):
    """What was used from one day to another, both included; and what the whole account comes to."""

    entries: tuple[Entry, ...]
    total: Entry
    #: Charged before the first day, and after the last one.
    before_wei: int
    after_wei: int


BY = ("tenant", "key", "pipeline", "model", "day")


def statement(
    usage: Usage, open_jobs: Iterable[Job], today: int, *, by: Iterable[str], tenant: str = "", days: range
) -> Statement:
    """The rows of these days, one entry for each value of what they are told apart `by`; open jobs count today."""
    wanted = tuple(name for name in BY if name in set(by))
    entries: dict[tuple[str | int, ...], Entry] = {}
    total, before, after = Entry(), 0, 0
    for place, row in usage.rows.items():
        if tenant and place[0] != tenant:
            continue
        if place[-1] not in days:
            before += row.wei if place[-1] < days.start else 0
            after += row.wei if place[-1] >= days.stop else 0
            continue
        for entry in (_entry(entries, wanted, place), total):
            entry.done += row.done
            entry.failed += row.failed
            entry.cancelled += row.cancelled
            entry.units += row.units
            entry.charged_wei += row.wei
    for job in open_jobs:
        if not tenant or job.client == tenant:
            place = (job.client, job.api_key, job.spec.pipeline, job.spec.model, today)
            for entry in (_entry(entries, wanted, place), total):
                entry.open += 1
                entry.held_wei += job.hold
    return Statement(tuple(entries[key] for key in sorted(entries)), total, before, after)


def _entry(entries: dict[tuple[str | int, ...], Entry], wanted: tuple[str, ...], place: Place) -> Entry:
    values: tuple[str | int, ...] = place
    key = tuple(value for name, value in zip(BY, values, strict=True) if name in wanted)
    entry = entries.get(key)
    if entry is None:
        entry = entries[key] = Entry()
        for name, value in zip(wanted, key, strict=True):
            setattr(entry, name, value)
    return entry
