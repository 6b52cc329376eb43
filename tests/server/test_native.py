"""Safelight's own API, as a server answers it."""

from __future__ import annotations

import asyncio
import base64
import json
from itertools import chain
from typing import Any

import httpx
import pytest

from doubles import Serving, StartApp, picture, until
from safelight.client import AsyncClient
from safelight.engines import Job
from safelight.errors import Unsupported
from safelight.task import Source, Status, Submit, new_id

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


# ------------------------------------------------------------------------------------------ lists


async def pages(serving: Serving, query: str) -> list[list[str]]:
    """The ids on all pages of a list."""
    found, cursor = [], ""
    while True:
        answer = await ask(serving, "GET", f"/tasks?{query}{cursor}")
        assert answer.status_code == 200, answer.text
        found.append([task["id"] for task in answer.json()["tasks"]])
        following = answer.json().get("next_cursor")
        assert ('rel="next"' in answer.headers.get("link", "")) is (following is not None)
        if following is None:
            return found
        assert following in answer.headers["link"]
        cursor = f"&cursor={following}"


async def test_a_list_is_paged_by_cursors(serving: Serving) -> None:
    ids = [(await create(serving))["id"] for _ in range(5)][::-1]
    for id in ids:
        await serving.ended(id)

    assert await pages(serving, "limit=2") == [ids[:2], ids[2:4], ids[4:]]
    assert await pages(serving, "limit=5") == [ids]
    changed = await pages(serving, "limit=2&order=changed")
    assert [len(page) for page in changed] == [2, 2, 1]
    assert sorted(chain.from_iterable(changed)) == sorted(ids)
    assert await pages(serving, f"before={ids[1]}") == [ids[2:]]
    counted = await ask(serving, "GET", "/tasks?limit=2&count=true")
    assert counted.json()["total"] == 5
    assert "total" not in (await ask(serving, "GET", "/tasks?limit=2")).json()


async def test_a_list_is_filtered(serving: Serving) -> None:
    first = await create(serving, labels=["a", "b"], metadata={"order": "1", "né": "ö&="})
    second = await create(serving, labels=["a"], model="of-mine", metadata={"a": "b"})
    third = await create(serving, kind="video")
    for task in (first, second, third):
        await serving.ended(task["id"])
    one, two, three = (task["id"] for task in (first, second, third))
    own, serving.key = serving.key, await serving.app.keyring.create("another")
    await create(serving, labels=["a"])  # nobody else's is listed
    serving.key = own

    for query, wanted in (
        ("label=a", [two, one]),
        ("label=a&label=b", [one]),
        ("label=b&label=a&label=a", [one]),
        ("label=c", []),
        ("label=order", []),
        ("metadata.order=1", [one]),
        ("metadata.order=1&label=b", [one]),
        ("metadata.order=1&label=c", []),
        ("metadata.n%C3%A9=%C3%B6%26%3D", [one]),
        ("metadata.a=b", [two]),
        ("model=of-mine", [two]),
        ("model=of-mine&label=a&kind=image", [two]),
        ("kind=video", [three]),
        ("dialect=safelight", [three, two, one]),
        ("dialect=kie", []),
        ("status=succeeded", [three, two, one]),
        ("status=failed,canceled", []),
        ("status=failed&status=succeeded", [three, two, one]),
        (f"created_after={second['created_at']}", [three, two]),
        (f"created_before={second['created_at']}", [two, one]),
        ("finished_after=2020-01-01T00:00:00Z", [three, two, one]),
        ("finished_after=2999-01-01", []),
        (f"parent={one}", []),
        ("label=%00", []),
    ):
        for order in ("", "&order=changed"):
            found = list(chain(*await pages(serving, f"limit=1&{query}{order}")))
            assert sorted(found) == sorted(wanted), query
            if not order:
                assert found == wanted, query


