"""Mosec with one worker process that hands the request's bytes back."""

# mypy: disable-error-code="import-not-found,misc"
# Mosec lives in the peers' environment, where the type checker does not look.

from __future__ import annotations

from mosec import Server, Worker


class Echo(Worker):
    """Bytes in, the same bytes out; decoding JSON here would only slow the peer down."""

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(Echo, num=1)
    server.run()
