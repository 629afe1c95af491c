"""Run a chain of your own: an Ethereum node for trying things out, with all contracts and play money on it.

It answers JSON-RPC on this computer only, keeps its blocks in its folder, and writes there, in chain.json, its address
and those of the contracts. A transaction is mined at once.
"""

from __future__ import annotations

import argparse

from shoal.chain.local.config import Settings
from shoal.chain.local.service import serve
from shoal.cli import role

EXAMPLE = """\
  shoal chain --http-addr 127.0.0.1:8545
  shoal chain --accounts '{"me": "0x00000000000000000000000000000000000000AA"}' --block-ms 0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its settings."""
    role.add_arguments(parser, "chain", Settings)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    return role.run(options, "chain", Settings, serve)
