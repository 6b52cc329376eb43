"""Webhooks of a server: where it tells of tasks, what it told, and hearing of it behind a NAT."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import cyclopts
import httpx
from cyclopts import Parameter
from rich.table import Column, Table

from safelight.cli.consoles import out
from safelight.cli.exits import SUCCEEDED, UsageError
from safelight.cli.forwarding import Forwarder
from safelight.cli.showing import Json, print_json
from safelight.dialects.safelight.problems import read_problem
from safelight.dialects.safelight.writing import PREFIX
from safelight.errors import Malformed, Unreachable, Upstream
from safelight.wire import Response, read_json

webhooks = cyclopts.App(name="webhooks")

_SECONDS = 30.0


@Parameter(name="*")
@dataclass(frozen=True)
class Server:
    """A server of Safelight, and the key whose webhooks these are."""

    url: Annotated[str, Parameter(env_var="SAFELIGHT_URL", help="Address of the server.")] = (
        "http://127.0.0.1:8000"
    )
    key: Annotated[str | None, Parameter(help="Secret [default: SAFELIGHT_KEY].")] = None

    def headers(self) -> dict[str, str]:
        """What proves whose they are. Raises `UsageError`."""
        key = self.key or os.environ.get("SAFELIGHT_KEY")
        if not key:
            raise UsageError("there is no key: --key, or SAFELIGHT_KEY")
        return {"authorization": f"Bearer {key}"}

    def address(self, path: str) -> str:
        return f"{self.url.rstrip('/')}{PREFIX}/{path}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What the server answers, as JSON. Raises `Fault`."""
        try:
            answer = httpx.request(
                method, self.address(path), json=body, headers=self.headers(), timeout=_SECONDS
            )
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise Unreachable(f"{self.url}: {problem or type(problem).__name__}") from None
        return read_answer(answer)


def read_answer(answer: httpx.Response) -> Any:
    """What an answer says, as JSON; None where it has nothing to say. Raises `Fault`."""
    headers = tuple((name.lower(), value) for name, value in answer.headers.items())
    if not answer.is_success:
        raise read_problem(
            Response(status=answer.status_code, headers=headers, body=answer.content)
        )
    try:
        return read_json(answer.content) if answer.content else None
    except Malformed:
        raise Upstream("this is no server of Safelight's that has webhooks") from None


_HERE = Server()
_Id = Annotated[str, Parameter(help="The id of an endpoint.")]
_Delivery = Annotated[str, Parameter(help="The id of a delivery: its webhook-id.")]
_Events = Annotated[
    tuple[str, ...],
    Parameter(name="--event", negative="", help="What to tell, such as task.ended. Repeatable."),
]


@webhooks.command(name="list")
def list_endpoints(*, server: Server = _HERE, json: Json = False) -> int:
    """List the endpoints of your key, without their secrets."""
    found = server.ask("GET", "webhooks/endpoints")["endpoints"]
    if json:
        print_json(found)
        return SUCCEEDED
    table = Table(Column("id", no_wrap=True), "state", "events", "url", box=None)
    for each in found:
        table.add_row(each["id"], _state(each), " ".join(each["events"]), each["url"])
    out.print(table)
    return SUCCEEDED


def _state(endpoint: Mapping[str, Any]) -> str:
    if endpoint["state"] == "off":
        return f"off: {endpoint.get('reason', '')}"
    return f"fails since {endpoint['failing_since']}" if endpoint.get("failing_since") else "on"


@webhooks.command(name="add")
def add_endpoint(
    url: str,
    *,
    event: _Events = (),
    description: Annotated[str, Parameter(help="Words of your own.")] = "",
    server: Server = _HERE,
    json: Json = False,
) -> int:
    """Have a server tell of your tasks at an address, and print its secret, this once."""
    body = {"url": url, "events": event, "description": description}
    return _show(server.ask("POST", "webhooks/endpoints", body), json)


@webhooks.command(name="show")
def show_endpoint(id: _Id, *, server: Server = _HERE, json: Json = False) -> int:
    """Show an endpoint: whether it is on, and since when it fails."""
    return _show(server.ask("GET", f"webhooks/endpoints/{_part(id)}"), json)


@webhooks.command(name="edit")
def edit_endpoint(
    id: _Id,
    *,
    url: Annotated[str | None, Parameter(name="--to", help="Another address.")] = None,
    event: _Events = (),
    description: Annotated[str | None, Parameter(help="Words of your own.")] = None,
    server: Server = _HERE,
    json: Json = False,
) -> int:
    """Change where an endpoint is, or what is told there; what is not said stays."""
    body = {"url": url, "events": event or None, "description": description}
    said = {name: value for name, value in body.items() if value is not None}
    return _show(server.ask("PATCH", f"webhooks/endpoints/{_part(id)}", said), json)


