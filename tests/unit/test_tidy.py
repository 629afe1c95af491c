"""What no linter knows about our style, read off our own source."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from shoal.machine import Machine

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
FILE_LINES_MAX = 500
SERVICE_LINES_MAX = 200
FUNCTION_LINES_MAX = 70
ENTRANCES = {"shoal", "shoal.cli.main"}

VAGUE = {"base", "common", "core", "helper", "helpers", "manager", "misc", "shared", "tools", "util", "utils"}
VAGUE_CLASS = re.compile(r"^(Abstract|Base)(?=[A-Z])|(Helper|Impl|Manager|Utils?)$")
FORGOTTEN = re.compile(rf"\b({'FIX'}ME|{'TO'}DO|{'X'}XX|{'HA'}CK)\b")
PURE = re.compile(r"^shoal\.(errors|ids|units|machine|(money|wire|policy|work)\..+|\w+\.machine)$")

RUNNER = r"shoal\.worker\.pipelines\..+"  # a program of its own at the far end, with a clock of its own
CLOCK = rf"shoal\.runtime\.clock|{RUNNER}"
CHANCE = rf"shoal\.runtime\..+|{RUNNER}"
CODEC = r"shoal\.wire\.codec"

#: What is not used, what is better, and the only modules that may.
BETTER = (
    (r"time\.(time|monotonic|perf_counter)(_ns)?", "be given `now`", CLOCK),
    (r"datetime\.(datetime\.(now|utcnow|today)|date\.today)", "be given `now`", CLOCK),
    (r"time\.sleep", "wait for what you wait for", RUNNER),
    (r"random\.(?!(System)?Random$)\w+", "be given a seeded `Random`", ""),
    (r"random\.(System)?Random", "be given a seeded `Random`", rf"{CHANCE}|shoal\.sim\..+"),
    (r"os\.urandom|uuid\.\w+|secrets\.(?!compare_digest$)\w+", "be given random bytes", CHANCE),
    (r"(pickle|marshal|shelve|cloudpickle)\.\w+|eval|exec|compile|yaml\.load", "never run data", ""),
    (r"asyncio\.get_event_loop", "use get_running_loop", ""),
    (r"msgspec\.msgpack.*", "only the codec knows bytes", CODEC),
    (r"msgspec\.json.*", "bytes stay at the doors", rf"{CODEC}|(?!{PURE.pattern[1:]}).*"),
    (r"typing\.Any", "say which type", rf"{CODEC}|(?!{PURE.pattern[1:]}).*"),
)

TREES: dict[str, ast.Module] = {}
PATHS: dict[str, Path] = {}
for path in sorted(SOURCE.rglob("*.py")):
    name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    TREES[name] = ast.parse(path.read_text())
    PATHS[name] = path


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports(tree: ast.AST) -> dict[str, str]:
    """Local name -> the full name it was imported under."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names |= {alias.asname: alias.name} if alias.asname else {top: top, alias.name: alias.name}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is used: `t.time` after `import time as t` is `time.time`."""
    known = imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            head, dot, tail = ast.unparse(node).partition(".")
            if head in known or not dot:
                yield node.lineno, known.get(head, head) + dot + tail


def none(complaints: Iterator[str]) -> None:
    """Fail with every complaint at once."""
    found = sorted(set(complaints))
    assert not found, "\n" + "\n".join(found)


def test_files_and_functions_are_short() -> None:
    def long() -> Iterator[str]:
        for name, tree in TREES.items():
            most = SERVICE_LINES_MAX if name.endswith(".service") else FILE_LINES_MAX
            lines = len(PATHS[name].read_text().splitlines())
            if lines > most:
                yield f"{name}: {lines} lines, at most {most}"
            for function in functions(tree):
                lines = (function.end_lineno or 0) - function.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    yield f"{name}.{function.name}: {lines} lines, at most {FUNCTION_LINES_MAX}"

    none(long())


