"""Stop a job; of a streamed answer only what has arrived is charged."""

from __future__ import annotations

import argparse
import json

from shoal.cli.buyer import Buyer, gateway
from shoal.cli.terminal import gwei
from shoal.errors import Refused

EXAMPLE = "  shoal cancel job_1f3c…"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which."""
    parser.add_argument("id", metavar="ID", help="a job's id")
    parser.add_argument("--gateway", metavar="URL", help="($SHOAL_URL, else the network of `shoal up`)")
    parser.add_argument("--json", action="store_true", help="print the job as JSON")


def run(options: argparse.Namespace) -> int:
    """Ask the gateway to stop it."""
    job = Buyer(gateway(options.gateway)).cancel(options.id)
    if options.json:
        print(json.dumps(job, indent=2))
    elif job["state"] == "cancelled":
        print(
            f"{job['id']} is cancelled; charged {gwei(job['charged_wei'])} for {job['units']:,} {job['unit']}"
        )
    if job["state"] != "cancelled":
        raise Refused(f"{job['id']} is {job['state']} already")
    return 0
