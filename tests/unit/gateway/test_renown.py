"""Stakes and reputations from files: read as they stand, or refused in one line that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from market import Market
from shoal.errors import Refused
from shoal.gateway.config import Rules, Settings
from shoal.gateway.renown import rules_of
from shoal.ids import NodeId

NODE, OTHER = NodeId("0x" + "aa" * 20), NodeId("0x" + "bb" * 20)


def settings(
    tmp_path: Path, *, stakes: str = "", reputations: str = "", rules: Rules | None = None
) -> Settings:
    files = {}
    for key, text in (("stakes_file", stakes), ("reputations_file", reputations)):
        if text:
            files[key] = str(tmp_path / f"{key}.json")
            (tmp_path / f"{key}.json").write_text(text)
    return Settings(home=str(tmp_path), rules=rules or Rules(), **files)


def test_without_files_the_rules_stay_as_they_are(tmp_path: Path) -> None:
    assert rules_of(settings(tmp_path, stakes="")) == Rules()


def test_files_are_read_and_the_settings_count_before_them(tmp_path: Path) -> None:
    rules = rules_of(
        settings(
            tmp_path,
            stakes=f'{{"{NODE}": {10**30}, "{OTHER}": 5}}',
            reputations=f'{{"{NODE}": 0.25, "{OTHER}": 1}}',
            rules=Rules(stakes={OTHER: 7}),
        )
    )
    assert rules.stakes == {NODE: 10**30, OTHER: 7}
    assert rules.reputations == {NODE: 0.25, OTHER: 1.0}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"stakes": "[]"}, "stakes_file"),
        ({"stakes": f'{{"{NODE}": -1}}'}, ">= 0"),
        ({"stakes": f'{{"{NODE}": 1.5}}'}, "whole number of wei"),
        ({"stakes": '{"somebody": 1}'}, "0x<40 hex digits"),
        ({"reputations": f'{{"{NODE}": 1.1}}'}, "<= 1"),
        ({"reputations": "{"}, "reputations_file"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path: Path, files: dict[str, str], said: str) -> None:
    with pytest.raises(Refused) as refusal:
        rules_of(settings(tmp_path, **files))
    assert said in str(refusal.value)
    assert "_file.json" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read: No such file"):
        rules_of(Settings(home="", stakes_file=str(tmp_path / "none.json")))


def test_they_reach_the_choice() -> None:
    market = Market(stakes={NODE: 3}, reputations={NODE: 0.1})
    market.sells(NODE)
    market.sells(OTHER)
    market.submit("job", policy="reputable")
    assert market.at("job") == OTHER
    facts = {c["node"]: c["facts"] for c in market.why("job")["attempts"][0]["candidates"]}
    assert facts[OTHER]["reputation"] is None
    assert [out["filter"] for out in market.why("job")["attempts"][0]["excluded"]] == ["reputation"]
