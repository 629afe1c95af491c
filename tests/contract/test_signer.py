"""A signer over HTTP: Livepeer's routes and ours, the webhook, and a contract that takes what was signed."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account as EthAccount
from eth_account.messages import encode_defunct
from msgspec.structs import replace

from evm import ETHER, Evm, account
from onchain import Onchain, keccak256
from shoal.errors import Refused
from shoal.money.ticket import NO_HASH, WIN_PROB_MAX, TicketParams, address_bytes, uint256
from shoal.runtime.door import Reply
from shoal.runtime.keys import keep_secret, recover_hash
from shoal.signer.config import Listed, Rules
from shoal.signer.service import Service, Settings
from shoal.wire import net
from shoal.wire.payment import params_out
from shoal.wire.protobuf import encode
from signerdoor import credentials, info, offered, payment, signer, webhook
from signing import PRICE, TICKET, WORTH, ticket
from tickets import PAYEE, VIEW

pytestmark = pytest.mark.anyio
RAND = (123).to_bytes(32)


def signatures(reply: Any) -> list[bytes]:
    assert reply.status_code == 200, reply.text
    return [bytes.fromhex(text[2:]) for text in reply.json()["signatures"]]


async def test_tickets_are_signed_by_the_signer(tmp_path: Path) -> None:
    async with signer(tmp_path) as caller:
        reply = await caller.client.get("/address")
        assert reply.json() == {"address": caller.address}
        signed = signatures(await caller.tickets(1, 5, 3))
        for nonce, signature in zip((1, 5, 3), signed, strict=True):
            hash32 = TICKET.ticket(caller.address, nonce).signed_hash
            assert recover_hash(hash32, signature) == caller.address
        assert caller.spent == 3 * WORTH
        assert signatures(await caller.tickets(1, 5, 3)) == signed
        assert caller.spent == 3 * WORTH
        status = (await caller.client.get("/spending")).json()
        assert status["spent_wei"] == str(3 * WORTH)
        assert status["left_now_wei"] == str(10**15 - 3 * WORTH)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"sender": "0x" + "11" * 20}, 409, "and this signer is"),
        ({"face_value": "-1"}, 400, "face_value"),
        ({"face_value": str(2**256)}, 400, "256 bits"),
        ({"win_prob": "1e9"}, 400, "win_prob"),
        ({"nonces": []}, 400, "nonces"),
        ({"nonces": [1] * 601}, 400, "nonces"),
        ({"nonces": [2**32]}, 400, "nonces"),
        ({"recipient_rand_hash": "0x00"}, 400, "recipient_rand_hash"),
        ({"recipient": "0xAB" + "11" * 19}, 400, "recipient"),
        ({"more": 1}, 400, "more"),
        ({"recipient": "0x" + "22" * 20}, 400, "may not pay"),
        ({"face_value": str(10**18)}, 400, "rules.ticket"),
    ],
)
async def test_what_is_no_order_is_refused(
    tmp_path: Path, changes: dict[str, Any], status: int, words: str
) -> None:
    async with signer(tmp_path, rules=Rules(payees=(PAYEE.id,))) as caller:
        reply = await caller.tickets(1, **changes)
        assert reply.status_code == status
        message = reply.json()["error"]["message"]
        assert words in message
        assert "\n" not in message
        assert caller.spent == 0


async def test_a_limit_is_payment_required(tmp_path: Path) -> None:
    async with signer(tmp_path, rules=Rules(ev_wei_per_minute=WORTH)) as caller:
        signatures(await caller.tickets(1))
        reply = await caller.tickets(2)
        assert (reply.status_code, reply.json()["error"]["code"]) == (402, "spend_limit")
        assert 1 <= int(reply.headers["retry-after"]) <= 60


async def test_an_introduction_is_what_orchestrators_check(tmp_path: Path) -> None:
    async with signer(tmp_path) as caller:
        said = (await caller.client.post("/sign-orchestrator-info")).json()
        assert said["address"].lower() == caller.address
        message = encode_defunct(primitive=keccak256(said["address"].encode()))
        assert EthAccount.recover_message(message, signature=said["signature"]) == said["address"]


@pytest.mark.parametrize(
    ("caps", "found"),
    [
        ("", ["https://a", "https://b"]),
        ("?caps=llm/x", ["https://a"]),
        ("?caps=llm/x&caps=echo/y", ["https://a", "https://b"]),
        ("?caps=", ["https://a", "https://b"]),
        ("?caps=llm/z", []),
    ],
)
async def test_orchestrators_are_found_by_what_they_can(tmp_path: Path, caps: str, found: list[str]) -> None:
    listed = (
        Listed(address="https://a", capabilities=("llm/x",)),
        Listed(address="https://b", score=0.5, capabilities=("echo/y", "echo/z")),
    )
    async with signer(tmp_path, orchestrators=listed) as caller:
        reply = await caller.client.get(f"/discover-orchestrators{caps}")
        assert [each["address"] for each in reply.json()] == found
        assert all(set(each) == {"address", "score", "capabilities"} for each in reply.json())


async def test_nobody_is_found_where_nobody_is_listed(tmp_path: Path) -> None:
    async with signer(tmp_path) as caller:
        assert (await caller.client.get("/discover-orchestrators")).status_code == 503


# Live payments


async def test_live_work_is_paid_in_livepeers_form(tmp_path: Path) -> None:
    async with signer(tmp_path) as caller:
        caller.see()
        needed = net.Capabilities(bitstring=(1 << 35,))
        more = {"capabilities": b64encode(encode(needed)).decode(), "ManifestID": "m1", "app": "live/x"}
        reply = await caller.pays(**more)
        sent, price = payment(reply)
        assert (sent.sender, price) == (caller.address, PRICE)
        assert sent.params == replace(TICKET)
        assert [each.nonce for each in sent.tickets] == list(range(1, 12))
        for each in sent.signed_tickets():
            assert recover_hash(each.ticket.signed_hash, each.signature) == caller.address
        beside = credentials(reply)
        assert (beside.manifest_id, beside.capabilities) == (b"m1", needed)
        assert beside.auth_token == offered().auth_token
        message = b"m1" + bytes(32) + beside.hash
        text = encode_defunct(primitive=keccak256(message))
        assert EthAccount.recover_message(text, signature=beside.sig).lower() == caller.address
        state = json.loads(b64decode(reply.json()["state"]["State"]))
        assert state["OrchestratorAddress"].lower() == PAYEE.id
        assert (state["SequenceNumber"], state["SenderNonce"], state["Type"]) == (0, 11, "live")
        assert (state["InitialPricePerUnit"], state["InitialPixelsPerUnit"]) == (WORTH, 1)
        assert set(state) == {
            *("StateID", "PMSessionID", "LastUpdate", "OrchestratorAddress", "App", "AuthExpiry"),
            *("SenderNonce", "Balance", "InitialPricePerUnit", "InitialPixelsPerUnit", "Type"),
            *("SequenceNumber", "AuthID"),
        }
        again = await caller.pays(reply.json()["state"])
        assert payment(again)[0].tickets[0].nonce == 12
        assert caller.spent == 11 * WORTH + len(payment(again)[0].tickets) * WORTH


async def test_a_state_is_good_once_over_http(tmp_path: Path) -> None:
    async with signer(tmp_path) as caller:
        caller.see()
        first = (await caller.pays()).json()["state"]
        second = (await caller.pays(first)).json()["state"]
        spent = caller.spent
        reply = await caller.pays(first)
        assert (reply.status_code, caller.spent) == (400, spent)
        assert "invalid state" in reply.text
    async with signer(tmp_path) as caller:
        caller.see()
        assert caller.spent == spent
        assert (await caller.pays(first)).status_code == 400
        assert (await caller.pays(second)).status_code == 200


def soon() -> net.AuthToken:
    return net.AuthToken(b"token", "session", 1)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"maxPrice": {"price": WORTH, "currency": "wei", "unit": "seconds"}}, 200, ""),
        ({"maxPrice": {"price": WORTH - 1, "currency": "wei", "unit": "seconds"}}, 481, "maximum price"),
        ({"maxPrice": {"price": "0.5", "currency": "wei", "unit": "seconds"}}, 481, "maximum price"),
        ({"maxPrice": {"price": WORTH, "currency": "usd", "unit": "seconds"}}, 400, "maxPrice"),
        ({"maxPrice": {"price": WORTH, "currency": "wei", "unit": "fixed"}}, 400, "maxPrice"),
        ({"maxPrice": {"price": "1e999999999", "unit": "seconds"}}, 400, "maxPrice"),
        ({"maxPrice": {"price": "1e-999999999", "unit": "seconds"}}, 400, "maxPrice"),
        ({"maxPrice": {"price": "NaN", "unit": "seconds"}}, 400, "maxPrice"),
        ({"type": "lv2v"}, 400, "exceeds maximum of 100"),
        ({"type": "fixed"}, 200, ""),
        ({"type": "bought"}, 400, "invalid job type"),
        ({"type": ""}, 400, "missing billable unit"),
        ({"type": "", "inPixels": 3}, 200, ""),
        ({"orchestrator": ""}, 400, "missing orchestrator"),
        ({"orchestrator": "////"}, 400, "OrchestratorInfo"),
        ({"capabilities": "////"}, 400, "capabilities"),
        ({"ManifestID": "café"}, 400, "ManifestID"),
        ({"ManifestID": "m" * 129}, 400, "ManifestID"),
        (info(price_info=None), 400, "priceInfo"),
        (info(price_info=net.PriceInfo(0, 1)), 400, "priceInfo"),
        (info(price_info=net.PriceInfo(-1, -1)), 400, "priceInfo"),
        (info(ticket_params=None), 400, "ticketParams"),
        (info(address=b""), 400, "address"),
        (info(auth_token=soon()), 480, "auth token"),
        (info(ticket_params=params_out(ticket(expiration_block=5))), 480, "expired"),
        (info(ticket_params=net.TicketParams(b"1")), 400, "ticket params"),
    ],
)
async def test_what_live_work_is_refused_with(
    tmp_path: Path, changes: dict[str, Any], status: int, words: str
) -> None:
    async with signer(tmp_path) as caller:
        caller.see()
        reply = await caller.pays(**changes)
        assert reply.status_code == status, reply.text
        assert words in reply.text
        assert bool(caller.spent) is (status == 200)
        url = "https://orchestrator.example:8935" if status == 480 else None
        assert reply.headers.get("livepeer-orchestrator-url") == url


async def test_credit_that_covers_it_needs_no_tickets(tmp_path: Path) -> None:
    cheap = info(price_info=net.PriceInfo(1, 1))
    async with signer(tmp_path) as caller:
        caller.see()
        state = (await caller.pays(**cheap)).json()["state"]
        state = (await caller.pays(state, **cheap)).json()["state"]
        reply = await caller.pays(state, **cheap)
        assert (reply.status_code, reply.json()["error"]["code"]) == (482, "no_tickets")


async def test_without_a_chain_no_live_work_is_paid(tmp_path: Path) -> None:
    async with signer(tmp_path) as caller:
        reply = await caller.pays()
        assert (reply.status_code, caller.spent) == (500, 0)
        assert "has not seen the chain" in reply.text


# The webhook


async def test_the_webhook_sees_who_asks_and_what_it_comes_to(tmp_path: Path) -> None:
    heard: list[Any] = []

    def answer(asked: Any) -> Any:
        heard.append(asked)
        return {"status": 200, "auth_id": "anna", "expiry": 2**40}

    async with webhook(answer) as url, signer(tmp_path, auth_url=url, auth_headers={"x-own": "y"}) as caller:
        caller.see()
        caller.client.headers["x-customer"] = "seven"
        reply = await caller.pays(app="live/x")
        state = json.loads(b64decode(reply.json()["state"]["State"]))
        assert (state["AuthID"], state["AuthExpiry"]) == ("anna", 2**40)
        assert heard[0]["headers"]["X-Customer"] == ["seven"]
        assert heard[0]["state"]["App"] == "live/x"
        assert heard[0]["state"]["Type"] == "live"
        assert (await caller.pays(reply.json()["state"])).status_code == 200
        assert len(heard) == 1, "until its expiry it is not asked again"


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ({"status": 200}, 200, ""),
        ({"status": 403, "reason": "no money left"}, 403, "no money left"),
        ({"status": 403}, 403, "rejected request with status 403"),
        ({"status": 0}, 500, "status 0"),
        ({"status": 204}, 500, "status 204"),
        ({"reason": "fine"}, 500, "must name a status"),
        ("fine", 500, "must name a status"),
        (Reply(b"{", 200), 500, "must name a status"),
        (Reply(b'{"status": 200}', 401), 500, "answers 401"),
        (Reply(b" " * 70_000, 200), 500, "too much"),
        ({"status": 200, "maxPrice": {"price": WORTH, "unit": "seconds"}}, 200, ""),
        ({"status": 200, "maxPrice": {"price": WORTH - 1, "unit": "seconds"}}, 481, "maximum price"),
    ],
)
async def test_whatever_the_webhook_does_not_clearly_allow_is_not_paid(
    tmp_path: Path, answer: Any, status: int, words: str
) -> None:
    async with webhook(lambda asked: answer) as url, signer(tmp_path, auth_url=url) as caller:
        caller.see()
        reply = await caller.pays()
        assert reply.status_code == status
        assert words in reply.text
        assert bool(caller.spent) is (status == 200)


async def test_a_webhook_that_is_away_allows_nothing(tmp_path: Path) -> None:
    async with webhook(lambda asked: {"status": 200}) as url:
        pass
    async with signer(tmp_path, auth_url=url) as caller:
        caller.see()
        reply = await caller.pays()
        assert (reply.status_code, caller.spent) == (500, 0)
        assert "cannot be reached" in reply.text


async def test_nobody_becomes_somebody_else(tmp_path: Path) -> None:
    names = iter(("anna", "berta"))
    async with (
        webhook(lambda asked: {"status": 200, "auth_id": next(names)}) as url,
        signer(tmp_path, auth_url=url) as caller,
    ):
        caller.see()
        state = (await caller.pays()).json()["state"]
        spent = caller.spent
        reply = await caller.pays(state)
        assert (reply.status_code, caller.spent) == (500, spent)
        assert "auth ID changed" in reply.text


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "http://example.org/x", "https://a:b@example.org/", "nonsense"]
)
async def test_a_webhook_that_others_could_listen_to_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(Refused, match="auth_url"):
        Service(Settings(home=str(tmp_path), http_addr="127.0.0.1:0", auth_url=url))


# The contract


def pay_out(chain: Onchain, sent: Sequence[tuple[TicketParams, int, bytes]], sender: str) -> int:
    """Redeem tickets; what their recipient got."""
    won = 0
    for params, nonce, signature in sent:
        ticket_ = (
            *(params.recipient, sender, params.face_wei, int.from_bytes(params.win_prob)),
            *(nonce, params.recipient_rand_hash, params.aux_data),
        )
        redeemed = chain.broker.send("redeemWinningTicket", ticket_, signature, int.from_bytes(RAND))
        won += sum(each.args["faceValue"] for each in redeemed.events if each.name == "WinningTicketRedeemed")
    return won


async def test_the_contract_takes_what_was_signed(evm: Evm, tmp_path: Path) -> None:
    chain = Onchain(evm)
    payer, payee = account(77), chain.people[0]
    keep_secret(tmp_path / "key", payer.secret)
    chain.evm.set_balance(payer.address, 10 * ETHER)
    chain.broker.send("fundDepositAndReserve", ETHER, ETHER, sender=payer, value=2 * ETHER)
    aux = chain.aux_data()
    params = TicketParams(
        payee.address,  # type: ignore[arg-type]
        uint256(10**15),
        uint256(WIN_PROB_MAX - 2**200),  # as good as always
        keccak256(RAND),
        NO_HASH,
        VIEW.block + 40,
        int.from_bytes(aux[:32]),
        aux[32:],
    )
    rules = Rules(ticket_ev_wei_max=10**15, request_ev_wei_max=10**17, ev_wei_per_minute=10**17)
    async with signer(tmp_path, rules=rules) as caller:
        assert caller.address == payer.address
        (first,) = signatures(await caller.tickets(1, params=params))
        caller.see()
        live = info(ticket_params=params_out(params), address=address_bytes(params.recipient)) | {
            "type": "fixed"
        }
        reply = await caller.pays(**live)
        (second,) = payment(reply)[0].tickets
        # A live payment numbers its tickets itself: here it is the first one's twin.
        assert (second.nonce, second.signature) == (1, first)
        third = signatures(await caller.tickets(2, params=params))[0]
        won = pay_out(chain, [(params, 1, first), (params, 2, third)], payer.address)
        assert won == 2 * 10**15
    deposit = chain.broker.call("getSenderInfo", payer.address)[0][0]
    assert deposit == ETHER - 2 * 10**15