@webhooks.command(name="remove")
def remove_endpoint(id: _Id, *, server: Server = _HERE) -> int:
    """Remove an endpoint, and what was told to it."""
    server.ask("DELETE", f"webhooks/endpoints/{_part(id)}")
    return SUCCEEDED


@webhooks.command(name="rotate")
def rotate_secret(
    id: _Id,
    *,
    overlap_hours: Annotated[float, Parameter(help="Hours that the old one signs too.")] = 24,
    server: Server = _HERE,
    json: Json = False,
) -> int:
    """Give an endpoint a new secret, and print it, this once."""
    body = {"overlap_hours": overlap_hours}
    return _show(server.ask("POST", f"webhooks/endpoints/{_part(id)}/rotate", body), json)


@webhooks.command(name="test")
def test_endpoint(id: _Id, *, server: Server = _HERE, json: Json = False) -> int:
    """Send a webhook.test to an endpoint, and print the id of that."""
    return _show(server.ask("POST", f"webhooks/endpoints/{_part(id)}/test"), json)


@webhooks.command(name="enable")
def enable_endpoint(id: _Id, *, server: Server = _HERE, json: Json = False) -> int:
    """Turn an endpoint on, or have it tried again now."""
    return _show(server.ask("POST", f"webhooks/endpoints/{_part(id)}/enable"), json)


@webhooks.command(name="recover")
def recover(
    id: _Id,
    *,
    since: Annotated[str, Parameter(help="A time, such as 2026-01-30T12:00:00Z.")],
    server: Server = _HERE,
    json: Json = False,
) -> int:
    """Send again what could not be told to an endpoint since a time."""
    asked = {"since": since}
    return _show(server.ask("POST", f"webhooks/endpoints/{_part(id)}/recover", asked), json)


@webhooks.command(name="deliveries")
def list_deliveries(
    *,
    endpoint: Annotated[str | None, Parameter(help="Of that endpoint.")] = None,
    state: Annotated[str | None, Parameter(help="pending, delivered or failed.")] = None,
    task: Annotated[str | None, Parameter(help="Of that task.")] = None,
    limit: Annotated[int, Parameter(help="So many at most.")] = 20,
    server: Server = _HERE,
    json: Json = False,
) -> int:
    """List what was told, and is to be, the newest first."""
    asked = {"endpoint": endpoint, "state": state, "task": task, "limit": limit}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    found = server.ask("GET", f"webhooks/deliveries?{query}")["deliveries"]
    if json:
        print_json(found)
        return SUCCEEDED
    table = Table(Column("id", no_wrap=True), "type", "state", "tries", "made", box=None)
    for each in found:
        row = (each["id"], each["type"], each["state"], str(each["tries"]), each["created_at"])
        table.add_row(*row)
    out.print(table)
    return SUCCEEDED


@webhooks.command(name="delivery")
def show_delivery(id: _Delivery, *, server: Server = _HERE, json: Json = False) -> int:
    """Show what was told, with every try."""
    found = server.ask("GET", f"webhooks/deliveries/{_part(id)}")
    tries = found.get("history", [])
    _show(found if json else {name: found[name] for name in found if name != "history"}, json)
    for each in () if json else tries:
        said = each.get("problem") or f"{each.get('status')} {each.get('answer', '')}"
        out.print(f"  {each['at']}  {each['milliseconds']} ms  {said}", markup=False)
    return SUCCEEDED


@webhooks.command(name="redeliver")
def redeliver(id: _Delivery, *, server: Server = _HERE, json: Json = False) -> int:
    """Send something once more, under the same id."""
    return _show(server.ask("POST", f"webhooks/deliveries/{_part(id)}/redeliver"), json)


@webhooks.command(name="secret")
def show_secret(*, server: Server = _HERE, json: Json = False) -> int:
    """Print what signs for tasks that have addresses of their own, and no secrets."""
    found = server.ask("GET", "webhooks/secret")
    if json:
        print_json(found)
    else:
        out.print(found["secret"])
    return SUCCEEDED


@webhooks.command(name="listen")
def listen(
    *,
    forward: Annotated[str, Parameter(help="Where to post what is heard, on this machine.")],
    event: _Events = ("task.ended",),
    server: Server = _HERE,
) -> int:
    """Ask a server what changes, and post it to an address as the server would: behind a NAT."""
    secret = server.ask("GET", "webhooks/secret")["secret"]
    out.print(f"secret  {secret}")
    sys.stdout.flush()
    forwarder = Forwarder(
        server.address("changes"), server.headers(), forward, secret, event, out.print
    )
    asyncio.run(forwarder.run())
    return SUCCEEDED


def _part(id: str) -> str:
    return quote(id, safe="")


def _show(said: Mapping[str, Any], json: bool) -> int:
    if json:
        print_json(said)
        return SUCCEEDED
    for name, value in said.items():
        text = " ".join(value) if isinstance(value, list) else str(value)
        if text:
            out.print(f"{name:14} {text}", markup=False, soft_wrap=True)
    return SUCCEEDED
