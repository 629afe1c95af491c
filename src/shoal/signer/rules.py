"""What the signer's machine goes by: above all how much it lets anybody spend."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.money.payer import PayerRules
from shoal.money.wei import Price
from shoal.units import HOUR_MS
from shoal.wire.signing import NONCES_MAX

Wei = Annotated[int, Meta(ge=0)]

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class Rules(Struct, frozen=True, kw_only=True):
    """Limits on tickets. What a ticket is worth is what it pays times how often it wins."""

    #: The most that one ticket is worth, and all tickets of one request; Livepeer's gateways go by the same.
    ticket_ev_wei_max: Wei = 3 * 10**12
    request_ev_wei_max: Wei = 20 * 10**12
    #: The most that one ticket pays if it wins.
    ticket_face_wei_max: Wei = 2 * 10**17
    #: What all tickets together may be worth: in a minute and a day (UTC), and in all.
    ev_wei_per_minute: Wei = 10**15
    ev_wei_per_day: Wei = 10**17
    ev_wei_in_all: Wei = 10**18
    #: Who may be paid. Empty: anybody, within these limits.
    payees: tuple[str, ...] = ()
    tickets_per_request_max: Annotated[int, Meta(ge=1, le=NONCES_MAX)] = 100
    #: The most that a unit of live work may cost, by its kind: live (a second), lv2v (a pixel) or fixed.
    prices_max: dict[str, Price] = {}
    #: Live payments that go on, each known by its state, and how long a state is good for.
    states_max: Annotated[int, Meta(ge=1)] = 10_000
    state_keep_ms: Annotated[int, Meta(ge=1)] = 24 * HOUR_MS
    #: Live payments are made under parameters that end within so many blocks: until then they are remembered.
    params_blocks_max: Annotated[int, Meta(ge=1)] = 1_000
    #: Sets of parameters whose signed tickets are remembered: who asks for them again is not charged again.
    streams_max: Annotated[int, Meta(ge=1)] = 10_000

    @property
    def payer(self) -> PayerRules:
        """What live payments keep to besides."""
        return PayerRules(
            ticket_ev_wei_max=self.ticket_ev_wei_max,
            total_ev_wei_max=self.request_ev_wei_max,
            nonces_max=NONCES_MAX,
            streams_max=self.streams_max,
        )


def allowed_payees(rules: Rules) -> frozenset[NodeId]:
    """Who may be paid; empty for anybody. Raises `Refused` if one of them is no address."""
    for text in rules.payees:
        if not _ADDRESS.fullmatch(text):
            raise Refused(f"rules.payees: {text!r} is no address; it has 0x and 40 hex digits")
    return frozenset(NodeId(text.lower()) for text in rules.payees)
