"""What the operator's files say of orchestrators: their stakes and their reputations.

They are read once, when the gateway starts; what the settings say themselves counts before a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from shoal.errors import Refused
from shoal.gateway.config import Rules, Settings
from shoal.ids import NODE_ID_PATTERN, NodeId

T = TypeVar("T")

Node = Annotated[str, Meta(pattern=NODE_ID_PATTERN)]
#: Whole wei, however many: no chain is asked.
Stakes = dict[Node, Annotated[int, Meta(ge=0)]]
Reputations = dict[Node, Annotated[float, Meta(ge=0, le=1)]]

EXAMPLE = '{"0x<40 hex digits, small>": NUMBER, ...}'


def rules_of(settings: Settings) -> Rules:
    """A gateway's rules with what stands in its files. Raises `Refused` with the file and what is wrong in it."""
    rules = settings.rules
    stakes = _read("stakes_file", settings.stakes_file, Stakes, "a whole number of wei")
    reputations = _read("reputations_file", settings.reputations_file, Reputations, "0 to 1")
    return replace(
        rules,
        stakes={**{NodeId(node): wei for node, wei in stakes.items()}, **rules.stakes},
        reputations={**{NodeId(node): known for node, known in reputations.items()}, **rules.reputations},
    )


def _read(key: str, file: str, kind: type[dict[str, T]], number: str) -> dict[str, T]:
    if not file:
        return {}
    try:
        return msgspec.json.decode(Path(file).expanduser().read_bytes(), type=kind)
    except OSError as error:
        raise Refused(f"{key}: {file} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = str(error).replace("`", "")
        raise Refused(f"{key}: {file}: {said}; it takes {EXAMPLE}, each {number}") from error
