"""Pictures through the gateway: measured on their way in, named by addresses on their way out."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import httpx
import pytest

from shoal.wire import words
from stage import Attempt, Seller, Stage, gateway, pictures, png

pytestmark = pytest.mark.anyio


async def upscale(stage: Stage, data: bytes, **fields: str) -> httpx.Response:
    return await stage.client.post("/upscale", files={"image": ("x.txt", data, "text/plain")}, data=fields)


async def test_an_answers_pictures_are_addresses_that_can_be_fetched(stage: Stage) -> None:
    reply = await stage.client.post("/text-to-image", json={"prompt": "a heart", "num_images_per_prompt": 2})
    first, second = reply.json()["images"]
    assert (first["seed"], second["seed"], first["nsfw"]) == (7, 8, False)
    job_id = reply.headers["shoal-job-id"]
    assert second["url"] == f"{stage.url}/media/{job_id}.1.png"
    file = await stage.client.get(second["url"])
    assert file.content == png(11, 10)
    assert file.headers["content-type"] == "image/png"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in file.headers["cache-control"]
    for wrong in (f"/media/{job_id}.2.png", f"/media/{job_id}", "/media/job_none.0.png"):
        assert (await stage.client.get(wrong)).status_code == 404


async def test_the_address_is_where_the_client_found_the_gateway(tmp_path: Path) -> None:
    async with gateway(tmp_path, api_keys=("key",)) as stage:
        headers = {"host": "ai.example.org", "x-forwarded-proto": "https", "authorization": "Bearer key"}
        reply = await stage.client.post("/text-to-image", json={"prompt": "x"}, headers=headers)
    assert reply.json()["images"][0]["url"].startswith("https://ai.example.org/media/job_")


async def test_pictures_come_inside_the_answer_or_as_bytes_to_those_who_ask(stage: Stage) -> None:
    reply = await stage.client.post("/text-to-image?files=inline", json={"prompt": "x"})
    kind, _, data = reply.json()["images"][0]["url"].partition(",")
    assert (kind, base64.b64decode(data)) == ("data:image/png;base64", png(10, 10))
    raw = await stage.client.post("/text-to-image", json={"prompt": "x"}, headers={"accept": "image/png"})
    assert (raw.content, raw.headers["content-type"]) == (png(10, 10), "image/png")


async def test_a_picture_goes_out_untouched_and_its_pixels_are_the_price(stage: Stage) -> None:
    data = png()
    reply = await upscale(stage, data, factor="2")
    assert reply.status_code == 200
    attempt = await stage.seller.attempts.get()
    assert attempt.media == (words.Media("image", "image/png", data),)
    assert attempt.order.spec.units_max == 40 * 30
    assert (attempt.params["factor"], attempt.params["model_id"]) == (2, "xinntao/realesr-animevideov3")


async def test_every_number_that_is_paid_for_goes_out(stage: Stage) -> None:
    """A runner with other defaults must work on what was asked and paid."""
    await stage.client.post("/text-to-image", json={"prompt": "x"})
    attempt = await stage.seller.attempts.get()
    assert attempt.params.items() >= {"width": 512, "height": 512, "num_inference_steps": 25}.items()
    assert attempt.order.spec.units_max == 512 * 512 * 25


@pytest.mark.parametrize(
    ("data", "status", "told"),
    [
        (b"<svg/>", 415, "send png, jpeg, webp or gif"),
        (png()[:-20], 415, "damaged"),
        (png(2000, 600), 413, "2000 x 600 pixels; send at most 1048576 in all"),
        (b"", 400, "no file named image"),
        (bytes(11 << 20), 413, "10616832 bytes that are accepted"),
    ],
    ids=["no picture", "cut off", "too many pixels", "empty", "too many bytes"],
)
async def test_what_is_refused_costs_nothing(stage: Stage, data: bytes, status: int, told: str) -> None:
    before = stage.facts
    reply = await upscale(stage, data)
    assert (reply.status_code, told in reply.json()["detail"]["msg"]) == (status, True), reply.text
    assert stage.facts == before


async def test_a_picture_that_may_be_left_out_is(stage: Stage) -> None:
    one = {"image": png()}
    assert (await stage.client.post("/image-to-image", files=one, data={"prompt": "x"})).status_code == 200
    assert len((await stage.seller.attempts.get()).media) == 1
    both = {"image": png(), "style_image": png(9, 9)}
    assert (await stage.client.post("/image-to-image", files=both)).status_code == 200
    assert [file.field for file in (await stage.seller.attempts.get()).media] == ["image", "style_image"]
    assert (await stage.client.post("/image-to-image", files={"style_image": png()})).status_code == 400


async def test_an_answer_that_names_a_file_that_did_not_come_is_a_fault(tmp_path: Path) -> None:
    async def lie(attempt: Attempt) -> words.Payload:
        file = words.Media("0.png", "image/png", png())
        return words.Payload(b'{"images": [{"url": "http://elsewhere/0.png"}]}', (file,))

    async with gateway(tmp_path, Seller(lie)) as stage:
        reply = await stage.client.post("/text-to-image", json={"prompt": "x"})
        assert (reply.status_code, "did not come with it" in reply.text) == (500, True)


async def test_a_job_says_how_far_it_is(tmp_path: Path) -> None:
    async def slow(attempt: Attempt) -> words.Payload:
        for done in (1, 2):
            attempt.say("", offset=0, units=attempt.order.spec.units_max * done // 4)
        await attempt.seen.wait()
        return pictures(1)

    async with gateway(tmp_path, Seller(slow)) as stage:
        job = (
            await stage.client.post("/v1/jobs", json={"pipeline": "text-to-image", "params": {"prompt": "x"}})
        ).json()
        attempt = await stage.seller.attempts.get()
        told = []
        async with stage.client.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
            async for line in events.aiter_lines():
                if line.startswith("data: "):
                    state = json.loads(line.removeprefix("data: "))
                    told.append(state["progress"])
                    if state["progress"] == 0.5:
                        attempt.seen.set()
        assert told[-2:] == [0.5, 1.0]
        assert state["result"]["images"][0]["url"].startswith(stage.url)
        assert (await stage.client.get(f"/v1/jobs/{job['id']}")).json()["progress"] == 1.0


async def test_several_files_are_named_and_one_is_given(stage: Stage) -> None:
    for count in (1, 2):
        params = {"prompt": "x", "num_images_per_prompt": count}
        job = (
            await stage.client.post(
                "/v1/jobs?wait_ms=9000", json={"pipeline": "text-to-image", "params": params}
            )
        ).json()
        result = await stage.client.get(f"/v1/jobs/{job['id']}/result")
        if count == 1:
            assert result.content == png(10, 10)
            path, headers = f"/v1/jobs/{job['id']}/result", {"accept": "application/json"}
            result = await stage.client.get(path, headers=headers)
        assert result.json() == job["result"]
        assert len(result.json()["images"]) == count
