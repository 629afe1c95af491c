"""URLs that secrets are sent to: of https, or on this computer."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from shoal.errors import Refused


def require_private(url: str, name: str) -> str:
    """A URL that nobody can listen to. Raises `Refused` for another; it says nothing of what the URL may hold."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host or port == 0 or parts.username or parts.password:
        raise Refused(f"{name} is no URL of http or https (without a password in it)")
    if parts.scheme == "http" and not loopback(host):
        raise Refused(f"{name}: the way to {host} is not encrypted; use https, or a place on this computer")
    return url


def loopback(host: str) -> bool:
    """Whether this is this computer, by its name or its number."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
