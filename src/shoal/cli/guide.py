"""The tour's guide: sends jobs as any client would, waits for them, and tells what each was and who earned what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from shoal.cli.accounts import Row
from shoal.cli.buyer import ENDED, Buyer, File, Job, files_of
from shoal.cli.client import Client, Json
from shoal.cli.network import Network
from shoal.cli.page import Page
from shoal.cli.terminal import duration, gwei
from shoal.errors import Failed
from shoal.policy.retries import TURNED_AWAY
from shoal.worker.models import find

#: A job's end reaches the orchestrators' books a moment after its client.
BOOKED_S = 30.0
LOOK_S = 0.05


class Attempt(Struct, frozen=True):
    """One try at a job, from the books of the orchestrator where it was made."""

    epoch: int
    worker: str
    state: str = ""
    wei: int = 0
    own_wei: int = 0
    worker_wei: int = 0


class Interrupted(Exception):
    """The tour was told to stop."""


class Guide:
    """What every station needs: jobs sent and followed, and told of on the page."""

    def __init__(self, network: Network, page: Page, told: threading.Event) -> None:
        """`told` is set when the tour is to stop."""
        self.job_ids: list[str] = []
        self.page = page
        self.buyer = Buyer(Client(network.gateway.url))
        self._network = network
        self._told = told

    # Jobs

    def submit(
        self, pipeline: str, params: dict[str, Any], *, file: File | None = None, key: str = ""
    ) -> Job:
        """A new job, which will be added up at the end."""
        if self._told.is_set():
            raise Interrupted
        job = self.buyer.submit(pipeline, params, file=file, key=key)
        self.job_ids.append(job["id"])
        return job

    def texts(self, job_id: str) -> Iterator[Json]:
        """The pieces of a streamed answer as they come."""
        for name, value in self.buyer.follow(job_id):
            if self._told.is_set():
                raise Interrupted
            if name == "text":
                yield value
            elif name == "error":
                self.page.aside(value["error"]["message"])

    def read(self, job_id: str) -> Job:
        """Show a streamed answer as it comes; the job at its end."""
        for piece in self.texts(job_id):
            self.page.grow(piece["text"])
        self.page.grow("\n")
        return self.done(self.buyer.job(job_id))

    def done(self, job: Job) -> Job:
        """The job once it is done. Raises `Failed` if it ends in another way."""
        if job["state"] not in ENDED:
            job = self.buyer.ended(job["id"])
        if job["state"] != "done":
            raise Failed(f"{job['id']} is {job['state']}: {(job['error'] or {}).get('message', '')}")
        return job

    def file_of(self, job: Job) -> bytes:
        """The one file that a job made."""
        urls = files_of(self.buyer.answer(job["id"]))
        if len(urls) != 1:
            raise Failed(f"{job['id']} was to make one file, and made {len(urls)}")
        return self.buyer.file(urls[0])

    # Money

    def attempts(self, job_id: str) -> list[Attempt]:
        """Every attempt at a job, the last one last; workers by their names."""
        found: list[Attempt] = []
        for node in self._network.of("orchestrator"):
            said = Client(node.url).get(f"/jobs/{job_id}").json()["attempts"]
            found += msgspec.convert(said, list[Attempt])
        named = [replace(attempt, worker=self._network.name(attempt.worker)) for attempt in found]
        return sorted(named, key=lambda attempt: attempt.epoch)

    def rows(self) -> list[Row]:
        """Every job that was sent, with its money."""
        return [self.row(self.buyer.job(job_id)) for job_id in self.job_ids]

    def row(self, job: Job) -> Row:
        """A job with its money, from both sides' books."""
        attempts = self._booked(job["id"]) or [Attempt(0, "")]
        last = attempts[-1]
        return Row(
            id=job["id"],
            pipeline=job["pipeline"],
            model=job["model"],
            method=find(job["pipeline"], job["model"]).method,
            state=job["state"],
            attempts=sum(_began(attempt) for attempt in job["attempts"]),
            queue_ms=job["queue_ms"],
            run_ms=job["run_ms"],
            units=job["units"],
            unit=job["unit"],
            price_wei=job["price"]["wei"],
            price_units=job["price"]["per_units"],
            charged_wei=job["charged_wei"],
            orchestrator=self._network.name(job["orchestrator"]),
            worker=last.worker,
            orchestrator_wei=last.own_wei,
            worker_wei=last.worker_wei,
            failed_attempts_wei=sum(attempt.wei for attempt in attempts[:-1]),
        )

    def tell(self, job: Job) -> Row:
        """What a job was, how it was done, who ran it, what it cost and who earned that."""
        row = self.row(job)
        for name, text in facts(row):
            self.page.fact(name, text)
        return row

    def _booked(self, job_id: str) -> list[Attempt]:
        """Every attempt at a job that has ended, once the orchestrators have booked what became of them."""
        looks = round(BOOKED_S / LOOK_S)
        for _ in range(looks):
            attempts = self.attempts(job_id)
            if all(attempt.state != "leased" for attempt in attempts):
                return attempts
            self._told.wait(LOOK_S)
        raise Failed(f"the orchestrators have not booked {job_id} after {BOOKED_S:.0f} s")


def facts(row: Row) -> list[tuple[str, str]]:
    """All that is known of a job, in words."""
    price = gwei(row.price_wei) + (f" / {row.price_units}" if row.price_units != 1 else "")
    return [
        ("job", f"{row.id}  {row.pipeline}  {row.model}"),
        ("method", row.method),
        ("run", f"by {row.worker} for {row.orchestrator}; waited {duration(row.queue_ms)}{ran(row)}"),
        ("price", f"{row.units:,} x {price} ({row.unit}) = {gwei(row.charged_wei)}"),
        ("earned", f"{row.orchestrator} {gwei(row.orchestrator_wei)}, {row.worker} {gwei(row.worker_wei)}"),
    ]


def ran(row: Row) -> str:
    """How long a job ran, or how it ended."""
    if row.state != "done":
        return f", {row.state}"
    again = f" at attempt {row.attempts}" if row.attempts > 1 else ""
    return f", ran {duration(row.run_ms)}{again}"


def plain_words(text: str) -> list[str]:
    """A text's words without marks and capitals, to compare by."""
    kept = "".join(letter if letter.isalnum() or letter == "'" else " " for letter in text.lower())
    return kept.split()


def same_words(said: str, came: str) -> str:
    """How many of the words that were meant have come."""
    before, after = plain_words(said), plain_words(came)
    same = sum(min(before.count(word), after.count(word)) for word in set(before))
    return f"{same} of {len(before)} words"


def _began(attempt: dict[str, Any]) -> bool:
    """False if a node was asked and turned the job away, because others had its last slot."""
    return attempt["error"] is None or attempt["error"]["code"] not in TURNED_AWAY
