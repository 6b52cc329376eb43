"""What the tests ask of every dialect, and how each tells that it will not do it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import httpx
from PIL import Image

from safelight import Kind, Submit

# One small task of each kind that a dialect makes. The models are drawn by `sketch`.
IMAGES: Mapping[str, Submit] = {
    "tensorslab": Submit(model="seedreamv5", prompt="a red boat", width=96, height=64, seed=5),
    "aigptimage": Submit(model="gpt-image-2", prompt="a red boat", width=96, height=64, seed=5),
    "aitoearn": Submit(model="gpt-image-2", prompt="a red boat", width=96, height=64),
    "safelight": Submit(model="gpt-image-2", prompt="a red boat", width=96, height=64, seed=5),
    "tencent": Submit(model="Hunyuan", prompt="a red boat", width=96, height=64, seed=5),
}
VIDEOS: Mapping[str, Submit] = {
    "tensorslab": Submit(
        kind=Kind.VIDEO, model="seedancev2", prompt="a red boat", duration=1, width=96, height=64
    ),
    "aigptimage": Submit(
        kind=Kind.VIDEO, model="seedance-2.0", prompt="a red boat", duration=1, resolution="120p"
    ),
    "aitoearn": Submit(
        kind=Kind.VIDEO, model="seedance-2.0", prompt="a red boat", duration=1, width=96, height=64
    ),
    "safelight": Submit(
        kind=Kind.VIDEO, model="seedance-2.0", prompt="a red boat", duration=1, width=96, height=64
    ),
    "tencent": Submit(
        kind=Kind.VIDEO, model="Kling-2.1", prompt="a red boat", duration=1, width=96, height=64
    ),
}
# Models that wait for a minute before they draw, and those that are given up while they wait.
SLOW: Mapping[tuple[str, Kind], str] = {
    ("tensorslab", Kind.IMAGE): "zimage",
    ("tensorslab", Kind.VIDEO): "seedancev1",
}
LATE: Mapping[tuple[str, Kind], str] = {
    ("tensorslab", Kind.IMAGE): "seedreamv45",
    ("tensorslab", Kind.VIDEO): "seedancev1profast",
}


def slow(dialect: str, kind: Kind) -> str:
    """A model that is still running when a test looks."""
    return SLOW.get((dialect, kind), "video-slow" if kind is Kind.VIDEO else "slow")


def late(dialect: str, kind: Kind) -> str:
    """A model whose tasks fail: they take longer than they may."""
    return LATE.get((dialect, kind), "video-late" if kind is Kind.VIDEO else "late")


def png(width: int = 48, height: int = 32) -> bytes:
    """A small picture."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 60, 20)).save(file, "PNG")
    return file.getvalue()


def picture(path: Path) -> tuple[str | None, tuple[int, int]]:
    """The format and the size of a picture that decodes whole."""
    with Image.open(path) as image:
        image.load()
        return image.format, image.size


def film(path: Path) -> tuple[tuple[int, int], float]:
    """The size and the seconds of a film that decodes whole."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        assert stream.average_rate is not None
        return (stream.width, stream.height), frames / float(stream.average_rate)


# ----------------------------------------------------------------------------------------- refusals


def refusal(dialect: str, answer: httpx.Response) -> Any:
    """The code of a refusal, which must be in that dialect's own envelope to the last name."""
    assert answer.status_code < 500, answer.text
    media_type = "application/problem+json" if dialect == "safelight" else "application/json"
    assert answer.headers["content-type"].startswith(media_type), answer.headers
    return _REFUSALS[dialect](answer, answer.json())


def _tensorslab(answer: httpx.Response, body: Any) -> Any:
    assert body.keys() == {"code", "msg"}, body
    assert body["code"] in (9999, 9000)
    assert body["msg"]
    return body["code"], answer.status_code


def _aigptimage(answer: httpx.Response, body: Any) -> Any:
    assert body.keys() == {"code", "msg", "data"}, body
    assert answer.status_code == body["code"], body
    assert body["code"] >= 400
    assert body["msg"]
    return body["code"]


def _aitoearn(answer: httpx.Response, body: Any) -> Any:
    if answer.url.path.startswith("/api/ai/images/"):
        return _openai(answer, body)
    assert answer.status_code == 200
    assert body.keys() == {"data", "code", "message", "timestamp", "requestId"}, body
    assert isinstance(body["code"], int)
    assert body["code"] != 0
    assert body["message"]
    return body["code"]


def _openai(answer: httpx.Response, body: Any) -> Any:
    assert body.keys() == {"error"}, body
    assert body["error"].keys() == {"message", "type", "param", "code"}, body
    assert body["error"]["message"]
    assert answer.status_code >= 400
    return answer.status_code


def _tencent(answer: httpx.Response, body: Any) -> Any:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert body.keys() == {"Response"}, body
    assert body["Response"].keys() == {"Error", "RequestId"}, body
    assert body["Response"]["Error"].keys() == {"Code", "Message"}, body
    assert body["Response"]["Error"]["Message"]
    return body["Response"]["Error"]["Code"]


def _safelight(answer: httpx.Response, body: Any) -> Any:
    assert body.keys() >= {"type", "title", "status", "detail", "instance", "code"}, body
    assert answer.status_code == body["status"]
    assert body["type"] == f"urn:safelight:problem:{body['code']}"
    return body["code"], answer.status_code


_REFUSALS = {
    "tensorslab": _tensorslab,
    "aigptimage": _aigptimage,
    "aitoearn": _aitoearn,
    "safelight": _safelight,
    "tencent": _tencent,
}
NOT_FOUND: Mapping[tuple[str, Kind], Any] = {
    ("tensorslab", Kind.IMAGE): (9999, 404),
    ("tensorslab", Kind.VIDEO): (9999, 404),
    ("aigptimage", Kind.IMAGE): 404,
    ("aitoearn", Kind.IMAGE): 404,
    ("aitoearn", Kind.VIDEO): 12302,
    ("tencent", Kind.IMAGE): "ResourceNotFound",
    ("tencent", Kind.VIDEO): "ResourceNotFound",
}

_PASSING = re.compile(r'"(RequestId|requestId|timestamp|instance)":("[^"]*"|\d+)')
_PASSING_HEADERS = ("date", "x-request-id")


def lasting(answer: httpx.Response) -> Any:
    """An answer without what tells one request from another: request ids and the time."""
    headers = [(name, value) for name, value in answer.headers.items()
               if name not in _PASSING_HEADERS]  # fmt: skip
    return answer.status_code, sorted(headers), _PASSING.sub(r'"\1":0', answer.text)


def compact(value: Any) -> bytes:
    """JSON bytes."""
    return json.dumps(value).encode()
