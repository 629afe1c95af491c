"""The pages say what the code says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_tables_are_the_codes() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "draw.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_glossary_explains_every_word_of_the_wire_and_no_other() -> None:
    tree = ast.parse((ROOT / "src/shoal/wire/words.py").read_text())
    spoken = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    section = (DOCS / "glossary.md").read_text().split("## Words of the wire\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\* \*\*(\w+)\*\*", section, re.MULTILINE)) == spoken


def test_the_glossary_is_in_order() -> None:
    for section in (DOCS / "glossary.md").read_text().split("\n## ")[1:]:
        terms = re.findall(r"^\* \*\*(.+?)\*\*", section, re.MULTILINE)
        assert terms == sorted(terms, key=str.casefold)


def test_links_between_pages_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *DOCS.rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_reasons_are_numbered_without_a_gap() -> None:
    numbers = [int(page.name[:3]) for page in sorted((DOCS / "why").glob("*.md"))]
    assert numbers == list(range(len(numbers)))
