"""A tour of a running network: real jobs, each with what came back, who ran it, and who earned what.

It talks to the gateway as any client would, over HTTP; only the murder is done by hand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from shoal.cli.accounts import Row
from shoal.cli.buyer import ENDED, Buyer, File, Job, read_file
from shoal.cli.client import Client, Json
from shoal.cli.network import Network
from shoal.cli.page import Page
from shoal.cli.terminal import duration, gwei
from shoal.errors import Busy, Failed, NoCapacity, Refused, UnknownModel

CHAT = "Why is the sky blue?"
SYSTEM = "You are a helpful assistant. Answer in one short sentence."
SENTENCE = "A shoal is many small fish that move as one."
STORY = "Tell me a long story about a small fish that travels through the whole ocean."
STORY_TOKENS = 160
#: A story is cancelled, or its worker killed, after so many tokens.
HALF_WAY = 40
QUESTION_TOKENS = 48
NO_SUCH_MODEL = "gpt-17"
TURNED_AWAY = (Busy.code, NoCapacity.code)
#: How much of an answer is shown where many are.
ANSWER_CHARACTERS = 90
#: Little luck: a model this small needs none.
TEMPERATURE = 0.2


class Attempt(Struct, frozen=True):
    """One try at a job, from the books of the orchestrator where it was made."""

    epoch: int
    worker: str
    wei: int = 0
    own_wei: int = 0
    worker_wei: int = 0


class Interrupted(Exception):
    """The tour was told to stop."""


class Tour:
    """All stations, in order, and what became of every job."""

    def __init__(
        self,
        network: Network,
        page: Page,
        *,
        examples: Path,
        sound: Path,
        kill: Callable[[str], int],
        told: threading.Event,
    ) -> None:
        """`kill` ends a node's process by its name, and says which process it was."""
        self.job_ids: list[str] = []
        self._network = network
        self._page = page
        self._examples = examples
        self._sound = sound
        self._kill = kill
        self._told = told
        self._buyer = Buyer(Client(network.gateway.url))

    def run(self) -> list[Row]:
        """Walk through all of it. Raises `Failed` where something is not as promised."""
        stations: Sequence[tuple[str, Callable[[], None]]] = (
            ("A question, answered word by word", self._chat),
            ("A sentence, spoken", self._speak),
            ("The same sound, written down again", self._listen),
            ("Eight questions at once, over all workers", self._crowd),
            ("A story, cancelled half way", self._cancel),
            ("One request, sent twice with one key", self._twice),
            ("A story whose worker is killed while it tells it", self._murder),
            ("A recording, transcribed", self._transcribe),
            ("A model that nobody has", self._refuse),
        )
        for number, (title, station) in enumerate(stations, 1):
            self._page.heading(f"{number}. {title}")
            station()
        return [self.row(self._buyer.job(job_id)) for job_id in self.job_ids]

    # Stations

    def _chat(self) -> None:
        self._page.line(f"> {CHAT}")
        job = self._submit("llm", _question(CHAT, seed=7))
        self._tell(self._read(job["id"]))

    def _speak(self) -> None:
        self._page.line(f"> {SENTENCE}")
        job = self._done(self._submit("text-to-speech", {"text": SENTENCE}))
        sound = self._buyer.result(job["id"]).body
        self._sound.parent.mkdir(parents=True, exist_ok=True)
        self._sound.write_bytes(sound)
        self._page.line(f"{len(sound):,} bytes of sound, in {self._sound}")
        self._tell(job)

    def _listen(self) -> None:
        self._compare(File("audio", self._sound.name, self._sound.read_bytes()), SENTENCE)

    def _transcribe(self) -> None:
        talk = read_file(self._examples / "talk.wav", "audio")
        self._compare(talk, (self._examples / "talk.txt").read_text().strip())

    def _compare(self, file: File, said: str) -> None:
        self._page.line(f"> {file.name} ({len(file.data):,} bytes)")
        job = self._done(self._submit("audio-to-text", {}, file=file))
        heard = str(self._buyer.result(job["id"]).json()["text"]).strip()
        self._page.line(heard)
        before, after = plain_words(said), plain_words(heard)
        same = sum(min(before.count(word), after.count(word)) for word in set(before))
        self._page.line(f"{same} of {len(before)} words are those that were said")
        self._tell(job)

    def _crowd(self) -> None:
        questions = (self._examples / "questions.txt").read_text().split("\n")
        questions = [question.strip() for question in questions if question.strip()]
        with ThreadPoolExecutor(len(questions)) as pool:
            jobs = list(pool.map(self._ask, questions, range(len(questions))))
        for question, job in zip(questions, jobs, strict=True):
            self._page.line(f"> {question}")
            self._page.line(shorten(self._text_of(job)))
            row = self.row(job)
            self._page.fact(
                row.worker,
                f"for {row.orchestrator}; waited {duration(row.queue_ms)}{_ran(row)}; "
                f"{gwei(row.charged_wei)}: {gwei(row.orchestrator_wei)} + {gwei(row.worker_wei)}",
            )
        workers = sorted({self.row(job).worker for job in jobs})
        self._page.line(f"{len(jobs)} answers from {', '.join(workers)}")

    def _ask(self, question: str, number: int) -> Job:
        return self._done(self._submit("llm", _question(question, seed=number, tokens=QUESTION_TOKENS)))

    def _cancel(self) -> None:
        self._page.line(f"> {STORY}")
        job = self._submit("llm", _story(seed=1))
        received = 0
        for piece in self._texts(job["id"]):
            self._page.grow(piece["text"])
            received = int(piece["units"])
            if received >= HALF_WAY:
                break
        self._buyer.cancel(job["id"])
        job = self._buyer.ended(job["id"])
        if job["state"] != "cancelled" or job["units"] > received:
            raise Failed(f"{job['id']} is {job['state']} and charged for {job['units']} of {received} tokens")
        self._page.grow(" …")
        self._page.line(
            f"cancelled after {received} of at most {STORY_TOKENS} tokens; charged for the {job['units']} "
            "whose arrival was acknowledged"
        )
        self._tell(job)

    def _twice(self) -> None:
        request, key = _question("Which city is the capital of France?", seed=3), "tour-once"
        request["stream"] = False
        first = self._done(self._submit("llm", request, key=key))
        charged_wei = self._buyer.network()["ledger"]["charged_wei"]
        second = self._done(self._buyer.submit("llm", request, key=key))
        again_wei = self._buyer.network()["ledger"]["charged_wei"] - charged_wei
        if second["id"] != first["id"] or again_wei:
            raise Failed(f"{first['id']} was sent twice, and became {second['id']} for {again_wei} wei more")
        self._page.line("> Which city is the capital of France?")
        self._page.line(self._text_of(first))
        self._page.line(f"> the same again, with the same key ({key})")
        self._page.line(self._text_of(second))
        self._page.line(f"the same job both times ({first['id']}), charged once")
        self._tell(first)

    def _murder(self) -> None:
        self._page.line(f"> {STORY}")
        job = self._submit("llm", _story(seed=2))
        victim = ""
        for piece in self._texts(job["id"]):
            self._page.grow(piece["text"])
            if not victim and piece["units"] >= HALF_WAY:
                victim = self._attempts(job["id"])[-1].worker
                pid = self._kill(victim)
                self._page.aside(f"{victim}, process {pid}, gets SIGKILL")
        job = self._buyer.ended(job["id"])
        if job["state"] != "done" or not victim:
            raise Failed(f"{job['id']} is {job['state']} after {victim or 'nobody'} was killed")
        row = self.row(job)
        if row.attempts < 2 or row.failed_attempts_wei:
            raise Failed(
                f"{row.id}: {row.attempts} attempts, the failed ones earned {row.failed_attempts_wei}"
            )
        self._page.line(f"begun by {victim}, which earned nothing; told to its end by {row.worker}")
        self._tell(job)

    def _refuse(self) -> None:
        self._page.line(f"> model {NO_SUCH_MODEL}")
        try:
            self._buyer.submit("llm", {**_question(CHAT, seed=1), "model": NO_SUCH_MODEL})
        except (UnknownModel, Refused, NoCapacity) as refusal:
            self._page.line(f"refused: {refusal.message}")
        else:
            raise Failed(f"a job for {NO_SUCH_MODEL}, which nobody has, was accepted")

    # Jobs

    def _submit(
        self, pipeline: str, params: dict[str, Any], *, file: File | None = None, key: str = ""
    ) -> Job:
        if self._told.is_set():
            raise Interrupted
        job = self._buyer.submit(pipeline, params, file=file, key=key)
        self.job_ids.append(job["id"])
        return job

    def _texts(self, job_id: str) -> Iterator[Json]:
        """The pieces of a streamed answer as they come."""
        for name, value in self._buyer.follow(job_id):
            if self._told.is_set():
                raise Interrupted
            if name == "text":
                yield value
            elif name == "error":
                self._page.aside(value["error"]["message"])

    def _read(self, job_id: str) -> Job:
        """Show a streamed answer as it comes; the job at its end."""
        for piece in self._texts(job_id):
            self._page.grow(piece["text"])
        self._page.grow("\n")
        return self._done(self._buyer.job(job_id))

    def _done(self, job: Job) -> Job:
        """The job once it is done. Raises `Failed` if it ends in another way."""
        if job["state"] not in ENDED:
            job = self._buyer.ended(job["id"])
        if job["state"] != "done":
            raise Failed(f"{job['id']} is {job['state']}: {(job['error'] or {}).get('message', '')}")
        return job

    def _text_of(self, job: Job) -> str:
        answer = self._buyer.result(job["id"]).json()
        return str(answer["choices"][0]["message"]["content"]).strip()

    # Money

    def _attempts(self, job_id: str) -> list[Attempt]:
        """Every attempt at a job, the last one last; workers by their names."""
        found: list[Attempt] = []
        for node in self._network.of("orchestrator"):
            said = Client(node.url).get(f"/jobs/{job_id}").json()["attempts"]
            found += msgspec.convert(said, list[Attempt])
        named = [replace(attempt, worker=self._network.name(attempt.worker)) for attempt in found]
        return sorted(named, key=lambda attempt: attempt.epoch)

    def row(self, job: Job) -> Row:
        """A job with its money, from both sides' books."""
        attempts = self._attempts(job["id"]) or [Attempt(0, "")]
        last = attempts[-1]
        return Row(
            id=job["id"],
            pipeline=job["pipeline"],
            model=job["model"],
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

    def _tell(self, job: Job) -> None:
        """What a job was, who ran it, what it cost and who earned that."""
        row = self.row(job)
        self._page.fact("job", f"{row.id}  {row.pipeline}  {row.model}")
        self._page.fact(
            "run", f"by {row.worker} for {row.orchestrator}; waited {duration(row.queue_ms)}{_ran(row)}"
        )
        price = gwei(row.price_wei) + (f" / {row.price_units}" if row.price_units != 1 else "")
        self._page.fact("price", f"{row.units:,} x {price} ({row.unit}) = {gwei(row.charged_wei)}")
        self._page.fact(
            "earned", f"{row.orchestrator} {gwei(row.orchestrator_wei)}, {row.worker} {gwei(row.worker_wei)}"
        )


def _began(attempt: dict[str, Any]) -> bool:
    """False if a node was asked and turned the job away, because others had its last slot."""
    return attempt["error"] is None or attempt["error"]["code"] not in TURNED_AWAY


def _ran(row: Row) -> str:
    if row.state != "done":
        return f", {row.state}"
    again = f" at attempt {row.attempts}" if row.attempts > 1 else ""
    return f", ran {duration(row.run_ms)}{again}"


def _question(text: str, *, seed: int, tokens: int = 120) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    params = {"messages": messages, "max_tokens": tokens, "temperature": TEMPERATURE}
    return {**params, "seed": seed, "stream": True}


def _story(*, seed: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": STORY}]
    return {"messages": messages, "max_tokens": STORY_TOKENS, "seed": seed, "stream": True}


def plain_words(text: str) -> list[str]:
    """A text's words without marks and capitals, to compare by."""
    kept = "".join(letter if letter.isalnum() or letter == "'" else " " for letter in text.lower())
    return kept.split()


def shorten(text: str) -> str:
    """One line of a longer text."""
    line = " ".join(text.split())
    return line if len(line) <= ANSWER_CHARACTERS else line[: ANSWER_CHARACTERS - 1] + "…"
