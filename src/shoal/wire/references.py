"""Where an answer's JSON names its files: the strings under `url`, as in Livepeer's schemas. Pure.

Between our nodes a file travels as bytes beside the JSON, and its `url` is its name; clients are given an address.
"""

from __future__ import annotations

from collections.abc import Callable

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


def names_of(value: object) -> list[str]:
    """Every `url` in a value."""
    named: list[str] = []

    def note(name: str) -> str:
        named.append(name)
        return name

    with_urls(value, note)
    return named
