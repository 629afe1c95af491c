"""Where chance comes from: names that nobody can guess."""

from __future__ import annotations

from os import urandom
from secrets import randbits

from shoal.ids import JOB_ID_BYTES, ClientId, JobId, job_id

TENANT_ID_BYTES = 12
SECRET_BYTES = 32


def new_job_id() -> JobId:
    """A job's id that was never used before."""
    return job_id(urandom(JOB_ID_BYTES))


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
