"""Every route, every bad credential: refused, and nothing journaled. Nobody sees or changes what is another's."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from shoal.errors import Broken, Refused
from shoal.gateway.accounts import PERMISSIONS
from shoal.gateway.clients import Clients
from shoal.gateway.config import Rules, Settings
from shoal.gateway.http import Doors
from shoal.gateway.operator import TOKEN_FILE, Operator, load_or_create_token
from shoal.gateway.secret import secret
from shoal.gateway.service import Service
from shoal.ids import NodeId
from shoal.runtime.door import Door
from shoal.wire.pipelines import PIPELINES
from stage import HELLO, Seller, Stage, gateway, held, png, wav

pytestmark = pytest.mark.anyio

#: Routes that ask for no key: whether the gateway is well, and files by addresses that nobody guesses.
FREE = {"GET /health", "GET /media/*"}
#: What every other route takes of a key; "" where any good key will do.
TAKES = {f"POST /{name}": "submit" for name in PIPELINES} | {
    "POST /v1/chat/completions": "submit",
    "POST /v1/embeddings": "submit",
    "POST /v1/images/generations": "submit",
    "POST /v1/images/edits": "submit",
    "POST /v1/audio/speech": "submit",
    "POST /v1/audio/transcriptions": "submit",
    "GET /v1/models": "",
    "POST /v1/jobs": "submit",
    "GET /v1/jobs": "read",
    "GET /v1/jobs/*": "read",
    "DELETE /v1/jobs/*": "submit",
    "POST /v1/jobs/*/cancel": "submit",
    "DELETE /v1/jobs/*/cancel": "submit",
    "GET /v1/jobs/*/events": "read",
    "GET /v1/jobs/*/result": "read",
    "GET /v1/jobs/*/receipt": "read",
    "GET /v1/jobs/*/why": "read",
    "GET /v1/policies": "",
    "GET /v1/network": "",
    "GET /v1/usage": "usage",
    "GET /v1/keys": "admin",
    "POST /v1/keys": "admin",
    "DELETE /v1/keys/*": "admin",
}
OPERATORS = {
    "GET /status",
    "GET /tenants",
    "POST /tenants",
    "PATCH /tenants/*",
    "GET /keys",
    "POST /keys",
    "DELETE /keys/*",
    "DELETE /estranged/*",
    "GET /usage",
}
#: A request that would do something, where an empty one would be refused for another reason.
GOOD: dict[str, dict[str, Any]] = {
    "POST /llm": {"json": HELLO},
    "POST /echo": {"json": {"text": "x"}},
    "POST /embeddings": {"json": {"input": "x"}},
    "POST /text-to-speech": {"json": {"text": "x"}},
    "POST /text-to-image": {"json": {"prompt": "x"}},
    "POST /audio-to-text": {"files": {"audio": ("a.wav", wav(100))}},
    "POST /v1/chat/completions": {"json": HELLO},
    "POST /v1/embeddings": {"json": {"input": "x"}},
    "POST /v1/images/generations": {"json": {"prompt": "x"}},
    "POST /v1/audio/speech": {"json": {"input": "x"}},
    "POST /v1/audio/transcriptions": {"files": {"file": ("a.wav", wav(100))}},
    "POST /v1/jobs": {"json": {"pipeline": "echo"}},
    "POST /v1/keys": {"json": {}},
    "POST /tenants": {"json": {"name": "eve"}},
    "PATCH /tenants/*": {"json": {"weight": 9}},
    "POST /keys": {"json": {"tenant": "ada"}},
} | {
    f"POST /{name}": {"files": {"image": ("a.png", png())}}
    for name in ("image-to-image", "image-to-video", "upscale", "segment-anything-2", "image-to-text")
}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


class City:
    """A gateway with an operator, and two tenants."""

    def __init__(self, stage: Stage, operator: httpx.AsyncClient) -> None:
        self.stage = stage
        self.operator = operator

    async def tenant(self, name: str, **granted: Any) -> dict[str, Any]:
        reply = await self.operator.post("/tenants", json={"name": name, **granted})
        assert reply.status_code == 201
        return dict(reply.json())

    async def key(self, tenant: str, **wanted: Any) -> dict[str, Any]:
        reply = await self.operator.post("/keys", json={"tenant": tenant, **wanted})
        assert reply.status_code == 201, reply.text
        return dict(reply.json())

    async def ask(self, route: str, token: str, part: str = "x", **sent: Any) -> httpx.Response:
        method, path = route.split(" ")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self.stage.client.request(method, path.replace("*", part), headers=headers, **sent)


@asynccontextmanager
async def city(home: Path, seller: Seller | None = None, **settings: Any) -> AsyncIterator[City]:
    async with gateway(home, seller, **settings) as stage:
        token = (home / TOKEN_FILE).read_text()
        url = f"http://127.0.0.1:{stage.service.operator_port}"
        async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {token}"}) as operator:
            yield City(stage, operator)


def holding(folder: Path, text: str) -> list[Path]:
    """The files in which this stands."""
    return [path for path in folder.iterdir() if text.encode() in path.read_bytes()]


def routes(door: Door) -> set[str]:
    return {f"{method} {path}" for path, methods in door._paths.items() for method in methods}


async def test_every_route_says_what_it_takes(tmp_path: Path) -> None:
    async with gateway(tmp_path) as stage:
        clients = Clients(stage.service.machine.accounts, stage.service.desk.now)
        doors = Doors(stage.service.desk, clients, NodeId("0x0"))
        assert routes(doors.door()) == TAKES.keys() | FREE
        assert routes(Operator(stage.service.desk, "token").door()) == OPERATORS | {"GET /health"}


async def test_every_route_refuses_every_bad_key_and_journals_nothing(tmp_path: Path) -> None:
    """Route by route: no key, a stranger's, a mistyped, revoked, expired one, one that may do all but this."""
    async with city(tmp_path) as town:
        await town.tenant("ada")
        good = (await town.key("ada", may=PERMISSIONS))["key"]
        revoked = await town.key("ada", may=PERMISSIONS)
        await town.operator.delete(f"/keys/{revoked['id']}")
        expired = await town.key("ada", may=PERMISSIONS, expires_in_ms=1)
        lacking = {
            name: (await town.key("ada", may=[other for other in PERMISSIONS if other != name]))["key"]
            for name in PERMISSIONS
        }
        while town.stage.service.desk.now() <= expired["expires_at_ms"]:
            await town.operator.get("/status")  # a millisecond goes by
        wrong = {
            "": 401,
            "eve": 401,
            secret(bytes(32)): 401,
            good[:-1]: 401,
            good.swapcase(): 401,
            good.upper(): 401,
            revoked["key"]: 401,
            expired["key"]: 401,
        }
        before = town.stage.facts
        for route, permission in TAKES.items():
            sent = GOOD.get(route, {})
            for token, status in {**wrong, **({lacking[permission]: 403} if permission else {})}.items():
                reply = await town.ask(route, token, **sent)
                assert (route, reply.status_code) == (route, status)
                said = reply.json()
                assert said["error"]["message"] == said["detail"]["msg"]
                assert ("www-authenticate" in reply.headers) == (status == 401)
                assert good not in reply.text
        assert town.stage.facts == before
        assert not town.stage.service.machine.jobs
        # ... and none of it was refused for another reason: the good key gets beyond the door.
        for route in TAKES:
            reply = await town.ask(route, good, **GOOD.get(route, {}))
            assert reply.status_code not in (401, 403), route


