"""The embeddings runner: what means the same lies near, however many texts come at once."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runner import Runner, start


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = start("embeddings", tmp_path_factory.mktemp("embeddings"), threads=2)
    yield runner
    runner.stop()


def vectors(runner: Runner, *texts: str) -> np.ndarray[Any, Any]:
    answer = runner.client.post("/embeddings", json={"input": texts})
    assert answer.status_code == 200, answer.text
    assert [row["index"] for row in answer.json()["data"]] == list(range(len(texts)))
    return np.array([row["embedding"] for row in answer.json()["data"]])


def test_what_means_the_same_lies_near(embeddings: Runner) -> None:
    cat, kitten, stocks, share = vectors(
        embeddings, "a cat", "a kitten", "stocks fell today", "shares lost value this morning"
    )
    assert cat @ kitten > 0.6
    assert stocks @ share > 0.6
    assert max(cat @ stocks, kitten @ share) < 0.2


def test_vectors_have_length_one_and_do_not_depend_on_their_company(embeddings: Runner) -> None:
    texts = [f"{'word ' * (number % 40)}number {number}" for number in range(70)]
    together = vectors(embeddings, *texts)
    assert together.shape == (70, 384)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for number in (0, 39, 69):
        # 8-bit networks scale by what goes through them together, so that the last digits may differ
        assert together[number] @ vectors(embeddings, texts[number])[0] > 0.98


def test_they_come_as_numbers_or_packed(embeddings: Runner) -> None:
    plain = vectors(embeddings, "a cat")[0]
    answer = embeddings.client.post("/embeddings", json={"input": "a cat", "encoding_format": "base64"})
    packed = np.frombuffer(base64.b64decode(answer.json()["data"][0]["embedding"]), np.float32)
    assert np.allclose(packed, plain, atol=1e-6)
    assert answer.json()["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert answer.json()["model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert answer.headers["shoal-units"] == "5"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"input": "word " * 255}, "text 0 is 257 tokens long, the model reads 256"),
        ({"input": ["short", "word " * 300]}, "text 1 is 302 tokens long"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"input": "x", "model": "other"}, "called with other"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_what_cannot_be_read_is_refused(embeddings: Runner, body: dict[str, Any], told: str) -> None:
    answer = embeddings.client.post("/embeddings", json=body)
    assert answer.status_code == 400
    assert told in answer.json()["detail"]["msg"]


def test_the_longest_text_is_read_to_its_end(embeddings: Runner) -> None:
    long = "word " * 253
    one, other = vectors(embeddings, long + "cat", long + "stocks")
    assert one @ other < 0.9999
