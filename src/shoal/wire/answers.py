"""What an answer looks like where we have to read it: a chat's, as Livepeer's schemas have it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Usage(Struct, frozen=True):
    """Tokens, as the model's runtime counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Said(Struct, frozen=True):
    """What a model said, and what it said to itself before, if its runtime keeps that apart."""

    content: str
    reasoning_content: str | None = None


class Choice(Struct, frozen=True):
    """The one choice of an answer."""

    message: Said
    finish_reason: str | None = None


class LlmAnswer(Struct, frozen=True):
    """A chat's whole answer: Livepeer's LLMResponse."""

    id: str
    model: str
    created: int
    usage: Usage
    choices: Annotated[tuple[Choice, ...], Meta(min_length=1)]
