"""`safelight webhooks`, as a process of its own, against a running server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.running import START_SECONDS, Running, bugs_in, environment, running, until
from programs import carry_out
from safelight.webhooks import Event, verify

SUCCEEDED, FAILED, USAGE, NOT_FOUND = range(4)
Came = list[tuple[dict[str, str], bytes]]
CONFIG = "private_callbacks = true\ngrace = 0.5\n"


@contextmanager
def receiver() -> Iterator[tuple[str, Came]]:
    """A receiver on this machine: its address, and what came."""
    came: Came = []

    class Hooks(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hooks)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[Running]:
    """A server that may tell this machine."""
    with running(tmp_path / "data", CONFIG) as server:
        yield server


def run(server: Running, *arguments: str, key: str = "") -> tuple[int, str, str]:
    said = {"SAFELIGHT_URL": server.url, "SAFELIGHT_KEY": key or server.key.secret}
    done = carry_out("webhooks", *arguments, timeout=START_SECONDS, env={**environment(), **said})
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def asked(server: Running, *arguments: str) -> Any:
    code, said, problem = run(server, *arguments, "--json")
    assert code == SUCCEEDED, problem
    return json.loads(said)


def submit(server: Running, **more: Any) -> str:
    """Have a small picture made; its id."""
    asked = {"model": "sketch", "input": {"prompt": "a boat", "width": 64, "height": 64}, **more}
    headers = {"authorization": f"Bearer {server.key.secret}"}
    made = httpx.post(f"{server.url}/api/safelight/v1/tasks", json=asked, headers=headers)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def read(came: Came, secret: str) -> list[Event]:
    return [verify(body, headers, secret) for headers, body in came]


def test_the_commands(telling: Running) -> None:
    with receiver() as (url, came):
        made = asked(telling, "add", url, "--event", "task.succeeded", "--description", "shop")
        assert (made["url"], made["events"]) == (url, ["task.succeeded"])
        assert asked(telling, "list") == [{n: v for n, v in made.items() if n != "secret"}]
        code, shown, _ = run(telling, "list")
        assert code == SUCCEEDED and made["id"] in shown and made["secret"] not in shown
        test = asked(telling, "test", made["id"])
        until(lambda: came)
        assert [event.type for event in read(came, made["secret"])] == ["webhook.test"]
        until(lambda: asked(telling, "delivery", test["id"])["state"] == "delivered")
        code, shown, _ = run(telling, "delivery", test["id"])
        assert code == SUCCEEDED and " ms  204" in shown
        new = asked(telling, "rotate", made["id"], "--overlap-hours", "1")["secret"]
        task = submit(telling)
        until(lambda: len(came) == 2)
        for secret in (made["secret"], new):
            assert verify(came[1][1], came[1][0], secret).data["id"] == task
        (told,) = asked(telling, "deliveries", "--task", task, "--limit", "5")
        assert asked(telling, "redeliver", told["id"])["id"] == told["id"]
        until(lambda: len(came) == 3)
        assert came[1][1] == came[2][1]
        edited = asked(telling, "edit", made["id"], "--to", url + "2", "--event", "task.failed")
        assert (edited["url"], edited["events"]) == (url + "2", ["task.failed"])
        assert asked(telling, "enable", made["id"])["state"] == "on"
        since = asked(telling, "recover", made["id"], "--since", "2026-01-01T00:00:00Z")
        assert since == {"recovered": 0}
        assert run(telling, "remove", made["id"])[0] == SUCCEEDED
        assert run(telling, "show", made["id"])[0] == NOT_FOUND
        assert run(telling, "show", "../../me")[0] == FAILED
        assert run(telling, "secret")[1].startswith("whsec_")
        assert run(telling, "list", key="sk-none")[0] == FAILED
        assert run(telling, "add", "ftp://x")[0] == FAILED


def test_our_own_server_may_be_told_and_makes_nothing_of_it(telling: Running) -> None:
    own = f"{telling.url}/api/safelight/v1/tasks"
    task = submit(telling, callback={"url": own})
    told = until(lambda: [each for each in asked(telling, "deliveries") if each["tries"]])

    assert [each["task"] for each in told] == [task]
    (tried,) = asked(telling, "delivery", told[0]["id"])["history"]
    assert tried["status"] == 401
    assert telling.rows("select count(*) from tasks") == [(1,)]
    assert bugs_in(telling.log) == []
