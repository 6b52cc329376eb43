"""Safelight's own API, as a server answers it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from doubles import Serving, StartApp, picture, until
from safelight.engines import Job
from safelight.task import new_id

API = "/api/safelight/v1"


async def ask(serving: Serving, method: str, path: str, **more: Any) -> httpx.Response:
    """An answer to a request with the key."""
    headers = {"authorization": f"Bearer {serving.key.secret}", **more.pop("headers", {})}
    return await serving.http.request(method, f"{API}{path}", headers=headers, **more)


async def create(serving: Serving, **body: Any) -> dict[str, Any]:
    """A new task, as it is told."""
    answer = await ask(serving, "POST", "/tasks", json={"input": {"prompt": "a"}} | body)
    assert answer.status_code == 201, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def ended(serving: Serving, id: str) -> dict[str, Any]:
    """The task once it is at its end."""
    await serving.ended(id)
    said: dict[str, Any] = (await ask(serving, "GET", f"/tasks/{id}")).json()
    return said


async def stuck(job: Job) -> Any:
    """An engine that is never done."""
    await asyncio.Event().wait()
    yield


async def test_a_task_is_created_told_and_deleted(serving: Serving) -> None:
    asked = {
        "kind": "image",
        "model": "sketch",
        "input": {"prompt": "a", "width": 64, "height": 32, "seed": 7},
        "labels": ["mine"],
        "metadata": {"order": "17"},
    }
    answer = await ask(serving, "POST", "/tasks", json=asked)

    assert answer.status_code == 201
    task = answer.json()
    assert answer.headers["location"] == task["urls"]["self"]
    assert task["urls"]["self"] == f"http://testserver{API}/tasks/{task['id']}"
    assert task["status"] == "queued"
    assert task["dialect"] == "safelight"
    assert task["labels"] == ["mine"]
    assert task["metadata"] == {"order": "17"}
    assert task["input"] == {
        "prompt": "a", "count": 1, "sources": [], "width": 64, "height": 32, "seed": 7
    }  # fmt: skip
    assert "failure" not in task
    assert "finished_at" not in task
    assert None not in task.values()

    done = await ended(serving, task["id"])

    assert done["status"] == "succeeded"
    assert done["progress"] == 100
    assert done["revision"] > task["revision"]
    assert done["created_at"] == task["created_at"] < done["finished_at"] < done["expires_at"]
    (output,) = done["outputs"]
    assert output["media_type"] == "image/png"
    assert (await serving.http.get(output["url"])).status_code == 200

    gone = await ask(serving, "DELETE", f"/tasks/{task['id']}")

    assert (gone.status_code, gone.content) == (204, b"")
    for method in ("GET", "DELETE"):
        unknown = await ask(serving, method, f"/tasks/{task['id']}")
        assert unknown.status_code == 404
        assert unknown.json()["code"] == "not_found"


async def test_files_come_in_a_form(serving: Serving) -> None:
    task = {
        "model": "sketch",
        "input": {
            "prompt": "a",
            "sources": [{"role": "image", "part": "one"}, {"role": "mask", "part": "two"}],
        },
    }
    files = {
        "task": (None, json.dumps(task), "application/json"),
        "two": ("two.png", picture(4, 4), "image/png"),
        "one": ("one.png", picture(8, 8), "image/png"),
    }

    answer = await ask(serving, "POST", "/tasks", files=files)

    assert answer.status_code == 201, answer.text
    sources = answer.json()["input"]["sources"]
    assert [source["role"] for source in sources] == ["image", "mask"]
    kept = [(await serving.http.get(source["url"])).content for source in sources]
    assert kept == [picture(8, 8), picture(4, 4)]


FORMS = [
    ({"one": "a"}, "task"),
    ({"task": "{}", "one": "a"}, "one"),
    ({"task": '{"input": {"sources": [{"part": "one"}]}}'}, "input.sources.0.part"),
    ({"task": '{"input": {"sources": [{}]}}'}, "input.sources.0"),
    (
        {"task": '{"input": {"sources": [{"part": "one"}, {"part": "one"}]}}', "one": "a"},
        "input.sources.1.part",
    ),
]


@pytest.mark.parametrize(("parts", "parameter"), FORMS)
async def test_a_form_that_does_not_fit_together_is_refused(
    serving: Serving, parts: dict[str, str], parameter: str
) -> None:
    files = {name: (None if name == "task" else "a.png", text) for name, text in parts.items()}

    answer = await ask(serving, "POST", "/tasks", files=files)

    assert answer.status_code == 400
    assert answer.json()["parameter"] == parameter


WRONG = [
    ({"input": {"colour": "red"}}, "input.colour", "unknown_parameter"),
    ({"prompt": "a"}, "prompt", "unknown_parameter"),
    ({}, "input.prompt", "missing_parameter"),
    ({"input": {"prompt": None}}, "input.prompt", "invalid_type"),
    ({"input": {"count": 0}}, "input.count", "invalid_value"),
    ({"input": {"width": 64}}, "input.height", "missing_parameter"),
    ({"input": {"ratio": "wide"}}, "input.ratio", "invalid_value"),
    ({"input": {"sources": [{"url": "ftp://a"}]}}, "input.sources.0.url", "invalid_value"),
    ({"input": {"operations": [{}]}}, "input.operations.0.name", "missing_parameter"),
    ({"kind": "sound"}, "kind", "invalid_value"),
    ({"labels": [""]}, "labels.0", "invalid_value"),
    ({"labels": ["a"] * 17}, "labels", "invalid_value"),
    ({"metadata": {"a": 1}}, "metadata", "invalid_type"),
    ({"metadata": {"a" * 65: "b"}}, "metadata", "invalid_value"),
    ({"metadata": {"a": "b" * 513}}, "metadata", "invalid_value"),
    ({"metadata": {str(n): "b" for n in range(17)}}, "metadata", "invalid_value"),
    ({"priority": 101}, "priority", "invalid_value"),
    ({"start_within": 0}, "start_within", "invalid_value"),
    ({"callback": {"url": "mailto:a"}}, "callback.url", "invalid_value"),
]


@pytest.mark.parametrize(("body", "parameter", "code"), WRONG)
async def test_what_is_wrong_is_told_as_a_problem(
    serving: Serving, body: Any, parameter: str, code: str
) -> None:
    answer = await ask(serving, "POST", "/tasks", json=body)

    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == problem["status"] == 400
    assert problem["type"] == f"urn:safelight:problem:{code}"
    assert (problem["code"], problem["parameter"]) == (code, parameter)
    assert problem["instance"] == answer.headers["x-request-id"]
    assert problem["errors"] == [
        {"pointer": "#/" + parameter.replace(".", "/"), "detail": problem["detail"]}
    ]


async def test_a_key_says_who_asks(serving: Serving) -> None:
    me = await ask(serving, "GET", "/me")

    assert me.json() == {"key_id": serving.key.id, "name": "first"}
    for path in ("/me", "/tasks", "/nowhere"):
        for headers in ({}, {"authorization": "Bearer nobody"}):
            refused = await serving.http.get(f"{API}{path}", headers=headers)
            if path == "/nowhere":
                assert refused.json()["code"] == "unknown_operation"
            else:
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"] == "Bearer"
                assert refused.json()["code"] == "unauthenticated"


async def test_a_key_sees_its_own_tasks_alone(serving: Serving) -> None:
    other = await serving.app.keyring.create("other")
    theirs = {"authorization": f"Bearer {other.secret}"}
    id = (await create(serving))["id"]

    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("DELETE", "?force=true"),
        ("POST", "/cancel"),
    ):
        answer = await ask(serving, method, f"/tasks/{id}{path}", headers=theirs)
        assert answer.status_code == 404
    assert (await ask(serving, "GET", "/tasks", headers=theirs)).json() == {"tasks": []}
    assert (await ask(serving, "GET", f"/tasks/{id}")).status_code == 200


async def test_the_same_idempotency_key_is_the_same_task(serving: Serving) -> None:
    bare, quoted = {"idempotency-key": "a b"}, {"idempotency-key": '"a b"'}
    body = {"input": {"prompt": "a"}}

    first = await ask(serving, "POST", "/tasks", json=body, headers=bare)
    again = await ask(serving, "POST", "/tasks", json=body, headers=quoted)
    changed = {"input": {"prompt": "b"}}
    other = await ask(serving, "POST", "/tasks", json=changed, headers=bare)

    assert first.json()["id"] == again.json()["id"]
    assert again.status_code == 201
    assert other.status_code == 422
    assert other.json()["parameter"] == "Idempotency-Key"


async def test_a_task_that_runs_is_deleted_by_force_alone(start_app: StartApp) -> None:
    serving = await start_app(stuck)
    id = (await create(serving))["id"]
    await until(lambda: serving.engine.jobs)

    refused = await ask(serving, "DELETE", f"/tasks/{id}")

    assert refused.status_code == 409
    assert refused.json()["code"] == "conflict"
    assert (await ask(serving, "DELETE", f"/tasks/{id}?force=true")).status_code == 204
    assert (await ask(serving, "GET", f"/tasks/{id}")).status_code == 404


async def test_an_upload_may_be_a_source(serving: Serving) -> None:
    for more in (
        {"content": picture(), "headers": {"content-type": "image/png"}},
        {"files": {"file": ("a.png", picture(), "image/png")}},
    ):
        kept = await ask(
            serving, "POST", "/uploads?name=a.png" if "content" in more else "/uploads", **more
        )

        assert kept.status_code == 201, kept.text
        assert kept.json()["name"] == "a.png"
        assert kept.json()["expires_at"] > "2026"
        task = await create(serving, input={"sources": [{"url": kept.json()["url"]}]})
        assert (await ended(serving, task["id"]))["status"] == "succeeded"


async def test_what_is_no_operation_is_told_as_a_problem(serving: Serving) -> None:
    for path in ("", "/", "/nowhere", "/tasks/a/b/c", "/webhooks"):
        for method in ("GET", "POST", "PATCH"):
            answer = await ask(serving, method, path)
            assert answer.status_code == 404
            assert answer.json()["code"] == "unknown_operation"


@pytest.mark.parametrize("id", ["x", new_id(1, b"abcdef"), "a" * 5000, "%00", "..%2f.."])
async def test_an_unknown_task_is_not_found(serving: Serving, id: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
        assert (await ask(serving, method, f"/tasks/{id}{path}")).status_code == 404
