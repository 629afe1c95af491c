"""The job of each pipeline: what goes in, through the street and into the bare script alike, and what has to come out.

Every luck is fixed by a seed, so that both must give the same; inputs are those of `examples/`. What is compared is
read out of the network's answer here: a text, the numbers of vectors, the bytes of a file.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


@dataclass(frozen=True, slots=True)
class PipelineJob:
    """One pipeline's job. `read` takes out of the network's answer what the bare script gives."""

    pipeline: str
    #: What the bare script calls. Where it is not there, the pipeline is skipped.
    libraries: tuple[str, ...]
    params: Mapping[str, Any]
    #: What of the two answers is compared.
    compared: str
    read: Callable[[bytes], bytes] = field(repr=False)
    #: An example's name; the form's field for it.
    file: str = ""
    file_field: str = ""
    #: The media type that the client asks for; the answer is then the file itself.
    accept: str = "application/json"

    @property
    def path(self) -> Path:
        """The file that goes in."""
        return EXAMPLES / self.file


def chat_text(answer: bytes) -> bytes:
    return str(json.loads(answer)["choices"][0]["message"]["content"]).encode()


def text(answer: bytes) -> bytes:
    return str(json.loads(answer)["text"]).encode()


def vectors(answer: bytes) -> bytes:
    """Numbers of 32 bits, one vector after the other."""
    return b"".join(array("f", one["embedding"]).tobytes() for one in json.loads(answer)["data"])


def masks(answer: bytes) -> bytes:
    told = json.loads(answer)
    return "\n".join((told["masks"], told["scores"], told["logits"])).encode()


def whole(answer: bytes) -> bytes:
    return answer


def example(name: str) -> str:
    return (EXAMPLES / name).read_text().strip()


SPEECH = {"text": example("talk.txt")}
HEART = {
    "prompt": "a red heart",
    "width": 512,
    "height": 512,
    "seed": 7,
    "num_inference_steps": 25,
    "guidance_scale": 7.5,
}
STYLE = {"prompt": "a cup like starry night", "strength": 0.8, "seed": 7}
FILM = {"width": 512, "height": 288, "fps": 12, "num_frames": 25, "motion_bucket_id": 200, "seed": 7}
LARGER = {"factor": 4}
CUP = {"box": "[72, 14, 484, 392]", "return_logits": False}
QUESTIONS = {"input": example("questions.txt").splitlines()}

PAINTING = ("onnxruntime", "tokenizers", "ncnn", "PIL")
STYLING = ("onnxruntime", "PIL")
FILMING = ("onnxruntime", "PIL", "av")
SEEING = ("onnxruntime", "cv2", "PIL")


def jobs() -> dict[str, PipelineJob]:
    """Every job by its pipeline."""
    chat = json.loads(example("chat.json")) | {"stream": False, "temperature": 0}
    rows = (
        PipelineJob("llm", ("xllamacpp",), chat, "text", chat_text),
        PipelineJob("audio-to-text", ("faster_whisper",), {}, "text", text, "talk.wav", "audio"),
        PipelineJob("text-to-speech", ("onnxruntime",), SPEECH, "sound", whole, accept="audio/wav"),
        PipelineJob("text-to-image", PAINTING, HEART, "picture", whole, accept="image/png"),
        PipelineJob("image-to-image", STYLING, STYLE, "picture", whole, "coffee.jpg", "image", "image/png"),
        PipelineJob("image-to-video", FILMING, FILM, "film", whole, "coffee.jpg", "image", "video/mp4"),
        PipelineJob("upscale", ("ncnn", "PIL"), LARGER, "picture", whole, "stars.jpg", "image", "image/png"),
        PipelineJob("segment-anything-2", SEEING, CUP, "masks", masks, "coffee.jpg", "image"),
        PipelineJob("image-to-text", SEEING, {}, "text", text, "sign.png", "image"),
        PipelineJob("embeddings", ("onnxruntime", "tokenizers"), QUESTIONS, "vectors", vectors),
    )
    return {row.pipeline: row for row in rows}


def form(job: PipelineJob) -> tuple[str, bytes]:
    """The request's content type and body: JSON, or a form where a file goes with it."""
    if not job.file:
        return "application/json", json.dumps(dict(job.params)).encode()
    boundary = "benchmark-of-models"
    parts = []
    for name, value in job.params.items():
        words = value if isinstance(value, str) else json.dumps(value)
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{words}'.encode())
    head = f'Content-Disposition: form-data; name="{job.file_field}"; filename="{job.file}"\r\n\r\n'
    parts.append(head.encode() + job.path.read_bytes())
    opened = f"--{boundary}\r\n".encode()
    body = b"".join(opened + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body
