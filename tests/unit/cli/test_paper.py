"""What people read: amounts, tables, and a page that is never torn."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from shoal.cli.guide import plain_words
from shoal.cli.page import WIDTH_MAX, Page
from shoal.cli.terminal import columns, duration, gwei, megabytes
from shoal.cli.tour import shorten


@pytest.mark.parametrize(
    ("wei", "text"),
    [
        (0, "0 gwei"),
        (1, "0.000000001 gwei"),
        (38_400_000_000, "38.4 gwei"),
        (-1_500_000_000, "-1.5 gwei"),
        (1_234_567 * 10**9, "1,234,567 gwei"),
    ],
)
def test_amounts_are_exact(wei: int, text: str) -> None:
    assert gwei(wei) == text


def test_times_and_sizes_are_as_people_say_them() -> None:
    assert [duration(ms) for ms in (0, 999, 1_000, 59_940, 200_000)] == [
        "0 ms",
        "999 ms",
        "1.0 s",
        "59.9 s",
        "3 min 20 s",
    ]
    assert megabytes(98_362_432) == "98 MB"


def test_columns_stand_under_their_heads() -> None:
    assert columns(("name", ">wei", "by"), [("a", "1", "x"), ("long name", "1000", "")]) == [
        "name        wei  by",
        "a             1  x",
        "long name  1000",
    ]


def page() -> tuple[Page, io.StringIO]:
    out = io.StringIO()
    return Page(Console(file=out, soft_wrap=True, highlight=False)), out


def test_a_line_never_tears_a_growing_text() -> None:
    told, out = page()
    told.grow("Once upon")
    told.aside("worker-1 was killed")
    told.grow(" a time")
    told.line("the end")
    assert out.getvalue() == "  Once upon\n  [worker-1 was killed]\n  a time\n  the end\n"


def test_a_growing_text_is_broken_between_words() -> None:
    told, out = page()
    for _ in range(40):
        told.grow(" word")
    told.grow("\n\nnew")
    told.line()
    lines = out.getvalue().split("\n")
    assert all(len(line) <= WIDTH_MAX for line in lines)
    assert " ".join(" ".join(lines).split()) == " ".join(["word"] * 40 + ["new"])


def test_markup_in_an_answer_stays_text() -> None:
    told, out = page()
    told.grow("[bold]x[/bold] :smile:")
    told.line("[red]y[/red]")
    assert out.getvalue() == "  [bold]x[/bold] :smile:\n  [red]y[/red]\n"


def test_words_are_compared_without_marks() -> None:
    assert plain_words("A shoal: it's MANY, small fish.") == ["a", "shoal", "it's", "many", "small", "fish"]
    assert shorten("a\n b " + "c" * 100).endswith("c…")
