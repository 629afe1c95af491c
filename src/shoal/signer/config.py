"""A signer's settings, each with its limit and its unit."""

from __future__ import annotations

from msgspec import Struct

from shoal.chain.settings import ChainSettings
from shoal.errors import Refused
from shoal.signer.rules import Rules

__all__ = ["Listed", "Rules", "Settings"]

#: Nobody guesses a token of so many letters, if they are drawn.
TOKEN_LENGTH_MIN = 32
#: Each request is compared with all of them.
TOKENS_MAX = 1_000


class Listed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An orchestrator that callers are told of."""

    #: Where it answers: https://host:port.
    address: str
    score: float = 1.0
    #: What it can do: `pipeline/model`.
    capabilities: tuple[str, ...] = ()


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one signer's process is run."""

    #: The folder of its key and its journal.
    home: str
    #: Where it is asked.
    http_addr: str = "127.0.0.1:7939"
    #: What comes with every request: `Authorization: Bearer TOKEN`. Empty: the one in `signer.token` in its home,
    #: and it listens on this computer only.
    tokens: tuple[str, ...] = ()
    #: A webhook that is asked before live work is paid, and what it is sent besides.
    auth_url: str = ""
    auth_headers: dict[str, str] = {}
    #: Who is named to those that look for orchestrators.
    orchestrators: tuple[Listed, ...] = ()
    #: Where its deposit is: for live payments, which it judges by that.
    chain: ChainSettings = ChainSettings()
    rules: Rules = Rules()


def require_strong(tokens: tuple[str, ...]) -> None:
    """Raise `Refused` for a token that could be guessed, which is not told, or for too many."""
    if len(tokens) > TOKENS_MAX:
        raise Refused(f"tokens: there may be {TOKENS_MAX} of them, not {len(tokens)}")
    if any(len(token) < TOKEN_LENGTH_MIN for token in tokens):
        raise Refused(f"tokens: each has {TOKEN_LENGTH_MIN} letters at least; draw them at random")
