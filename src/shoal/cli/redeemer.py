"""Run a redeemer: it redeems its operator's winning tickets and pays its workers, on chain."""

from __future__ import annotations

import argparse

from shoal.cli import role
from shoal.redeemer.config import Settings
from shoal.redeemer.service import serve

EXAMPLE = "  shoal redeemer --chain-file chain.json --orchestrators 127.0.0.1:8935#0xNODE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its settings."""
    role.add_arguments(parser, "redeemer", Settings)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    return role.run(options, "redeemer", Settings, serve)
