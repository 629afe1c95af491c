"""Where chance comes from: names that nobody can guess."""

from __future__ import annotations

from secrets import randbits, token_bytes

from shoal.ids import JOB_ID_BYTES, JobId, job_id


def new_job_id() -> JobId:
    """A job's id that was never used before."""
    return job_id(token_bytes(JOB_ID_BYTES))


def draw() -> int:
    """A number below 2**32 that nobody can foresee."""
    return randbits(32)
