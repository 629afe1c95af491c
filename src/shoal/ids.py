"""Names of things, each its own type so that none is taken for another.

A job's id is made by its originator before anything is sent; a node's id is
the Ethereum address of its key; a digest is the SHA-256 of a body in hex.
"""

from __future__ import annotations

import hashlib
from typing import NewType

JobId = NewType("JobId", str)
ClientId = NewType("ClientId", str)
NodeId = NewType("NodeId", str)
Digest = NewType("Digest", str)
#: Names an API key without giving it away; it may stand in logs and statements.
KeyId = NewType("KeyId", str)

#: How a node's id is written, everywhere: small letters only, so that equal ids are equal texts.
NODE_ID_PATTERN = r"^0x[0-9a-f]{40}\Z"

#: 128 random bits: nobody guesses another client's job.
JOB_ID_BYTES = 16


def job_id(random_bytes: bytes) -> JobId:
    """A job's id from `JOB_ID_BYTES` random bytes."""
    return JobId("job_" + random_bytes.hex())


def digest(body: bytes) -> Digest:
    """The name of a body: its SHA-256 in hex."""
    return Digest(hashlib.sha256(body).hexdigest())
