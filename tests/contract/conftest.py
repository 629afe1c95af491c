"""What these tests share: the loop of production, and a gateway on loopback with one seller."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stage import Stage, gateway


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with gateway(tmp_path) as stage:
        yield stage
