"""The operator's commands, at a real gateway: keys made, listed, revoked; a statement that adds up."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.cli import office, usage
from shoal.cli.main import main
from shoal.errors import Refused
from shoal.gateway.config import Settings
from shoal.gateway.service import Service


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """One that runs in a thread of its own, as it would in a process of its own."""
    started, services = threading.Event(), list[Service]()
    ending: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        service = Service(
            Settings(home=str(tmp_path / "gateway"), http_addr="127.0.0.1:0", operator_addr="127.0.0.1:0")
        )
        await service.start()
        end = asyncio.Event()
        services.append(service)
        ending.append((asyncio.get_running_loop(), end))
        started.set()
        await end.wait()
        await service.stop()

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    assert started.wait(20)
    monkeypatch.setenv("SHOAL_HOME", str(tmp_path))
    monkeypatch.setenv("SHOAL_OPERATOR_URL", f"http://127.0.0.1:{services[0].operator_port}")
    monkeypatch.setenv("SHOAL_URL", f"http://127.0.0.1:{services[0].port}")
    yield services[0]
    loop, end = ending[0]
    loop.call_soon_threadsafe(end.set)
    thread.join()


def test_a_key_is_made_used_listed_and_revoked(
    gateway: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["keys", "list"]) == 0
    assert "no keys yet" in capsys.readouterr().out
    assert main(["tenants", "create", "studio", "--jobs-per-minute", "60", "--wei-per-day", "0.5eth"]) == 0
    assert "60 jobs a minute, 500,000,000 gwei a day" in capsys.readouterr().out
    assert main(["tenants", "change", "studio", "--wei-per-day", "none", "--weight", "3", "--json"]) == 0
    changed = json.loads(capsys.readouterr().out)
    assert (changed["weight"], changed["limits"]["wei_per_day"], changed["limits"]["jobs_per_minute"]) == (
        3,
        None,
        60,
    )
    words = ["--tenant", "studio", "--name", "web", "--may", "submit,usage", "--pipelines", "llm"]
    assert main(["keys", "create", *words, "--expires", "30d", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["may"], made["pipelines"], made["state"]) == (["submit", "usage"], ["llm"], "good")
    assert main(["usage"]) == 1
    assert "No valid key" in capsys.readouterr().err
    monkeypatch.setenv("SHOAL_API_KEY", made["key"])
    assert main(["usage"]) == 0
    assert "it adds up" in capsys.readouterr().out
    assert main(["keys", "list", "--tenant", "studio"]) == 0
    listed = capsys.readouterr().out
    assert made["id"] in listed
    assert made["key"] not in listed
    assert main(["keys", "revoke", made["id"]]) == 0
    assert f"{made['id']} is revoked" in capsys.readouterr().out
    assert main(["usage"]) == 1
    assert "is revoked" in capsys.readouterr().err
    assert main(["usage", "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["adds_up"]


def test_a_key_is_shown_once_and_it_says_so(gateway: Service, capsys: pytest.CaptureFixture[str]) -> None:
    main(["tenants", "create", "studio"])
    assert main(["keys", "create", "--tenant", "studio"]) == 0
    shown = capsys.readouterr().out
    assert "key       shoal_" in shown
    assert "shown this once" in shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["keys", "create", "--tenant", "nobody"], "shoal keys: there is no tenant 'nobody'"),
        (["keys", "revoke", "key_0"], "shoal keys: there is no key 'key_0'"),
        (["tenants", "create", "key_x"], "shoal tenants: a tenant's name has"),
        (["usage", "--all", "--from", "yesterday"], "shoal usage: from is a day"),
        (["usage", "--by", "colour"], "shoal usage: by is some of"),
        (["keys", "list", "--home", "/nowhere"], "shoal keys: /nowhere/operator.token cannot be read"),
    ],
)
def test_what_fails_is_one_line(
    gateway: Service, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


@pytest.mark.parametrize(("text", "ms"), [("90s", 90_000), ("2h", 7_200_000), ("30d", 30 * 86_400_000)])
def test_times_are_typed_short(text: str, ms: int) -> None:
    assert office.duration_ms(text) == ms
    with pytest.raises(Refused, match="90s, 15m, 12h or 30d"):
        office.duration_ms(text[:-1])


def test_a_statement_that_does_not_add_up_says_so_loudly() -> None:
    entry = {"done": 1, "failed": 0, "cancelled": 0, "open": 0, "charged_wei": 5, "held_wei": 0}
    value = {
        "by": ["day"],
        "entries": [{**entry, "day": None}],
        "total": entry,
        "before_wei": 2,
        "after_wei": 0,
        "ledger": {"charged_wei": 8, "held_wei": 0},
        "adds_up": False,
    }
    said = list(usage.lines(value))
    assert said[1].split()[0] == "earlier"
    assert "charged before these days: 0.000000002 gwei" in said
    assert said[-1].endswith("IT DOES NOT ADD UP")
