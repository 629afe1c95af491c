"""What draws pages: loaded only when one is wanted, for it draws with a library that not everybody has."""

from __future__ import annotations

import importlib
from typing import Any

from shoal.errors import Refused

#: The modules that draw: a real load's page, and that of simulated rounds.
MODULES = {"paper": "shoal.cli.paper", "rounds": "shoal.cli.rounds"}


def drawing(name: str) -> Any:
    """One of the modules. Raises `Refused`, and says what to install."""
    try:
        return importlib.import_module(MODULES[name])
    except ModuleNotFoundError as error:
        raise Refused(
            f"--html draws with {error.name}, which is not installed: pip install 'shoal[lab]'"
        ) from error
