"""Every dialect under a path of its own name, at a real server: ours and Tencent's own clients."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import httpx
import msgspec
import pytest

from end_to_end.running import START_SECONDS, TASK_SECONDS, Running, environment, program
from end_to_end.test_tencent_sdk import SIGNATURES, asked, client, profile, wait_for_image
from end_to_end.words import IMAGES, VIDEOS, picture, png
from safelight import AsyncClient, Key, Source, Status, Submit
from safelight.config import ModelRule, Settings
from safelight.links import FILES
from safelight.server.opening import open_app
from safelight.task import bare_id

ASKED = {**IMAGES, "kie": Submit(model="nano-banana-2", prompt="a red boat")}
NAMES = tuple(ASKED)


def named(server: Running, name: str) -> AsyncClient:
    """A client of a dialect under its own name."""
    return AsyncClient(name, f"{server.url}/{name}", server.key, pace=0.03, per_second=30)


@pytest.mark.parametrize("name", NAMES)
async def test_pictures_and_films_are_made_under_every_name(
    server: Running, name: str, tmp_path: Path
) -> None:
    async with named(server, name) as ours:
        tasks = [await ours.submit(ASKED[name])]
        if name in VIDEOS:
            tasks.append(await ours.submit(VIDEOS[name]))
        for task in tasks:
            ended = await ours.wait(task, TASK_SECONDS)
            assert ended.status is Status.SUCCEEDED, ended.failure
            assert (ended.artifacts[0].url or "").startswith(f"{server.url}{FILES}")
            assert await ours.download(ended, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_asks_under_every_name(server: Running, name: str, tmp_path: Path) -> None:
    key = f"{server.key.id}:{server.key.secret}" if name == "tencent" else server.key.secret
    reach = ("--dialect", name, "--url", f"{server.url}/{name}/", "--key", key)
    into = ("--download", str(tmp_path), "--pace", "0.05", "--rate", "20", "--json")

    done = subprocess.run(
        program("submit", "a red boat", "--model", ASKED[name].model, *reach, *into),
        env=environment(), capture_output=True, text=True, timeout=TASK_SECONDS,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "succeeded"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["aigptimage", "aitoearn", "kie"])
async def test_a_file_that_was_uploaded_under_a_name_is_a_source(
    server: Running, name: str
) -> None:
    source = Source(data=png(), name="a.png", media_type="image/png")
    model = "google/nano-banana-edit" if name == "kie" else ASKED[name].model
    submit = msgspec.structs.replace(ASKED[name], model=model, sources=(source,))
    async with named(server, name) as ours:
        ended = await ours.wait(await ours.submit(submit), TASK_SECONDS)

    assert ended.status is Status.SUCCEEDED, ended.failure


# ------------------------------------------------------------------------------ Tencent's own SDK


@pytest.mark.parametrize("sign", SIGNATURES)
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("whole", [False, True])
def test_the_sdk_signs_for_an_address_with_a_path(
    server: Running, sign: str, method: str, whole: bool, http: httpx.Client
) -> None:
    sdk = client(server, sign=sign, method=method, whole=whole)
    sdk.profile.httpProfile.endpoint += "/tencent"
    sdk = type(sdk)(sdk.credential, "", sdk.profile)

    task = sdk.CreateAigcImageTask(asked("CreateAigcImageTask", ModelName="GG", Prompt="a boat"))
    answer = wait_for_image(sdk, task.TaskId)

    assert answer.Status == "DONE"
    assert answer.ImageUrls[0].startswith(f"{server.url}{FILES}")
    assert http.get(answer.ImageUrls[0]).content.startswith(b"\x89PNG")
    assert profile(server, sign, method, whole, False).signMethod == sign


def test_a_signature_of_another_key_is_refused_under_the_name_too(server: Running) -> None:
    sdk = client(server, key=Key(id=server.key.id, secret="another"))
    sdk.profile.httpProfile.endpoint += "/tencent"
    sdk = type(sdk)(sdk.credential, "", sdk.profile)

    with pytest.raises(Exception, match="AuthFailure"):
        sdk.CreateAigcImageTask(asked("CreateAigcImageTask", ModelName="GG", Prompt="a boat"))


# ---------------------------------------------------------------------------- paths, as they come


@pytest.mark.parametrize(
    ("path", "whose"),
    [
        ("/tencent", "tencent"),
        ("/tencent/", "tencent"),
        ("/tencent/tencent", "tencent"),
        ("/%74encent", "tencent"),
        ("/tencent%2F", "tencent"),
        ("/kie/%2e%2e/tencent", "kie"),
        ("/kie/api/v1/jobs/nothing", "kie"),
        ("/kie/files/x", "kie"),
        ("/tencentx", "nobody"),
        ("/TENCENT", "nobody"),
        ("/tencent\x01", "nobody"),
    ],
)
def test_a_path_is_answered_in_the_words_of_its_dialect(
    server: Running, path: str, whose: str
) -> None:
    """Sent just so, for clients tidy their paths."""
    for method in ("GET", "HEAD", "POST"):
        status, body = asyncio.run(exchange(server, method, path))
        assert status < 500
        if method == "HEAD":
            assert body == b""
            continue
        if status == 400 and not body:  # no HTTP at all
            assert whose == "nobody"
            continue
        said = json.loads(body)
        assert ("Response" in said) is (whose == "tencent")
        assert ("data" in said) is (whose == "kie")


async def exchange(server: Running, method: str, path: str) -> tuple[int, bytes]:
    """The status and the body that are answered to a request line."""
    host = server.url.removeprefix("http://")
    name, _, port = host.partition(":")
    async with asyncio.timeout(START_SECONDS):
        reader, writer = await asyncio.open_connection(name, int(port))
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    head_, _, body = answer.partition(b"\r\n\r\n")
    return int(head_.split(b" ")[1]), body


# ------------------------------------------------------------------------------------- in a ring


@pytest.mark.parametrize("theirs", NAMES)
async def test_a_server_asks_another_under_the_name(
    server: Running, theirs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = server.key
    monkeypatch.setenv("RING", f"{key.id}:{key.secret}" if theirs == "tencent" else key.secret)
    options = {
        "dialect": theirs,
        "url": f"{server.url}/{theirs}",
        "key": "env:RING",
        "per_second": 50,
        "model": ASKED[theirs].model,
    }
    rule = ModelRule(name=ASKED["aitoearn"].model, engine="upstream", options=options)
    app = await open_app(Settings(data=tmp_path / "ring", models=(rule,), grace=1))
    own = await app.keyring.create("ring")
    await app.start()
    transport = httpx.ASGITransport(app=app.asgi)
    url = "http://ring.example/aitoearn"
    try:
        async with AsyncClient(
            "aitoearn", url, own.secret, pace=0.03, per_second=30, transport=transport
        ) as ours:
            submit = Submit(model=ASKED["aitoearn"].model, prompt="a red boat")
            ended = await ours.wait(await ours.submit(submit), TASK_SECONDS)
            assert ended.status is Status.SUCCEEDED, ended.failure
            (file,) = await ours.download(ended, tmp_path / "files")
    finally:
        await app.drain()
        await app.close()

    assert picture(file)[0] in ("PNG", "JPEG")
    assert bare_id(ended.id)
    assert server.rows("select count(*) from tasks where dialect = ?", theirs)[0][0] >= 1