async def test_a_key_is_for_its_pipelines_and_models(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.tenant("ada")
        chats = (await town.key("ada", pipelines=["llm"]))["key"]
        other = (await town.key("ada", models=["somebody/else"]))["key"]
        before = town.stage.facts
        for route, token in (
            ("POST /echo", chats),
            ("POST /v1/jobs", chats),
            ("POST /v1/audio/speech", chats),
            ("POST /llm", other),
        ):
            reply = await town.ask(route, token, **GOOD[route])
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_granted")
        assert town.stage.facts == before
        assert (await town.ask("POST /llm", chats, **GOOD["POST /llm"])).status_code == 200


async def test_another_tenants_ids_are_answered_as_ones_that_there_are_not(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        keys = {}
        for name in ("ada", "ben"):
            await town.tenant(name)
            keys[name] = await town.key(name, may=PERMISSIONS)
        ada, ben = keys["ada"]["key"], keys["ben"]["key"]
        job = (await town.ask("POST /echo", ada, json={"text": "x"})).headers["shoal-job-id"]
        before = town.stage.facts
        for route in TAKES:
            if "*" in route:
                part = keys["ada"]["id"] if "/keys/" in route else job
                reply = await town.ask(route, ben, part)
                unknown = await town.ask(route, ben, "job_0")
                assert (route, reply.status_code, unknown.status_code) == (route, 404, 404)
                assert reply.text.replace(part, "job_0") == unknown.text
        assert (await town.ask("GET /v1/jobs", ben)).json() == {"jobs": []}
        assert [key["id"] for key in (await town.ask("GET /v1/keys", ben)).json()["keys"]] == [
            keys["ben"]["id"]
        ]
        usage = (await town.ask("GET /v1/usage", ben)).json()
        assert (usage["entries"], usage["ledger"]["charged_wei"], usage["adds_up"]) == ([], 0, True)
        assert "ledger" not in (await town.ask("GET /v1/network", ben)).json()
        assert (await town.ask("POST /v1/keys", ben, json={"tenant": "ada"})).status_code == 404
        assert town.stage.facts == before


async def test_the_keys_of_one_tenant_see_the_same_jobs(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.tenant("ada")
        sender = (await town.key("ada", may=["submit"]))["key"]
        reader = (await town.key("ada", may=["read"]))["key"]
        job = (await town.ask("POST /v1/jobs", sender, json={"pipeline": "echo"})).json()["id"]
        assert (await town.ask("GET /v1/jobs/*", reader, job)).status_code == 200
        assert (await town.ask("GET /v1/jobs/*", sender, job)).status_code == 403


@pytest.mark.parametrize(
    ("maker", "wanted", "status"),
    [
        ({"may": ["admin"]}, {"may": ["submit"]}, 403),
        ({"may": ["admin", "read"], "pipelines": ["llm"]}, {"may": ["read"], "pipelines": ["echo"]}, 403),
        ({"may": ["admin", "read"], "models": ["m"]}, {"may": ["read"], "models": ["n"]}, 403),
        ({"may": ["admin", "read"], "pipelines": ["llm"]}, {"may": ["read"]}, 201),
        ({"may": ["admin", "read"], "limits": {"wei_per_day": 5}}, {"may": ["read"]}, 201),
        (
            {"may": ["admin", "read"], "expires_in_ms": 3_600_000},
            {"may": ["read"], "expires_in_ms": 7_200_000},
            201,
        ),
    ],
)
async def test_a_key_makes_none_that_goes_further(
    tmp_path: Path, maker: dict[str, Any], wanted: dict[str, Any], status: int
) -> None:
    async with city(tmp_path) as town:
        await town.tenant("ada")
        made = await town.key("ada", **maker)
        before = town.stage.facts
        reply = await town.ask("POST /v1/keys", made["key"], json=wanted)
        assert reply.status_code == status
        assert (town.stage.facts == before) == (status != 201)
        if status == 201:
            child = reply.json()
            assert child["made_by"] == made["id"]
            for name in ("pipelines", "models", "limits", "expires_at_ms"):
                assert child[name] == made[name]


async def test_keys_are_nowhere_but_in_the_answer_that_made_them(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.tenant("ada")
        made = await town.key("ada", may=PERMISSIONS)
        text = made.pop("key")
        for reply in (
            await town.operator.get("/keys"),
            await town.operator.get("/usage"),
            await town.ask("GET /v1/keys", text),
        ):
            assert text not in reply.text
        assert made in (await town.operator.get("/keys")).json()["keys"]
    assert not holding(tmp_path, text)


# The operator's door


@pytest.mark.parametrize("route", sorted(OPERATORS))
async def test_the_operators_door_opens_for_its_token_alone(tmp_path: Path, route: str) -> None:
    async with city(tmp_path) as town:
        await town.tenant("ada")
        client = (await town.key("ada", may=PERMISSIONS))["key"]
        token = (tmp_path / TOKEN_FILE).read_text()
        before = town.stage.facts
        method, path = route.split(" ")
        path = path.replace("*", "ada")
        for headers, status in (
            ({"authorization": ""}, 401),
            ({"authorization": f"Bearer {client}"}, 401),
            ({"authorization": f"Bearer {token[:-1]}"}, 401),
            ({"authorization": f"Bearer {token.upper()}x"}, 401),
            ({"authorization": f"Basic {token}"}, 401),
            ({"host": "evil.example"}, 403),
            ({"origin": "https://evil.example"}, 403),
        ):
            sent = GOOD.get(route, {})
            reply = await town.operator.request(method, path, headers=headers, **sent)
            assert reply.status_code == status, headers
        assert town.stage.facts == before
        assert (await town.operator.request(method, path, **GOOD.get(route, {}))).status_code in (
            200,
            201,
            404,
        )


async def test_the_operators_token_is_for_its_own_eyes(tmp_path: Path) -> None:
    async with city(tmp_path):
        path = tmp_path / TOKEN_FILE
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        token = path.read_text()
        assert len(token) == 64
    assert load_or_create_token(tmp_path) == token
    path.chmod(0o640)
    with pytest.raises(Broken, match="open to others"):
        load_or_create_token(tmp_path)
    path.chmod(0o600)
    path.write_text("")
    with pytest.raises(Broken, match="empty"):
        load_or_create_token(tmp_path)


async def test_the_operators_door_is_on_this_computer_only(tmp_path: Path) -> None:
    service = Service(Settings(home=str(tmp_path), http_addr="127.0.0.1:0", operator_addr="0.0.0.0:0"))
    with pytest.raises(Refused, match="open to other computers"):
        await service.start()
    await service.stop()


async def test_a_closed_gateway_may_listen_elsewhere_and_lets_nobody_in_before_there_is_a_key(
    tmp_path: Path,
) -> None:
    async with city(tmp_path, rules=Rules(closed=True)) as town:
        assert (await town.ask("POST /echo", "", json={})).status_code == 401
        await town.tenant("ada")
        key = (await town.key("ada"))["key"]
        assert (await town.ask("POST /echo", key, json={})).status_code == 200


async def test_accounts_outlast_a_restart(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.tenant("ada", limits={"jobs_per_day": 2})
        made = await town.key("ada")
        await town.ask("POST /echo", made["key"], json={})
        usage = (await town.operator.get("/usage")).json()
        assert usage["total"]["charged_wei"] == usage["ledger"]["charged_wei"] > 0
    async with city(tmp_path) as town:
        assert (await town.ask("POST /echo", "", json={})).status_code == 401
        assert (await town.operator.get("/usage")).json() == usage
        assert (await town.ask("POST /echo", made["key"], json={})).status_code == 200
        reply = await town.ask("POST /echo", made["key"], json={})
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limited")
        assert 0 < int(reply.headers["retry-after"]) <= 43_200
        before = town.stage.facts
        await town.ask("POST /echo", made["key"], json={})
        assert town.stage.facts == before


async def test_spending_stops_at_the_limit_while_jobs_are_open(tmp_path: Path) -> None:
    price = PIPELINES["echo"].price.cost(1)
    async with city(tmp_path, Seller(held)) as town:
        await town.tenant("ada")
        key = (await town.key("ada", limits={"wei_per_minute": 2 * price, "wei_in_all": 10**30}))["key"]
        jobs = [await town.ask("POST /v1/jobs", key, json={"pipeline": "echo"}) for _ in range(3)]
        assert [job.status_code for job in jobs] == [202, 202, 402]
        assert jobs[2].json()["error"]["code"] == "spend_limit"
        assert int(jobs[2].headers["retry-after"]) >= 1
        usage = (await town.ask("GET /v1/usage", key)).json()
        assert usage["total"]["open"] == 2
        assert usage["total"]["held_wei"] == usage["ledger"]["held_wei"] == 2 * price
        assert usage["adds_up"]
        large = await town.ask("POST /v1/jobs", key, json={"pipeline": "echo", "params": {"units": 3}})
        assert large.status_code == 402
        assert "retry-after" not in large.headers
