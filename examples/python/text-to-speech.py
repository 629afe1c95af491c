"""A text, spoken. With Livepeer's client."""

from __future__ import annotations

import os
from urllib.request import urlretrieve

from livepeer_ai import Livepeer

SHOAL = os.environ.get("SHOAL_URL", "http://127.0.0.1:9935")

with Livepeer(http_bearer="any", server_url=SHOAL) as livepeer:
    request = {"text": "Nobody pays for work that did not arrive."}
    spoken = livepeer.generate.text_to_speech(request=request).audio_response
    urlretrieve(spoken.audio.url, "spoken.wav")
