"""Running one role as a process: its flags, its settings, its log, and its end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from msgspec import Struct

from shoal.cli.claim import claim
from shoal.cli.parent import on_end_of
from shoal.runtime.config import Key, home, keys, read_settings

T = TypeVar("T", bound=Struct)

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """A log that programs read: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        fields = {
            "at": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def add_arguments(parser: argparse.ArgumentParser, role: str, settings: type[Struct]) -> None:
    """The flags that every role has, and one for each of its settings."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML, by the names below")
    parser.add_argument("--json", action="store_true", help="write the log as JSON, one object a line")
    parser.add_argument("--parent-pid", type=int, metavar="PID", help="stop when this process ends")
    group = parser.add_argument_group(
        "settings", f"each may also stand in the file, or in the environment as SHOAL_{role.upper()}_NAME"
    )
    for key in keys(settings):
        group.add_argument(key.flag, dest=key.name, metavar="VALUE", help=_describe(key, role))


def run(
    options: argparse.Namespace,
    role: str,
    settings: type[T],
    serve: Callable[[T], Coroutine[Any, Any, None]],
) -> int:
    """Run the role until it is told to stop."""
    _log_to_stderr(as_json=options.json)
    given = vars(options)
    chosen = read_settings(
        settings,
        role=role,
        environment=os.environ,
        file=options.config,
        flags={key.name: given[key.name] for key in keys(settings) if given[key.name] is not None},
        defaults={"home": str(home(os.environ) / role)},
    )
    if options.parent_pid:
        on_end_of(options.parent_pid, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with claim(Path(getattr(chosen, "home")), f"the {role}"):  # noqa: B009 - every role has one
        uvloop.run(serve(chosen))
    return 0


def _log_to_stderr(*, as_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter(LINE))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each question to a chain


def _describe(key: Key, role: str) -> str:
    if key.name == "home":
        return f"the folder of its key and journal ($SHOAL_HOME/{role})"
    kind = getattr(key.type, "__name__", str(key.type)) if isinstance(key.type, type) else "list"
    default = key.default
    shown = "" if repr(default) in ("NODEFAULT", "''", "()", "{}") else f" ({default})"
    return f"{kind}{shown}".replace("%", "%%")
