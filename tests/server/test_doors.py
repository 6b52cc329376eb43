"""The doors to the dialects: their published paths, and their own names."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from doubles import Serving, StartApp, picture
from end_to_end.words import lasting
from safelight.config import Settings, SettingsError
from safelight.dialects import found, named
from safelight.errors import Fault, NotFound, RateLimited, Unauthenticated, UnknownModel
from safelight.links import FILES
from safelight.server.doors import OWN, Doors
from safelight.task import Source, Status, Submit, bare_id
from safelight.wire import Dialect, Route

ALL = list(found())
HERE = Doors.build(Settings())
PUBLISHED = [dialect.name for dialect in HERE.published]


def asked(name: str, **words: Any) -> Submit:
    """A task that a dialect can say: its models are names, or words in its paths."""
    for model in ("sketch", "seedreamv4"):
        submit = Submit(model=model, prompt="a red boat", **words)
        with suppress(UnknownModel):
            named(name).write_request(submit)
            return submit
    raise AssertionError(f"{name} can say no such task")


# ----------------------------------------------------------------------------------- who is where


PATHS = [
    ("/tencent", "tencent", "/"),
    ("/tencent/", "tencent", "/"),
    ("/tencent//", "tencent", "//"),
    ("/tencent/tencent", "tencent", "/tencent"),
    ("/tencent/../kie", "tencent", "/../kie"),
    ("/kie/api/v1/jobs/recordInfo", "kie", "/api/v1/jobs/recordInfo"),
    ("/kie/kie/api/v1/jobs/recordInfo", "kie", "/kie/api/v1/jobs/recordInfo"),
    ("/kie/v1/images/seedreamv4", "kie", "/v1/images/seedreamv4"),
    ("/aigptimage/api/v1/jobs", "aigptimage", "/api/v1/jobs"),
    ("/tensorslab/v1", "tensorslab", "/v1"),
    ("/", "tencent", "/"),
    ("/v1/tensorslab", "tensorslab", "/v1/tensorslab"),
    ("/api/v1/jobs/recordInfo", "aigptimage", "/api/v1/jobs/recordInfo"),
]
NOBODYS = [
    *(
        "//tencent",
        "///",
        "/tencentx",
        "/tencent.",
        "/Tencent",
        "/TENCENT/",
        "/tencen",
        "/ tencent",
    ),
    *("/%74encent", "/tencent%2f", "tencent", "", "*", "/healthz", "/files/tencent", "/apix"),
]


@pytest.mark.parametrize(("path", "name", "inside"), PATHS)
def test_a_path_leads_to_a_dialect(path: str, name: str, inside: str) -> None:
    entry = HERE.find(path)

    assert entry is not None
    assert (entry.dialect.name, entry.path) == (name, inside)
    assert entry.by_name is (path != inside)


@pytest.mark.parametrize("path", NOBODYS)
def test_a_path_leads_to_no_dialect(path: str) -> None:
    assert HERE.find(path) is None


def test_all_dialects_are_under_their_names_whatever_the_settings_say() -> None:
    assert HERE.problems == ()
    for chosen in ((), ("kie",), ("tencent", "aigptimage")):
        doors = Doors.build(Settings(dialects=chosen))
        for name in ALL:
            entry = doors.find(f"/{name}/x")
            assert entry is not None
            assert entry.dialect is named(name)
        assert doors.base_of(named("aigptimage"), "http://a") == (
            "http://a/aigptimage" if chosen == ("kie",) else "http://a"
        )


class Moved(Dialect):
    """A dialect of another package, at other paths."""

    def __init__(self, name: str, *prefixes: str) -> None:
        self.name = name
        self.prefixes = prefixes
        self.routes = tuple(Route(prefix, "POST", f"{prefix}/create") for prefix in prefixes)
        super().__init__()


def test_a_dialect_at_home_on_its_name_is_there_twice() -> None:
    wire = Moved("morse", "/morse")
    doors = Doors([wire], [wire])

    for path, inside in (
        ("/morse/create", "/morse/create"),
        ("/morse/morse/create", "/morse/create"),
        ("/morse/morse", "/morse"),
        ("/morse", "/morse"),
        ("/morse/x", "/morse/x"),
    ):
        assert (entry := doors.find(path)) is not None
        assert entry.path == inside


def test_relatives_cannot_both_be_at_the_paths_that_they_share() -> None:
    with pytest.raises(SettingsError, match=r"kie and aigptimage are both at home on /api/v1"):
        Doors.build(Settings(dialects=("kie", "aigptimage")))
    with pytest.raises(SettingsError, match="no dialect 'moon'"):
        Doors.build(Settings(dialects=("moon",)))


@pytest.mark.parametrize("word", sorted(OWN))
async def test_what_the_server_answers_itself_is_nobody_elses(serving: Serving, word: str) -> None:
    assert word not in found()
    assert all(not prefix.startswith(f"/{word}") for d in HERE.named for prefix in d.prefixes)
    answer = await serving.http.get(f"/{word}")
    assert answer.headers.get("content-type", "") != "application/json" or word == FILES.strip("/")


# ------------------------------------------------------------------------------ what is answered


@pytest.mark.parametrize("name", ALL)
async def test_a_task_goes_its_way_under_the_name_of_its_dialect(
    serving: Serving, name: str, tmp_path: Path
) -> None:
    async with serving.client(name, path=f"/{name}") as client:
        task = await client.submit(asked(name))
        ended = await client.wait(task, timeout=30)
        (file,) = await client.download(ended, tmp_path)
        with pytest.raises(NotFound):
            await client.fetch("0" * 24)
    async with serving.client(name, "nobody's:key", path=f"/{name}") as client:
        with pytest.raises(Unauthenticated):
            await client.fetch("0" * 24)

    assert ended.status is Status.SUCCEEDED
    assert file.read_bytes() == picture()
    assert (ended.artifacts[0].url or "").startswith(f"http://testserver{FILES}")
    kept = await serving.task(bare_id(task.id) or "")
    assert kept.dialect == name


@pytest.mark.parametrize("name", PUBLISHED)
async def test_both_doors_lead_to_the_same_tasks(serving: Serving, name: str) -> None:
    plain, by_name = serving.client(name), serving.client(name, path=f"/{name}")
    async with plain, by_name:
        once = asked(name, idempotency_key="once")
        first, second = await plain.submit(once), await by_name.submit(once)
        assert first.id == second.id
        with pytest.raises(Fault, match="idempotency key was used before"):
            await by_name.submit(msgspec.structs.replace(once, prompt="a green boat"))
        await serving.ended(bare_id(first.id) or "")
        assert await plain.fetch(first.id) == await by_name.fetch(first.id)


async def test_relatives_stand_side_by_side(serving: Serving) -> None:
    plain, other = serving.client("aigptimage"), serving.client("kie", path="/kie")
    async with plain, other:
        task = await other.submit(asked("kie"))
        await serving.ended(task.id)
        assert (await plain.fetch(task.id)).status is Status.SUCCEEDED
        assert (await other.fetch(task.id)).status is Status.SUCCEEDED


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "DELETE"])
async def test_both_doors_answer_alike(serving: Serving, name: str, method: str) -> None:
    request = named(name).write_request(asked(name))

    async def answer(path: str, key: str | None) -> Any:
        headers = {**dict(request.headers), **({"authorization": f"Bearer {key}"} if key else {})}
        return lasting(await serving.http.request(method, path, headers=headers, content=b"{}"))

    # Tencent has no paths beside the root.
    for more in ("",) if name == "tencent" else ("", "/", "/nothing"):
        for key in (None, "nobody", serving.key.secret):
            path = f"{request.path}{more}"
            assert await answer(path, key) == await answer(f"/{name}{path}", key)


async def test_under_its_name_all_is_a_dialects(serving: Serving) -> None:
    """What a browser asks of `/` is the page; of `/tencent` it is Tencent's to answer."""
    page = await serving.http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for path in (
        "/tencent",
        "/tencent/",
        "/tencent/tencent",
        "/tencent/healthz",
        "/tencent/files/x",
    ):
        answer = await serving.http.get(path)
        assert answer.json()["Response"]["Error"]["Code"]
        assert (await serving.http.head(path)).content == b""
    for path in ("/kie", "/kie/", "/kie/kie/api/v1/jobs/createTask", "/kie/v1/images/seedreamv4"):
        answer = await serving.post(path, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, 404)
    for path in ("/tencentx", "//tencent", "/Tencent", "/kiex/api/v1/jobs/createTask"):
        answer = await serving.http.get(f"http://testserver{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, 404)
        assert "Response" not in answer.json()


@pytest.mark.parametrize(
    ("path", "name"), [("/%74encent", "tencent"), ("/k%69e/api/v1/nothing", "kie")]
)
async def test_a_name_may_be_percent_encoded(serving: Serving, path: str, name: str) -> None:
    """As any path: it is decoded before anybody looks at it."""
    answer = await serving.http.get(path)

    body = answer.json()
    assert ("Response" in body) is (name == "tencent")
    assert ("code" in body) is (name == "kie")


async def test_browsers_may_ask_under_a_name_too(serving: Serving) -> None:
    preflight = {
        "origin": "https://studio.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }

    before = await serving.http.options("/kie/api/v1/jobs/createTask", headers=preflight)
    answer = await serving.http.get("/tencent", headers={"origin": preflight["origin"]})

    assert before.status_code == 200
    assert "POST" in before.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-origin"] == "*"


# ----------------------------------------------------------------------------- what is counted


async def test_a_rate_is_one_for_both_doors(start_app: StartApp) -> None:
    serving = await start_app(rates={"tensorslab.images.infobytaskid": "2/hour"})
    plain, by_name = serving.client(), serving.client(path="/tensorslab")
    async with plain, by_name:
        for client in (plain, by_name):
            with pytest.raises(NotFound):
                await client.fetch("0" * 24)
        with pytest.raises(RateLimited):
            await by_name.fetch("0" * 24)


async def test_a_rate_may_be_set_of_a_dialect_that_is_under_its_name_alone(
    start_app: StartApp,
) -> None:
    serving = await start_app(rates={"kie.recordInfo": "1/hour"})
    async with serving.client("kie", path="/kie") as client:
        with pytest.raises(NotFound):
            await client.fetch("0" * 24)
        with pytest.raises(RateLimited):
            await client.fetch("0" * 24)


async def test_both_doors_are_measured_as_one(serving: Serving) -> None:
    for path in ("/v1/images/infobytaskid", "/tensorslab/v1/images/infobytaskid"):
        await serving.post(path, json={"taskid": "0" * 24})
    for path in ("/kie/nothing", "/kie/nothing-else"):
        await serving.http.get(path)

    told = (await serving.http.get("/metrics")).text

    labels = 'dialect="tensorslab",operation="images.infobytaskid",status="404"'
    assert f"safelight_requests_total{{{labels}}} 2.0" in told
    assert 'safelight_requests_total{dialect="kie",operation="unknown",status="404"} 2.0' in told
    assert "nothing-else" not in told


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v1/images/nothing", True),  # no such route
        ("/v1/images/seedreamv4", False),  # nobody knows who
        ("/v1/images/infobytaskid", True),  # more than it may have
        ("/api/v1/jobs/createTask", False),
        ("/api/v1/jobs/createTask", True),
        ("/", False),
    ],
)
async def test_as_much_of_a_body_is_received(serving: Serving, path: str, key: bool) -> None:
    """Whoever is refused by the head of a request costs no more at either door."""
    entry = HERE.find(path)
    assert entry is not None
    costs = [await received(serving, one, key) for one in (path, f"/{entry.dialect.name}{path}")]

    assert costs[0] == costs[1]
    assert costs[0] < 2**22


