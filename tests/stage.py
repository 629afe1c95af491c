"""A real gateway on loopback, and an orchestrator of a few lines that says real words to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import struct
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import httpx
import msgspec
from PIL import Image

from shoal.errors import Refused, Untrusted
from shoal.gateway.config import Settings
from shoal.gateway.service import Service
from shoal.ids import NodeId, digest
from shoal.machine import Connected, Event, Heard
from shoal.money.wei import Price
from shoal.runtime.keys import NodeKey
from shoal.runtime.transport import Peers
from shoal.wire import words
from shoal.wire.codec import decode_payload, encode_payload
from shoal.wire.count import answer_worth
from shoal.wire.pipelines import PIPELINES
from shoal.work.seal import seal

W = TypeVar("W", bound=words.Word)

#: Any: it is spread into calls whose overloads no dictionary fits.
HELLO: Any = {"messages": [{"role": "user", "content": "hello there friend"}]}
ANSWER = "You said hello there friend"
WORKER = NodeId("0x" + "77" * 20)


class Attempt:
    """One job on its way through the stand-in."""

    def __init__(self, seller: Seller, order: words.Job) -> None:
        self.order = order
        self.params: Any = msgspec.json.decode(decode_payload(order.body).params)
        self.media = decode_payload(order.body).media
        self._seller = seller
        #: For a script that waits until its test has seen something.
        self.seen = asyncio.Event()

    def say(self, text: str, *, offset: int, units: int) -> None:
        """Send a piece of the answer."""
        self._seller.send(words.Progress(self.order.job, self.order.epoch, units, offset, text))

    async def acknowledged(self) -> None:
        """Wait until the client has received something of this."""
        await self._seller.hear(words.Acknowledge)


Script = Callable[[Attempt], Awaitable[words.Payload | words.Fault]]


async def held(attempt: Attempt) -> words.Payload:
    """A script that never answers."""
    await asyncio.Event().wait()
    raise AssertionError


class Seller:
    """Sells every pipeline's default model, and answers as its script says."""

    def __init__(self, script: Script | None = None, *, slots: int = 4) -> None:
        self.script: Script = script or answer
        self.slots = slots
        self.key = NodeKey.generate()
        self.attempts: asyncio.Queue[Attempt] = asyncio.Queue()
        self._heard: dict[type[words.Word], asyncio.Queue[Any]] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._gateway: NodeId | None = None
        self._loop = asyncio.get_running_loop()
        self._peers = Peers(self.key, "orchestrator", "boot", self._post, rng=Random(1))

    async def listen(self) -> str:
        """Listen, and say where."""
        port = await self._peers.listen("127.0.0.1", 0)
        return f"127.0.0.1:{port}#{self.key.id}"

    async def close(self) -> None:
        """Be gone."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._peers.close()

    def send(self, word: words.Word) -> None:
        """Say something to the gateway."""
        assert self._gateway is not None
        self._peers.send(self._gateway, word)

    async def hear(self, kind: type[W]) -> W:
        """The next word of this kind from the gateway."""
        word: W = await asyncio.wait_for(self._words(kind).get(), 10)
        return word

    def heard(self, kind: type[words.Word]) -> int:
        """How many words of this kind wait to be taken."""
        return self._words(kind).qsize()

    def _words(self, kind: type[words.Word]) -> asyncio.Queue[Any]:
        return self._heard.setdefault(kind, asyncio.Queue())

    def _post(self, event: Event) -> None:
        self._loop.call_soon(self._take, event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Connected):
            self._gateway = event.peer
            quotes = [
                words.Quote(row.name, row.default_model, self.slots, 0, row.price)
                for row in PIPELINES.values()
            ]
            self.send(words.Capacity(tuple(quotes)))
        elif isinstance(event, Heard):
            assert isinstance(event.word, words.Word)
            self._words(type(event.word)).put_nowait(event.word)
            if isinstance(event.word, words.Job):
                self._begin(event.word)
            elif isinstance(event.word, words.Accept | words.Cancel):
                self._settle(event.word)

    def _begin(self, order: words.Job) -> None:
        if (order.job, order.epoch) not in self._tasks:
            self.send(words.Lease(order.job, order.epoch, WORKER))
            self._tasks[order.job, order.epoch] = self._loop.create_task(self._run(order))

    def _settle(self, word: words.Accept | words.Cancel) -> None:
        if (task := self._tasks.get((word.job, word.epoch))) is not None:
            task.cancel()
        self.send(words.Settled.of(word.job, word.epoch, word.wei))

    async def _run(self, order: words.Job) -> None:
        attempt = Attempt(self, order)
        self.attempts.put_nowait(attempt)
        said = await self.script(attempt)
        if isinstance(said, words.Fault):
            self.send(words.Failure(order.job, order.epoch, said))
        else:
            self.send(self._result(order, said))

    def _worth(self, order: words.Job, answer: words.Payload) -> int:
        """As many units as can be claimed for this; what is no answer claims all there are."""
        with contextlib.suppress(Refused, Untrusted):
            return answer_worth(order.spec, answer)
        return order.spec.units_max

    def _result(self, order: words.Job, answer: words.Payload) -> words.Result:
        body = encode_payload(answer)
        name = digest(body)
        units = self._worth(order, answer)
        receipt = words.Receipt(
            order.job,
            order.epoch,
            self.key.id,
            WORKER,
            order.spec.pipeline,
            order.spec.model,
            units,
            order.price.cost(units),
            order.digest,
            name,
            7,
        )
        (signed,) = seal([receipt], self.key.sign)
        return words.Result(order.job, order.epoch, units, 7, name, body, signed)


def wav(duration_ms: int, rate_hz: int = 8_000) -> bytes:
    """Silence of this length."""
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(bytes(2 * rate_hz * duration_ms // 1_000))
    return sound.getvalue()


def png(width: int = 40, height: int = 30) -> bytes:
    """A red rectangle."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (255, 0, 0)).save(out, "PNG")
    return out.getvalue()


