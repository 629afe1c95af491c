"""A door's token in a file: made at the first start, and readable by this node's own user alone."""

from __future__ import annotations

import os
from pathlib import Path

from shoal.errors import Broken
from shoal.runtime.chance import new_secret

TOKEN_BYTES_MAX = 1_024


def load_or_create(path: Path) -> str:
    """What stands in the file, or a new token if there is none."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read(path)
    with os.fdopen(descriptor, "w") as file:
        file.write(token := new_secret().hex())
    return token


def read(path: Path) -> str:
    """What stands in the file. Raises `Broken` if others can read it, or it is empty."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise Broken(
            f"{path} is open to others (mode {mode:04o}): delete it, and a new one is made at the next start"
        )
    token = path.read_text()[:TOKEN_BYTES_MAX].strip()
    if not token:
        raise Broken(f"{path} is empty: delete it, and a new one is made at the next start")
    return token
