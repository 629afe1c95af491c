"""A signer under attack: no token, another's token, forged states, web pages; and its key is told to nobody."""

from __future__ import annotations

import json
import logging
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.errors import Refused
from shoal.runtime.keys import NodeKey, keep_secret
from shoal.runtime.token import read
from shoal.signer.config import Listed
from shoal.signer.pen import Pen
from shoal.signer.service import TOKEN_FILE, Service, Settings
from shoal.wire.signing import order
from signerdoor import ROUTES, Caller, info, signer
from signing import TICKET

pytestmark = pytest.mark.anyio
TOKEN, OTHER = "a" * 32, "b" * 32
SECRET = bytes.fromhex("5ec2e7" * 10 + "0102")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def ask(caller: Caller, route: str, headers: dict[str, str]) -> Any:
    method, path = route.split(" ")
    bodies = {
        "/sign-tickets": msgspec.to_builtins(order(TICKET, caller.address, (1,))),
        "/generate-live-payment": {**info(), "type": "live"},
    }
    caller.client.headers.pop("authorization", None)
    return await caller.client.request(method, path, json=bodies.get(path), headers=headers)


@pytest.mark.parametrize("route", ROUTES)
async def test_without_its_token_nothing_is_told_signed_or_counted(tmp_path: Path, route: str) -> None:
    async with signer(
        tmp_path, tokens=(TOKEN, OTHER), orchestrators=(Listed(address="https://a"),)
    ) as caller:
        caller.see()
        for headers in (
            {},
            {"authorization": ""},
            {"authorization": "Bearer"},
            {"authorization": f"Bearer {TOKEN[:-1]}"},
            {"authorization": f"Bearer {TOKEN}x"},
            {"authorization": f"Bearer {'c' * 32}"},
            {"authorization": f"Bearer {TOKEN}{OTHER}"},
            {"authorization": f"Basic {TOKEN}"},
            {"authorization": TOKEN},
            {"x-authorization": f"Bearer {TOKEN}"},
            {"authorization": b64encode(b"\xff").decode()},
        ):
            reply = await ask(caller, route, headers)
            assert reply.status_code == 401, headers
            assert caller.address not in reply.text.lower()
        machine = caller.service.machine
        assert (caller.spent, machine.streams.dump(), len(machine.sessions)) == (0, (), 0)
        for token in (TOKEN, OTHER):
            assert (await ask(caller, route, {"authorization": f"Bearer {token}"})).status_code == 200


async def test_every_route_is_among_these(tmp_path: Path) -> None:
    async with signer(tmp_path) as caller:
        reply = await caller.client.get("/nothing")
        named = reply.json()["error"]["message"].partition("there are ")[2].split(", ")
        assert sorted(named) == sorted([*(route.split(" ")[1] for route in ROUTES), "/health"])


async def test_a_wrong_token_is_refused_before_the_body_is_read(tmp_path: Path) -> None:
    async with signer(tmp_path) as caller:
        reply = await caller.client.post(
            "/sign-tickets", content=b"x" * (3 << 20), headers={"authorization": "Bearer x"}
        )
        assert reply.status_code == 401
        assert (await caller.client.post("/sign-tickets", content=b"x" * (3 << 20))).status_code == 413


@pytest.mark.parametrize(
    "headers", [{"origin": "https://page.example"}, {"host": "rebound.example"}, {"origin": "null"}]
)
async def test_no_web_page_gets_in_even_with_the_token(tmp_path: Path, headers: dict[str, str]) -> None:
    async with signer(tmp_path) as caller:
        assert (await caller.client.get("/address", headers=headers)).status_code == 403


async def test_off_this_computer_it_listens_only_with_tokens_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="open to other computers"):
        Service(Settings(home=str(tmp_path), http_addr="0.0.0.0:0"))
    with pytest.raises(Refused, match="32 letters"):
        Service(Settings(home=str(tmp_path), http_addr="0.0.0.0:0", tokens=("short",)))


async def test_its_token_is_made_once_and_for_its_own_user(tmp_path: Path) -> None:
    async with signer(tmp_path) as caller:
        path = tmp_path / TOKEN_FILE
        assert path.stat().st_mode & 0o777 == 0o600
        assert len(read(path)) == 64
    async with signer(tmp_path) as again:
        assert again.token == caller.token


async def test_a_forged_state_is_refused(tmp_path: Path) -> None:
    async with signer(tmp_path) as caller:
        caller.see()
        good = (await caller.pays()).json()["state"]
        spent = caller.spent
        blob, sig = b64decode(good["State"]), b64decode(good["Sig"])
        richer = json.dumps(json.loads(blob) | {"Balance": "1000000000000000000"}).encode()
        stranger = Pen(NodeKey.generate())
        high = sig[:32] + (int.from_bytes(b"\xff" * 32) - int.from_bytes(sig[32:64])).to_bytes(32) + sig[64:]
        for state, signature in (
            (richer, sig),
            (richer, stranger.sign(richer)),
            (blob, stranger.sign(blob)),
            (blob + b" ", sig),
            (blob, sig[:-1] + bytes([sig[-1] ^ 1])),
            (blob, sig[:-1] + bytes([sig[-1] - 27])),
            (blob, high),
            (blob, b""),
            (b"", sig),
            # What else it has signed is no state.
            (b"", caller_signature(caller, b"")),
        ):
            brought = {"State": b64encode(state).decode(), "Sig": b64encode(signature).decode()}
            reply = await caller.pays(brought)
            assert reply.status_code == 400, state
            assert "invalid" in reply.text
        assert caller.spent == spent
        assert (await caller.pays(good)).status_code == 200


def caller_signature(caller: Caller, message: bytes) -> bytes:
    """What the signer itself would sign for this."""
    return Pen(caller.service.node.key).sign(message)


async def test_its_key_is_told_to_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep_secret(tmp_path / "key", SECRET)
    caplog.set_level(logging.DEBUG)
    said = []
    async with signer(tmp_path) as caller:
        caller.see()
        for route in (*ROUTES, "GET /health", "GET /key", "POST /address"):
            method, path = route.split(" ")
            contents = (b"", b"{", b"[]", b'{"sender": 1}', b"\xff" * 100, b"[" * 50_000)
            replies = [await caller.client.request(method, path, content=each) for each in contents]
            said += [reply.text for reply in replies]
        said.append((await caller.tickets(1)).text)
        said.append((await caller.pays()).text)
        said += [repr(each) for each in (caller.service.node.key, caller.service.machine)]
    said += [record.getMessage() for record in caplog.records]
    for text in said:
        assert SECRET.hex() not in text.lower()
        assert str(int.from_bytes(SECRET)) not in text
        assert b64encode(SECRET).decode() not in text
        assert caller.token not in text
    assert (
        holding(tmp_path, SECRET.hex().encode()) == holding(tmp_path, SECRET.hex().encode()[:20]) == ["key"]
    )
    assert holding(tmp_path, SECRET) == []


def holding(folder: Path, data: bytes) -> list[str]:
    """The files in which this stands."""
    return [path.name for path in folder.iterdir() if path.is_file() and data in path.read_bytes()]
