"""The command line: one table of commands, each loaded when it is called.

Every command ends with 0, or with one clear line and 1 (2 if it was typed wrongly, 130 after Ctrl-C).
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from msgspec import Struct

from shoal.errors import ShoalError

FAILED = 1
INTERRUPTED = 130


class Command(Protocol):
    """What a command's module holds: its docstring is its help."""

    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say which flags there are."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it, and say how it went: 0 for well."""


class Entry(Struct, frozen=True):
    """One line of the table."""

    module: str
    help: str


COMMANDS: dict[str, Entry] = {
    "up": Entry("shoal.cli.up", "run a whole network on this computer"),
    "run": Entry("shoal.cli.run", "send a job and show its answer"),
    "jobs": Entry("shoal.cli.jobs", "list jobs, or say all about one"),
    "why": Entry("shoal.cli.why", "say why a job ran where it ran"),
    "policies": Entry("shoal.cli.policies", "list by what a job's node can be chosen"),
    "cancel": Entry("shoal.cli.cancel", "stop a job"),
    "load": Entry("shoal.cli.load", "put a network under load, and say how it held"),
    "usage": Entry("shoal.cli.usage", "say what was used and charged, and whether it adds up"),
    "keys": Entry("shoal.cli.keys", "make, list and revoke a gateway's API keys"),
    "tenants": Entry("shoal.cli.tenants", "make, list and change those whose keys they are"),
    "models": Entry("shoal.cli.models", "list the models that can be run"),
    "sim": Entry("shoal.cli.sim", "put the gateway and its rivals to a load in virtual time"),
    "gateway": Entry("shoal.cli.gateway", "run a gateway: it buys work for its clients"),
    "gateway forgive": Entry("shoal.cli.forgiveness", "have a gateway deal with an orchestrator again"),
    "orchestrator": Entry("shoal.cli.orchestrator", "run an orchestrator: it sells the work of its workers"),
    "chain": Entry("shoal.cli.chain", "run a chain of your own, with all contracts on it"),
    "worker": Entry("shoal.cli.worker", "run a worker: it does the work"),
    "worker earnings": Entry("shoal.cli.earnings", "say what a worker has earned and is owed"),
    "worker forgive": Entry("shoal.cli.forgive", "have a worker take back an orchestrator that it left"),
    "wallet": Entry("shoal.cli.wallet", "make or import a key, see and move its money on chain"),
    "payouts": Entry("shoal.cli.payouts", "say what tickets have won, and what became of it"),
    "signer": Entry("shoal.cli.signer", "run a signer: it holds the key that a gateway pays with"),
    "redeemer": Entry("shoal.cli.redeemer", "run a redeemer: it turns winning tickets into money, on chain"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """What `shoal` does."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if " ".join(words[:2]) in COMMANDS:
        words[:2] = [" ".join(words[:2])]
    name = _command_of(words)
    try:
        command = _load(name)
        options = _parser(name, command).parse_args(words[1:])
        return command.run(options)
    except ShoalError as error:
        print(f"shoal {name}: {error.message}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" of {error.filename}" if error.filename else ""
        print(f"shoal {name}: the disk{where} is full: make room, then try again", file=sys.stderr)
        return FAILED


def _command_of(words: Sequence[str]) -> str:
    """The first word, if it is a command; else help or a complaint, and the end."""
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:<{width}}  {entry.help}" for name, entry in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="shoal",
        usage="shoal COMMAND ...",
        description="An open network for AI compute.",
        epilog=f"commands:\n{table}\n\n`shoal COMMAND --help` says more. To begin: shoal up",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="what to do")
    return str(parser.parse_args(list(words[:1]) or ["--help"]).command)


def _load(name: str) -> Command:
    """A command's module; the rows of other packages stand in the table before it is loaded."""
    importlib.import_module("shoal.cli.installed").add_installed()
    return cast(Command, importlib.import_module(COMMANDS[name].module))


def _parser(name: str, command: Command) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"shoal {name}",
        description=command.__doc__,
        epilog=f"example:\n{command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
