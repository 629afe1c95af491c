"""Who comes to a node's door and says what they like, in the words of the wire or in none."""

from __future__ import annotations

import asyncio
import ssl

from shoal.ids import NodeId
from shoal.runtime import handshake
from shoal.runtime.certificate import dialler_tls, fingerprint
from shoal.runtime.frames import FrameReader, Kind, frame
from shoal.runtime.handshake import Farewell, Handshake, Hello, Side
from shoal.runtime.keys import NodeKey
from shoal.units import KIB, MIB


class Stranger:
    """One end of a link that says what it likes."""

    def __init__(self, incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter) -> None:
        self._incoming = incoming
        self.outgoing = outgoing
        self._reader = FrameReader(MIB, MIB, 16)
        self._got: list[tuple[int, bytes]] = []
        #: Every byte that it has sent.
        self.sent = b""

    @classmethod
    async def dial(cls, port: int, *, tls: ssl.SSLContext | None = None) -> Stranger:
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls or dialler_tls()))

    def write(self, data: bytes) -> None:
        self.sent += data
        self.outgoing.write(data)

    def send(self, message: bytes) -> None:
        self.write(frame(Kind.WHOLE, 0, message))

    async def hear(self) -> tuple[int, bytes]:
        """The next frame; (-1, b"") if the link has ended."""
        while not self._got:
            try:
                data = await self._incoming.read(64 * KIB)
            except OSError:
                return -1, b""
            if not data:
                return -1, b""
            self._got += [(kind, bytes(body)) for kind, body in self._reader.feed(data)]
        return self._got.pop(0)

    def certificate(self) -> bytes:
        der: bytes = self.outgoing.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return fingerprint(der)

    async def prove(self, key: NodeKey, *, claims: NodeId | None = None, role: str = "worker") -> None:
        """Shake hands as `key`, whoever it claims to be; say nothing about how it ended."""
        hello = Hello(handshake.VERSION, role, claims or key.id, "boot", bytes(32))
        shake = Handshake(Side.DIALLER, key, hello, certificate=self.certificate())
        first = shake.begin()
        assert first is not None
        self.send(first)
        _, theirs = await self.hear()
        proof = shake.receive(theirs)
        assert proof is not None
        self.send(proof)

    async def farewell(self) -> Farewell:
        """Why the other side hangs up, after all else that it says."""
        kind, body = await self.hear()
        while kind == Kind.WHOLE:
            kind, body = await self.hear()
        assert kind == Kind.FAREWELL, "hung up without a word"
        assert await self.hear() == (-1, b"")
        await self.close()
        return handshake.decode_farewell(body)

    async def over(self) -> None:
        """Wait for the link's end."""
        while await self.hear() != (-1, b""):
            pass
        await self.close()

    async def close(self) -> None:
        self.outgoing.close()
        try:
            await self.outgoing.wait_closed()
        except OSError:
            pass
