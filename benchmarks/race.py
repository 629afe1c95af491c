"""The race: every peer in turn, alone on the machine, at 1, 16 and 64 clients.

Rounds go forwards and backwards, so that a drift of the machine favours nobody.
A peer that cannot run is skipped with its reason; a noisy window is taken again
while time allows, and kept, marked, in any case.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks.look import Look
from benchmarks.peers.peer import PEERS_PYTHON, REPOSITORY, Peer, Room, Skipped, Start
from benchmarks.processes import Crew
from benchmarks.samples import Sample, append, record_of

CLIENTS = (1, 16, 64)
READY_S = 60.0
PROBE_S = 2.0
POLL_S = 0.1
#: Between the first answer and the first window, for what a peer does after it has started.
SETTLE_S = 1.0
TAKES_MAX = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to race."""

    rounds: int
    seconds: float
    warm_s: float
    #: No window is taken again, and no round begun, after this.
    budget_s: float


FULL = Plan(rounds=5, seconds=1.5, warm_s=0.6, budget_s=510)
QUICK = Plan(rounds=2, seconds=1.0, warm_s=0.4, budget_s=110)


@dataclass(slots=True)
class Race:
    """One run over all peers. `say` is told every step."""

    run: str
    plan: Plan
    peers: Mapping[str, Start]
    say: Callable[[str], None]
    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    rounds_done: int = 0
    began: float = field(default_factory=time.monotonic)

    def go(self) -> None:
        for round_ in range(self.plan.rounds):
            if self.late():
                self.say(f"out of time: {self.rounds_done} of {self.plan.rounds} rounds were made")
                return
            names = [name for name in self.peers if name not in self.skipped]
            for name in names if round_ % 2 == 0 else reversed(names):
                self.visit(name, round_)
            self.rounds_done += 1

    def late(self) -> bool:
        return time.monotonic() - self.began > self.plan.budget_s

    def visit(self, name: str, round_: int) -> None:
        """Start the peer, take its windows, end it."""
        try:
            with Visit(self.peers[name]) as visit:
                self.say(f"round {round_ + 1}/{self.plan.rounds} {name}: ready after {visit.ready_s:.1f} s")
                time.sleep(SETTLE_S)
                for clients in CLIENTS:
                    self.windows(visit, name, round_, clients)
        except Skipped as reason:
            self.skipped[name] = str(reason)
            self.say(f"skipped {name}: {reason}")

    def windows(self, visit: Visit, name: str, round_: int, clients: int) -> None:
        """One window, taken again while it is noisy and there is time."""
        for _ in range(TAKES_MAX):
            sample = visit.window(self.plan, self.run, round_, name, clients)
            self.samples.append(sample)
            append("race", [record_of(sample)])
            noise = "" if sample.quiet else f"  noisy: strangers used {sample.foreign_cores:.2f} cores"
            wrong = f"  {sample.errors} ERRORS: {sample.examples}" if sample.errors else ""
            pace = f"{sample.jobs_s:>9,.0f}/s  p99 {sample.p99_us / 1e3:.2f} ms"
            self.say(f"  {clients:>3} clients {pace}{noise}{wrong}")
            if sample.quiet or self.late():
                return


class Visit:
    """A started peer; leaving ends every process of it."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.peer: Peer
        self.crew: Crew
        self.ready_s = 0.0

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory(prefix="race-", ignore_cleanup_errors=True)
        room = Room(Path(self.folder.name))
        self.crew = Crew(room.folder)
        began = time.monotonic()
        try:
            self.peer = self.start(room)
            for program in self.peer.programs:
                self.crew.start(program)
            self.await_answer(began + READY_S)
        except BaseException:
            self.__exit__()
            raise
        self.ready_s = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        self.crew.stop()
        self.folder.cleanup()

    def await_answer(self, deadline: float) -> None:
        """Ready is the first right answer, for every peer alike."""
        while True:
            if fallen := self.crew.fallen():
                raise Skipped(fallen)
            try:
                wrong = ask(self.peer)
            except (OSError, http.client.HTTPException) as error:
                wrong = repr(error)
            if not wrong:
                return
            if time.monotonic() > deadline:
                raise Skipped(
                    f"no right answer within {READY_S} s; the last was {wrong}:\n{self.crew.log_tail()}"
                )
            time.sleep(POLL_S)

    def window(self, plan: Plan, run: str, round_: int, name: str, clients: int) -> Sample:
        """Let the load client measure; add up who used the processors meanwhile."""
        with subprocess.Popen(
            load_command(self.peer, plan, clients), stdout=subprocess.PIPE, cwd=REPOSITORY
        ) as load:
            assert load.stdout is not None
            expect(load.stdout.readline(), b"begin\n")
            before = Look.now()
            expect(load.stdout.readline(), b"end\n")
            used = Look.now().since(before, crew=self.crew.pids(), ours=[load.pid, os.getpid()])
            tally = json.loads(load.stdout.readline())
        jobs = max(1, tally["answered"])
        return Sample(
            run=run,
            round=round_,
            peer=name,
            clients=clients,
            seconds=tally["seconds"],
            answered=tally["answered"],
            errors=tally["errors"],
            examples=tally["examples"],
            jobs_s=tally["answered"] / tally["seconds"],
            p50_us=tally["p50_us"],
            p99_us=tally["p99_us"],
            cpu_us_a_job=used.crew_ns / jobs / 1e3,
            load_cpu_us_a_job=tally["cpu_us"] / jobs,
            foreign_cores=used.foreign_ns / used.wall_ns,
            ready_s=self.ready_s,
        )


def expect(line: bytes, wanted: bytes) -> None:
    if line != wanted:
        raise RuntimeError(f"the load client said {line!r} instead of {wanted!r}")


def load_command(peer: Peer, plan: Plan, clients: int) -> list[str]:
    command = [str(PEERS_PYTHON), "-m", "benchmarks.load", "--to", peer.address, "--path", peer.path]
    command += ["--body", peer.body, "--clients", str(clients)]
    command += ["--seconds", str(plan.seconds), "--warm-s", str(plan.warm_s)]
    for header in peer.headers:
        command += ["--header", header]
    return command if peer.echoed else [*command, "--contains"]


def ask(peer: Peer) -> str:
    """Send the peer's request once; what was wrong with the answer, or nothing."""
    serial = "0" * 16
    body = peer.body.replace("{serial}", serial).encode()
    headers = dict(header.split(": ", 1) for header in peer.headers)
    connection = http.client.HTTPConnection("localhost", timeout=PROBE_S)
    connection.sock = connected(peer.address)
    try:
        connection.request("POST", peer.path, body, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    right = answer == body if peer.echoed else serial.encode() in answer
    return "" if response.status == 200 and right else f"status {response.status}: {answer[:300]!r}"


def connected(address: str) -> socket.socket:
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=PROBE_S)
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(PROBE_S)
    link.connect(address.removeprefix("unix:"))
    return link
