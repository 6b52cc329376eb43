"""The command line, as a process of its own, against a running server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.running import (
    SERVED,
    START_SECONDS,
    Running,
    environment,
    program,
    until,
)
from end_to_end.words import film, picture, png, slow
from programs import carry_out
from safelight import Key, Kind
from safelight.server.fake import Fake
from safelight.task import bare_id

SUCCEEDED, FAILED, USAGE, NOT_FOUND, STILL_RUNNING = range(5)
ID = re.compile(r"(?:[0-9A-Za-z]+-)*[0-9a-f]{24}")
MODELS = {"tensorslab": "seedreamv5", "tencent": "Hunyuan"}


def spoken(server: Running, dialect: str, key: Key | None = None) -> dict[str, str]:
    """The environment that says which service, in which dialect, and whose key."""
    owner = key or server.key
    secret = f"{owner.id}:{owner.secret}" if dialect == "tencent" else owner.secret
    said = {"SAFELIGHT_URL": server.url, "SAFELIGHT_DIALECT": dialect, "SAFELIGHT_KEY": secret}
    return {**environment(), **said}


def run(
    server: Running, *arguments: str, dialect: str = "tensorslab", key: Key | None = None
) -> subprocess.CompletedProcess[str]:
    """Carry out a command line to its end. It never shows the secret, nor a traceback."""
    done = carry_out(
        *arguments,
        timeout=START_SECONDS * 2,
        env=spoken(server, dialect, key),
        cwd=server.data.parent,
    )
    assert (key or server.key).secret not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


def asked(dialect: str, *more: str) -> list[str]:
    """The command that submits a small picture."""
    model = MODELS.get(dialect, "gpt-image-2")
    return ["submit", "a red boat", "--model", model, "--size", "96x64", "--pace", "0.1", *more]


def objects(text: str) -> list[Any]:
    """The JSON values of an output, one a line."""
    return [json.loads(line) for line in text.splitlines()]


# -------------------------------------------------------------------------------- a task's way


@pytest.mark.parametrize("dialect", SERVED)
def test_submit_wait_and_download(server: Running, tmp_path: Path, dialect: str) -> None:
    folder = tmp_path / "files"

    done = run(server, *asked(dialect, "--download", str(folder)), dialect=dialect)

    assert done.returncode == SUCCEEDED, done.stderr
    first, *rest = done.stdout.splitlines()
    assert ID.fullmatch(first)
    assert [picture(path) for path in folder.iterdir()] == [("PNG", (96, 64))]
    assert any(line.startswith("saved ") for line in rest)
    shown = run(server, "show", first, "--kind", "image", dialect=dialect)
    assert (shown.returncode, "succeeded" in shown.stdout) == (SUCCEEDED, True)


def test_a_film_as_json(server: Running, tmp_path: Path) -> None:
    done = run(
        server, "submit", "waves", "--kind", "video", "--model", "seedancev2", "--size", "96x64",
        "--duration", "1", "--download", str(tmp_path), "--json", "--pace", "0.1",
    )  # fmt: skip

    assert done.returncode == SUCCEEDED, done.stderr
    submitted, ended = objects(done.stdout)
    assert submitted == {"id": submitted["id"], "status": "queued"}
    assert (ended["id"], ended["status"]) == (submitted["id"], "succeeded")
    assert film(Path(ended["saved"][0]))[0] == (96, 64)


def test_a_file_is_edited_and_a_picture_is_processed(server: Running, tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(png(80, 48))
    edited = run(
        server, "submit", "at night", "--model", "quickedit", "--source", str(source), "--json",
        "--wait", "--pace", "0.1",
    )  # fmt: skip
    assert edited.returncode == SUCCEEDED, edited.stderr
    url = objects(edited.stdout)[-1]["artifacts"][0]["url"]

    done = run(
        server, "submit", "--source", url, "--operation",
        'super_resolution={"type":"lq","size":2}', "--operation", 'encode={"format":"WebP"}',
        "--download", str(tmp_path / "out"), "--pace", "0.1", dialect="tencent",
    )  # fmt: skip

    assert done.returncode == SUCCEEDED, done.stderr
    assert [picture(path) for path in (tmp_path / "out").iterdir()] == [("WEBP", (160, 96))]


def test_a_file_is_uploaded_and_named_by_its_link(server: Running, tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(png(80, 48))
    for dialect in ("aigptimage", "aitoearn"):
        kept = run(server, "upload", str(source), dialect=dialect)
        assert kept.returncode == SUCCEEDED, kept.stderr
        done = run(
            server, "submit", "--source", kept.stdout.strip(), "--operation",
            'super_resolution={"type":"lq","size":2}',
            "--download", str(tmp_path / dialect), "--pace", "0.1", dialect="tencent",
        )  # fmt: skip
        assert done.returncode == SUCCEEDED, done.stderr
        (made,) = (tmp_path / dialect).iterdir()
        assert picture(made) == ("PNG", (160, 96))


def test_what_nobody_can_do_is_refused_by_its_name(server: Running) -> None:
    done = run(server, *asked("tensorslab", "--demand", "first_wish=3"))
    assert (done.returncode, "first_wish" in done.stderr) == (USAGE, True)


def test_several_are_waited_for_at_once(server: Running) -> None:
    ids = [run(server, *asked("aitoearn"), dialect="aitoearn").stdout.strip() for _ in range(2)]
    late = run(server, "submit", "x", "--model", "late", dialect="aitoearn").stdout.strip()

    good = run(server, "wait", *ids, "--json", "--rate", "20", dialect="aitoearn")
    mixed = run(server, "wait", *ids, late, "--json", "--rate", "20", dialect="aitoearn")

    assert good.returncode == SUCCEEDED, good.stderr
    assert {one["id"] for one in objects(good.stdout)} == set(ids)
    assert mixed.returncode == FAILED
    ends = {one["id"]: one["status"] for one in objects(mixed.stdout)}
    assert ends == {ids[0]: "succeeded", ids[1]: "succeeded", late: "failed"}
    shown = run(server, "show", late, dialect="aitoearn")
    assert shown.returncode == FAILED
    assert "longer than 0.2 seconds" in shown.stdout


def test_cancel_delete_and_list(server: Running) -> None:
    key = server.make_key("cli")
    first = run(server, "submit", "x", "--model", "slow", dialect="tencent", key=key).stdout.strip()

    assert run(server, "cancel", first, dialect="tencent", key=key).returncode == SUCCEEDED
    assert run(server, "cancel", first, dialect="tencent", key=key).returncode == FAILED
    shown = run(server, "show", first, "--json", dialect="tencent", key=key)
    assert (shown.returncode, objects(shown.stdout)[0]["status"]) == (FAILED, "failed")

    listed = run(server, "list", "--json", dialect="aitoearn", key=key)
    assert listed.returncode == SUCCEEDED
    assert [one["id"] for one in objects(listed.stdout)[0]] == [bare_id(first)]
    table = run(server, "list", dialect="aitoearn", key=key)
    assert str(bare_id(first)) in table.stdout

    deleted = run(server, "delete", bare_id(first) or "", "--kind", "image", key=key)
    assert (deleted.returncode, deleted.stdout.strip()) == (SUCCEEDED, bare_id(first))
    gone = run(server, "show", first, dialect="tencent", key=key)
    assert (gone.returncode, gone.stdout) == (NOT_FOUND, "")


def test_the_id_is_told_before_the_waiting_and_outlives_it(server: Running) -> None:
    model = slow("tensorslab", Kind.IMAGE)
    waiting = subprocess.Popen(
        program("submit", "x", "--model", model, "--wait"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=spoken(server, "tensorslab"),
        cwd=server.data.parent,
    )
    assert waiting.stdout is not None
    with waiting:
        id = waiting.stdout.readline().strip()
        waiting.kill()
    assert waiting.returncode == -signal.SIGKILL
    query = "select 1 from tasks where id = ? and status = 'running'"
    until(lambda: server.rows(query, id))

    again = run(server, "wait", id, "--timeout", "0.3")

    assert again.returncode == STILL_RUNNING
    assert id in again.stderr
    assert run(server, "delete", id).returncode == SUCCEEDED


# -------------------------------------------------------------------------------- refusals


async def test_submit_waits_for_a_task_that_its_service_does_not_know_yet(tmp_path: Path) -> None:
    script = {"queries": [{"answer": "not_found", "within": 1.0}]}
    async with Fake.run("kie", script) as fake:
        service = ("--dialect", "kie", "--url", fake.url, "--key", "k", "--pace", "0.1")
        done = await asyncio.to_thread(
            subprocess.run,
            program("submit", "a", "--model", "gpt-image-2", *service, "--download", str(tmp_path)),
            capture_output=True,
            timeout=START_SECONDS,
            env=environment(),
        )
        assert fake.counts().answers["not_found"] >= 1

    assert done.returncode == SUCCEEDED, done.stderr
    assert len(list(tmp_path.iterdir())) == 1


def test_words_that_do_not_go_together(server: Running) -> None:
    for arguments in (
        ["submit", "x", "--size", "huge"],
        ["submit", "x", "--model", "no-such-model"],
        ["submit", "x", "--source", "no-such-file.png"],
        ["submit", "x", "--unknown"],
        ["submit", "x", "--demand", "nothing"],
        ["upload"],
        ["upload", "no-such-file.png"],
        ["upload", "README.md", "--dialect", "tencent"],
        ["delete"],
        ["list"],
        ["cancel", "0" * 24],
        ["show", "0" * 24, "--dialect", "esperanto"],
        ["serve", "--config", "no-such-file.toml"],
    ):
        done = run(server, *arguments)
        assert done.returncode == USAGE, (arguments, done.stderr)
        assert done.stderr.strip(), arguments


def test_what_is_not_there(server: Running) -> None:
    for dialect in ("aigptimage", "tencent"):
        done = run(server, "show", "0" * 24, "--kind", "image", dialect=dialect)
        assert (done.returncode, done.stdout) == (NOT_FOUND, ""), dialect
    mixed = run(server, "wait", "0" * 24, "1" * 24)
    assert mixed.returncode == NOT_FOUND


def test_nobody_home_and_nobody_known(server: Running) -> None:
    nowhere = run(server, "show", "0" * 24, "--url", "http://127.0.0.1:1")
    assert nowhere.returncode == FAILED
    assert "cannot be reached" in nowhere.stderr
    wrong = run(server, "show", "0" * 24, "--key", "sk-wrong")
    assert wrong.returncode == FAILED
    for command in ("show", "wait"):
        keyless = carry_out(
            command, "0" * 24, "--url", server.url, timeout=START_SECONDS, env=environment(),
        )  # fmt: skip
        assert keyless.returncode == USAGE
        assert "SAFELIGHT_KEY" in keyless.stderr


# -------------------------------------------------------------------------------- catalogues


def test_dialects_and_models(server: Running) -> None:
    plain = run(server, "dialects")
    said = objects(run(server, "dialects", "--json").stdout)[0]
    assert plain.returncode == SUCCEEDED
    for one in said:
        assert one["name"] in plain.stdout
    assert {*SERVED, "kie"} == {one["name"] for one in said}

    cards = objects(run(server, "models", "--json", dialect="aitoearn").stdout)[0]
    assert "sketch" in {card["name"] for card in cards}
    assert "sketch" in run(server, "models", dialect="aitoearn").stdout


# -------------------------------------------------------------------------------- keys


def test_keys_are_made_listed_and_revoked_while_the_server_runs(server: Running) -> None:
    data = ("--data", str(server.data))
    made = run(server, "keys", "create", "a guest's [red]key[/red]", *data)
    assert made.returncode == SUCCEEDED
    id, secret = (line.split()[1] for line in made.stdout.splitlines())
    guest = Key(id=id, secret=secret)
    assert run(server, "list", dialect="aitoearn", key=guest).returncode == SUCCEEDED

    listed = run(server, "keys", "list", "--json", *data)
    names = {row["id"]: row["name"] for row in objects(listed.stdout)[0]}
    assert names[id] == "a guest's [red]key[/red]"
    table = run(server, "keys", "list", *data)
    assert id in table.stdout
    assert "a guest's [red]key[/red]" in table.stdout
    assert secret not in listed.stdout + table.stdout

    assert run(server, "keys", "revoke", id, *data).returncode == SUCCEEDED
    assert run(server, "list", dialect="aitoearn", key=guest).returncode == FAILED
    assert run(server, "list", dialect="tencent", key=guest).returncode != SUCCEEDED
    assert run(server, "keys", "revoke", id, *data).returncode == NOT_FOUND
    assert run(server, "keys", "revoke", "AKIDnobody", *data).returncode == NOT_FOUND


# -------------------------------------------------------------------------------- serve


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_a_first_start_prints_a_line_that_works_when_it_is_pasted(
    tmp_path: Path, http: httpx.Client
) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            program("serve", "--port", "0", "--data", str(tmp_path / "new" / "data")),
            stdout=output, stderr=output, env=environment(), cwd=tmp_path,
        )  # fmt: skip
    try:
        until(lambda: "curl " in log.read_text() and log.read_text().endswith("\n"), START_SECONDS)
        told = log.read_text()
        (line,) = [text.strip() for text in told.splitlines() if text.strip().startswith("curl ")]
        pasted = subprocess.run(
            line, shell=True, capture_output=True, timeout=30, env=environment(), check=True
        )
        answer = json.loads(pasted.stdout)
        assert answer["code"] == 1000, answer
        secret = told.partition("secret  ")[2].split()[0]
        url = line.split()[1].partition("/v1/")[0]

        def status() -> int:
            asked = http.post(
                f"{url}/v1/images/infobytaskid",
                headers={"authorization": secret},
                json={"taskid": answer["data"]["taskid"]},
            )
            return int(asked.json()["data"]["image_status"])

        until(lambda: status() == 3)
    finally:
        process.terminate()
        assert process.wait(START_SECONDS) == 0
    assert log.read_text().count(secret) == 2  # as such, and in the line to try
    for path in (tmp_path / "new" / "data").rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    mode = os.stat(tmp_path / "new" / "data" / "secret").st_mode
    assert mode & 0o077 == 0


def test_settings_that_are_wrong_are_told(tmp_path: Path) -> None:
    for text in (
        "grace = 'x'\n",
        "[[models]]\nname = '*'\nengine = 'nothing'\n",
        "dialects = ['aigptimage', 'kie']\n",
        "rates = { 'tencent.ProcessImage' = 'often' }\n",
    ):
        file = tmp_path / "wrong.toml"
        file.write_text(text)
        done = carry_out(
            "serve", "--port", "0", "--config", str(file), "--data", str(tmp_path / "x"),
            timeout=START_SECONDS, env=environment(), cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == USAGE, (text, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, text
        assert done.stderr.strip(), text


def test_the_relative_that_is_not_served_by_default_can_be(tmp_path: Path) -> None:
    config = "dialects = ['kie']\n"
    server = Running.start(tmp_path / "data", config)
    try:
        done = run(
            server, "submit", "a red boat", "--model", "nano-banana-2", "--download",
            str(tmp_path / "out"), "--pace", "0.1", "--rate", "20", dialect="kie",
        )  # fmt: skip
        assert done.returncode == SUCCEEDED, done.stderr
        assert len(list((tmp_path / "out").iterdir())) == 1
        assert run(server, "show", "0" * 24, dialect="kie").returncode == NOT_FOUND
        assert run(server, "show", "0" * 24, dialect="aitoearn").returncode == NOT_FOUND
    finally:
        assert server.stop() == 0


def test_at_an_address_no_dialect_need_be_chosen(server: Running) -> None:
    said = {"SAFELIGHT_URL": server.url, "SAFELIGHT_KEY": server.key.secret}

    def tell(*arguments: str, code: int = 0) -> str:
        done = carry_out(
            *arguments,
            timeout=START_SECONDS * 2,
            env={**environment(), **said},
            cwd=server.data.parent,
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    id = tell("submit", "a red boat", "--size", "96x64", "--wait", "--pace", "0.1").split()[0]
    assert id in tell("list", "--limit", "100")
    assert "succeeded" in tell("log", id)
    again = tell("retry", id, "--same-seed", "--wait", "--pace", "0.1").split()[0]
    assert again != id
    assert "sketch" in tell("models")
    tell("cancel", id, code=1)  # it is at its end
    assert tell("delete", id, again).split() == [id, again]
