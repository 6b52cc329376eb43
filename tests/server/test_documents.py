"""The document of our own API: it is valid, it has every route, and the answers fit it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from doubles import Serving
from safelight.dialects import named
from safelight.dialects.safelight.document import OPERATIONS, write_document
from safelight.dialects.safelight.writing import PREFIX
from safelight.secrets import Vault
from safelight.server.descriptions import STREAMS
from safelight.server.webhooks import Webhooks

ROUTES = named("safelight").routes
DOCUMENT = write_document(ROUTES, "1")


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_is_in_it() -> None:
    assert {route.op for route in ROUTES} <= OPERATIONS.keys()
    for route in ROUTES:
        assert route.method.lower() in DOCUMENT["paths"][route.path]


def test_nothing_of_the_inside_is_in_it() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    assert "blob" not in str(schemas)
    assert not any("\n    " in schema.get("description", "") for schema in schemas.values())


async def test_the_routes_of_webhooks_and_streams_are_in_what_is_told(serving: Serving) -> None:
    paths = (await get(serving, "/openapi.json", key=False)).json()["paths"]
    told = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    hooks = Webhooks(serving.app.store, serving.app.callbacks, Vault(b"secret"))
    own = [operation.route for operation in hooks.operations()]

    assert {(route.method, route.path) for route in (*own, *STREAMS)} <= told
    stream = paths[f"{PREFIX}/events"]["get"]["responses"]["200"]["content"]
    assert list(stream) == ["text/event-stream"]
    assert (
        "text/event-stream"
        in paths[f"{PREFIX}/tasks/{{id}}/events"]["get"]["responses"]["200"]["content"]
    )


async def get(serving: Serving, path: str, key: bool = True) -> Any:
    headers = {"authorization": f"Bearer {serving.key.secret}"} if key else {}
    return await serving.http.get(f"{PREFIX}{path}", headers=headers)


async def test_it_is_told_to_everybody(serving: Serving) -> None:
    told = (await get(serving, "/openapi.json", key=False)).json()
    page = await get(serving, "/docs", key=False)

    OpenAPIV31SpecValidator(told).validate()
    assert told["info"]["title"] == "Safelight"
    assert f"{PREFIX}/me" in told["paths"]
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text
    for path in told["paths"]:
        assert path in page.text


def fits(name: str, value: Any) -> None:
    schema = {**DOCUMENT, "$ref": f"#/components/schemas/{name}"}
    jsonschema.Draft202012Validator(schema).validate(value)


async def test_answers_fit_it(serving: Serving) -> None:
    headers = {"authorization": f"Bearer {serving.key.secret}"}
    asked = {"model": "sketch", "input": {"prompt": "a", "ratio": "16:9", "seed": 1}}
    fits("TaskRequest", asked)
    made = (await serving.http.post(f"{PREFIX}/tasks", json=asked, headers=headers)).json()
    fits("TaskSaid", made)
    await serving.ended(made["id"])
    for path, name in (
        (f"/tasks/{made['id']}", "TaskSaid"),
        ("/tasks?limit=1", "TaskPage"),
        (f"/tasks/{made['id']}/events", "EventList"),
        ("/changes", "ChangeList"),
        ("/models", "ModelList"),
        ("/tasks/x", "Problem"),
        ("/tasks?limit=x", "Problem"),
    ):
        fits(name, (await get(serving, path)).json())
    for model in (await get(serving, "/models")).json()["models"]:
        schema = model["input_schema"]
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator(schema).validate({"prompt": "a", "sources": []})
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema).validate({"colour": "red"})
