"""A pipeline from another package: installed beside shoal, it is sold, run, priced and paid like one of ours."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from running import shoal, up

ROW = '''
from msgspec import Struct
from shoal.money.wei import Price
from shoal.wire.pipelines import Pipeline

class ReverseRequest(Struct, frozen=True, kw_only=True):
    """A text to be turned round."""
    text: str
    model: str = ""

def characters(request, measures):
    return len(request.text)

row = Pipeline(
    name="reverse", capability=None, request=ReverseRequest, model_field="model", default_model="acme/alphabet",
    unit="character", units_max=characters, price=Price(1_000), deadline_ms=10_000, text_field="text",
    runner="acme.reverse", example='{"text": "abc"}',
)
'''

RUNNER = """
import msgspec
from acme.row import ReverseRequest
from shoal.errors import Refused
from shoal.worker.pipelines.server import Answer, encode, main, require_model

class Reverse:
    name = "reverse"
    body_bytes_max = 1 << 20

    def load(self, settings):
        self._known = set((settings.model_dir / "alphabet.txt").read_text())
        self._model_id = settings.model_id

    def answer(self, call, hands):
        request = msgspec.json.decode(call.body, type=ReverseRequest)
        require_model(request.model, self._model_id)
        if not set(request.text) <= self._known:
            raise Refused("send letters from a to z")
        return Answer(encode({"text": request.text[::-1]}), len(request.text))

if __name__ == "__main__":
    main(Reverse())
"""

MODELS = """
[[model]]
pipeline = "reverse"
id = "acme/alphabet"
licence = "MIT"
method = "turns letters round"
runtime = "python"
memory_bytes = 30_000_000

[[model.files]]
name = "alphabet.txt"
bytes = 26
sha256 = "71c480df93d6ae2f1efad1447c66c9525e316218cf51fc8d9ed832f2daf18b73"
hub = { repo = "acme/alphabet", revision = "1", path = "alphabet.txt" }
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as an installer leaves it, and its model where models are kept."""
    site = tmp_path / "site"
    for path, text in {
        "acme/__init__.py": "",
        "acme/row.py": ROW,
        "acme/reverse.py": RUNNER,
        "acme/models.toml": MODELS,
        "acme-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n",
        "acme-1.0.dist-info/entry_points.txt": "[shoal.pipelines]\nreverse = acme.row:row\n",
    }.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    )
    home = tmp_path / "home"
    model = home / "models" / "reverse" / "acme--alphabet"
    model.mkdir(parents=True)
    (model / "alphabet.txt").write_text("abcdefghijklmnopqrstuvwxyz")
    return home


def test_a_pipeline_of_another_package_is_one_row_one_runner_and_one_model(acme: Path) -> None:
    with up(acme, "--pipelines", "reverse") as network:
        job = network.buyer.ended(network.buyer.submit("reverse", {"text": "shoal"})["id"])
        assert network.buyer.result(job["id"]).json() == {"text": "laohs"}
        assert (job["units"], job["unit"], job["charged_wei"]) == (5, "character", 5_000)
        refused = network.buyer.ended(network.buyer.submit("reverse", {"text": "SHOAL"})["id"])
        assert refused["error"]["message"] == "send letters from a to z"
        assert network.buyer.client.post("/reverse", {"text": "abc"}).json() == {"text": "cba"}
        listed = shoal("models", "--json", home=acme)
        models = {model["id"]: model for model in json.loads(listed.stdout)["models"]}
        assert models["acme/alphabet"]["method"] == "turns letters round"
        assert models["acme/alphabet"]["slots"] > 0
        ran = shoal("run", "reverse", "tide", home=acme)
        assert ran.stdout.strip() == "edit"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (ROW.replace('name="reverse"', 'name="llm"'), "another package cannot replace it"),
        (ROW.replace('name="reverse"', 'name="Reverse/"'), "small letters, digits and -"),
        (ROW.replace('runner="acme.reverse"', 'runner=""'), "names no runner"),
        ("row = 7", "is not a row but 7"),
    ],
)
def test_what_another_package_may_not_bring_is_said_by_every_command(acme: Path, row: str, told: str) -> None:
    (acme.parent / "site" / "acme" / "row.py").write_text(row)
    answer = shoal("models", home=acme)
    assert answer.returncode == 1
    assert told in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
