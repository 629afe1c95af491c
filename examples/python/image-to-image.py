"""A photograph, painted in one of 26 styles. With Livepeer's client."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.request import urlretrieve

from livepeer_ai import Livepeer

SHOAL = os.environ.get("SHOAL_URL", "http://127.0.0.1:9935")

with Livepeer(http_bearer="any", server_url=SHOAL) as livepeer:
    photograph = {"file_name": "coffee.jpg", "content": Path("examples/coffee.jpg").read_bytes()}
    request = {"image": photograph, "prompt": "mosaic", "strength": 0.8, "num_inference_steps": 1}
    [painted] = livepeer.generate.image_to_image(request=request).image_response.images
    urlretrieve(painted.url, "painted.png")
