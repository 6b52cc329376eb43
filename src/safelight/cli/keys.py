"""The keys of a server: those of its callers, and its own at other services."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import cyclopts
from rich.table import Column, Table

from safelight.cli.consoles import err, out
from safelight.cli.exits import NOT_FOUND, SUCCEEDED, UsageError
from safelight.cli.installation import HERE, Installation, opening
from safelight.cli.showing import Json, print_json, time_text
from safelight.server.opening import open_keys

keys = cyclopts.App(name="keys")
provider_keys = cyclopts.App(name="provider-keys")


@keys.command(name="create")
def create_key(name: str, *, json: Json = False, installation: Installation = HERE) -> int:
    """Make a key and print its id and secret, this once."""
    made = _with_keys(lambda keys: keys.callers.create(name), installation)
    if json:
        print_json({"id": made.id, "name": made.name, "secret": made.secret})
    else:
        out.print(f"id      {made.id}\nsecret  {made.secret}")
    return SUCCEEDED


@keys.command(name="list")
def list_keys(*, json: Json = False, installation: Installation = HERE) -> int:
    """List the keys, without their secrets."""
    rows = _with_keys(lambda keys: keys.callers.list(), installation)
    if json:
        print_json([row._asdict() for row in rows])
        return SUCCEEDED
    table = Table(Column("id", no_wrap=True), "name", "made", "revoked", box=None)
    for row in rows:
        table.add_row(row.id, row.name, time_text(row.created), time_text(row.revoked))
    out.print(table)
    return SUCCEEDED


@keys.command(name="revoke")
def revoke_key(id: str, *, installation: Installation = HERE) -> int:
    """Revoke a key, at once."""
    if _with_keys(lambda keys: keys.callers.revoke(id), installation):
        return SUCCEEDED
    err.print(f"There is no key {id} that is not revoked.")
    return NOT_FOUND


@provider_keys.command(name="keep")
def keep_provider_key(name: str, *, installation: Installation = HERE) -> int:
    """Keep a key under a name of your choice, encrypted; it is read from standard input.

    A model's options name it: options = { engine = "upstream", key = "NAME", … }.
    """
    secret = getpass.getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not secret.strip():
        raise UsageError("there is no key on standard input")
    try:
        _with_keys(lambda keys: keys.providers.keep(name, secret.strip()), installation)
    except ValueError as problem:
        raise UsageError(str(problem)) from None
    return SUCCEEDED


@provider_keys.command(name="list")
def list_provider_keys(*, json: Json = False, installation: Installation = HERE) -> int:
    """List the names of the keys that are kept."""
    rows = _with_keys(lambda keys: keys.providers.list(), installation)
    if json:
        print_json([{"name": name, "created": created} for name, created in rows])
        return SUCCEEDED
    table = Table("name", "kept", box=None)
    for name, created in rows:
        table.add_row(name, time_text(created))
    out.print(table)
    return SUCCEEDED


@provider_keys.command(name="remove")
def remove_provider_key(name: str, *, installation: Installation = HERE) -> int:
    """Remove a key."""
    if _with_keys(lambda keys: keys.providers.remove(name), installation):
        return SUCCEEDED
    err.print(f"There is no key {name}.")
    return NOT_FOUND


def _with_keys(act: Callable[[Any], Coroutine[Any, Any, Any]], installation: Installation) -> Any:
    async def run() -> Any:
        async with open_keys(installation.load()) as keys:
            return await act(keys)

    with opening():
        return asyncio.run(run())
