"""The command table: quick help, examples everywhere, one clear line when something is wrong."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.cli import policies
from shoal.cli.main import COMMANDS, main
from shoal.wire.pipelines import PIPELINES


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shoal.cli.main", *words], capture_output=True, text=True, check=False
    )


def test_help_names_every_command_and_loads_none_of_them() -> None:
    code = (
        "import sys; from shoal.cli.main import main\n"
        "try: main(['--help'])\n"
        "finally: print(sorted(name for name in sys.modules if name.startswith(('shoal', 'rich'))))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout
    assert all(f"  {name} " in shown and entry.help in shown for name, entry in COMMANDS.items())
    loaded = shown.splitlines()[-1]
    assert loaded == "['shoal', 'shoal.cli', 'shoal.cli.main', 'shoal.errors']"


def test_without_a_command_help_is_shown() -> None:
    ended = run()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "shoal up" in ended.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_with_an_example_and_knows_json(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"example:\n  shoal {name}" in shown
    assert "--json" in shown


@pytest.mark.parametrize("words", [["nothing"], ["run"], ["jobs", "--limit", "many"]])
def test_what_is_typed_wrongly_ends_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["jobs", "--gateway", "http://127.0.0.1:9"],
            (
                "shoal jobs: no gateway answers at http://127.0.0.1:9; start a network with `shoal up`, "
                "or name one with --gateway\n"
            ),
        ),
        (["jobs", "--gateway", "ftp://x"], "shoal jobs: 'ftp://x' is no gateway; write http://host:port\n"),
        (
            ["run", "poetry", "x"],
            f"shoal run: there is no pipeline 'poetry'; there are {', '.join(PIPELINES)}\n",
        ),
        (
            ["run", "audio-to-text", "/no/where.wav"],
            "shoal run: /no/where.wav cannot be read: No such file or directory\n",
        ),
        (
            ["worker", "--home", "none"],
            (
                "shoal worker: orchestrators is missing; set it in a file (--config), as "
                "SHOAL_WORKER_ORCHESTRATORS or with --orchestrators\n"
            ),
        ),
        (
            ["up", "--workers", "0", "--any-ports", "--home", "."],
            "shoal up: there can be 1 to 16 workers, not 0\n",
        ),
    ],
)
def test_what_fails_ends_with_1_and_one_line(
    words: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    assert capsys.readouterr().err == line


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(options: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/there")

    monkeypatch.setattr(policies, "run", full)
    assert main(["policies"]) == 1
    assert (
        capsys.readouterr().err == "shoal policies: the disk of /there is full: make room, then try again\n"
    )
