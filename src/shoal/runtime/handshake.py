"""How two nodes prove to each other who they are, before any word is exchanged.

    dialler                       listener
    Hello        ───────────────▶
                 ◀───────────────  Hello
    Proof        ───────────────▶  (admitted?)
                 ◀───────────────  Proof

A proof signs both hellos and the hash of the listener's TLS certificate, so it
holds for this one link only: not for another time, place or direction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct

from shoal.errors import Refused, Untrusted
from shoal.ids import NODE_ID_PATTERN, NodeId
from shoal.runtime.keys import SIGNATURE_BYTES, NodeKey, verify
from shoal.wire.codec import Coder

VERSION = 2
NONCE_BYTES = 32
REASON_CHARACTERS_MAX = 300

#: Whether a node that has proved its id may come in as this role.
Admit = Callable[[NodeId, str], bool]


class Side(Enum):
    """Which end of a link somebody is; each signs its own name, so that no proof can be sent back."""

    DIALLER = b"dialler"
    LISTENER = b"listener"


class Greeting(Struct, frozen=True, array_like=True, tag=True):
    """What is said on a link besides words."""


class Hello(Greeting, frozen=True):
    """Who I say I am. `boot` is new after my every restart."""

    version: int
    role: Annotated[str, Meta(pattern=r"^[a-z][a-z-]{0,31}\Z")]
    node: Annotated[str, Meta(pattern=NODE_ID_PATTERN)]
    boot: Annotated[str, Meta(min_length=1, max_length=64)]
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]


class Proof(Greeting, frozen=True):
    """My signature over the transcript."""

    signature: Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


class Farewell(Greeting, frozen=True):
    """Why I hang up: a code of `errors.BY_CODE` and one line."""

    code: Annotated[str, Meta(max_length=32)]
    reason: Annotated[str, Meta(max_length=REASON_CHARACTERS_MAX)]


_greetings: Coder[Greeting] = Coder(Hello, Proof)
_farewells = Coder(Farewell)

encode = _greetings.encode
encode_farewell = _farewells.encode
decode_farewell = _farewells.decode


def transcript(side: Side, dialler_hello: bytes, listener_hello: bytes, certificate: bytes) -> bytes:
    """What `side` signs. `certificate` is the fingerprint of the listener's."""
    hellos = hashlib.sha256(dialler_hello).digest() + hashlib.sha256(listener_hello).digest()
    return b"shoal handshake 1\n" + side.value + b"\n" + hellos + certificate


class Handshake:
    """One end of a handshake: messages in, messages out. After it has raised it is of no further use."""

    def __init__(
        self,
        side: Side,
        key: NodeKey,
        hello: Hello,
        *,
        certificate: bytes,
        expect: NodeId | None = None,
        admit: Admit | None = None,
    ) -> None:
        """`expect` pins the other side's id; else `admit` is asked; with neither, anybody may come."""
        self._side = side
        self._key = key
        self._hello = encode(hello)
        self._certificate = certificate
        self._expect = expect
        self._admit = admit
        self._theirs: Hello | None = None
        self._transcripts: dict[Side, bytes] = {}
        #: Who the other side is, once it has proved it.
        self.peer: Hello | None = None

    def begin(self) -> bytes | None:
        """What to say first, if it is for this side to speak."""
        return self._hello if self._side is Side.DIALLER else None

    def receive(self, message: bytes | memoryview) -> bytes | None:
        """What to answer, if anything. Raises `Untrusted` or `Refused`, and then the link must end."""
        greeting = _greetings.decode(message)
        if isinstance(greeting, Hello) and self._theirs is None:
            return self._greet(greeting, bytes(message))
        if isinstance(greeting, Proof) and self._theirs is not None and self.peer is None:
            return self._believe(greeting, self._theirs)
        raise Untrusted(f"a {type(greeting).__name__} came out of turn")

    def _greet(self, theirs: Hello, message: bytes) -> bytes:
        if theirs.version != VERSION:
            raise Refused(
                f"the peer speaks version {theirs.version} of this protocol, we {VERSION}: update the older"
            )
        if theirs.node == self._key.id:
            raise Refused("the peer has this node's own key: give every node its own")
        if self._expect not in (None, theirs.node):
            raise Untrusted(
                f"the peer says it is {theirs.node}, expected {self._expect}: is the address right?"
            )
        self._theirs = theirs
        dialler = self._side is Side.DIALLER
        hellos = (self._hello, message) if dialler else (message, self._hello)
        self._transcripts = {side: transcript(side, *hellos, self._certificate) for side in Side}
        return self._proof() if dialler else self._hello

    def _believe(self, proof: Proof, theirs: Hello) -> bytes | None:
        """Take the other side for who it says it is, or raise."""
        node = NodeId(theirs.node)
        other = Side.LISTENER if self._side is Side.DIALLER else Side.DIALLER
        if not verify(node, self._transcripts[other], proof.signature):
            raise Untrusted(f"the peer has not proved that it is {node}")
        if self._expect is None and self._admit is not None and not self._admit(node, theirs.role):
            raise Refused(f"{node} is not admitted here as {theirs.role}")
        self.peer = theirs
        return self._proof() if self._side is Side.LISTENER else None

    def _proof(self) -> bytes:
        return encode(Proof(self._key.sign(self._transcripts[self._side])))
