"""The bridge: whatever is sent to a dialect's paths is answered in that dialect's words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from backends import PostgresServer, S3Server
from doubles import Serving, StartApp, picture
from safelight.errors import Fault, Unauthenticated, Unavailable
from safelight.links import FILES, Links
from safelight.secrets import Vault
from safelight.server.bodies import Bodies
from safelight.server.bridge import Bridge
from safelight.server.doors import Doors
from safelight.server.rates import Rates
from safelight.store import scripts
from safelight.task import Command, Fetch, Reply, Status
from safelight.wire import Context, Credential, Dialect, Request, Response, Route

CREATE, ASK = "/v1/images/seedreamv4", "/v1/images/infobytaskid"
SECRET = "detail-of-ours"
CHUNKED = (b"transfer-encoding", b"chunked")


def words(answer: httpx.Response) -> Any:
    """What TensorsLab's own clients read."""
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def send(
    serving: Serving, scope: Mapping[str, Any], messages: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Call the app as a server does; what it sent, and what it did not care to receive."""
    sent: list[dict[str, Any]] = []
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    async def take(message: Any) -> None:
        sent.append(message)

    await serving.app.asgi(dict(scope), receive, take)
    return sent, left


def scope(path: str = ASK, method: str = "POST", *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": list(headers),
    }


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


# ------------------------------------------------------------------------------ what is answered


async def test_a_task_is_created_asked_for_and_dressed_with_links(serving: Serving) -> None:
    id = await serving.create()
    await serving.ended(id)

    answer = await serving.ask(id)

    said = words(answer)["data"]
    assert (answer.status_code, said["taskid"], said["image_status"]) == (200, id, 3)
    assert said["url"][0].startswith(f"http://testserver{FILES}{id}-a0-")
    assert answer.headers["cache-control"] == "no-store"


async def test_an_idempotency_key_makes_one_task(serving: Serving) -> None:
    headers = {"idempotency-key": "once"}

    ids = [
        words(await serving.post(CREATE, data={"prompt": "a"}, headers=headers))["data"]["taskid"]
        for _ in range(2)
    ]
    other = words(await serving.post(CREATE, data={"prompt": "b"}, headers=headers))
    long = words(
        await serving.post(CREATE, data={"prompt": "a"}, headers={"idempotency-key": "x" * 256})
    )

    assert ids[0] == ids[1]
    assert (other["code"], long["code"]) == (9999, 9999)
    assert "idempotency" in other["msg"]


WRONG = [
    ("GET", CREATE, 404),
    ("POST", "/v1/images/nobody", 404),
    ("POST", "/v1", 404),
    ("POST", "/v1/", 404),
    ("POST", "/v1/%00%ff", 404),
    ("DELETE", ASK, 404),
    ("PURGE", ASK, 404),
    ("OPTIONS", ASK, 404),
]


@pytest.mark.parametrize(("method", "path", "status"), WRONG)
async def test_what_there_is_not_is_told_in_the_dialects_words(
    serving: Serving, method: str, path: str, status: int
) -> None:
    answer = await serving.http.request(method, path)

    assert answer.status_code == status
    assert words(answer)["code"] == 9999


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"taskid": 5}'])
async def test_a_body_that_is_none_is_told(serving: Serving, data: bytes) -> None:
    answer = await serving.post(ASK, content=data)

    assert answer.status_code == 400
    assert words(answer)["code"] == 9999


async def test_head_has_no_body(serving: Serving) -> None:
    answer = await serving.http.head(ASK)

    assert (answer.status_code, answer.content) == (404, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/", "/files/x", "/healthz"])
async def test_what_is_no_dialects_is_answered_by_the_app(start_app: StartApp, path: str) -> None:
    serving = await start_app(dialects=("tensorslab",))

    answer = await serving.http.get(path)

    assert "application/json" not in answer.headers["content-type"]


@pytest.mark.parametrize("path", ["/nothing", "/v10", "/v1x/images"])
async def test_what_is_nobodys_is_told_in_json(start_app: StartApp, path: str) -> None:
    serving = await start_app(dialects=("tensorslab",))

    answer = await serving.http.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, 404)


async def test_what_is_no_http_is_passed_on(serving: Serving) -> None:
    sent, _ = await send(
        serving, {"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    )

    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


# ----------------------------------------------------------------------------------------- keys


async def test_without_a_key_nothing_is_done(serving: Serving) -> None:
    for headers in ({}, {"authorization": "Bearer nobody's"}, {"authorization": "Bearer "}):
        answer = await serving.http.post(CREATE, data={"prompt": "a"}, headers=headers)
        assert answer.status_code == 401
        assert words(answer)["code"] == 9999
    assert serving.engine.jobs == []


async def test_what_is_anothers_is_as_unknown_as_what_never_was(serving: Serving) -> None:
    other = await serving.app.keyring.create("other")
    mine, expired = await serving.create(), await serving.create()
    for id in (mine, expired):
        await serving.ended(id)
    await serving.age(expired)

    answers = [
        await serving.ask("0" * 24),
        await serving.ask("no id"),
        await serving.ask(mine, other.secret),
        await serving.ask(expired),
        await serving.post("/v1/video/infobytaskid", json={"taskid": mine}),
    ]

    told = {(answer.status_code, answer.content, tuple(answer.headers)) for answer in answers}
    assert len(told) == 1
    assert answers[0].status_code == 404
    # And to delete it does nothing, and says the same as for what never was.
    deleting = {
        (await serving.post("/v1/images/deleteimagestask", secret, json={"taskids": [id]})).content
        for id, secret in ((mine, other.secret), ("0" * 24, other.secret))
    }
    assert len(deleting) == 1
    assert (await serving.ask(mine)).status_code == 200


# --------------------------------------------------------------------------------- large bodies

MOST = 5000


@pytest.fixture
async def small(start_app: StartApp) -> Serving:
    return await start_app(max_body=MOST)


def bearer(serving: Serving) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {serving.key.secret}".encode()


async def test_a_body_of_just_the_limit_is_read(small: Serving) -> None:
    answer = await small.post(ASK, content=b" " * MOST)

    assert answer.status_code == 400
    assert (await small.post(ASK, content=b" " * (MOST + 1))).status_code == 413


async def test_a_body_that_is_announced_as_too_large_is_not_read(small: Serving) -> None:
    head = scope(ASK, "POST", bearer(small), (b"content-length", b"2000001"))

    sent, left = await send(small, head, [body(b"x" * 10)])

    assert sent[0]["status"] == 413
    assert b'"code":9999' in sent[1]["body"]
    assert (b"connection", b"close") in sent[0]["headers"]
    assert len(left) == 1


async def test_a_body_that_grows_too_large_is_read_no_further(small: Serving) -> None:
    chunks = [body(b"x" * 2000, more=True) for _ in range(10)]

    sent, left = await send(small, scope(ASK, "POST", bearer(small), CHUNKED), chunks)

    assert sent[0]["status"] == 413
    assert len(left) == 7


async def test_only_what_carries_files_may_be_large(serving: Serving) -> None:
    large = {"prompt": "a", "nothing": "x" * 2**21}

    assert (await serving.post(CREATE, data=large)).status_code == 200
    for path in (ASK, "/v1/images/deleteimagestask"):
        answer = await serving.post(path, content=b" " * (2**20 + 1))
        assert (answer.status_code, words(answer)["code"]) == (413, 9999)


REFUSED_BY_THE_HEAD = [
    (CREATE, (), 401),
    (CREATE, ((b"authorization", b"Bearer nobody's"),), 401),
    ("/v1/images/nobody", (), 404),
    ("/api/v1/jobs/createTask", (), 401),
    ("/api/ai/image/edit/async", (), 200),
    ("/", ((b"x-tc-action", b"ProcessImage"), (b"x-tc-version", b"2019-06-12")), 200),
    ("/", ((b"x-tc-action", b"Nothing"),), 200),
]


@pytest.mark.parametrize(("path", "headers", "status"), REFUSED_BY_THE_HEAD)
async def test_nothing_is_received_of_whoever_is_not_known(
    serving: Serving, path: str, headers: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    for framing in (CHUNKED, (b"content-length", b"60000000")):
        head = scope(path, "POST", *headers, framing)
        sent, left = await send(serving, head, [body(b"x", more=True)])

        assert sent[0]["status"] == status
        assert (b"connection", b"close") in sent[0]["headers"]
        assert len(left) == 1


async def test_a_small_body_is_received_all_the_same_to_keep_the_connection(
    serving: Serving,
) -> None:
    head = scope(CREATE, "POST", (b"content-length", b"20"))

    sent, left = await send(serving, head, [body(b"x" * 10, more=True), body(b"x" * 10)])

    assert sent[0]["status"] == 401
    assert (b"connection", b"close") not in sent[0]["headers"]
    assert left == []


async def test_a_rate_that_is_used_up_is_told_before_the_body(start_app: StartApp) -> None:
    serving = await start_app(rates={"tensorslab.images.seedreamv4": "1/hour"})
    await serving.create()
    head = scope(CREATE, "POST", bearer(serving), CHUNKED)

    sent, left = await send(serving, head, [body(b"x", more=True)])

    assert (sent[0]["status"], len(left)) == (429, 1)


async def test_a_query_string_has_an_end(serving: Serving) -> None:
    for path in ("/api/v1/jobs/recordInfo", "/", "/v1/images/x"):
        answer = await serving.http.get(f"{path}?taskId={'x' * 40_000}&Action=x")
        assert "32768" in answer.text


async def test_a_body_in_parts_is_put_together(serving: Serving) -> None:
    key = (b"authorization", f"Bearer {serving.key.secret}".encode())
    id = (await serving.create()).encode()
    parts = [body(b'{"taskid": "', True), body(id, True), body(b"", True), body(b'"}')]

    length = sum(len(part["body"]) for part in parts)
    for framing in (CHUNKED, (b"content-length", str(length).encode())):
        sent, _ = await send(serving, scope(ASK, "POST", key, framing), parts)
        assert sent[0]["status"] == 200
        assert id in sent[1]["body"]


@pytest.mark.parametrize("length", [b"no number", b"-5", b"\xb2", b"9" * 5000, b""])
async def test_a_length_that_is_none_breaks_nothing(small: Serving, length: bytes) -> None:
    head = scope(ASK, "POST", bearer(small), (b"content-length", length))
    sent, _ = await send(small, head, [body(b"{}")])

    assert sent[0]["status"] in (400, 413)


async def test_a_body_that_breaks_off_is_told(serving: Serving) -> None:
    gone = {"type": "http.disconnect"}

    for messages in ([gone], [body(b"{", more=True), gone]):
        sent, _ = await send(serving, scope(ASK, "POST", bearer(serving), CHUNKED), messages)
        assert sent[0]["status"] == 400
        assert b"broke off" in sent[1]["body"]


async def test_no_body_is_waited_for_where_there_is_none(serving: Serving) -> None:
    for headers in ((), ((b"content-length", b"0"),)):
        sent, _ = await send(serving, scope(ASK, "POST", *headers), [])
        assert sent[0]["status"] == 401


# --------------------------------------------------------------------------------- bugs of ours


async def test_a_bug_is_told_by_its_number_alone(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(submit: object, options: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(serving.engine, "check", check)
    with capture_logs() as lines:
        answer = await serving.post(CREATE, data={"prompt": "a"})

    message = words(answer)["msg"]
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert "RuntimeError" not in answer.text
    (line,) = (line for line in lines if line["event"] == "request_broke")
    assert line["incident"] in message
    assert serving.key.secret not in repr(line)


async def test_every_dialect_tells_a_bug_in_its_own_words(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(script: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(serving.app.store, "read", broken)
    for dialect in serving.app.dialects:
        async with serving.client(dialect.name) as client:
            with pytest.raises(Fault) as told:
                await client.fetch("0" * 24)
        assert SECRET not in str(told.value)


async def test_a_server_that_stops_says_so(serving: Serving) -> None:
    await serving.app.drain()
    await serving.app.store.close()

    answer = await serving.post(CREATE, data={"prompt": "a"})

    assert answer.status_code == 503
    assert "retry-after" in answer.headers


# ------------------------------------------------------------------------------- what is away


async def refuse_all(serving: Serving) -> None:
    """Every dialect says that something is away, and when to ask again."""
    for dialect in serving.app.dialects:
        async with serving.client(dialect.name) as client:
            with pytest.raises(Unavailable):
                await client.fetch("0" * 24)
    answer = await serving.post(CREATE, data={"prompt": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert words(answer)["code"] == 9999
    assert "again" in words(answer)["msg"]


async def test_every_dialect_says_that_the_database_is_away(start_app: StartApp) -> None:
    server = await asyncio.to_thread(PostgresServer)
    try:
        serving = await start_app(database=await server.create_soon())
        await asyncio.to_thread(server.stop)

        await refuse_all(serving)

        behind = [(await serving.http.get(path)).status_code for path in ("/readyz", "/metrics")]
        assert behind == [503, 503]
        assert (await serving.http.get("/healthz")).status_code == 200
        await asyncio.to_thread(server.start)
        async with serving.client() as client:
            task = await client.submit(model="seedreamv4", prompt="a")
            assert (await client.wait(task, timeout=60)).status is Status.SUCCEEDED
        await serving.app.drain()  # or it would wait for the database that is closed here
    finally:
        await asyncio.to_thread(server.close)


async def test_files_that_are_away_are_told_and_nothing_is_accepted_without_them(
    start_app: StartApp, tmp_path: Path
) -> None:
    (tmp_path / "buckets").mkdir()
    server = S3Server(tmp_path / "buckets")
    server.start()
    try:
        bucket = server.bucket()
        serving = await start_app(start=False, files=bucket.url, files_options=bucket.options)
        server.stop()

        answer = await serving.post(
            CREATE, data={"prompt": "a"}, files={"sourceImage": ("a.png", picture())}
        )

        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "files" in words(answer)["msg"]
        assert await serving.app.store.read(scripts.unfinished("", 10)) == ()
        # What needs no file is accepted as ever.
        assert (await serving.post(CREATE, data={"prompt": "a"})).status_code == 200
    finally:
        server.close()


# ---------------------------------------------------------------------------- the base of links


@pytest.fixture
async def ended(serving: Serving) -> str:
    id = await serving.create()
    await serving.ended(id)
    return id


async def base(serving: Serving, id: str, host: str | None) -> str:
    """What the links of a task begin with when the server is called by that name."""
    key = (b"authorization", f"Bearer {serving.key.secret}".encode())
    headers = [key, CHUNKED]
    if host is not None:
        headers.append((b"host", host.encode("latin-1")))
    asked = body(f'{{"taskid":"{id}"}}'.encode())
    sent, _ = await send(serving, scope(ASK, "POST", *headers), [asked])
    url: str = httpx.Response(200, content=sent[1]["body"]).json()["data"]["url"][0]
    return url.partition(FILES)[0]


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("pictures.example", "http://pictures.example"),
        ("pictures.example:8080", "http://pictures.example:8080"),
        ("http://pictures.example:8080", "http://pictures.example:8080"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("127.0.0.1", "http://127.0.0.1"),
    ],
)
async def test_links_begin_with_what_the_server_was_called(
    serving: Serving, ended: str, host: str, wanted: str
) -> None:
    assert await base(serving, ended, host) == wanted


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example/path",
        "evil.example?",
        "user@evil.example",
        'a"><script>',
        "a b",
        "a\r\nX-Evil: 1",
        "https://evil.example",
        "[::1",
        "x" * 300,
        "a:123456",
        "é.example",
    ],
)
async def test_a_host_that_is_none_is_not_repeated(
    serving: Serving, ended: str, host: str | None
) -> None:
    assert await base(serving, ended, host) == "http://127.0.0.1:8000"


async def test_a_public_address_wins(start_app: StartApp) -> None:
    serving = await start_app(public_url="https://pictures.example/safelight/")
    id = await serving.create()
    await serving.ended(id)

    assert await base(serving, id, "other.example") == "https://pictures.example/safelight"


# ------------------------------------------------------------------------------------- the edge


class Echo(Dialect):
    """A wire that repeats in its headers what it was sent, with an open and a closed route."""

    name = "echo"
    prefixes = ("/echo",)
    routes = (
        Route("open", "GET", "/echo/open", open=True),
        Route("closed", "GET", "/echo/closed/{id}"),
    )

    def claims(self, request: Request) -> bool:
        return request.header("x-not-mine") is None

    def read_key(self, request: Request, now: int) -> Credential:
        secret = request.header("x-key")
        if secret is None:
            raise Unauthenticated(reason="missing")
        return Credential(secret=secret)

    def read_request(self, op: str, params: Mapping[str, str], request: Request) -> Command:
        return Fetch(id=params.get("id", "0" * 24))

    def write_reply(self, op: str, reply: Reply, context: Context) -> Response:
        raise NotImplementedError

    def write_fault(self, op: str | None, fault: Fault, context: Context) -> Response:
        said = context.request.header("x-said") or ""
        headers = (("x-said", said), ("x-op", str(op)), ("cache-control", "max-age=1"))
        return Response(status=fault.status, headers=headers, body=fault.code.encode())


@pytest.fixture
async def echo(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    app = serving.app
    wire = Echo()
    bridge = Bridge(
        Doors([wire], [wire]),
        app.service,
        app.keyring,
        Links(Vault(b"secret")),
        Rates({"echo.closed": "1/hour"}),
        app.metrics,
        Bodies(1000, 5),
        app.waiting,
        app.foresight,
        app.asgi,
        max_body=100,
        public_url=None,
        default_url="http://here",
    )
    transport = httpx.ASGITransport(bridge)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


async def test_what_is_repeated_begins_no_header_of_its_own(
    serving: Serving, echo: httpx.AsyncClient
) -> None:
    headers = {"x-said": "a\r\nset-cookie: evil=1\nx: y"}

    answer = await echo.get("/echo/none", headers=headers)

    assert answer.headers["x-said"] == "aset-cookie: evil=1x: y"
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "max-age=1"
    assert answer.headers["x-op"] == "None"


async def test_a_character_that_no_header_has_is_replaced(echo: httpx.AsyncClient) -> None:
    assert (await echo.get("/echo/none", headers=[(b"x-said", b"\xff")])).status_code == 404


async def test_an_open_route_asks_for_no_key_but_takes_one(
    serving: Serving, echo: httpx.AsyncClient
) -> None:
    assert (await echo.get("/echo/closed/x")).status_code == 401
    wrong = {"x-key": "wrong"}
    assert (await echo.get("/echo/closed/x", headers=wrong)).status_code == 401
    right = {"x-key": serving.key.secret}
    assert (await echo.get("/echo/open")).text == "not_found"
    assert (await echo.get("/echo/open", headers=right)).text == "not_found"
    assert (await echo.get("/echo/open", headers=wrong)).text == "unauthenticated"


async def test_a_rate_is_told_in_the_dialects_words(
    serving: Serving, echo: httpx.AsyncClient
) -> None:
    right = {"x-key": serving.key.secret}

    answers = [await echo.get("/echo/closed/x", headers=right) for _ in range(2)]

    assert [answer.text for answer in answers] == ["not_found", "rate_limited"]


async def test_what_a_dialect_does_not_claim_goes_on(echo: httpx.AsyncClient) -> None:
    answer = await echo.get("/echo/open", headers={"x-not-mine": "1"})

    assert answer.json()["message"] == "There is no GET /echo/open"


async def test_requests_are_counted_by_what_they_asked(serving: Serving) -> None:
    await serving.create()
    await serving.http.get("/v1/nothing")

    text = (await serving.http.get("/metrics")).text

    wanted = 'safelight_requests_total{dialect="tensorslab",operation="images.seedreamv4"'
    assert f'{wanted},status="200"}} 1.0' in text
    assert 'operation="unknown",status="404"} 1.0' in text


async def test_many_at_once_are_answered(serving: Serving) -> None:
    ids = await asyncio.gather(*(serving.create() for _ in range(50)))

    assert len(set(ids)) == 50
