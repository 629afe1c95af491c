"""Run a worker: it dials its orchestrators and runs their jobs; it listens nowhere."""

from __future__ import annotations

import argparse

from shoal.cli import role
from shoal.worker.config import Settings
from shoal.worker.service import serve

EXAMPLE = "  shoal worker --config worker.toml --orchestrators 127.0.0.1:8935#0xNODE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its settings."""
    role.add_arguments(parser, "worker", Settings)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    return role.run(options, "worker", Settings, serve)
