"""Where chance comes from: names that nobody can guess."""

from __future__ import annotations

from collections.abc import Iterator
from os import urandom
from secrets import randbits

from shoal.ids import JOB_ID_BYTES, ClientId, JobId, job_id

TENANT_ID_BYTES = 12
SECRET_BYTES = 32
#: Asked for one by one, ids cost their gateway more of the system's time than of its own.
IDS_AT_ONCE = 64


def new_job_id() -> JobId:
    """A job's id that was never used before."""
    return next(_job_ids)


def draw() -> int:
    """A number below 2**32 that nobody can foresee."""
    return randbits(32)


def new_tenant_id() -> ClientId:
    """A tenant's id that was never used before."""
    return ClientId("tenant_" + urandom(TENANT_ID_BYTES).hex())


def new_secret() -> bytes:
    """256 bits that nobody guesses."""
    return urandom(SECRET_BYTES)


def new_seed() -> bytes:
    """256 bits that nobody has seen before."""
    return urandom(SECRET_BYTES)


def _draw_job_ids() -> Iterator[JobId]:
    while True:
        drawn = urandom(IDS_AT_ONCE * JOB_ID_BYTES)
        for start in range(0, len(drawn), JOB_ID_BYTES):
            yield job_id(drawn[start : start + JOB_ID_BYTES])


_job_ids = _draw_job_ids()