WRONG_QUERIES = [
    ("colour=red", "colour", "unknown_parameter"),
    ("limit=0", "limit", "invalid_value"),
    ("limit=201", "limit", "invalid_value"),
    ("limit=-1", "limit", "invalid_type"),
    ("limit=1&limit=2", "limit", "invalid_value"),
    ("status=done", "status", "invalid_value"),
    ("kind=", "kind", "invalid_value"),
    ("created_after=yesterday", "created_after", "invalid_value"),
    ("order=up", "order", "invalid_value"),
    ("count=1", "count", "invalid_value"),
    ("parent=x", "parent", "invalid_value"),
    ("before=x", "before", "invalid_value"),
    ("label=", "label", "invalid_value"),
    ("&".join(f"label=a{n}" for n in range(17)), "label", "invalid_value"),
    ("metadata.=a", "metadata.", "invalid_value"),
    ("cursor=", "cursor", "invalid_value"),
    ("cursor=%C3%A9", "cursor", "invalid_value"),
    ("cursor=" + "A" * 5000, "cursor", "invalid_value"),
    ("cursor=WzEsMSwiYSIsImIiXQ", "cursor", "invalid_value"),
]


@pytest.mark.parametrize(("query", "parameter", "code"), WRONG_QUERIES)
async def test_what_is_wrong_in_a_query_is_told_by_its_name(
    serving: Serving, query: str, parameter: str, code: str
) -> None:
    answer = await ask(serving, "GET", f"/tasks?{query}")

    assert answer.status_code == 400
    assert (answer.json()["parameter"], answer.json()["code"]) == (parameter, code)
    assert "errors" not in answer.json()


def forged(*said: Any) -> str:
    """A cursor that nobody gave."""
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


async def test_a_cursor_is_good_for_its_own_list_alone(serving: Serving) -> None:
    for _ in range(3):
        await create(serving, labels=["a"])
    cursor = (await ask(serving, "GET", "/tasks?limit=1&label=a")).json()["next_cursor"]
    _, number, id, digest = json.loads(base64.urlsafe_b64decode(cursor + "=="))

    async def told(query: str) -> str:
        answer = await ask(serving, "GET", f"/tasks?{query}")
        assert answer.status_code == 400, query
        assert answer.json()["parameter"] == "cursor"
        said: str = answer.json()["detail"]
        return said

    assert "other filters" in await told(f"cursor={cursor}")
    assert "other filters" in await told(f"label=a&order=changed&cursor={cursor}")
    assert "another version" in await told(f"label=a&cursor={forged(2, number, id, digest)}")
    for strange in (
        (1, -1, id, digest),
        (1, 2**63, id, digest),
        (1, number, "'; drop table tasks; --", digest),
        (1, number, id),
        ("1", number, id, digest),
    ):
        assert "not one that was given here" in await told(f"label=a&cursor={forged(*strange)}")
    # How many are on a page may change on the way.
    rest = await ask(serving, "GET", f"/tasks?limit=9&label=a&cursor={cursor}")
    assert len(rest.json()["tasks"]) == 2


async def test_many_tasks_are_asked_for_at_once(serving: Serving) -> None:
    ids = [(await create(serving))["id"] for _ in range(3)]
    decorated = f"2600-WorkflowTask-{ids[0]}"
    asked = [ids[2], "x", ids[0], new_id(1, b"abcdef"), decorated, ids[2]]

    answer = await ask(serving, "POST", "/tasks/query", json={"ids": asked})

    assert [task["id"] for task in answer.json()["tasks"]] == [ids[2], ids[0], ids[0], ids[2]]
    assert answer.json()["missing"] == [asked[1], asked[3]]
    for body, status, parameter in (
        ({"ids": ids * 167}, 400, "ids"),
        ({"ids": ["a"] * 40_000}, 400, "ids"),
        ({"ids": ["a" * 129]}, 400, "ids.0"),
        ({"ids": [1]}, 400, "ids.0"),
        ({}, 400, "ids"),
        ({"ids": [], "wait": 3}, 400, "wait"),
    ):
        refused = await ask(serving, "POST", "/tasks/query", json=body)
        assert (refused.status_code, refused.json()["parameter"]) == (status, parameter)
    million = await ask(serving, "POST", "/tasks/query", json={"ids": ["a"] * 10**6})
    assert million.status_code == 413
    assert (await ask(serving, "POST", "/tasks/query", json={"ids": []})).json() == {
        "tasks": [],
        "missing": [],
    }


