"""OpenAI's own library for Python against a running server: an implementation that is not ours."""

from __future__ import annotations

import base64
import io
import socket
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from PIL import Image

from end_to_end.conftest import Start
from end_to_end.running import CONFIG, Running, until


def sdk(server: Running, key: str | None = None, retries: int = 0) -> openai.OpenAI:
    """A client of the library's, at AiToEarn's routes in its shape."""
    return openai.OpenAI(
        base_url=f"{server.url}/api/ai", api_key=key or server.key.secret, max_retries=retries
    )


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 40, 20)).save(file, "PNG")
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_pictures_are_made_and_carried(server: Running, http: httpx.Client) -> None:
    with sdk(server) as client:
        made = client.images.generate(model="sketch", prompt="a lighthouse", size="64x32", n=2)

    assert made.data is not None
    assert (len(made.data), made.size, made.output_format) == (2, "64x32", "png")
    for item in made.data:
        assert item.url is not None
        assert item.b64_json is not None
        data = base64.b64decode(item.b64_json)
        assert opened(data).size == (64, 32)
        assert http.get(item.url).content == data


def test_a_picture_is_edited(server: Running) -> None:
    with sdk(server) as client:
        one = client.images.edit(model="sketch", image=png(64, 48), prompt="make it night")
        two = client.images.edit(
            model="sketch",
            image=[("a.png", png(64, 48)), ("b.png", png(32, 32))],
            mask=("mask.png", png(64, 48)),
            prompt="make it night",
            size="32x32",
            output_format="webp",
            response_format="url",
        )

    assert one.size == "64x48"
    assert two.data is not None
    assert (two.size, two.output_format, two.data[0].b64_json) == ("32x32", "webp", None)


def test_what_is_wrong_is_raised_as_the_library_does(server: Running) -> None:
    with sdk(server) as client:
        with pytest.raises(openai.BadRequestError) as wrong:
            client.images.generate(model="sketch", prompt="a", background="transparent")
        with pytest.raises(openai.BadRequestError) as unknown:
            client.images.generate(model="sketch", prompt="a", extra_body={"steps": 4})
    with sdk(server, "sk-wrong") as client, pytest.raises(openai.AuthenticationError) as key:
        client.images.generate(model="sketch", prompt="a")

    assert (wrong.value.param, wrong.value.code) == ("background", "unsupported_parameter")
    assert (unknown.value.param, unknown.value.code) == ("steps", "unknown_parameter")
    assert key.value.code == "invalid_api_key"


def test_what_takes_too_long_is_asked_for_once(start: Start) -> None:
    server = start(config="wait_timeout = 0.3\n" + CONFIG)
    with sdk(server, retries=2) as client, pytest.raises(openai.InternalServerError) as late:
        client.images.generate(model="slow", prompt="a")

    ((id,),) = server.rows("select id from tasks")
    assert (late.value.code, id in late.value.message) == ("still_running", True)


def test_whoever_hangs_up_gives_his_place_back(start: Start) -> None:
    server = start(config="max_waiting = 2\n" + CONFIG)
    address = urlsplit(server.url)
    body = b'{"model": "slow", "prompt": "a"}'
    head = (
        f"POST /api/ai/images/generations HTTP/1.1\r\nhost: a\r\n"
        f"authorization: Bearer {server.key.secret}\r\ncontent-length: {len(body)}\r\n"
        f"content-type: application/json\r\n\r\n"
    )
    line = socket.create_connection((address.hostname or "", address.port or 0), 10)
    line.sendall(head.encode() + body)
    until(lambda: server.rows("select id from tasks"))
    with sdk(server) as client:
        with pytest.raises(openai.RateLimitError):
            client.images.generate(model="sketch", prompt="a", size="32x32")

        line.close()

        def free() -> bool:
            try:
                client.images.generate(model="sketch", prompt="a", size="32x32")
            except openai.RateLimitError:
                return False
            return True

        until(free, 10, 0.1)
    ((status,),) = server.rows("select status from tasks order by id limit 1")
    assert status == "running"
