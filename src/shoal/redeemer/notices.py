"""What is told of a redemption, in the form that a webhook takes: Discord's, or plain JSON.

A notice carries its own name, so that whoever gets it twice after a crash can tell.
"""

from __future__ import annotations

import hashlib
import ipaddress
from urllib.parse import urlsplit

from shoal.chain.amounts import eth
from shoal.errors import Refused
from shoal.redeemer.events import Notice

DISCORD_HOSTS = ("discord.com", "discordapp.com", "canary.discord.com", "ptb.discord.com")
COLOUR = 0x2F9E7A


def hook_name(url: str) -> str:
    """What a webhook is called in the journal and the log: its URL is a secret."""
    return f"{urlsplit(url).hostname}/{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def require_hook(url: str) -> str:
    """A webhook's URL as it was given. Raises `Refused` for one that nothing should be sent to."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise Refused(f"the webhook {url[:40]!r} is no URL of http or https")
    if parts.username or parts.password:
        raise Refused(f"the webhook at {host} has a password in its URL; give it a token in its path instead")
    if parts.scheme == "http" and not _here(host):
        raise Refused(f"the webhook at {host} is not encrypted: use https, or one on this computer")
    return url


def _here(host: str) -> bool:
    """Whether this is this computer, by its name or its number."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def body(url: str, notice: Notice, operator: str) -> dict[str, object]:
    """What is posted to this URL."""
    host, path = urlsplit(url).hostname or "", urlsplit(url).path
    if host in DISCORD_HOSTS or path.startswith("/api/webhooks/"):
        return _discord(notice, operator)
    return _plain(notice, operator)


def _plain(notice: Notice, operator: str) -> dict[str, object]:
    wei = int.from_bytes(notice.wei)
    return {
        "id": notice.id,
        "event": "ticket_redeemed",
        "operator": operator,
        "recipient": notice.recipient,
        "sender": notice.sender,
        "pipeline": notice.pipeline,
        "amount_wei": str(wei),
        "amount_eth": eth(wei),
        "fee_wei": str(int.from_bytes(notice.fee_wei)),
        "transaction": notice.transaction,
        "block": notice.block,
    }


def _discord(notice: Notice, operator: str) -> dict[str, object]:
    wei = int.from_bytes(notice.wei)
    fields = {
        "Operator": operator,
        "Amount": f"{eth(wei)} ETH",
        "Pipeline": notice.pipeline or "unknown",
        "Transaction": f"`{notice.transaction}`",
    }
    return {
        "content": f"{operator} was paid {eth(wei)} ETH",
        "allowed_mentions": {"parse": []},
        "embeds": [
            {
                "title": "Winning ticket redeemed",
                "color": COLOUR,
                "fields": [
                    {"name": name, "value": value[:1024], "inline": name in ("Amount", "Pipeline")}
                    for name, value in fields.items()
                ],
                "footer": {"text": notice.id},
            }
        ],
    }