def pictures(count: int) -> words.Payload:
    """So many pictures, each a little wider than the last; of a type that no browser should believe."""
    files = tuple(words.Media(f"{n}.png", "text/html", png(10 + n, 10)) for n in range(count))
    images = [{"url": f"{n}.png", "seed": 7 + n, "nsfw": False} for n in range(count)]
    return words.Payload(msgspec.json.encode({"images": images}), files)


def vectors(params: dict[str, Any]) -> dict[str, Any]:
    """Three numbers for each text, as they are asked for."""
    count = 1 if isinstance(params["input"], str) else len(params["input"])
    numbers = [[float(n), 0.5, -1.0] for n in range(count)]
    values = [
        base64.b64encode(struct.pack("<3f", *row)).decode() if "encoding_format" in params else row
        for row in numbers
    ]
    data = [{"object": "embedding", "index": n, "embedding": value} for n, value in enumerate(values)]
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": params["model"], "usage": usage}


def chat(text: str, model: str = "m") -> words.Payload:
    """A chat's answer."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    value = {"id": "chatcmpl-1", "model": model, "created": 1, "usage": usage, "choices": [choice]}
    return words.Payload(msgspec.json.encode(value))


async def answer(attempt: Attempt) -> words.Payload | words.Fault:
    """What the stand-in answers unless it is told otherwise."""
    match attempt.order.spec.pipeline:
        case "llm":
            said = "You said " + attempt.params["messages"][-1]["content"]
            if attempt.order.spec.stream:
                offset = 0
                for units, word in enumerate(said.split(" "), 1):
                    piece = word if units == 1 else " " + word
                    attempt.say(piece, offset=offset, units=units)
                    offset += len(piece)
            return chat(said, attempt.order.spec.model)
        case "audio-to-text":
            size = len(attempt.media[0].data)
            value = {"text": f"{size} bytes", "chunks": [{"timestamp": [0.0, 1.5], "text": f"{size} bytes"}]}
            return words.Payload(msgspec.json.encode(value))
        case "text-to-speech":
            sound = words.Media("0.wav", "text/html", wav(100))
            return words.Payload(b'{"audio": {"url": "0.wav"}}', (sound,))
        case "text-to-image" | "image-to-image" | "image-to-video" | "upscale":
            return pictures(attempt.params.get("num_images_per_prompt", 1))
        case "embeddings":
            return words.Payload(msgspec.json.encode(vectors(attempt.params)))
        case "segment-anything-2":
            return words.Payload(b'{"masks": "[[[0, 1]]]", "scores": "[0.9]", "logits": "[[[-1.0, 1.0]]]"}')
        case "image-to-text":
            return words.Payload(b'{"text": "a red rectangle"}')
        case _:
            return words.Payload(msgspec.json.encode(attempt.params))


class Stage:
    """A gateway, who sells to it, and a client."""

    def __init__(self, service: Service, seller: Seller, client: httpx.AsyncClient) -> None:
        self.service = service
        self.seller = seller
        self.client = client
        self.url = str(client.base_url)

    @property
    def facts(self) -> int:
        """How many facts the gateway has journaled."""
        return self.service.node.host._appended


@asynccontextmanager
async def gateway(home: Path, seller: Seller | None = None, **settings: Any) -> AsyncIterator[Stage]:
    """A gateway that has heard what its one orchestrator sells."""
    seller = seller or Seller()
    service = Service(
        Settings(
            home=str(home),
            http_addr="127.0.0.1:0",
            operator_addr="127.0.0.1:0",
            orchestrators=(await seller.listen(),),
            **settings,
        )
    )
    quoted = asyncio.Event()
    post = service.node.host.post

    def listen(event: Event) -> None:
        post(event)
        if isinstance(event, Heard) and isinstance(event.word, words.Capacity):
            quoted.set()

    service.node.host.post = listen  # type: ignore[method-assign]
    await service.start()
    try:
        await asyncio.wait_for(quoted.wait(), 10)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=20) as client:
            yield Stage(service, seller, client)
    finally:
        await asyncio.gather(service.stop(), seller.close())


def price(pipeline: str) -> Price:
    """The table's price."""
    return PIPELINES[pipeline].price


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream: `event`, `id`, `data`."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            found.append(dict(line.split(": ", 1) for line in lines))
    return found


def data(text: str) -> list[Any]:
    """The JSON of a stream's events."""
    return [msgspec.json.decode(e["data"]) for e in events(text) if e["data"] != "[DONE]"]
