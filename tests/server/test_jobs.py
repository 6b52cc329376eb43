"""The jobs wire, and a server with its own engines: a model does what it says, or is refused."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from PIL import Image

from safelight.config import ModelRule, Settings
from safelight.engines.enhance.weights import find
from safelight.models import ModelMap
from safelight.server.fake import Fake
from safelight.server.opening import open_app

WIRES = ("aigptimage", "kie")
every_wire = pytest.mark.parametrize("wire", WIRES)
URL = "https://example.com/a.png"
NONE: Mapping[str, Mapping[str, Any]] = {}


class House:
    """A server with the engines that there are, and its first key."""

    def __init__(self, http: httpx.AsyncClient, secret: str) -> None:
        self.http = http
        self._headers = {"authorization": f"Bearer {secret}"}

    async def submit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The whole answer to a submission, with the HTTP status under `status`."""
        path = "/api/v1/jobs/createTask"
        answer = await self.http.post(path, json=body, headers=self._headers)
        return {"status": answer.status_code, **answer.json()}

    async def create(self, model: str, /, **input: Any) -> dict[str, Any]:
        return await self.submit({"model": model, "input": input})

    async def made(self, model: str, /, **input: Any) -> dict[str, Any]:
        """The task that is made by a submission, at its end."""
        answer = await self.create(model, **input)
        assert answer["code"] == 200, answer
        query = {"taskId": answer["data"]["taskId"]}
        async with asyncio.timeout(60):
            while True:
                told = await self.http.get(
                    "/api/v1/jobs/recordInfo", params=query, headers=self._headers
                )
                data: dict[str, Any] = told.json()["data"]
                if data["state"] in ("success", "fail"):
                    return data
                await asyncio.sleep(0.02)

    async def picture(self, model: str, /, **input: Any) -> tuple[str, Image.Image]:
        """The link to the one picture that is made, and the picture."""
        data = await self.made(model, **input)
        assert data["state"] == "success", data
        (url,) = json.loads(data["resultJson"])["resultUrls"]
        picture = Image.open(io.BytesIO((await self.http.get(url)).content))
        picture.load()
        return url, picture


class OpenHouse(Protocol):
    async def __call__(
        self, wire: str, *rules: ModelRule, engines: Mapping[str, Mapping[str, Any]] = ...
    ) -> House: ...


@pytest.fixture
async def open_house(tmp_path: Path) -> AsyncIterator[OpenHouse]:
    async with AsyncExitStack() as stack:

        async def open_one(
            wire: str, *rules: ModelRule, engines: Mapping[str, Mapping[str, Any]] = NONE
        ) -> House:
            settings = Settings(data=tmp_path / "data", concurrency=2, grace=0, dialects=(wire,))
            app = await open_app(settings, ModelMap.build(rules, engines))
            stack.push_async_callback(app.close)
            key = await app.first_key()
            assert key is not None
            await app.start()
            stack.push_async_callback(app.drain)
            transport = httpx.ASGITransport(app.asgi)
            http = httpx.AsyncClient(transport=transport, base_url="http://testserver")
            await stack.enter_async_context(http)
            return House(http, key.secret)

        yield open_one


# ---------------------------------------------------------------------------- what a name means


async def test_an_upscaler_makes_a_picture_larger(open_house: OpenHouse) -> None:
    house = await open_house("kie")
    url, _ = await house.picture("any", prompt="a lighthouse", image_size="100x80")
    asked: list[tuple[str, dict[str, Any], tuple[int, int]]] = [
        ("topaz/image-upscale", {"image_url": url, "upscale_factor": "2"}, (200, 160)),
        ("topaz/image-upscale", {"image_url": url, "upscale_factor": "4"}, (400, 320)),
        ("topaz/image-upscale", {"image_url": url, "upscale_factor": 1}, (100, 80)),
        ("topaz/image-upscale", {"image_url": url}, (200, 160)),
        ("recraft/crisp-upscale", {"image": url}, (200, 160)),
        ("somebody/upscale", {"image_urls": [url], "scale": 3}, (300, 240)),
    ]
    for model, input, size in asked:
        _, made = await house.picture(model, **input)

        assert made.size == size, (model, input)

    answer = await house.create("topaz/image-upscale", image_url=url, upscale_factor="11")
    assert "input.upscale_factor: 11.0 is not a number from 0.1 to 10" in answer["msg"]