async def received(serving: Serving, path: str, key: bool) -> int:
    """How many bytes of a body without an end are received at a path."""
    taken = 0

    async def receive() -> MutableMapping[str, Any]:
        nonlocal taken
        taken += 2**16
        return {"type": "http.request", "body": bytes(2**16), "more_body": True}

    async def send(message: Any) -> None:
        pass

    secret = f"Bearer {serving.key.secret}".encode()
    headers = [(b"transfer-encoding", b"chunked"), (b"x-tc-action", b"DescribeTasks")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [*headers, (b"authorization", secret)] if key else headers,
    }
    await serving.app.asgi(scope, receive, send)
    return taken


# -------------------------------------------------------------------------- what links begin with


async def test_files_are_uploaded_under_a_name_and_lie_where_all_do(serving: Serving) -> None:
    for name in ("aitoearn", "kie", "aigptimage"):
        async with serving.client(name, path=f"/{name}") as client:
            kept = await client.upload(picture(), "a.png")
            assert (kept.url or "").startswith(f"http://testserver{FILES}")
            task = await client.submit(asked(name, sources=(Source(url=kept.url),)))
            assert (await client.wait(task, timeout=30)).status is Status.SUCCEEDED


async def test_links_begin_with_the_public_address_under_a_name_too(start_app: StartApp) -> None:
    serving = await start_app(public_url="https://pictures.example/safelight")
    async with serving.client("kie", path="/kie") as client:
        task = await client.submit(asked("kie"))
        ended = await client.wait(task, timeout=30)

    assert (ended.artifacts[0].url or "").startswith(f"https://pictures.example/safelight{FILES}")


@pytest.mark.parametrize(
    ("host", "begin"),
    [
        ("pictures.example/kie", "http://pictures.example"),  # as Tencent's SDK writes it
        ("http://pictures.example:81/kie", "http://pictures.example:81"),
        ("pictures.example/tencent", "http://127.0.0.1:8000"),
        ("pictures.example/kie/kie", "http://127.0.0.1:8000"),
        ("pictures.example/", "http://127.0.0.1:8000"),
    ],
)
async def test_a_host_may_have_the_path_of_its_address_behind_it(
    serving: Serving, host: str, begin: str
) -> None:
    id = await serving.create()
    await serving.ended(id)

    answer = await serving.http.get(
        f"/kie/api/v1/jobs/recordInfo?taskId={id}",
        headers={"host": host, "authorization": f"Bearer {serving.key.secret}"},
    )

    (link,) = msgspec.json.decode(answer.json()["data"]["resultJson"])["resultUrls"]
    assert link.startswith(f"{begin}{FILES}")
