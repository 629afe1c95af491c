"""Run an orchestrator: it takes jobs from gateways, leases them to its workers, and books what was earned."""

from __future__ import annotations

import argparse

from shoal.cli import role
from shoal.orchestrator.config import Settings
from shoal.orchestrator.service import serve

EXAMPLE = "  shoal orchestrator --listen 127.0.0.1:8935 --workers 0xNODE,0xNODE --gateways 0xNODE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its settings."""
    role.add_arguments(parser, "orchestrator", Settings)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    return role.run(options, "orchestrator", Settings, serve)
