"""What is tested of the contracts is tested on each chain that judges them."""

from __future__ import annotations

import pytest

from judges import JUDGES, judged

evm = pytest.fixture(judged, scope="module", params=JUDGES)
