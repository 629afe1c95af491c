"""Small bodies in packs: those of one commit are one row, written once and never moved.

Where each body lies is in memory while its pack is young, and goes to a table
in bulk, sorted, when nobody waits for it: so a body costs its bytes, and not a
page of an index. What a crash keeps out of that table is read again at open.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Mapping

from msgspec import Struct

from shoal.ids import Digest
from shoal.units import Instant

SCHEMA = """
CREATE TABLE packs (
    number  INTEGER PRIMARY KEY,
    expires INTEGER NOT NULL,   -- the latest expiry of its bodies
    bodies  BLOB    NOT NULL
) STRICT;
CREATE TABLE places (           -- of the bodies in packs up to the number in `settled`
    digest  BLOB PRIMARY KEY,
    pack    INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE settled (pack INTEGER NOT NULL) STRICT;
INSERT INTO settled VALUES (0);
"""
LAST = "SELECT max(pack, ifnull((SELECT max(number) FROM packs), 0)) FROM settled"
ADD = "INSERT INTO packs (number, expires, bodies) VALUES (?, ?, ?)"
UNSETTLED = "SELECT number, expires, bodies FROM packs WHERE number > (SELECT pack FROM settled)"
SETTLE = """
INSERT INTO places (digest, pack, expires) VALUES {rows}
ON CONFLICT (digest) DO UPDATE SET pack = excluded.pack, expires = excluded.expires
WHERE excluded.expires >= expires
"""
SETTLED = "UPDATE settled SET pack = ?"
FIND = "SELECT pack FROM places WHERE digest = ?"
READ = "SELECT bodies FROM packs WHERE number = ?"
OLDEST = "SELECT number, expires FROM packs ORDER BY number LIMIT 1"
FORGET_PACK = "DELETE FROM packs WHERE number = ?"
FORGET_PLACE = "DELETE FROM places WHERE digest = ? AND pack = ?"

#: So many places go to their table at a time, in about a millisecond; commits come between.
PLACES_AT_ONCE = 250

#: What precedes each body in a pack: its digest, its length.
_HEAD = struct.Struct(">32sI")


class Place(Struct, frozen=True, gc=False):
    """Where a body lies, and until when."""

    pack: int
    expires: Instant


class Packs:
    """The packs of one journal. `find` belongs to anybody, the rest to the one writer."""

    def __init__(self) -> None:
        self._number = 0
        self._young: dict[bytes, Place] = {}
        self._settling: list[bytes] = []
        self._settling_to = 0

    def open(self, db: sqlite3.Connection) -> None:
        """Learn where the bodies lie that the table does not know."""
        self._number = db.execute(LAST).fetchone()[0]
        for number, expires, bodies in db.execute(UNSETTLED):
            for key, _ in _take_up(bodies):
                self._note(key, Place(number, expires))

    def store(self, db: sqlite3.Connection, bodies: Mapping[Digest, tuple[bytes, Instant]]) -> None:
        """Store bodies as one pack, in the running transaction."""
        expires = max(until for _, until in bodies.values())
        parts: list[bytes] = []
        self._number += 1
        place = Place(self._number, expires)
        for name, (body, _) in bodies.items():
            key = bytes.fromhex(name)
            parts += _HEAD.pack(key, len(body)), body
            self._note(key, place)
        db.execute(ADD, (self._number, expires, b"".join(parts)))

    def find(self, db: sqlite3.Connection, key: bytes) -> bytes | None:
        """The body under this digest as it lies there, or None if there is none."""
        young = self._young.get(key)
        number = young.pack if young else (db.execute(FIND, (key,)).fetchone() or (0,))[0]
        row = db.execute(READ, (number,)).fetchone()
        return next((body for name, body in _take_up(row[0]) if name == key), None) if row else None

    def settle(self, db: sqlite3.Connection) -> bool:
        """Bring some of the places in memory to their table; True if others are left."""
        if not self._settling:
            self._settling = sorted(self._young, reverse=True)
            self._settling_to = self._number
        some = [self._settling.pop() for _ in range(min(PLACES_AT_ONCE, len(self._settling)))]
        places = [(key, place) for key in some if (place := self._young.get(key)) is not None]
        db.execute("BEGIN IMMEDIATE")
        if places:
            statement = SETTLE.format(rows=", ".join(["(?, ?, ?)"] * len(places)))
            db.execute(statement, [v for key, place in places for v in (key, place.pack, place.expires)])
        if not self._settling:
            db.execute(SETTLED, (self._settling_to,))
        db.execute("COMMIT")
        for key, _ in places:
            del self._young[key]
        return bool(self._settling)

    def expire(self, db: sqlite3.Connection, now: Instant, packs_max: int) -> bool:
        """Forget a few packs, the oldest first, that nobody needs any more; True if there may be others."""
        places: list[tuple[bytes, int]] = []
        for _ in range(packs_max):
            number, expires = db.execute(OLDEST).fetchone() or (0, now + 1)
            if expires > now:
                break
            (bodies,) = db.execute(READ, (number,)).fetchone()
            places += ((key, number) for key, _ in _take_up(bodies))
            db.execute(FORGET_PACK, (number,))
        for key, number in places:
            young = self._young.get(key)
            if young is not None and young.pack == number:
                del self._young[key]
        db.executemany(FORGET_PLACE, sorted(places))
        return expires <= now

    def _note(self, key: bytes, place: Place) -> None:
        young = self._young.get(key)
        if young is None or young.expires <= place.expires:
            self._young[key] = place


def _take_up(bodies: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What a pack holds: each body under its digest. Damage ends it early."""
    start = _HEAD.size
    while start <= len(bodies):
        key, length = _HEAD.unpack_from(bodies, start - _HEAD.size)
        yield key, bodies[start : start + length]
        start += length + _HEAD.size
