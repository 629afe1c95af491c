"""A closed-loop HTTP/1.1 client: so many connections, each with one request in flight.

Every request carries its own serial number and every answer must bring it back;
an answer that does not is an error, counted and shown. Run as a process of its
own, so that its CPU is never mistaken for the server's. Prints `begin` when the
measured window opens and one line of JSON when it has closed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from typing import cast

import httptools
import uvloop

#: What a request's body holds in place of its serial number.
SERIAL = b"{serial}"
SERIAL_DIGITS = 16
ERRORS_MAX = 1_000
EXAMPLES_MAX = 3
EXAMPLE_BYTES_MAX = 300
#: A request still unanswered this long after the window has closed is an error.
DRAIN_S = 5.0
CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Tally:
    """What one window saw."""

    answered: int
    errors: int
    examples: list[str]
    seconds: float
    p50_us: float
    p99_us: float
    max_us: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Request:
    """A POST whose length does not depend on its serial number."""

    before: bytes
    after: bytes
    body_at: int
    echoed: bool

    @classmethod
    def of(cls, path: str, body: bytes, headers: list[str], *, echoed: bool) -> Request:
        """`echoed` asks for the very same bytes back, else the answer only has to hold the serial."""
        if body.count(SERIAL) != 1:
            raise ValueError(f"the body must hold {SERIAL.decode()} once: {body!r}")
        before, after = body.split(SERIAL)
        length = len(before) + SERIAL_DIGITS + len(after)
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        lines += [*headers, f"Content-Length: {length}", "", ""]
        head = "\r\n".join(lines).encode()
        return cls(head + before, after, len(head), echoed)

    def numbered(self, serial: bytes) -> bytes:
        return self.before + serial + self.after

    def answered_by(self, body: bytes, serial: bytes) -> bool:
        if self.echoed:
            return body == self.numbered(serial)[self.body_at :]
        return serial in body


class Window:
    """Counts what happens while it is open, and nothing before or after."""

    def __init__(self, count_max: int | None) -> None:
        self.serial = 0
        self.count_max = count_max
        self.counting = False
        self.closing = False
        self.closed = asyncio.Event()
        self.latencies_ns = array("Q")
        self.errors = 0
        self.examples: list[str] = []

    def next_serial(self) -> bytes:
        self.serial += 1
        return b"%0*d" % (SERIAL_DIGITS, self.serial)

    def answer(self, latency_ns: int) -> None:
        if not self.counting:
            return
        self.latencies_ns.append(latency_ns)
        if self.count_max is not None and len(self.latencies_ns) >= self.count_max:
            self.close()

    def error(self, example: str) -> None:
        """Errors count from the first request on: a server that fails in its warm-up has failed."""
        self.errors += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(example[:EXAMPLE_BYTES_MAX])
        if self.errors >= ERRORS_MAX:
            self.close()

    def close(self) -> None:
        self.counting = False
        self.closing = True
        self.closed.set()


class Connection(asyncio.Protocol):
    """One keep-alive connection: sends, waits for the whole answer, sends again."""

    def __init__(self, request: Request, window: Window) -> None:
        self.request = request
        self.window = window
        self.lost = asyncio.Event()
        self.waiting = False
        self.transport: asyncio.Transport
        self.parser: httptools.HttpResponseParser
        self.serial = b""
        self.sent_ns = 0
        self.parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpResponseParser(self)
        self.send()

    def send(self) -> None:
        if self.window.closing:
            self.waiting = False
            self.transport.close()
            return
        self.serial = self.window.next_serial()
        self.waiting = True
        self.sent_ns = time.perf_counter_ns()
        self.transport.write(self.request.numbered(self.serial))

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.window.error(f"not HTTP: {error}: {data!r}")
            self.waiting = False
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        latency_ns = time.perf_counter_ns() - self.sent_ns
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        status = self.parser.get_status_code()
        if status == 200 and self.request.answered_by(body, self.serial):
            self.window.answer(latency_ns)
        else:
            self.window.error(f"request {self.serial.decode()}: status {status}: {body!r}")
        self.waiting = False
        if self.parser.should_keep_alive():
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting:
            self.window.error(f"connection lost: {exc}")
            self.waiting = False
        self.lost.set()


async def keep_connected(address: str, request: Request, window: Window) -> None:
    """Keep one connection alive until the window closes; a server may hang up between answers."""
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        return Connection(request, window)

    while not window.closing:
        try:
            async with asyncio.timeout(CONNECT_S):
                if address.startswith("unix:"):
                    _, protocol = await loop.create_unix_connection(connection, address.removeprefix("unix:"))
                else:
                    host, _, port = address.rpartition(":")
                    _, protocol = await loop.create_connection(connection, host, int(port))
        except OSError as error:
            window.error(f"cannot connect to {address}: {error}")
            continue
        try:
            await protocol.lost.wait()
        finally:
            if protocol.waiting:
                window.error(f"request {protocol.serial.decode()}: no answer within {DRAIN_S} s of the end")
                protocol.waiting = False
                protocol.transport.abort()


def percentile(ordered: array[int], share: float) -> float:
    """The nearest-rank percentile; 0 of nothing, which is an error of its own."""
    if not ordered:
        return 0.0
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


async def measure(
    address: str, request: Request, *, clients: int, warm_s: float, seconds: float, count_max: int | None
) -> Tally:
    """Warm up, open the window, close it after `seconds` or `count_max` answers."""
    window = Window(count_max)
    keepers = [asyncio.create_task(keep_connected(address, request, window)) for _ in range(clients)]
    await wait_closed(window, warm_s)
    print("begin", flush=True)
    opened, cpu = time.perf_counter(), time.process_time()
    window.counting = not window.closing
    await wait_closed(window, seconds)
    window.close()
    took_s, cpu_s = time.perf_counter() - opened, time.process_time() - cpu
    print("end", flush=True)
    _, late = await asyncio.wait(keepers, timeout=DRAIN_S)
    for keeper in late:
        keeper.cancel()
    for failure in await asyncio.gather(*keepers, return_exceptions=True):
        if isinstance(failure, Exception):
            raise failure
    ordered = array("Q", sorted(window.latencies_ns))
    if not ordered:
        window.error("nothing was answered in the window")
    return Tally(
        answered=len(ordered),
        errors=window.errors,
        examples=window.examples,
        seconds=took_s,
        p50_us=percentile(ordered, 0.50) / 1e3,
        p99_us=percentile(ordered, 0.99) / 1e3,
        max_us=percentile(ordered, 1.0) / 1e3,
        cpu_us=cpu_s * 1e6,
    )


async def wait_closed(window: Window, seconds: float) -> None:
    """Wait so long, or less if the window closes by itself."""
    try:
        async with asyncio.timeout(seconds):
            await window.closed.wait()
    except TimeoutError:
        return


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.load", description=__doc__)
    parser.add_argument("--to", required=True, help="HOST:PORT or unix:PATH")
    parser.add_argument("--path", default="/echo")
    parser.add_argument("--body", default='{"text": "hello", "serial": "{serial}"}')
    parser.add_argument("--header", action="append", default=[], help="one more header line")
    parser.add_argument(
        "--contains", action="store_true", help="the answer only has to hold the serial number"
    )
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--warm-s", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--count", type=int, default=None, help="stop after so many answers")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    asked = arguments(argv)
    request = Request.of(asked.path, asked.body.encode(), asked.header, echoed=not asked.contains)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tally = runner.run(
            measure(
                asked.to,
                request,
                clients=asked.clients,
                warm_s=asked.warm_s,
                seconds=asked.seconds,
                count_max=asked.count,
            )
        )
    print(json.dumps(asdict(tally)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
