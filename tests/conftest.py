"""What every test stands on: loopback only, and the same examples in every run."""

from __future__ import annotations

import ipaddress
import sys

from hypothesis import settings

settings.register_profile("shoal", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("shoal")


def _stay_home(event: str, args: tuple[object, ...]) -> None:
    """Refuse to connect anywhere but to this computer."""
    if event != "socket.connect" or not isinstance(args[1], tuple):
        return
    host = str(args[1][0])
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise RuntimeError(f"a test tried to reach {host}; tests talk to this computer only")


sys.addaudithook(_stay_home)
