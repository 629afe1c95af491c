"""A picture, four times as wide and as high. With Livepeer's client."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.request import urlretrieve

from livepeer_ai import Livepeer

SHOAL = os.environ.get("SHOAL_URL", "http://127.0.0.1:9935")

with Livepeer(http_bearer="any", server_url=SHOAL) as livepeer:
    photograph = {"file_name": "stars.jpg", "content": Path("examples/stars.jpg").read_bytes()}
    request = {"image": photograph, "prompt": ""}
    [enlarged] = livepeer.generate.upscale(request=request).image_response.images
    urlretrieve(enlarged.url, "enlarged.png")
