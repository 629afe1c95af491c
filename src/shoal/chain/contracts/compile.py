"""Compiles each contract of a folder, by default its own, into the artifact beside it: `make contracts`.

Promises the same bytes for the same source and compiler, wherever it runs. With --check it writes
nothing and says which artifacts are not what their sources compile to.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
VYPER = Path(sys.executable).with_name("vyper")
EVM_VERSION = "cancun"


def compiled(sources: list[Path]) -> dict[Path, str]:
    """The artifact of each source, as text."""
    names = [source.name for source in sources]
    command = [str(VYPER), "-f", "combined_json", "--evm-version", EVM_VERSION, *names]
    done = subprocess.run(command, cwd=sources[0].parent, stdout=subprocess.PIPE, text=True, check=True)
    made = json.loads(done.stdout)
    return {one.with_suffix(".json"): artifact(one, made["version"], made[one.name]) for one in sources}


def artifact(source: Path, compiler: str, made: dict[str, object]) -> str:
    """One contract's artifact: all that it takes to deploy and to call it, and what it was made from."""
    fields = {
        "contract": source.stem,
        "compiler": f"vyper {compiler}",
        "evm_version": EVM_VERSION,
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "abi": made["abi"],
        "bytecode": made["bytecode"],
        "deployed_bytecode": made["bytecode_runtime"],
    }
    return json.dumps(fields, indent=1) + "\n"


def wrong(folder: Path, made: dict[Path, str]) -> list[str]:
    """The artifacts of a folder that no source compiles to, and those that are not there."""
    there = {path: path.read_text() for path in folder.glob("*.json")}
    return sorted({path.name for path, _ in there.items() ^ made.items()})


def main(folder: Path, *, check: bool) -> int:
    """Write what the sources compile to, or compare it with what is there."""
    made = compiled(sorted(folder.glob("*.vy")))
    if not check:
        for path, text in made.items():
            path.write_text(text)
    elif names := wrong(folder, made):
        sys.stderr.write(f"not what the sources compile to: {' '.join(names)}; run `make contracts`\n")
        return 1
    return 0


if __name__ == "__main__":
    folders = [Path(one) for one in sys.argv[1:] if one != "--check"]
    sys.exit(max(main(folder, check="--check" in sys.argv) for folder in folders or [HERE]))