async def test_changes_are_told_from_where_one_was(serving: Serving) -> None:
    await create(serving)
    start = (await ask(serving, "GET", "/changes")).json()
    assert (start["tasks"], start["more"]) == ([], False)
    ids = [(await create(serving))["id"] for _ in range(3)]
    for id in ids:
        await serving.ended(id)

    told: dict[str, str] = {}
    cursor, more = start["cursor"], True
    while more:
        page = (await ask(serving, "GET", f"/changes?limit=1&cursor={cursor}")).json()
        told |= {task["id"]: task["status"] for task in page["tasks"]}
        cursor, more = page["cursor"], page["more"]

    assert {id: told[id] for id in ids} == dict.fromkeys(ids, "succeeded")
    again = (await ask(serving, "GET", f"/changes?cursor={cursor}")).json()
    assert again == {"tasks": [], "cursor": cursor, "more": False}
    for wrong in ("x", forged(1, 1, "", "other"), forged(7, 1, "", "")):
        refused = await ask(serving, "GET", f"/changes?cursor={wrong}")
        assert (refused.status_code, refused.json()["parameter"]) == (400, "cursor")


async def test_a_cursor_of_changes_from_before_a_restore_is_refused_by_name(
    serving: Serving,
) -> None:
    old = forged(1, 1, "", "0123456789ab")
    refused = (
        await ask(serving, "GET", f"/changes?cursor={old}"),
        await ask(serving, "GET", f"/events?last_event_id={old}"),
        await ask(serving, "GET", f"/changes?cursor={forged(1, 2**62, '', '')}"),
    )

    for answer in refused:
        assert (answer.status_code, answer.json()["parameter"]) == (400, "cursor")
        assert "expired" in answer.json()["detail"]


async def test_what_happened_to_a_task_is_told(serving: Serving) -> None:
    id = (await create(serving))["id"]
    await serving.ended(id)

    history = (await ask(serving, "GET", f"/tasks/{id}/events")).json()

    said = [event["status"] for event in history["events"] if event["event"] == "status"]
    assert (said[0], said[-1]) == ("queued", "succeeded")
    numbers = [event["revision"] for event in history["events"]]
    assert numbers == sorted(set(numbers))
    assert history["last"] == numbers[-1]
    rest = (await ask(serving, "GET", f"/tasks/{id}/events?after={numbers[0]}")).json()
    assert rest["events"] == history["events"][1:]
    assert (await ask(serving, "GET", f"/tasks/{id}/events?after=99")).json() == {
        "events": [],
        "last": 99,
    }
    assert (await ask(serving, "GET", f"/tasks/{id}/events?after=x")).status_code == 400
    assert (await ask(serving, "GET", f"/tasks/{new_id(1, b'abcdef')}/events")).status_code == 404


# -------------------------------------------------------------------------------------------- retry


async def test_a_task_is_retried_with_its_sources(serving: Serving) -> None:
    task = {
        "input": {"prompt": "a", "seed": 7, "ratio": "16:9", "sources": [{"part": "one"}]},
        "labels": ["mine"],
        "metadata": {"order": "1"},
    }
    files = {"task": (None, json.dumps(task)), "one": ("one.png", picture(), "image/png")}
    old = (await ask(serving, "POST", "/tasks", files=files)).json()
    await serving.ended(old["id"])

    answer = await ask(serving, "POST", f"/tasks/{old['id']}/retry")

    new = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == new["urls"]["self"]
    assert new["parent"] == old["id"] != new["id"]
    assert "seed" not in new["input"]
    assert new["seed"] != 7
    assert (new["labels"], new["metadata"]) == (old["labels"], old["metadata"])
    assert (await ask(serving, "DELETE", f"/tasks/{old['id']}")).status_code == 204
    assert (await ended(serving, new["id"]))["status"] == "succeeded"
    kept = await serving.http.get(new["input"]["sources"][0]["url"])
    assert kept.content == picture()
    assert await pages(serving, f"parent={old['id']}") == [[new["id"]]]

    changes = {
        "seed": "same",
        "model": "other",
        "input": {"prompt": "b", "width": 64, "height": 32},
    }
    third = (await ask(serving, "POST", f"/tasks/{new['id']}/retry", json=changes)).json()

    assert third["seed"] == new["seed"]
    assert (third["model"], third["input"]["prompt"]) == ("other", "b")
    assert (third["input"]["width"], "ratio" in third["input"]) == (64, False)


