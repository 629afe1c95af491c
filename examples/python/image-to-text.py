"""What a photograph shows, as a statement; and what a sign says. With Livepeer's client."""

from __future__ import annotations

import os
from pathlib import Path

from livepeer_ai import Livepeer

SHOAL = os.environ.get("SHOAL_URL", "http://127.0.0.1:9935")

with Livepeer(http_bearer="any", server_url=SHOAL) as livepeer:
    for name, prompt in (("cat.jpg", ""), ("sign.png", "What does it say?")):
        image = {"file_name": name, "content": Path("examples", name).read_bytes()}
        said = livepeer.generate.image_to_text(request={"image": image, "prompt": prompt})
        print(said.image_to_text_response.text)
