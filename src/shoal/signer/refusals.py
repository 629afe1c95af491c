"""What a live payment is refused with: the statuses that Livepeer's clients go by."""

from __future__ import annotations

from shoal.errors import Refused, ShoalError
from shoal.wire.faults import error_of
from shoal.wire.words import Fault


class RefreshNeeded(Refused):
    """What the orchestrator offered is about to expire: ask it again, and come back with its answer."""

    code = "refresh_needed"
    http_status = 480


class PriceExceeded(Refused):
    """The orchestrator asks for more than may be paid."""

    code = "price_exceeded"
    http_status = 481


class NoTickets(Refused):
    """No tickets are needed: what was paid covers this."""

    code = "no_tickets"
    http_status = 482


_OWN: dict[str, type[ShoalError]] = {cls.code: cls for cls in (RefreshNeeded, PriceExceeded, NoTickets)}


def refusal(fault: Fault) -> ShoalError:
    """A fault as the error that it was."""
    if fault.code in _OWN:
        return _OWN[fault.code](fault.message)
    return error_of(fault)
