"""A page that several threads write: whole lines, and text that grows word by word without being torn."""

from __future__ import annotations

import threading

from rich.console import Console
from rich.rule import Rule

INDENT = "  "
WIDTH_MAX = 96


class Page:
    """Where a tour is told."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._column = 0
        self._width = min(WIDTH_MAX, console.width if console.is_terminal else WIDTH_MAX)

    def heading(self, text: str) -> None:
        """A new section."""
        with self._lock:
            self._end_line()
            self.console.print()
            if self.console.is_terminal:
                self.console.print(Rule(f"[bold]{text}", align="left", style="cyan"))
            else:
                self.console.print(f"== {text}", markup=False)

    def line(self, text: str = "", style: str = "") -> None:
        """One whole line."""
        with self._lock:
            self._end_line()
            self.console.print(INDENT + text if text else "", markup=False, style=style or None)

    def aside(self, text: str) -> None:
        """A line that comes from elsewhere, in the middle of anything."""
        self.line(f"[{text}]", "yellow")

    def fact(self, name: str, text: str) -> None:
        """A line of what is known about a job."""
        self.line(f"{name:<8} {text}", "dim" if self.console.is_terminal else "")

    def grow(self, text: str) -> None:
        """More of a text that is still being written."""
        with self._lock:
            for piece in _words(text):
                if piece == "\n":
                    self._end_line()
                    continue
                if not self._column:
                    piece = piece.lstrip()  # noqa: PLW2901 - a line does not begin with a space
                elif self._column + len(piece) > self._width:
                    self._end_line()
                    piece = piece.lstrip()  # noqa: PLW2901
                if piece:
                    shown = piece if self._column else INDENT + piece
                    self._column += len(shown)
                    self.console.out(shown, end="", highlight=False)
            self.console.file.flush()

    def _end_line(self) -> None:
        if self._column:
            self.console.out("")
            self._column = 0


def _words(text: str) -> list[str]:
    """A text in words, each with the space before it, and line ends apart."""
    words: list[str] = []
    for number, line in enumerate(text.split("\n")):
        if number:
            words.append("\n")
        start = 0
        for index in range(1, len(line)):
            if line[index] == " " and line[index - 1] != " ":
                words.append(line[start:index])
                start = index
        if line[start:]:
            words.append(line[start:])
    return words
