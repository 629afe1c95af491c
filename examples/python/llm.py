"""A question; the answer comes word by word. With OpenAI's client."""

from __future__ import annotations

import os

from openai import OpenAI

SHOAL = os.environ.get("SHOAL_URL", "http://127.0.0.1:9935")

client = OpenAI(base_url=f"{SHOAL}/v1", api_key="any")
for chunk in client.chat.completions.create(
    model="HuggingFaceTB/SmolLM2-135M-Instruct",
    messages=[
        {"role": "system", "content": "You are a helpful assistant. Answer in one short sentence."},
        {"role": "user", "content": "Which city is the capital of France?"},
    ],
    max_tokens=40,
    temperature=0,
    stream=True,
):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
