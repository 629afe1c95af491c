"""Draws every machine's table, read from the code, between the markers of docs/architecture.md.

`python docs/draw.py` writes the page; with `--check` it only says whether it is up to date.
"""

from __future__ import annotations

import ast
import importlib
import sys
from enum import Enum
from pathlib import Path

PAGE = Path(__file__).parent / "architecture.md"
SOURCE = Path(__file__).parents[1] / "src"
BEGIN = "<!-- tables: drawn by docs/draw.py -->\n"
END = "<!-- end of tables -->\n"

Moves = dict[tuple[Enum, type], Enum]


def tables() -> dict[str, Moves]:
    """Every dict called MOVES at the top of a module, by the module's name."""
    found: dict[str, Moves] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        targets = (node.target for node in tree.body if isinstance(node, ast.AnnAssign))
        if any(isinstance(target, ast.Name) and target.id == "MOVES" for target in targets):
            name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            found[name] = importlib.import_module(name).MOVES
    return found


def word(phase: Enum) -> str:
    """A phase as people write it."""
    return phase.name.lower()


def grid(moves: Moves) -> str:
    """One row a phase, one column an event; an empty field raises."""
    events = list(dict.fromkeys(event for _, event in moves))
    phases = list(type(next(iter(moves.values()))))
    lines = ["| | " + " | ".join(event.__name__ for event in events) + " |", "|---" * (len(events) + 1) + "|"]
    for phase in phases:
        fields = (moves.get((phase, event)) for event in events)
        lines.append(f"| **{word(phase)}** | " + " | ".join(word(to) if to else "" for to in fields) + " |")
    return "\n".join(lines)


def diagram(moves: Moves) -> str:
    """The same table as arrows from the first phase on; moves that share both ends share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (phase, event), to in moves.items():
        arrows.setdefault((word(phase), word(to)), []).append(event.__name__)
    lines = (f"    {phase} --> {to}: {', '.join(events)}" for (phase, to), events in arrows.items())
    start = word(next(iter(type(next(iter(moves.values()))))))
    return f"```mermaid\nstateDiagram-v2\n    [*] --> {start}\n" + "\n".join(lines) + "\n```"


def drawn(page: str) -> str:
    """The page with the tables as the code has them now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = (f"### `{name}`\n\n{grid(moves)}\n\n{diagram(moves)}\n" for name, moves in tables().items())
    return before + BEGIN + "\n" + "\n".join(parts) + "\n" + END + after


def main() -> int:
    """Write the page, or say that it is behind."""
    page = PAGE.read_text()
    if drawn(page) == page:
        return 0
    if "--check" in sys.argv[1:]:
        print("docs/architecture.md is behind the code: run `make docs`", file=sys.stderr)
        return 1
    PAGE.write_text(drawn(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
