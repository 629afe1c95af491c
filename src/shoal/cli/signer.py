"""Run a signer: it holds the key that a gateway pays with, and signs within limits."""

from __future__ import annotations

import argparse

from shoal.cli import role
from shoal.signer.config import Settings
from shoal.signer.service import serve

EXAMPLE = "  shoal signer --chain-file chain.json --rules-payees 0xNODE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its settings."""
    role.add_arguments(parser, "signer", Settings)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    return role.run(options, "signer", Settings, serve)