def test_names_say_something() -> None:
    def vague() -> Iterator[str]:
        for name, tree in TREES.items():
            classes = (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
            for part in (*(VAGUE & set(name.split("."))), *filter(VAGUE_CLASS.search, classes)):
                yield f"{name}: {part} fits anything"

    none(vague())


def test_what_has_a_better_replacement_is_not_used() -> None:
    none(
        f"{name}:{line}: {used}: {better}"
        for name, tree in TREES.items()
        for line, used in uses(tree)
        for banned, better, doors in BETTER
        if re.fullmatch(banned, used) and not (doors and re.fullmatch(doors, name))
    )


def test_nobody_yields_to_the_loop_for_luck() -> None:
    none(
        f"{name}:{node.lineno}: sleep(0): wait for what you wait for"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and re.search(r"\bsleep\(0(\.0)?\)$", ast.unparse(node))
    )


def test_imports_stand_at_the_top() -> None:
    none(
        f"{name}:{node.lineno}: an import inside {function.name}"
        for name, tree in TREES.items()
        if name != "shoal.cli.main"
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    )


def test_every_package_is_marked_and_its_mark_is_empty() -> None:
    folders = {path.parent for path in PATHS.values()}
    none(f"{folder}: no __init__.py" for folder in folders if not (folder / "__init__.py").exists())
    none(
        f"{name}: __init__.py is not empty"
        for name, path in PATHS.items()
        if path.name == "__init__.py" and name != "shoal" and path.stat().st_size
    )


def test_every_machine_offers_handle_and_check() -> None:
    for name in TREES:
        if name.endswith(".machine") and name != "shoal.machine":
            kinds = [kind for kind in vars(importlib.import_module(name)).values() if isinstance(kind, type)]
            own = [kind for kind in kinds if issubclass(kind, Machine) and kind.__module__ == name]
            assert own, f"{name}: no machine"
            for kind in own:
                assert kind.check is not Machine.check, f"{name}: {kind.__name__} checks nothing"
                assert kind.handlers, f"{name}: {kind.__name__} handles nothing"


def test_money_is_whole() -> None:
    none(
        f"{name}:{node.lineno}: {ast.unparse(node)}: amounts are integers"
        for name, tree in TREES.items()
        if name.startswith("shoal.money.")
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
    )


def test_what_is_public_says_what_it_is() -> None:
    def silent() -> Iterator[str]:
        for name, tree in TREES.items():
            if tree.body and not ast.get_docstring(tree):
                yield f"{name}: no docstring"
            for node in tree.body:
                named = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                public = named and not node.name.startswith("_") and not re.fullmatch(RUNNER, name)
                if public and not ast.get_docstring(node):
                    yield f"{name}.{node.name}: no docstring"

    none(silent())


def test_types_are_ignored_only_where_libraries_have_none() -> None:
    none(
        f"{name}: a type is ignored"
        for name, path in PATHS.items()
        if not name.startswith(("shoal.runtime.", "shoal.worker.pipelines."))
        and "type: " + "ignore" in path.read_text()
    )


def test_nothing_is_forgotten() -> None:
    none(
        f"{path.relative_to(ROOT)}: {word[0]}"
        for folder in ("src", "tests", "docs", "benchmarks")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in {".py", ".md", ".toml"}
        for word in FORGOTTEN.finditer(path.read_text())
    )


def test_no_file_is_dead() -> None:
    readers = (*PATHS.values(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"))
    used = set(ENTRANCES)
    for path in readers:
        tree = ast.parse(path.read_text())
        for full in imports(tree).values():
            used |= {full, full.rpartition(".")[0]}
        for node in ast.walk(tree):  # a module may be started by its name: a command, a child process
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                used |= set(re.findall(r"shoal(?:\.\w+)+", node.value))
    none(
        f"{name}: nobody imports or starts it"
        for name, path in PATHS.items()
        if name not in used and path.name != "__init__.py" and "__name__ == " not in path.read_text()
    )


def test_the_reader_sees_through_other_names() -> None:
    text = "import time as t\nfrom random import choice\nt.time()\nchoice()\nself.time.time()"
    names = {name for _, name in uses(ast.parse(text))}
    assert {"time.time", "random.choice"} <= names
    assert "self.time.time" not in names
