"""Where chance comes from: names that nobody can guess."""

from __future__ import annotations

from os import urandom

from shoal.ids import JOB_ID_BYTES, JobId, job_id


def new_job_id() -> JobId:
    """A job's id that was never used before."""
    return job_id(urandom(JOB_ID_BYTES))
