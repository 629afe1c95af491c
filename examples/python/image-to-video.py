"""A photograph, brought into motion: 25 pictures. With Livepeer's client."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.request import urlretrieve

from livepeer_ai import Livepeer

SHOAL = os.environ.get("SHOAL_URL", "http://127.0.0.1:9935")

with Livepeer(http_bearer="any", server_url=SHOAL) as livepeer:
    photograph = {"file_name": "cat.jpg", "content": Path("examples/cat.jpg").read_bytes()}
    request = {"image": photograph, "width": 256, "height": 168, "fps": 8, "motion_bucket_id": 180}
    [film] = livepeer.generate.image_to_video(request=request).video_response.images
    urlretrieve(film.url, "film.mp4")
