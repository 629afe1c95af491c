"""Names that nobody can guess are never given twice."""

from __future__ import annotations

import re

from shoal.runtime.chance import IDS_AT_ONCE, new_job_id


def test_no_job_has_the_id_of_another_also_beyond_one_draw() -> None:
    ids = [new_job_id() for _ in range(10 * IDS_AT_ONCE + 1)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("job_[0-9a-f]{32}", given) for given in ids)
