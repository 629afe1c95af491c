"""A cup, cut out of a photograph by a box. With Livepeer's client."""

from __future__ import annotations

import json
import os
from pathlib import Path

from livepeer_ai import Livepeer
from PIL import Image

SHOAL = os.environ.get("SHOAL_URL", "http://127.0.0.1:9935")
PHOTOGRAPH = Path("examples/coffee.jpg")

with Livepeer(http_bearer="any", server_url=SHOAL) as livepeer:
    answer = livepeer.generate.segment_anything2(
        request={
            "image": {"file_name": PHOTOGRAPH.name, "content": PHOTOGRAPH.read_bytes()},
            "box": "[72, 14, 484, 392]",
            "multimask_output": False,
            "return_logits": False,
        }
    ).masks_response

# A mask is a list of lines, a line a list of 1 and 0.
[mask] = json.loads(answer.masks)
picture = Image.open(PHOTOGRAPH).convert("RGBA")
picture.putalpha(Image.frombytes("L", picture.size, bytes(255 * inside for line in mask for inside in line)))
picture.save("cut-out.png")
print("score", answer.scores)
