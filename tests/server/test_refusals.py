"""What a wire can say and nobody here can do is refused by the name that the caller gave it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from doubles import Player, Serving, picture
from safelight.config import Settings
from safelight.engines.upstream import UpstreamEngine
from safelight.errors import Unsupported
from safelight.server.opening import open_app
from safelight.store import scripts
from safelight.task import Kind, Role, Submit

PICTURE = "data:image/png;base64," + base64.b64encode(picture()).decode()
BROKEN = "data:image/png;base64," + base64.b64encode(b"no picture").decode()


@pytest.fixture
async def drawing(tmp_path: Path) -> AsyncIterator[Serving]:
    """A server with the engines that it has by default, which runs nothing."""
    app = await open_app(Settings(data=tmp_path / "data"))
    key = await app.first_key()
    assert key is not None
    transport = httpx.ASGITransport(app.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
        yield Serving(app, Player(), key, http)
    await app.drain()
    await app.close()


async def nothing_is_accepted(serving: Serving) -> bool:
    return not await serving.app.store.read_aside(scripts.count_by_status())


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        ("video/seedancev2", {"return_last_frame": "1"}, "return_last_frame: this server"),
        ("video/seedancev2", {"camerafixed": "1"}, "camerafixed: this server"),
        ("video/seedancev2", {"duration": "2.5"}, "duration: not an integer"),
        ("images/seedreamv5", {"resolution": "8x8"}, "resolution: 8 is not from"),
        ("images/seedreamv5", {"sourceImage": BROKEN}, "sourceImage: not a picture"),
        ("images/seedreamv5", {"imageUrl": BROKEN}, "imageUrl: not a picture"),
        (
            "images/seedreamv5",
            {"sourceImage": PICTURE, "imageUrl": "http://127.0.0.1/a.png"},
            "imageUrl: the address leads to a private network",
        ),
    ],
)
async def test_tensorslab(drawing: Serving, path: str, form: dict[str, str], said: str) -> None:
    answer = (await drawing.post(f"/v1/{path}", data={"prompt": "a", **form})).json()

    assert answer["code"] == 9999
    assert answer["msg"].startswith(said)
    assert await nothing_is_accepted(drawing)


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"watermark": True}, 10002, "watermark: this server cannot do that"),
        ({"tools": [{"type": "web_search"}]}, 10002, "tools: this server"),
        ({"groupId": "g"}, 12801, "groupId: this server"),
        ({"mode": "image2video"}, 12310, "mode: image2video takes one picture"),
        ({"mode": "multi-ref", "images": [PICTURE]}, 12310, "mode: this server"),
        ({"videos": ["https://127.0.0.1/a.mp4"]}, 12310, "videos.0: sketch takes pictures only"),
        ({"images": [PICTURE, BROKEN]}, 10002, "images.1: not a picture"),
        ({"image": PICTURE, "image_tail": BROKEN}, 10002, "image_tail: not a picture"),
        ({"size": "8x8"}, 10002, "size: 8 is not from"),
        ({"resolution": "8x8"}, 10002, "resolution: 8 is not from"),
        ({"metadata": {"aspectRatio": "1:999"}}, 10002, "metadata.aspectRatio: 720x"),
        ({"ratio": "1:999"}, 10002, "ratio: 720x719280 is larger than"),
    ],
)
async def test_films_of_aitoearn(
    drawing: Serving, body: dict[str, Any], code: int, said: str
) -> None:
    asked = {"model": "sketch-video", "prompt": "a", **body}
    answer = (await drawing.post("/api/ai/video/generations", json=asked)).json()

    assert answer["code"] == code
    assert answer["message"].partition(": ")[2].startswith(said)
    assert await nothing_is_accepted(drawing)


async def test_what_is_wrong_is_told_in_chinese(drawing: Serving) -> None:
    asked = {"model": "sketch", "prompt": "a", "size": "8x8"}
    for path in ("/api/ai/image/generate/async", "/api/ai/image/generate"):
        answer = await drawing.post(path, json=asked, headers={"accept-language": "zh-CN"})
        assert answer.json()["message"] == "参数验证失败：size：8 不在 16 到 8192 之间"


async def test_a_model_that_is_listed_is_the_one_that_answers(drawing: Serving) -> None:
    for use in ("image/generation", "image/edit", "video/generation"):
        listed = (await drawing.http.get(f"/api/ai/models/{use}")).json()["data"]
        assert [item["name"] for item in listed] == ["sketch-video" if "video" in use else "sketch"]


async def test_every_mode_that_is_listed_works(drawing: Serving) -> None:
    (film,) = (await drawing.http.get("/api/ai/models/video/generation")).json()["data"]
    sources: dict[str, dict[str, Any]] = {
        "text2video": {},
        "image2video": {"images": [PICTURE]},
        "flf2video": {"image": PICTURE, "image_tail": PICTURE},
        "multi-image2video": {"images": [PICTURE] * film["maxInputImages"]},
    }
    assert film["modes"] == list(sources)
    for mode, more in sources.items():
        asked = {"model": film["name"], "prompt": "a", "mode": mode, **more}
        answer = (await drawing.post("/api/ai/video/generations", json=asked)).json()
        assert answer["code"] == 0, mode
        roles = {
            source.role for source in (await drawing.task(answer["data"]["id"])).submit.sources
        }
        assert roles <= {Role.IMAGE, Role.FIRST_FRAME, Role.LAST_FRAME}


def test_what_is_demanded_goes_on_to_the_service_that_knows_it() -> None:
    engine = UpstreamEngine(1)
    asked = Submit(
        kind=Kind.VIDEO, model="seedancev2", prompt="a", demands={"return_last_frame": "1"}
    )
    engine.check(asked, {"dialect": "tensorslab"})
    with pytest.raises(Unsupported) as refused:
        engine.check(asked, {"dialect": "aitoearn"})
    assert refused.value.parameter == "return_last_frame"
