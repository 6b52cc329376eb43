"""The files of a fake provider's tasks, and how they are sent."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter

from safelight.errors import NotFound
from safelight.server.fake.listener import Cut
from safelight.server.fake.samples import Sample, sample
from safelight.server.fake.script import FileRules, draw
from safelight.server.fake.tasks import Tasks
from safelight.task import Status
from safelight.wire import Request, Response

FILES = "/files/"
_NAME = re.compile(r"([0-9a-f]{24})-([0-9]{1,2})(\.[a-z0-9]+)")
_TEXT = (("content-type", "text/plain; charset=utf-8"),)


class Files:
    """Answers what begins with `/files/`, as the rules say; `downloads` is counted up."""

    def __init__(
        self, rules: FileRules, tasks: Tasks, chance: random.Random, downloads: Counter[str]
    ) -> None:
        self._rules, self._tasks, self._chance = rules, tasks, chance
        self._downloads = downloads

    async def send(self, request: Request, now: float) -> Response:
        """The file that is asked for, or what the rules make of it. Raises `Cut`."""
        name = request.path.removeprefix(FILES)
        file = self._find(name, now)
        if file is None:
            return Response(status=404, headers=_TEXT, body=b"There is no such file.\n")
        self._downloads[name] += 1
        number = self._downloads[name]
        await asyncio.sleep(draw(self._rules.latency, self._chance))
        whole = _whole(file, request)
        if number > self._rules.failures:
            return whole
        match self._rules.failure:
            case "lost":
                raise Cut
            case "truncated":
                raise Cut(whole)
            case "not_found":
                return Response(status=404, headers=_TEXT, body=b"It is not there just now.\n")
            case "unavailable":
                return Response(status=503, headers=_TEXT, body=b"Not now.\n")

    def _find(self, name: str, now: float) -> Sample | None:
        asked = _NAME.fullmatch(name)
        if asked is None:
            return None
        try:
            made = self._tasks.find(asked[1])
        except NotFound:
            return None
        file = sample(made.submit.kind)
        there = made.status(now) is Status.SUCCEEDED and int(asked[2]) < made.files
        return file if there and asked[3] == file.suffix else None


def _whole(file: Sample, request: Request) -> Response:
    headers = (("content-type", file.media_type), ("etag", f'"{file.etag}"'))
    if request.header("if-none-match") == f'"{file.etag}"':
        return Response(status=304, headers=headers)
    return Response(headers=headers, body=file.data)
