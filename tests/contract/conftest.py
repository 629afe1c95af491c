"""What these tests share: the loop of production, a gateway on loopback with one seller, and judges of contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from judges import JUDGES, judged
from stage import Stage, gateway

evm = pytest.fixture(judged, scope="module", params=JUDGES)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with gateway(tmp_path) as stage:
        yield stage
