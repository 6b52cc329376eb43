"""Safelight's own API as a document (OpenAPI 3.1), and a page of it without script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.metadata import version
from typing import Any

import msgspec

from safelight.dialects.safelight.document import write_document
from safelight.dialects.safelight.writing import PREFIX
from safelight.server.descriptions import DESCRIPTIONS, STREAMS
from safelight.server.native import ME, Call, Operation
from safelight.wire import Response, Route

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Safelight: the API</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1rem;
       background: #1b0505; color: #f3d9d2 }
h1 { color: #ff5a36 } a, b { color: #ffb59e }
summary { cursor: pointer; color: #ffb59e; padding: .3rem 0 }
pre { background: #2a0a0a; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere;
      border-radius: .4rem } table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0;
      vertical-align: top }
</style>
<h1>Safelight: the API</h1>
"""


class Documents:
    """Tells what the routes are."""

    def __init__(self, routes: Sequence[Route]) -> None:
        own = self.routes()
        everything = (*routes, ME, *STREAMS, *own)
        self._document = write_document(everything, version("safelight"), more=DESCRIPTIONS)
        self._json = msgspec.json.encode(self._document)
        self._page = "".join(write_page(self._document)).encode()

    @staticmethod
    def routes() -> tuple[Route, ...]:
        """Where it is told."""
        return (
            Route("document", "GET", f"{PREFIX}/openapi.json", open=True),
            Route("docs", "GET", f"{PREFIX}/docs", open=True),
        )

    def operations(self) -> tuple[Operation, ...]:
        """The operations that tell it."""
        document, docs = self.routes()
        return Operation(document, self._answer_document), Operation(docs, self._answer_page)

    async def _answer_document(self, call: Call) -> Response:
        return Response(headers=(("content-type", "application/json"),), body=self._json)

    async def _answer_page(self, call: Call) -> Response:
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        head = ("content-type", "text/html; charset=utf-8"), ("content-security-policy", policy)
        return Response(headers=head, body=self._page)


def write_page(document: dict[str, Any]) -> Iterator[str]:
    """The document as people read it: a line for each operation, which opens to all of it."""
    yield _HEAD
    yield f"<p>{escape(document['info']['description'])} As a document of OpenAPI: "
    yield f'<a href="{PREFIX}/openapi.json">openapi.json</a>.</p><h2>Operations</h2>'
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            yield from _write_operation(path, method.upper(), said)
    yield "<h2>What is said</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        shown = msgspec.json.format(msgspec.json.encode(schema), indent=1).decode()
        yield f'<details id="{name}"><summary>{name}</summary><pre>{escape(shown)}</pre></details>'
    yield "</html>"


def _write_operation(path: str, method: str, said: dict[str, Any]) -> Iterator[str]:
    yield f"<details><summary><b>{method}</b> {escape(path)}: {escape(said['summary'])}</summary>"
    yield f"<pre>{escape(_curl(path, method, said))}</pre><table>"
    for one in said["parameters"]:
        shown = one["schema"].get("enum") or one["schema"].get("type", "")
        about = escape(one.get("description", ""))
        yield f"<tr><td><b>{one['name']}</b><td>{one['in']}<td>{escape(str(shown))}<td>{about}"
    yield "</table>"
    content = said.get("requestBody", {}).get("content", {})
    for what, bodies in (("Asked with", content), *_answers(said)):
        for media_type, body in bodies.items():
            name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
            link = f' <a href="#{name}">{name}</a>' if name else ""
            yield f"<p>{what} {media_type}{link}</p>"
    yield "</details>"


def _answers(said: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, answer in said["responses"].items():
        yield f"Answered {status}:", answer.get("content", {})


def _curl(path: str, method: str, said: dict[str, Any]) -> str:
    """A line to try it with."""
    parts = ["curl"] + ([f"-X {method}"] if method not in ("GET", "POST") else [])
    if said.get("security") != []:
        parts.append('-H "Authorization: Bearer $SAFELIGHT_KEY"')
    if "requestBody" in said and "application/json" in said["requestBody"]["content"]:
        parts.append("-H 'Content-Type: application/json' -d '{...}'")
    elif method == "POST":
        parts.append("-X POST")
    return " ".join([*parts, f'"$SAFELIGHT_URL{path}"'])
