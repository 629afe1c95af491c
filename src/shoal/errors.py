"""Errors by whose fault they are; one table fixes what each means on every door.

A message says what happened, to what, and what to do next. Errors are cast
once, at the boundary; inside, a `Fault` (wire/words.py) carries the same code.
"""

from __future__ import annotations

from typing import ClassVar


class ShoalError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str = "", *, retry_after_ms: int = 0) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.retry_after_ms = retry_after_ms
        super().__init__(self.message)


class Refused(ShoalError):
    """The request is wrong or not allowed; sending it again will not help."""

    code = "refused"
    http_status = 400


class Unauthorized(Refused):
    """No valid key came with the request; send `Authorization: Bearer KEY`."""

    code = "unauthorized"
    http_status = 401


class NoCredit(Refused):
    """The account's credit does not cover the price of this job."""

    code = "no_credit"
    http_status = 402


class SpendLimit(NoCredit):
    """The most that this key or its tenant may spend would be passed."""

    code = "spend_limit"


class NotGranted(Refused):
    """This key does not go so far; ask whoever runs this gateway."""

    code = "not_granted"
    http_status = 403


class NotFound(Refused):
    """There is nothing under this name that you may see."""

    code = "not_found"
    http_status = 404


class UnknownModel(Refused):
    """No such model here."""

    code = "unknown_model"
    http_status = 404


class Conflict(Refused):
    """The idempotency key was used before with another body; use a new key."""

    code = "conflict"
    http_status = 409


class TooLarge(Refused):
    """The body is larger than this pipeline accepts."""

    code = "too_large"
    http_status = 413


class WrongMedia(Refused):
    """The file is not of a format that this pipeline accepts."""

    code = "wrong_media"
    http_status = 415


class Cancelled(Refused):
    """The job was cancelled by its owner."""

    code = "cancelled"
    http_status = 409


class RateLimited(Refused):
    """This key or its tenant has sent as many jobs as it may for now; wait as long as Retry-After says."""

    code = "rate_limited"
    http_status = 429
    retryable = True


class Failed(ShoalError):
    """Something broke on our side; trying again may help."""

    code = "failed"
    http_status = 500
    retryable = True


class Busy(Failed):
    """Every matching slot is taken and the queue is full; try again later."""

    code = "busy"
    http_status = 503


class NoCapacity(Failed):
    """Nobody who offers this model is connected right now; try again later."""

    code = "no_capacity"
    http_status = 503


class Unpaid(Failed):
    """By its books that node has not been paid for this; it may be there in a moment, and others may take the job."""

    code = "unpaid"
    http_status = 503


class Expired(Failed):
    """The deadline passed before an answer came; allow more time or try later."""

    code = "expired"
    http_status = 504


class Lost(Failed):
    """The computer that ran the job went away before it answered."""

    code = "lost"
    http_status = 502


class Quarantined(Failed):
    """The job met a bug in this node and was set aside; its price was not charged."""

    code = "quarantined"
    http_status = 500
    retryable = False


class Untrusted(ShoalError):
    """A peer broke the rules; its message was dropped."""

    code = "untrusted"
    http_status = 502


class Unreachable(ShoalError):
    """The peer could not be reached."""

    code = "unreachable"
    http_status = 503
    retryable = True


class IllegalMove(ShoalError):
    """A machine was told something that its phase does not allow: a bug."""

    code = "illegal_move"


class Broken(ShoalError):
    """An invariant does not hold: a bug, or a damaged journal."""

    code = "broken"


def _leaves(cls: type[ShoalError]) -> list[type[ShoalError]]:
    return [cls, *(leaf for child in cls.__subclasses__() for leaf in _leaves(child))]


#: Every class by its code: how a fault that crossed the wire becomes an error again.
BY_CODE: dict[str, type[ShoalError]] = {cls.code: cls for cls in _leaves(ShoalError)}
