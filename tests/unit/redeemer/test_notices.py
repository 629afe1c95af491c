"""What webhooks are sent, and which URLs are none."""

from __future__ import annotations

import pytest

from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.money.ticket import uint256
from shoal.redeemer.events import Notice
from shoal.redeemer.notices import body, hook_name, require_hook

NOTICE = Notice("ticket/ab", "llm", NodeId("0xs"), NodeId("0xr"), uint256(15 * 10**17), uint256(7), "0xt", 9)
SECRET = "https://discord.com/api/webhooks/1/secret"


@pytest.mark.parametrize(
    "url",
    [SECRET, "https://example.org/hook?x=1", "http://127.0.0.1:9/x", "http://localhost/", "http://[::1]/"],
)
def test_urls_to_post_to(url: str) -> None:
    assert require_hook(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "discord.com/api",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "https://",
        "https://a:99999/",
        "https://user:word@example.org/",
        "http://example.org/hook",
        "http://127.evil.org/",
        "javascript:alert(1)",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(Refused):
        require_hook(url)


def test_a_url_is_a_secret() -> None:
    name = hook_name(SECRET)
    assert name.startswith("discord.com/")
    assert "secret" not in name
    assert name != hook_name(SECRET + "2")


def test_discord_is_sent_embeds_and_mentions_nobody() -> None:
    value = body(SECRET, NOTICE, "@everyone")
    assert value["allowed_mentions"] == {"parse": []}
    embed = value["embeds"][0]  # type: ignore[index]
    shown = {field["name"]: field["value"] for field in embed["fields"]}
    assert shown == {"Operator": "@everyone", "Amount": "1.5 ETH", "Pipeline": "llm", "Transaction": "`0xt`"}
    assert embed["footer"] == {"text": "ticket/ab"}


def test_others_are_sent_plain_json() -> None:
    assert body("https://example.org/hook", NOTICE, "Ada") == {
        "id": "ticket/ab",
        "event": "ticket_redeemed",
        "operator": "Ada",
        "recipient": "0xr",
        "sender": "0xs",
        "pipeline": "llm",
        "amount_wei": "1500000000000000000",
        "amount_eth": "1.5",
        "fee_wei": "7",
        "transaction": "0xt",
        "block": 9,
    }