@pytest.mark.skipif(not find({}).vision, reason="needs OpenCV, of the extra `enhance`")
async def test_a_background_is_removed(open_house: OpenHouse) -> None:
    house = await open_house("aigptimage")
    url, _ = await house.picture("any", prompt="a lighthouse", image_size="100x80")

    for model in ("recraft/remove-background", "somebody/remove-background"):
        _, made = await house.picture(model, image=url)
        assert made.mode == "RGBA"
        assert made.getchannel("A").getextrema() != (255, 255)


@every_wire
async def test_where_no_background_can_be_removed_that_is_said(
    open_house: OpenHouse, wire: str
) -> None:
    house = await open_house(wire, engines={"enhance": {"learned": False}})

    answer = await house.create("recraft/remove-background", image=URL)

    assert answer["code"] == 422
    assert "model: needs the extra `enhance`" in answer["msg"]


UNKNOWN: Mapping[str, dict[str, Any]] = {
    "topaz/video-upscale": {"video_url": URL},
    "grok-imagine/upscale": {"task_id": "a"},
    "seedream/5-pro-layer-decomposition": {"image_url": URL},
    "ideogram/v3-reframe": {"image_url": URL},
    "sora-watermark-remover": {"video_url": URL},
    "elevenlabs/text-to-speech-turbo-2-5": {"text": "hello"},
    "elevenlabs/audio-isolation": {"audio_url": URL},
    "google/gemini-3-1-flash-tts": {"dialogue_turns": [{}], "speakers": [{}]},
    "omnihuman-1-5/human-identification": {"image_url": URL},
    "omnihuman-1-5/subject-detection": {"image_url": URL},
    "grok-imagine-image-2-0/segment-map": {},
}


@every_wire
async def test_what_nothing_here_does_is_an_unknown_model(open_house: OpenHouse, wire: str) -> None:
    house = await open_house(wire)
    for model, input in UNKNOWN.items():
        answer = await house.create(model, prompt="a", **input)

        assert answer["code"] == 422, answer
        assert "not supported" in answer["msg"], answer
        assert answer["status"] == (200 if wire == "kie" else 422)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("bytedance/seedance-2", {"return_last_frame": True}, "return_last_frame"),
    ("bytedance/seedance-2", {"reference_audio_urls": [URL]}, "reference_audio_urls.0"),
    ("wan/2-7-image", {"watermark": "true"}, "watermark"),
    ("wan/2-7-image", {"bbox_list": [[1]]}, "bbox_list"),
    ("wan/2-7-image-to-video", {"driving_audio_url": URL}, "driving_audio_url"),
    ("wan/2-7-image-to-video", {"first_clip_url": URL}, "first_clip_url"),
    ("wan/2-7-r2v", {"reference_video": [URL]}, "reference_video.0"),
    ("wan/2-7-r2v", {"reference_voice": URL}, "reference_voice"),
    ("wan/2-2-animate-move", {"image_url": URL, "video_url": URL}, "video_url"),
    ("kling-3.0/video", {"kling_elements": [{"name": "a"}]}, "kling_elements"),
    ("kling-3.0/video", {"multi_prompt": [{"prompt": "a"}]}, "multi_prompt"),
    ("kling-3.0/video", {"multi_shots": True}, "multi_shots"),
    ("kling/ai-avatar-pro", {"image_url": URL, "audio_url": URL}, "audio_url"),
    ("gemini-omni-video", {"video_list": [{"url": URL}]}, "video_list"),
    ("grok-imagine/extend", {"task_id": "a"}, "task_id"),
    ("pixverse-v6/reference-to-video", {"image_references": [{"url": URL}]}, "image_references"),
    ("pixverse-v6/extend", {"source_video_id": 7}, "source_video_id"),
    ("ideogram/character", {"style_image": URL, "reference_image_urls": [URL]}, "style_image"),
    ("m", {"startImage": "kept-elsewhere"}, "startImage"),
    ("m", {"init": "data:image/png;base64,AAAA"}, "init"),
    ("m", {"controls": [{"weight": 1}]}, "controls"),
]


@every_wire
async def test_what_no_engine_here_does_is_refused_by_its_name(
    open_house: OpenHouse, wire: str
) -> None:
    house = await open_house(wire)
    for model, input, name in REFUSED:
        answer = await house.create(model, prompt="a", **input)

        assert answer["code"] == 422, (model, input, answer)
        assert f"input.{name}: " in answer["msg"], (model, input, answer)


