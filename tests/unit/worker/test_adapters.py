"""Adapters are refused wherever they are named, and nothing is refused where they are not."""

from __future__ import annotations

import pytest

from shoal.errors import Refused
from shoal.worker.pipelines.adapters import refuse_adapters


@pytest.mark.parametrize("loras", ["", "  ", "{}", " {} ", "[]", "null"])
def test_nothing_asked_is_nothing_refused(loras: str) -> None:
    refuse_adapters(loras, "ours/model")


@pytest.mark.parametrize(
    ("loras", "told"),
    [('{"style": 0.5}', "ours/model takes no LoRAs"), ('["style"]', "takes no LoRAs"), ("style", "no JSON")],
)
def test_what_is_named_is_refused_with_the_reason(loras: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        refuse_adapters(loras, "ours/model")
