"""Run a gateway: it takes jobs from clients over HTTP, finds an orchestrator for each, and pays for what arrives."""

from __future__ import annotations

import argparse

from shoal.cli import role
from shoal.gateway.config import Settings
from shoal.gateway.service import serve

EXAMPLE = "  shoal gateway --http-addr 127.0.0.1:9935 --orchestrators 127.0.0.1:8935#0xNODE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its settings."""
    role.add_arguments(parser, "gateway", Settings)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    return role.run(options, "gateway", Settings, serve)
