"""Real runners with real models, each a process of its own behind a unix socket, as a worker starts them."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
import textwrap
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import httpx
import msgspec
import numpy as np
import pytest

from runner import Runner, command, start
from shoal.gateway.requests import ask
from shoal.wire.pipelines import PIPELINES
from shoal.wire.requests import LlmRequest
from shoal.wire.words import Payload
from shoal.worker.pipelines.server import WAITING_MAX
from shoal.worker.translation import Assembly, claim

SAID = {"role": "assistant", "content": "hm"}
SENTENCE = "The quick brown fox jumps over the lazy dog, and nobody pays for work that did not arrive."


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("llm", tmp_path_factory.mktemp("llm"), threads=2, slots=2)
    yield runner
    runner.stop()


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("text-to-speech", tmp_path_factory.mktemp("tts"), threads=2)
    yield runner
    runner.stop()


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("audio-to-text", tmp_path_factory.mktemp("att"), threads=2)
    yield runner
    runner.stop()


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Runner]:
    runner = start("echo", tmp_path)
    yield runner
    runner.stop()


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def events(answer: httpx.Response) -> Iterator[Any]:
    """The events of a stream as they come; the closing word must be there."""
    lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line)
    for line in lines:
        if line == "[DONE]":
            return
        yield json.loads(line)
    pytest.fail("the stream ended without [DONE]")


# --- llm


def test_a_chat_is_answered_by_the_model(llm: Runner) -> None:
    answer = llm.client.post(
        "/llm", json={"messages": user("Which city is the capital of France?"), "temperature": 0}
    )
    body = answer.json()
    [choice] = body["choices"]
    assert "Paris" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert body["model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert re.fullmatch(r"chatcmpl-[0-9a-f-]{36}", body["id"])
    usage = body["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    assert int(answer.headers["shoal-units"]) == usage["total_tokens"] > usage["completion_tokens"] > 0


def test_the_prompt_is_counted_through_the_chat_template(llm: Runner) -> None:
    one = llm.llm(messages=user("hello"), max_tokens=1)["usage"]["prompt_tokens"]
    two = llm.llm(messages=user("hello hello"), max_tokens=1)["usage"]["prompt_tokens"]
    assert two == one + 1


def test_a_stream_comes_in_chunks_that_count_their_tokens(llm: Runner) -> None:
    request = {"messages": user("Why is the sky blue?"), "max_tokens": 24, "seed": 7}
    whole = llm.llm(**request)
    with llm.client.stream("POST", "/llm", json=request | {"stream": True}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        chunks = list(events(answer))
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert len(set(counts)) > 12
    assert chunks[-1]["usage"] == whole["usage"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [""] * (len(chunks) - 1) + ["length"]


TALKS = [
    "hello",
    "",
    "Count to 30.",
    "Only emojis, please: 😀🐟👩‍👩‍👧‍👦",
    "请用中文介绍一下你自己。",
    "<file_sep>" * 20,
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("temperature", "stop"), [(0, None), (0.7, "e"), (2, [".", "\n\n", " the"])])
def test_what_a_model_counts_is_within_what_its_words_are_worth(
    llm: Runner, temperature: float, stop: Any, stream: bool
) -> None:
    for number, text in enumerate(TALKS):
        messages = [
            {"role": "system", "content": TALKS[-number]},
            *user(text),
            {"role": "assistant", "content": text},
            *user(text),
        ]
        request = {"messages": messages if number % 2 else user(text), "max_tokens": 4 + 8 * (number % 3)}
        spec = ask(PIPELINES["llm"], msgspec.convert({**request, "stream": stream}, LlmRequest)).spec
        request |= {"temperature": temperature, "stop": stop, "seed": number}
        assembly = Assembly(spec)
        if stream:
            with llm.client.stream("POST", "/llm", json={**request, "stream": True}) as answer:
                pieces = [piece for data in answer.iter_bytes() for piece in assembly.feed(data)]
            assert [piece.units for piece in pieces] == sorted(piece.units for piece in pieces)
            assert pieces[-1].units == assembly.units
            whole, counted = assembly.whole(), assembly.units
        else:
            whole = Payload(json.dumps(body := llm.llm(**request)).encode())
            counted = body["usage"]["total_tokens"]
        assert claim(spec, whole, counted) == counted <= spec.units_max


def test_health_is_told_and_others_are_served_during_a_long_answer(llm: Runner) -> None:
    request = {"messages": user("Tell me a long story."), "max_tokens": 400, "stream": True}
    with llm.client.stream("POST", "/llm", json=request) as answer:
        told = events(answer)
        next(told)
        assert llm.client.get("/health").json() == {"status": "OK"}
        assert llm.llm(messages=user("hello"), max_tokens=2)["usage"]["completion_tokens"] == 2
        assert next(told)["choices"][0]["finish_reason"] == ""


def test_two_chats_share_the_model(llm: Runner) -> None:
    with ThreadPoolExecutor(2) as pool:
        bees = pool.submit(llm.llm, messages=user("What do bees make?"), temperature=0)
        long = pool.submit(llm.llm, messages=user("Count to ten."), max_tokens=40)
    assert "honey" in bees.result()["choices"][0]["message"]["content"].lower()
    assert long.result()["usage"]["completion_tokens"] <= 40


def test_a_caller_who_hangs_up_frees_the_slot(tmp_path: Path) -> None:
    runner = start("llm", tmp_path, threads=2, slots=1)
    try:
        request = {"messages": user("Tell me a long story."), "max_tokens": 4000, "stream": True}
        with runner.client.stream("POST", "/llm", json=request) as answer:
            next(events(answer))
        runner.await_word("hung up")
        assert runner.llm(messages=user("hello"), max_tokens=2)["usage"]["completion_tokens"] == 2
    finally:
        runner.stop()


def test_sampling_is_honoured(llm: Runner) -> None:
    def say(**more: Any) -> Any:
        body = llm.llm(messages=user("Tell me a story."), max_tokens=12, **more)
        return body["choices"][0]["message"]["content"]

    assert say(seed=1, temperature=2) == say(seed=1, temperature=2)
    assert say(seed=1, temperature=2) != say(seed=2, temperature=2)
    assert say(seed=1, temperature=0) == say(seed=2, temperature=0)
    assert say(seed=1, temperature=2, top_k=1) == say(seed=2, temperature=2, top_k=1)
    assert say(seed=1, temperature=2, top_p=0.001) == say(seed=2, temperature=2, top_p=0.001)
    story = say(seed=1, temperature=0)
    word = story.split()[3]
    assert say(seed=1, temperature=0, stop=word) == story[: story.index(word)]


@pytest.mark.parametrize(
    ("request_body", "told"),
    [
        (b"{", "the body is not JSON"),
        (b"{}", "messages"),
        (b'{"messages": []}', "messages"),
        (b'{"messages": [{"role": "wizard", "content": "hi"}]}', "role"),
        (json.dumps({"messages": [*user("hi"), *2 * [SAID]]}).encode(), "2 or more assistant messages"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 0}', "max_tokens"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "top_p": "x"}', "top_p"),
        (
            b'{"messages": [{"role": "user", "content": "hi"}], "model": "other"}',
            "pipeline configured with HuggingFaceTB/SmolLM2-135M-Instruct but called with other",
        ),
        (json.dumps({"messages": user("word " * 5000)}).encode(), "the limit is 4096"),
        (json.dumps({"messages": user("word " * 5000), "stream": True}).encode(), "the limit is 4096"),
    ],
)
def test_a_wrong_chat_is_refused_with_the_reason(llm: Runner, request_body: bytes, told: str) -> None:
    answer = llm.client.post("/llm", content=request_body)
    assert answer.status_code == 400
    assert told in answer.json()["detail"]["msg"]
    assert answer.headers["shoal-units"] == "0"


def test_a_chat_too_large_to_read_is_refused(llm: Runner) -> None:
    answer = llm.client.post("/llm", content=b" " * (2 << 20))
    assert answer.status_code == 413


# --- speech


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def spoken(runner: Runner, text: str) -> bytes:
    answer = runner.client.post("/text-to-speech", json={"text": text})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/wav"
    assert int(answer.headers["shoal-units"]) == len(text)
    return answer.content


def heard(runner: Runner, sound: bytes, **fields: str) -> httpx.Response:
    return runner.client.post("/audio-to-text", files={"audio": ("talk.wav", sound)}, data=fields)


def length_ms(sound: bytes) -> float:
    with wave.open(io.BytesIO(sound)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return 1000 * int(file.getnframes()) / int(file.getframerate())


def silence(seconds: int) -> bytes:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000 * seconds))
    return sound.getvalue()


def test_what_is_spoken_is_heard_word_for_word(speech: Runner, hearing: Runner) -> None:
    sound = spoken(speech, SENTENCE)
    answer = heard(hearing, sound)
    body = answer.json()
    assert words(body["text"]) == words(SENTENCE)
    assert abs(int(answer.headers["shoal-units"]) - length_ms(sound)) <= 2
    times = [time for chunk in body["chunks"] for time in chunk["timestamp"]]
    assert times == sorted(times)
    assert 0 < times[-1] * 1000 <= length_ms(sound) + 100
    assert words("".join(chunk["text"] for chunk in body["chunks"])) == words(SENTENCE)


def test_the_same_text_makes_the_same_sound(speech: Runner) -> None:
    assert spoken(speech, SENTENCE) == spoken(speech, SENTENCE)


def test_times_come_as_fine_as_asked_for(speech: Runner, hearing: Runner) -> None:
    sound = spoken(speech, "Count the small blue boats.")
    by_word = heard(hearing, sound, return_timestamps="word").json()["chunks"]
    assert [words(chunk["text"]) for chunk in by_word] == [["count"], ["the"], ["small"], ["blue"], ["boats"]]
    assert len(heard(hearing, sound, return_timestamps="sentence").json()["chunks"]) == 1
    assert heard(hearing, sound, return_timestamps="false").json()["chunks"] == []


def test_silence_is_nothing_said_but_time_spent(hearing: Runner) -> None:
    answer = heard(hearing, silence(2))
    assert answer.json() == {"text": "", "chunks": []}
    assert answer.headers["shoal-units"] == "2000"


@pytest.mark.parametrize(
    ("sound", "status", "told"),
    [
        (b"this is text, not sound\n" * 50, 415, "Unsupported audio format"),
        (b"#EXTM3U\n#EXTINF:5,\n/etc/hostname\n#EXT-X-ENDLIST\n", 415, "Unsupported audio format"),
        (silence(1)[:30], 415, "Unsupported audio format"),
        (b"", 400, "no file named audio"),
        (silence(3601), 413, "longer than 3600 s"),
        (bytes(65 << 20), 413, "File size exceeds limit."),
    ],
    ids=["text", "playlist", "cut off", "empty", "too long", "too large"],
)
def test_what_is_no_sound_is_refused(hearing: Runner, sound: bytes, status: int, told: str) -> None:
    answer = heard(hearing, sound)
    assert answer.status_code == status
    assert told in answer.json()["detail"]["msg"]


def test_a_sound_that_lies_about_its_length_is_refused(hearing: Runner) -> None:
    """A flac whose head names one second, and nine come: whoever paid by the head does not get the rest."""
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as file:
        stream = file.add_stream("flac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 144_000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    whole = out.getvalue()
    at = whole.index(b"fLaC") + 8 + 10
    lying = whole[: at + 4] + (16_000).to_bytes(4) + whole[at + 8 :]
    assert heard(hearing, whole).headers["shoal-units"] == "9000"
    answer = heard(hearing, lying)
    assert (answer.status_code, "than it says" in answer.text) == (413, True)


def test_a_wrong_form_is_refused(hearing: Runner) -> None:
    sound = silence(1)
    assert heard(hearing, sound, model_id="other").status_code == 400
    assert "other" in heard(hearing, sound, model_id="other").json()["detail"]["msg"]
    assert heard(hearing, sound, return_timestamps="maybe").status_code == 400
    assert hearing.client.post("/audio-to-text", json={}).status_code == 400
    assert (
        hearing.client.post("/audio-to-text", content=b"", headers={"content-type": "x"}).status_code == 400
    )


def test_speech_comes_as_json_to_those_who_ask(speech: Runner) -> None:
    answer = speech.client.post(
        "/text-to-speech", json={"text": "Hi."}, headers={"accept": "application/json"}
    )
    kind, _, data = answer.json()["audio"]["url"].partition(",")
    assert kind == "data:audio/wav;base64"
    assert length_ms(base64.b64decode(data)) > 200


@pytest.mark.parametrize(
    ("request_body", "status", "told"),
    [
        ({"text": "  "}, 400, "Text input must be provided."),
        ({}, 400, "Text input must be provided."),
        ({"text": "…"}, 400, "no word that can be spoken"),
        ({"text": 7}, 400, "text"),
        ({"text": "hi", "model_id": "other"}, 400, "but called with other"),
        ({"text": "a" * 10_001}, 413, "the limit is 10000"),
    ],
)
def test_what_cannot_be_spoken_is_refused(
    speech: Runner, request_body: dict[str, Any], status: int, told: str
) -> None:
    answer = speech.client.post("/text-to-speech", json=request_body)
    assert answer.status_code == status
    assert told in answer.json()["detail"]["msg"]


# --- echo, and the life of every runner


def test_an_echo_returns_what_it_was_given(echo: Runner) -> None:
    body = {"sleep_ms": 1, "anything": ["else", {"deep": None}]}
    answer = echo.client.post("/echo/", json=body)
    assert answer.json() == body
    assert answer.headers["shoal-units"] == "1"
    assert echo.client.post("/echo", content=b"[1]").status_code == 400
    assert echo.client.post("/echo", json={"sleep_ms": -1}).status_code == 400
    assert echo.client.post("/llm", json={}).status_code == 404


def test_an_echo_ticks(echo: Runner) -> None:
    with echo.client.stream("POST", "/echo", json={"stream": True, "units": 3}) as answer:
        assert [event["usage"]["completion_tokens"] for event in events(answer)] == [1, 2, 3]


def test_only_so_many_calls_may_wait(echo: Runner) -> None:
    asked = WAITING_MAX + 2
    with ThreadPoolExecutor(asked) as pool:
        posts = [pool.submit(echo.client.post, "/echo", json={"sleep_ms": 1500}) for _ in range(asked)]
        answers = sorted((post.result() for post in posts), key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in answers] == [200] * (WAITING_MAX + 1) + [503]
    assert answers[-1].headers["retry-after"] == "1"


def test_nobody_else_can_reach_the_socket(echo: Runner) -> None:
    assert stat.S_IMODE(echo.path.stat().st_mode) == 0o600


def test_sigterm_lets_a_call_finish_and_leaves_nothing(echo: Runner) -> None:
    with echo.client.stream("POST", "/echo", json={"stream": True, "units": 5, "sleep_ms": 100}) as answer:
        told = events(answer)
        assert next(told)["usage"]["completion_tokens"] == 1
        echo.process.send_signal(signal.SIGTERM)
        assert [event["usage"]["completion_tokens"] for event in told] == [2, 3, 4, 5]
    assert echo.process.wait() == 0
    assert not echo.path.exists()


def test_a_runner_with_a_model_heeds_sigterm(tmp_path: Path) -> None:
    runner = start("llm", tmp_path)
    try:
        runner.process.send_signal(signal.SIGTERM)
        assert runner.process.wait() == 0
        assert not runner.path.exists()
    finally:
        runner.stop()


def test_a_runner_dies_with_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    parent = textwrap.dedent(
        f"""
        import subprocess, sys
        runner = subprocess.Popen({command("echo", path)!r}, stderr=subprocess.PIPE, text=True)
        next(line for line in runner.stderr if "is ready" in line)
        print(runner.pid, flush=True)
        sys.stdin.read()
        """
    )
    arguments = [sys.executable, "-c", parent]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        runner = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
        try:
            assert select.select([runner], [], [], 10)[0]
        finally:
            os.close(runner)
    assert not path.exists()


def test_a_model_that_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    runner = Runner("llm", tmp_path / "llm.sock", "--model-dir", str(tmp_path))
    try:
        runner.await_word("cannot load")
        runner.await_word("Error")
        health = runner.client.get("/health").json()
        assert health["status"] == "ERROR"
        assert health["msg"]
        assert runner.client.post("/llm", json={"messages": user("hi")}).status_code == 500
        assert runner.process.poll() is None
    finally:
        runner.stop()
