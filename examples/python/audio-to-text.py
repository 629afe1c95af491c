"""Speech, written down, each sentence with its times. With Livepeer's client."""

from __future__ import annotations

import os
from pathlib import Path

from livepeer_ai import Livepeer

SHOAL = os.environ.get("SHOAL_URL", "http://127.0.0.1:9935")

with Livepeer(http_bearer="any", server_url=SHOAL) as livepeer:
    talk = {"file_name": "talk.wav", "content": Path("examples/talk.wav").read_bytes()}
    heard = livepeer.generate.audio_to_text(request={"audio": talk}).text_response
    for chunk in heard.chunks:
        start, end = chunk.timestamp
        print(f"{start:5.1f} to {end:4.1f} s: {chunk.text.strip()}")
