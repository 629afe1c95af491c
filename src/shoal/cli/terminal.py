"""What people read: one console, and how amounts, times and sizes are written.

Colours and moving lines only in a terminal; plain lines anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from shoal.units import MINUTE_MS, SECOND_MS

#: Wei in one gwei, the unit in which small prices are read most easily.
GWEI = 10**9


def console(*, stderr: bool = False) -> Console:
    """Where lines go; it never breaks or colours what another program reads."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, markup=True, emoji=False)


def gwei(wei: int) -> str:
    """An amount exactly, in gwei: `38.4 gwei`."""
    sign, whole, rest = "-" if wei < 0 else "", *divmod(abs(wei), GWEI)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{sign}{whole:,}{fraction} gwei"


def duration(duration_ms: int) -> str:
    """A time as people say it: `340 ms`, `2.4 s`, `3 min 20 s`."""
    if duration_ms < SECOND_MS:
        return f"{duration_ms} ms"
    if duration_ms < MINUTE_MS:
        return f"{duration_ms / SECOND_MS:.1f} s"
    minutes, rest_ms = divmod(duration_ms, MINUTE_MS)
    return f"{minutes} min {rest_ms // SECOND_MS} s"


def megabytes(size_bytes: int) -> str:
    """A size: `98 MB`."""
    return f"{size_bytes / 1e6:,.0f} MB"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines, the first one its head. Columns whose head begins with `>` stand to the right.

    A terminal that is too narrow wraps them; nothing is cut off, for someone may want to copy it.
    """
    cells = [[name.removeprefix(">") for name in head], *rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if name.startswith(">") else cell.ljust(width)
            for cell, width, name in zip(row, widths, head, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines
