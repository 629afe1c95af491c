"""A tour of a running network: real jobs, each with what came back, who ran it, and who earned what.

It talks to the gateway as any client would, over HTTP; only the murder is done by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from shoal.cli.accounts import Row
from shoal.cli.buyer import File, Job, read_file
from shoal.cli.exhibition import Exhibition
from shoal.cli.gallery import Exhibit, Gallery
from shoal.cli.guide import Guide, facts, ran, same_words
from shoal.cli.terminal import duration, gwei
from shoal.errors import Failed, NoCapacity, Refused, UnknownModel

SPOKEN = "spoken.wav"
CHAT = "Why is the sky blue?"
SYSTEM = "You are a helpful assistant. Answer in one short sentence."
SENTENCE = "A shoal is many small fish that move as one."
STORY = "Tell me a long story about a small fish that travels through the whole ocean."
STORY_TOKENS = 160
#: A story is cancelled, or its worker killed, after so many tokens.
HALF_WAY = 40
QUESTION_TOKENS = 48
NO_SUCH_MODEL = "gpt-17"
#: How much of an answer is shown where many are.
ANSWER_CHARACTERS = 90
#: Little luck: a model this small needs none.
TEMPERATURE = 0.2


class Tour:
    """All stations, in order, and what became of every job."""

    def __init__(self, guide: Guide, gallery: Gallery, *, examples: Path, kill: Callable[[str], int]) -> None:
        """`kill` ends a node's process by its name, and says which process it was."""
        self._guide = guide
        self._page = guide.page
        self._gallery = gallery
        self._exhibition = Exhibition(guide, gallery, examples)
        self._examples = examples
        self._kill = kill
        self._spoken = b""

    def run(self) -> list[Row]:
        """Walk through all of it. Raises `Failed` where something is not as promised."""
        # Whoever is killed loads its models anew, so what only one worker runs comes before that.
        stations: Sequence[tuple[str, Callable[[], None]]] = (
            ("A question, answered word by word", self._chat),
            ("A sentence, spoken", self._speak),
            ("The same sound, written down again", self._listen),
            ("A recording, transcribed", self._transcribe),
            ("A picture, drawn from a few words and enlarged", self._exhibition.draw),
            ("A cup, cut out of a photograph", self._exhibition.cut_out),
            ("A sign, read", self._exhibition.read),
            ("A photograph, brought into motion", self._exhibition.film),
            ("Sentences as vectors: two that mean the same, one that does not", self._exhibition.compare),
            ("Eight questions at once, over all workers", self._crowd),
            ("A story, cancelled half way", self._cancel),
            ("One request, sent twice with one key", self._twice),
            ("A story whose worker is killed while it tells it", self._murder),
            ("A model that nobody has", self._refuse),
        )
        for number, (title, station) in enumerate(stations, 1):
            self._page.heading(f"{number}. {title}")
            station()
        return self._guide.rows()

    # Stations

    def _chat(self) -> None:
        self._page.line(f"> {CHAT}")
        job = self._guide.submit("llm", _question(CHAT, seed=7))
        self._guide.tell(self._guide.read(job["id"]))

    def _speak(self) -> None:
        self._page.line(f"> {SENTENCE}")
        job = self._guide.done(self._guide.submit("text-to-speech", {"text": SENTENCE}))
        self._spoken = self._guide.buyer.result(job["id"]).body
        path = self._gallery.keep(File("audio", SPOKEN, self._spoken))
        self._page.line(f"{len(self._spoken):,} bytes of sound, in {path}")
        told = tuple(facts(self._guide.tell(job)))
        self._gallery.hang(
            Exhibit(job=job["id"], title="A sentence, spoken", said=SENTENCE, facts=told, made=SPOKEN)
        )

    def _listen(self) -> None:
        self._compare(File("audio", SPOKEN, self._spoken), SENTENCE)

    def _transcribe(self) -> None:
        talk = read_file(self._examples / "talk.wav", "audio")
        self._compare(talk, (self._examples / "talk.txt").read_text().strip())

    def _compare(self, file: File, said: str) -> None:
        self._page.line(f"> {file.name} ({len(file.data):,} bytes)")
        job = self._guide.done(self._guide.submit("audio-to-text", {}, file=file))
        heard = str(self._guide.buyer.result(job["id"]).json()["text"]).strip()
        self._page.line(heard)
        self._page.line(f"{same_words(said, heard)} are those that were said")
        self._guide.tell(job)

    def _crowd(self) -> None:
        questions = (self._examples / "questions.txt").read_text().split("\n")
        questions = [question.strip() for question in questions if question.strip()]
        with ThreadPoolExecutor(len(questions)) as pool:
            jobs = list(pool.map(self._ask, questions, range(len(questions))))
        for question, job in zip(questions, jobs, strict=True):
            self._page.line(f"> {question}")
            self._page.line(shorten(self._text_of(job)))
            row = self._guide.row(job)
            self._page.fact(
                row.worker,
                f"for {row.orchestrator}; waited {duration(row.queue_ms)}{ran(row)}; "
                f"{gwei(row.charged_wei)}: {gwei(row.orchestrator_wei)} + {gwei(row.worker_wei)}",
            )
        workers = sorted({self._guide.row(job).worker for job in jobs})
        self._page.line(f"{len(jobs)} answers from {', '.join(workers)}")

    def _ask(self, question: str, number: int) -> Job:
        return self._guide.done(
            self._guide.submit("llm", _question(question, seed=number, tokens=QUESTION_TOKENS))
        )

    def _cancel(self) -> None:
        self._page.line(f"> {STORY}")
        job = self._guide.submit("llm", _story(seed=1))
        received = 0
        for piece in self._guide.texts(job["id"]):
            self._page.grow(piece["text"])
            received = int(piece["units"])
            if received >= HALF_WAY:
                break
        self._guide.buyer.cancel(job["id"])
        job = self._guide.buyer.ended(job["id"])
        if job["state"] != "cancelled" or job["units"] > received:
            raise Failed(f"{job['id']} is {job['state']} and charged for {job['units']} of {received} tokens")
        self._page.grow(" …")
        self._page.line(
            f"cancelled after {received} of at most {STORY_TOKENS} tokens; charged for the {job['units']} "
            "whose arrival was acknowledged"
        )
        self._guide.tell(job)

    def _twice(self) -> None:
        request, key = _question("Which city is the capital of France?", seed=3), "tour-once"
        request["stream"] = False
        first = self._guide.done(self._guide.submit("llm", request, key=key))
        charged_wei = self._guide.buyer.network()["ledger"]["charged_wei"]
        second = self._guide.done(self._guide.buyer.submit("llm", request, key=key))
        again_wei = self._guide.buyer.network()["ledger"]["charged_wei"] - charged_wei
        if second["id"] != first["id"] or again_wei:
            raise Failed(f"{first['id']} was sent twice, and became {second['id']} for {again_wei} wei more")
        self._page.line("> Which city is the capital of France?")
        self._page.line(self._text_of(first))
        self._page.line(f"> the same again, with the same key ({key})")
        self._page.line(self._text_of(second))
        self._page.line(f"the same job both times ({first['id']}), charged once")
        self._guide.tell(first)

    def _murder(self) -> None:
        self._page.line(f"> {STORY}")
        job = self._guide.submit("llm", _story(seed=2))
        victim = ""
        for piece in self._guide.texts(job["id"]):
            self._page.grow(piece["text"])
            if not victim and piece["units"] >= HALF_WAY:
                victim = self._guide.attempts(job["id"])[-1].worker
                pid = self._kill(victim)
                self._page.aside(f"{victim}, process {pid}, gets SIGKILL")
        job = self._guide.buyer.ended(job["id"])
        if job["state"] != "done" or not victim:
            raise Failed(f"{job['id']} is {job['state']} after {victim or 'nobody'} was killed")
        row = self._guide.row(job)
        if row.attempts < 2 or row.failed_attempts_wei:
            raise Failed(
                f"{row.id}: {row.attempts} attempts, the failed ones earned {row.failed_attempts_wei}"
            )
        self._page.line(f"begun by {victim}, which earned nothing; told to its end by {row.worker}")
        self._guide.tell(job)

    def _refuse(self) -> None:
        self._page.line(f"> model {NO_SUCH_MODEL}")
        try:
            self._guide.buyer.submit("llm", {**_question(CHAT, seed=1), "model": NO_SUCH_MODEL})
        except (UnknownModel, Refused, NoCapacity) as refusal:
            self._page.line(f"refused: {refusal.message}")
        else:
            raise Failed(f"a job for {NO_SUCH_MODEL}, which nobody has, was accepted")

    def _text_of(self, job: Job) -> str:
        answer = self._guide.buyer.result(job["id"]).json()
        return str(answer["choices"][0]["message"]["content"]).strip()


def _question(text: str, *, seed: int, tokens: int = 120) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    params = {"messages": messages, "max_tokens": tokens, "temperature": TEMPERATURE}
    return {**params, "seed": seed, "stream": True}


def _story(*, seed: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": STORY}]
    return {"messages": messages, "max_tokens": STORY_TOKENS, "seed": seed, "stream": True}


def shorten(text: str) -> str:
    """One line of a longer text."""
    line = " ".join(text.split())
    return line if len(line) <= ANSWER_CHARACTERS else line[: ANSWER_CHARACTERS - 1] + "…"
