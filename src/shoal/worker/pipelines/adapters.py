"""Adapters (LoRAs): what a model may be given to draw otherwise. None of ours takes any, and says so.

Livepeer's API sends a JSON object of names and strengths; an empty one, or none, asks for nothing.
"""

from __future__ import annotations

import json

from shoal.errors import Refused


def refuse_adapters(loras: str, model_id: str) -> None:
    """Raise `Refused` if a request names any."""
    if not loras.strip():
        return
    try:
        named = bool(json.loads(loras))
    except ValueError as error:
        raise Refused("loras is no JSON: leave it empty") from error
    if named:
        raise Refused(f"{model_id} takes no LoRAs: leave loras empty")