async def test_the_same_idempotency_key_is_the_same_retry(serving: Serving) -> None:
    old = await create(serving)
    await serving.ended(old["id"])
    path, key = f"/tasks/{old['id']}/retry", {"idempotency-key": "one"}

    first = await ask(serving, "POST", path, json={"seed": 5}, headers=key)
    await ask(serving, "DELETE", f"/tasks/{old['id']}")
    again = await ask(serving, "POST", path, json={"seed": 5}, headers=key)
    other = await ask(serving, "POST", path, json={"seed": 6}, headers=key)

    assert first.json()["id"] == again.json()["id"]
    assert first.json()["seed"] == 5
    assert (other.status_code, other.json()["parameter"]) == (422, "Idempotency-Key")


async def test_only_what_ended_is_retried(start_app: StartApp) -> None:
    serving = await start_app(stuck)
    id = (await create(serving))["id"]

    for path, status, code in (
        (f"/tasks/{id}/retry", 409, "conflict"),
        (f"/tasks/{new_id(1, b'abcdef')}/retry", 404, "not_found"),
    ):
        answer = await ask(serving, "POST", path, json={})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    for body, parameter in (
        ({"seed": "old"}, "seed"),
        ({"input": {"sources": []}}, "input.sources"),
        ({"prompt": "b"}, "prompt"),
    ):
        answer = await ask(serving, "POST", f"/tasks/{id}/retry", json=body)
        assert (answer.status_code, answer.json()["parameter"]) == (400, parameter)


# ---------------------------------------------------------------------------------------- deadlines


