"""Where an answer's JSON names its files: the strings under `url`, as in Livepeer's schemas. Pure.

Between our nodes a file travels as bytes beside the JSON, and its `url` is its name; clients are given an address.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shoal.wire.words import Payload

#: How deep an answer is looked into; what lies deeper names no file.
DEPTH_MAX = 8


def with_urls(value: object, rename: Callable[[str], str], depth: int = DEPTH_MAX) -> object:
    """The same value with every `url` in it renamed."""
    if depth and isinstance(value, dict):
        return {
            key: rename(inner)
            if key == "url" and isinstance(inner, str)
            else with_urls(inner, rename, depth - 1)
            for key, inner in value.items()
        }
    if depth and isinstance(value, list):
        return [with_urls(inner, rename, depth - 1) for inner in value]
    return value


def file_name(number: int, content_type: str) -> str:
    """What an answer's file is called: `0.png`."""
    return f"{number}.{content_type.rpartition('/')[2]}"


def is_whole(answer: Payload) -> bool:
    """True if an answer is JSON, and every file that it names came with it."""
    files = {media.field for media in answer.media}
    named: list[str] = []

    def note(name: str) -> str:
        named.append(name)
        return name

    try:
        with_urls(msgspec.json.decode(answer.params), note)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return files.issuperset(named)
