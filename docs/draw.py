"""Draws what the code knows into the pages: every machine's table, and the parts that policies are made of.

`python docs/draw.py` writes between the pages' markers; with `--check` it only says whether they are up to date.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path

import msgspec

from shoal.policy.draws import DRAWS
from shoal.policy.filters import FILTERS, HARD
from shoal.policy.presets import DEFAULT, POLICIES
from shoal.policy.ranks import RANKS
from shoal.policy.recipe import Policy

DOCS = Path(__file__).parent
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


def machines() -> str:
    """Every machine's table and its diagram."""
    return "\n".join(
        f"### `{name}`\n\n{grid(moves)}\n\n{diagram(moves)}\n" for name, moves in tables().items()
    )


def lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a bar inside a field would end it."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)) + "\n"


def numbers(recipe: Policy) -> str:
    """The numbers and names of a policy that are not the usual ones, as TOML has them."""
    said = {"name", "about", "source", "filters", "rank", "draw"}
    usual = msgspec.to_builtins(Policy())
    own = {key: value for key, value in msgspec.to_builtins(recipe).items() if key not in said}
    return ", ".join(
        f"`{key} = {value:_}`" if isinstance(value, int) else f'`{key} = "{value}"`'
        for key, value in own.items()
        if value != usual[key]
    )


def policies() -> str:
    """The presets, and the filters, ranks and draws that they and others are made of."""
    presets = [
        [
            f"**{name}**" + (" (the default)" if name == DEFAULT else ""),
            recipe.about,
            ", ".join(recipe.filters),
            recipe.rank,
            recipe.draw,
            numbers(recipe),
            recipe.source,
        ]
        for name, recipe in POLICIES.items()
    ]
    filters = [
        [f"**{name}**", part.why, "always" if name in HARD else "gives way" if part.gives_way else ""]
        for name, part in FILTERS.items()
    ]
    ranks = [[f"**{name}**", part.about, f"`{part.formula}`"] for name, part in RANKS.items()]
    draws = [[f"**{name}**", part.about] for name, part in DRAWS.items()]
    return "\n".join(
        (
            "### Policies\n",
            lines(("name", "takes", "filters", "rank", "draw", "its own numbers", "source"), presets),
            "### Filters\n",
            lines(("name", "why a node is left out", "when"), filters),
            "### Ranks\n",
            lines(("name", "what it compares", "score, the least is the best"), ranks),
            "### Draws\n",
            lines(("name", "which one is taken"), draws),
        )
    )


#: What is drawn into which page.
PAGES: dict[str, Callable[[], str]] = {"architecture.md": machines, "policies.md": policies}


def drawn(page: str, parts: str) -> str:
    """The page with the tables as the code has them now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + parts + "\n" + END + after


def main() -> int:
    """Write the pages, or say which is behind."""
    behind = 0
    for name, parts in PAGES.items():
        path = DOCS / name
        page = path.read_text()
        now = drawn(page, parts())
        if now == page:
            continue
        if "--check" in sys.argv[1:]:
            print(f"docs/{name} is behind the code: run `make docs`", file=sys.stderr)
            behind = 1
        else:
            path.write_text(now)
    return behind


if __name__ == "__main__":
    sys.exit(main())
