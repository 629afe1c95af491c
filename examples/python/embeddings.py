"""Three texts as vectors, and how alike they are. With OpenAI's client."""

from __future__ import annotations

import math
import os

from openai import OpenAI

SHOAL = os.environ.get("SHOAL_URL", "http://127.0.0.1:9935")
TEXTS = ["a cat", "a kitten", "a steam engine"]

client = OpenAI(base_url=f"{SHOAL}/v1", api_key="any")
answer = client.embeddings.create(model="sentence-transformers/all-MiniLM-L6-v2", input=TEXTS)
cat, *others = [item.embedding for item in answer.data]
for text, vector in zip(TEXTS[1:], others, strict=True):
    alike = sum(a * b for a, b in zip(cat, vector, strict=True)) / (math.hypot(*cat) * math.hypot(*vector))
    print(f"{alike:.2f} a cat, {text}")
