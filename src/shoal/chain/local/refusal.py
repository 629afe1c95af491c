"""Why a call failed: what the contract said, as a sentence and in its own bytes."""

from __future__ import annotations

from shoal.chain.local.execution import Outcome
from shoal.errors import Refused

#: Of `Error(string)`.
ERROR_SELECTOR = bytes.fromhex("08c379a0")


class Reverted(Refused):
    """A contract refused a call."""

    code = "reverted"

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


def failure(outcome: Outcome) -> Refused:
    """Why a call failed, as an error: with the contract's own words if it has said any."""
    if not outcome.reverted:
        return Refused(outcome.error)
    reason = reason_of(outcome.output)
    return Reverted(f"execution reverted: {reason}" if reason else "execution reverted", outcome.output)


def reason_of(output: bytes) -> str:
    """The sentence in a contract's refusal, "" if there is none."""
    if output[:4] != ERROR_SELECTOR or len(output) < 68:
        return ""
    length = int.from_bytes(output[36:68])
    return output[68 : 68 + length].decode(errors="replace") if length <= len(output) - 68 else ""