async def test_to_cancel_is_the_same_again(start_app: StartApp) -> None:
    serving = await start_app(stuck)
    id = (await create(serving))["id"]

    for _ in range(2):
        answer = await ask(serving, "POST", f"/tasks/{id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    done = await start_app()
    other = await create(done)
    await done.ended(other["id"])
    refused = await ask(done, "POST", f"/tasks/{other['id']}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_what_is_not_begun_in_its_time_fails(start_app: StartApp) -> None:
    serving = await start_app(stuck, concurrency=1)
    running = (await create(serving))["id"]
    await until(lambda: serving.engine.jobs)
    late = (await create(serving, start_within=0.2))["id"]
    in_time = (await create(serving, start_within=60))["id"]

    task = await ended(serving, late)

    assert task["status"] == "failed"
    assert task["failure"] == {
        "code": "timeout",
        "message": "The task was not begun within 0.2 seconds",
    }
    for id, status in ((running, "running"), (in_time, "queued")):
        assert (await ask(serving, "GET", f"/tasks/{id}")).json()["status"] == status


async def test_what_is_not_ended_in_its_time_is_canceled(start_app: StartApp) -> None:
    serving = await start_app(stuck)
    id = (await create(serving, cancel_after=0.3))["id"]
    await until(lambda: serving.engine.jobs)

    task = await ended(serving, id)

    assert task["status"] == "canceled"
    assert task["failure"]["message"] == "The task was not at its end within 0.3 seconds"
    await until(lambda: not serving.app.worker.runs(id))


async def test_what_is_late_is_begun_by_nobody(start_app: StartApp) -> None:
    before = await start_app(start=False)
    id = (await create(before, start_within=0.01))["id"]
    await asyncio.sleep(0.05)

    await before.app.worker.run(id)

    assert not before.engine.jobs
    assert (await before.task(id)).status == "queued"


async def test_the_higher_priority_is_run_first(start_app: StartApp) -> None:
    serving = await start_app(start=False, concurrency=1)
    low, usual, high = [(await create(serving, priority=priority))["id"] for priority in (-3, 0, 5)]
    await serving.app.start()
    for id in (low, usual, high):
        await serving.ended(id)

    assert [job.task.id for job in serving.engine.jobs] == [high, usual, low]


# ---------------------------------------------------------------------------- models and the queue


async def test_models_say_what_they_take(serving: Serving) -> None:
    models = (await ask(serving, "GET", "/models")).json()["models"]

    assert models
    for model in models:
        schema = model["input_schema"]
        assert "prompt" in schema["properties"]
        assert ("fps" in schema["properties"]) is (model["kind"] == "video")
        assert schema["properties"]["sources"]["maxItems"] == model["max_sources"]
        named = (await ask(serving, "GET", f"/models/{model['name']}")).json()["models"]
        assert model in named
    video = (await ask(serving, "GET", "/models?kind=video")).json()["models"]
    assert {model["kind"] for model in video} == {"video"}
    unknown = await ask(serving, "GET", "/models/no-such-model")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert (await ask(serving, "GET", "/models?kind=sound")).json()["parameter"] == "kind"


async def test_the_queue_says_what_waits_and_runs(start_app: StartApp) -> None:
    serving = await start_app(stuck, concurrency=1)
    await create(serving)
    await until(lambda: serving.engine.jobs)
    waiting = (await create(serving))["id"]

    (load,) = (await ask(serving, "GET", "/queue")).json()["engines"]

    assert (load["engine"], load["waiting"], load["running"]) == ("player", 1, 1)
    assert load["oldest_wait"] >= 0
    assert load["places"] == 1
    told = (await ask(serving, "GET", f"/tasks/{waiting}")).json()
    assert told["queue"] == {"position": 1, "ahead": 0, "engine": "player"}


# --------------------------------------------------------------------------------------- our client


async def test_the_client_speaks_it_unless_told_otherwise(serving: Serving) -> None:
    transport = httpx.ASGITransport(serving.app.asgi)
    secret = serving.key.secret
    async with AsyncClient(
        url="http://testserver", key=secret, transport=transport, pace=0.01
    ) as client:
        start = await client.changes()
        asked = Submit(prompt="a", sources=(Source(data=picture()),), labels=("mine",))
        first = await client.wait(await client.submit(asked))
        second = await client.wait(await client.retry(first, same_seed=True, prompt="b"))

        assert first.status is second.status is Status.SUCCEEDED
        assert (second.submit.prompt, second.seed) == ("b", first.seed)
        assert second.submit.parent == first.id
        several = await client.fetch_many(second, "x", first.id)
        assert [task.id for task in several.tasks] == [second.id, first.id]
        assert several.missing == ("x",)
        assert {task.id for task in (await client.changes(start.cursor)).tasks} == {
            first.id, second.id
        }  # fmt: skip
        assert (await client.events(first)).events[0].what == "queued"
        page = await client.list(labels=("mine",), limit=1)
        assert (page.total, [task.id for task in page.tasks]) == (2, [second.id])
        rest = await client.list(labels=("mine",), limit=1, cursor=page.cursor)
        assert [task.id for task in rest.tasks] == [first.id]
        assert (await client.models(editing=None)).models
        assert await client.delete(first, second, "x" * 24) == (first.id, second.id)


async def test_other_wires_ask_for_many_one_by_one(serving: Serving) -> None:
    id = (await create(serving))["id"]
    await serving.ended(id)
    async with serving.client("tensorslab") as client:
        several = await client.fetch_many(id, new_id(1, b"abcdef"))

        assert [task.id for task in several.tasks] == [id]
        assert several.missing == (new_id(1, b"abcdef"),)
        for ask_for in (client.changes(), client.events(id), client.retry(id)):
            with pytest.raises(Unsupported):
                await ask_for


def test_a_client_of_it_needs_an_address() -> None:
    with pytest.raises(ValueError, match="say its url"):
        AsyncClient()