@every_wire
async def test_what_is_wrong_is_named_as_it_was_said(open_house: OpenHouse, wire: str) -> None:
    house = await open_house(wire)
    for input, name in (
        ({"image_size": "9999x100"}, "image_size"),
        ({"max_images": 17}, "max_images"),
        ({"num_images": "17"}, "num_images"),
        ({"aspect_ratio": "1:999"}, "aspect_ratio"),
        ({"n_frames": "600"}, "n_frames"),
        ({"input_urls": [URL, "http://127.0.0.1/a.png"]}, "input_urls.1"),
        ({"image_url": "http://127.0.0.1/a.png"}, "image_url"),
    ):
        answer = await house.create("m", prompt="a", **input)

        assert answer["code"] == 422, answer
        assert f"input.{name}: " in answer["msg"], answer


@every_wire
async def test_a_callback_that_cannot_be_is_refused(open_house: OpenHouse, wire: str) -> None:
    house = await open_house(wire)
    body = {"model": "m", "input": {"prompt": "a"}}
    for name, url, problem in (
        ("callBackUrl", "http://127.0.0.1/done", "the address leads to a private network"),
        ("callBackUrl", "not an address", "has blanks, or characters that no address has"),
        ("progressCallBackUrl", "https://example.com/done", "this server cannot do that"),
    ):
        answer = await house.submit({**body, name: url})

        assert answer["code"] == 422
        assert f"{name}: {problem}" in answer["msg"]


@every_wire
async def test_the_echo_is_what_was_sent(open_house: OpenHouse, wire: str) -> None:
    house = await open_house(wire)
    input = {"prompt": "a", "image_size": "64x48", "cfg_scale": 0.5, "watermark": False}

    data = await house.made("kling-something/text-to-image", **input)

    assert json.loads(data["param"]) == {"model": "kling-something/text-to-image", "input": input}


# -------------------------------------------------------------------------------- rules, and kie


async def test_a_rule_says_more_of_what_a_name_means(open_house: OpenHouse) -> None:
    operations = [{"name": "super_resolution", "type": "hq", "size": 4}]
    rule = ModelRule(name="recraft/*", engine="enhance", options={"operations": operations})
    house = await open_house("kie", rule, ModelRule(name="*", engine="sketch"))
    url, _ = await house.picture("any", prompt="a lighthouse", image_size="64x48")

    _, made = await house.picture("recraft/crisp-upscale", image=url)

    assert made.size == (256, 192)


PASSED_ON: Mapping[str, dict[str, Any]] = {
    "topaz/image-upscale": {"image_url": URL, "upscale_factor": "4"},
    "topaz/video-upscale": {"video_url": URL, "upscale_factor": "4"},
    "recraft/remove-background": {"image": URL},
    "seedream/5-pro-layer-decomposition": {"image_url": URL, "size": "1.5K"},
    "grok-imagine/extend": {
        "prompt": "a",
        "task_id": "t",
        "extend_at": 2,
        "extend_times": 6,
    },
    "kling-3.0/video": {
        "prompt": "a",
        "mode": "4K",
        "multi_shots": True,
        "sound": False,
        "duration": "5",
        "aspect_ratio": "16:9",
        "multi_prompt": [{"prompt": "b", "duration": 3}],
    },
    "wan/2-7-r2v": {
        "prompt": "a",
        "first_frame": URL,
        "reference_image": [URL],
        "reference_voice": URL,
        "reference_video": [URL],
        "watermark": True,
        "prompt_extend": True,
    },
    "wan/2-7-videoedit": {"video_url": URL, "reference_image": URL},
    "pixverse-v6/transition": {
        "prompt": "a",
        "first_frame_image_url": URL,
        "last_frame_image_url": f"{URL}?2",
        "quality": "1080p",
        "duration": 5,
        "generate_audio_switch": True,
    },
    "ideogram/character-remix": {
        "prompt": "a",
        "image_url": URL,
        "reference_image_urls": [f"{URL}?2", f"{URL}?3"],
        "image_urls": [f"{URL}?4"],
        "reference_mask_urls": f"{URL}?5",
        "num_images": "2",
    },
    "omnihuman-1-5": {
        "image_url": URL,
        "audio_url": URL,
        "mask_url": [URL],
        "output_resolution": "720",
    },
}


async def test_what_kie_does_is_passed_on_as_it_was_said(open_house: OpenHouse) -> None:
    async with Fake.run("kie") as fake:
        options = {"dialect": "kie", "url": fake.url, "key": "env:PATH"}
        families = {f"{model.partition('/')[0]}*" for model in PASSED_ON}
        rules = [ModelRule(name=name, engine="upstream", options=options) for name in families]
        house = await open_house("kie", *rules)
        for model, input in PASSED_ON.items():
            answer = await house.create(model, **input)
            assert answer["code"] == 200, (model, answer)
