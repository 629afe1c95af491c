"""What a stranger sends is a word of ours or it is untrusted; nothing else comes out of the codec."""

from __future__ import annotations

import pytest

from shoal.errors import Untrusted
from shoal.ids import Digest, JobId
from shoal.money.wei import Price
from shoal.wire.codec import decode, encode
from shoal.wire.words import Heartbeat, Job, JobSpec

JOB = Job(JobId("job"), 1, JobSpec("echo", "echo", 1), Price(21, 23), 1, Digest("d"))


def test_a_word_comes_back_as_it_was() -> None:
    assert decode(encode(JOB)) == JOB
    assert decode(encode(Heartbeat())) == Heartbeat()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x93\xa7Unknown\x01\x02",
        encode(JOB)[:-1],
        encode(JOB) + b"\x00",
        b"\x91" * 2_000,
        encode(JOB).replace(b"\x92\x15\x17", b"\x92\x15\x00"),  # 21 wei for every 0 units
        encode(JOB).replace(b"\x92\x15\x17", b"\x92\xff\x17"),  # less than no wei
    ],
)
def test_anything_else_is_untrusted(data: bytes) -> None:
    assert data != encode(JOB)
    with pytest.raises(Untrusted):
        decode(data)
