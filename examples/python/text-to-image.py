"""A picture, drawn from a few words in the manner of emoji. With Livepeer's client."""

from __future__ import annotations

import os
from urllib.request import urlretrieve

from livepeer_ai import Livepeer

SHOAL = os.environ.get("SHOAL_URL", "http://127.0.0.1:9935")

with Livepeer(http_bearer="any", server_url=SHOAL) as livepeer:
    # This client says Livepeer's defaults, 1024 x 576 pixels and 50 steps, unless it is told otherwise.
    request = {"prompt": "a red heart", "width": 256, "height": 256, "num_inference_steps": 25, "seed": 4}
    [drawn] = livepeer.generate.text_to_image(request=request).image_response.images
    urlretrieve(drawn.url, "drawn.png")
