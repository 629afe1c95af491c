"""Asking a signer in another process: each request becomes one event, whatever happens.

A signature is believed for what it recovers to. Nothing here waits long: a
request that is not answered is asked again by the machine, which wants the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx
import msgspec
from msgspec import Struct

from shoal.errors import Conflict, Failed, Refused, ShoalError, Unreachable, Untrusted
from shoal.gateway.events import SenderKnown, SigningFailed, SignTickets, TicketsSigned
from shoal.gateway.signing import Tell
from shoal.ids import NodeId
from shoal.money.ticket import SignedNonce, Ticket
from shoal.runtime.keys import recover_hash
from shoal.runtime.url import require_private
from shoal.wire.faults import fault_of
from shoal.wire.signing import SignerAddress, TicketSignatures, order

T = TypeVar("T", bound=Struct)

log = logging.getLogger("shoal.gateway")

ANSWER_S = 2.0
ANSWER_BYTES_MAX = 256 * 1024
#: A signer that does not answer is asked for its address again after this long, then twice that, up to the most.
AGAIN_S, AGAIN_MAX_S = 0.25, 5.0
WORDS_MAX = 300
OK, CONFLICT = 200, 409


class _Error(Struct, frozen=True):
    message: str = ""


class _Refusal(Struct, frozen=True):
    error: _Error = _Error()


class RemoteSigner:
    """One signer, by its URL. Make it where the loop runs, and close it there."""

    def __init__(self, url: str, token: str, tell: Tell) -> None:
        """Raises `Refused` unless its token can be sent to this URL without others reading it."""
        self._url = require_private(url, "signer_url").rstrip("/")
        self._tell = tell
        self._sender = NodeId("")
        self._looking: asyncio.Task[None] | None = None
        self._errands: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(
            timeout=ANSWER_S,
            headers={"authorization": f"Bearer {token}"},
            follow_redirects=False,
            trust_env=False,
        )

    def open(self) -> None:
        """Ask until it says whose tickets it signs."""
        if self._looking is None or self._looking.done():
            self._looking = self._begin(self._look())

    def sign(self, effect: SignTickets) -> None:
        """Have tickets signed."""
        self._begin(self._sign(effect))

    async def close(self) -> None:
        """Ask no more."""
        for errand in tuple(self._errands):
            errand.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)
        await self._client.aclose()

    async def _look(self) -> None:
        pause_s, said = AGAIN_S, ""
        while True:
            try:
                found = await self._ask("GET", "/address", None, SignerAddress)
            except ShoalError as error:
                if error.message != said:
                    said = error.message
                    log.warning("nobody is paid until the signer says whose tickets it signs: %s", said)
            else:
                self._sender = found.address
                self._tell(SenderKnown(found.address))
                log.info("tickets are %s's, and %s signs them", found.address, self._url)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_MAX_S)

    async def _sign(self, effect: SignTickets) -> None:
        try:
            signed = await self._signed(effect)
        except ShoalError as error:
            if isinstance(error, Conflict):  # it has another key than it had
                self.open()
            self._tell(SigningFailed(effect.orchestrator, fault_of(error)))
        else:
            self._tell(TicketsSigned(effect.orchestrator, effect.params, signed))

    async def _signed(self, effect: SignTickets) -> tuple[SignedNonce, ...]:
        nonces = [ticket.nonce for ticket in effect.tickets]
        asked = msgspec.json.encode(order(effect.params, effect.tickets[0].sender, nonces))
        answer = await self._ask("POST", "/sign-tickets", asked, TicketSignatures)
        signatures = [bytes.fromhex(each[2:]) for each in answer.signatures]
        if len(signatures) != len(nonces):
            raise Failed(f"the signer has signed {len(signatures)} tickets of {len(nonces)}")
        for ticket, signature in zip(effect.tickets, signatures, strict=True):
            _require_signed(ticket, signature)
        return tuple(map(SignedNonce, nonces, signatures))

    async def _ask(self, method: str, path: str, body: bytes | None, kind: type[T]) -> T:
        """One question and its answer. Raises one of our errors, in one clear line."""
        try:
            async with asyncio.timeout(ANSWER_S):
                status, answer = await self._send(method, path, body)
        except TimeoutError as error:
            raise Unreachable(f"the signer at {self._url} did not answer within {ANSWER_S:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(
                f"the signer at {self._url} cannot be reached ({type(error).__name__}): is it running?"
            ) from error
        if status != OK:
            raise _refusal(self._url, status, answer)
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Failed(f"what answers at {self._url} is no signer of ours") from error

    async def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"} if body is not None else {}
        async with self._client.stream(method, self._url + path, content=body, headers=headers) as response:
            pieces, size = [], 0
            async for piece in response.aiter_bytes():
                size += len(piece)
                if size > ANSWER_BYTES_MAX:
                    raise Failed(f"the signer at {self._url} answers too much")
                pieces.append(piece)
            return response.status_code, b"".join(pieces)

    def _begin(self, asking: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        errand = asyncio.create_task(asking)
        self._errands.add(errand)
        errand.add_done_callback(self._end)
        return errand

    def _end(self, errand: asyncio.Task[None]) -> None:
        self._errands.discard(errand)
        if not errand.cancelled() and (error := errand.exception()) is not None:
            log.error("asking the signer met a bug", exc_info=error)


def _require_signed(ticket: Ticket, signature: bytes) -> None:
    try:
        signer = recover_hash(ticket.signed_hash, signature)
    except Untrusted as error:
        raise Failed(f"the signer's signature is none: {error.message}") from error
    if signer != ticket.sender:
        raise Failed(f"the signer signs as {signer}, and the tickets are {ticket.sender}'s")


def _refusal(url: str, status: int, answer: bytes) -> ShoalError:
    """Why it did not: its own words, as one line."""
    try:
        said = msgspec.json.decode(answer, type=_Refusal).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = ""
    line = " ".join(said.split())[:WORDS_MAX] or f"it answers {status}"
    kind = Conflict if status == CONFLICT else Refused if status < 500 else Failed
    return kind(f"the signer at {url} did not sign: {line}")
